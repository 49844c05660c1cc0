"""What makes a real shell delete everything must not pass: heaps of shell pieces, run with an `rm` that only notes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hermes.agent.rules import Level, classify
from hermes.core.ports import Action, ActionKind

PIECES = [
    "rm",
    "-rf",
    "/",
    " ",
    " ",
    "'",
    '"',
    "$(",
    ")",
    "(",
    "`",
    "|",
    ";",
    "&&",
    "||",
    "&",
    "<<E",
    "<<'E'",
    "<<-E",
    "\n",
    "\nE\n",
    "${",
    "}",
    "{",
    "\\",
    "\\\n",
    "$'",
    '$"',
    "#",
    " #",
    "x=",
    "$x",
    "${x:-",
    "a[",
    "]=",
    "((",
    "))",
    "$((",
    "[[",
    "]]",
    "<",
    ">f",
    "1<<",
    "<(",
    "if true;then ",
    "fi",
    "for i in ",
    "do ",
    "done",
    "case x in x)",
    "esac",
    ";;",
    "f()",
    "eval ",
    "bash -c ",
    "sh -c ",
    "! ",
    ",",
    "..",
    "*",
    "?",
    "%",
    "echo ",
    "printf ",
    "cat",
    "|sh",
    "|bash",
    "exec ",
    "command ",
    "\t",
    "rm -rf /",
    "rm -rf /",
    "'rm -rf /'",
    '"rm -rf /"',
    "\nrm -rf /\n",
    ";rm -rf /;",
    "time ",
    "export y=",
    "read x<<<",
    "<<<",
    "|&",
    "\\'",
    '\\"',
    "''",
    "@",
]

SHELLS = [shell for shell in (shutil.which("bash"), shutil.which("dash")) if shell]


@pytest.fixture(scope="module")
def only_our_rm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PATH with nothing on it but shells, cat and an `rm` that writes down what it was asked."""
    directory = tmp_path_factory.mktemp("bin")
    (directory / "rm").write_text(f'#!{shutil.which("sh")}\nprintf "%s\\n" "$*" >> "$NOTES"\n')
    (directory / "rm").chmod(0o755)
    for name in ("sh", "bash", "cat"):
        if found := shutil.which(name):
            (directory / name).symlink_to(found)
    return directory


@settings(
    max_examples=400, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(pieces=st.lists(st.sampled_from(PIECES), min_size=1, max_size=8))
def test_what_deletes_everything_in_a_real_shell_does_not_pass(
    only_our_rm: Path, tmp_path: Path, pieces: list[str]
) -> None:
    text = "".join(pieces)
    notes = tmp_path / "notes"
    notes.unlink(missing_ok=True)
    environment = {"PATH": str(only_our_rm), "NOTES": str(notes), "HOME": str(tmp_path)}
    for shell in SHELLS:
        subprocess.run(
            [shell, "-c", text],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=20,
        )

    if notes.exists() and "-rf /" in notes.read_text().split("\n"):
        verdict = classify(Action(ActionKind.COMMAND, text, workdir=tmp_path))
        assert verdict.level is not Level.ALLOWED
        assert verdict.level is Level.BLOCKED or "x" in text  # an unset variable beside it only asks
