"""`hermes completion`: what a real shell makes of the script."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hermes.cli.main import COMMANDS
from tests.support.cli import Hermes, hermes_in

PRINT = 'printf "%s\\n" "${COMPREPLY[@]}"'


@pytest.fixture
def hermes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Hermes:
    return hermes_in(tmp_path, capsys)


@pytest.fixture
def command(tmp_path: Path) -> Path:
    """A directory with `hermes` in it, as an installer puts it there."""
    directory = tmp_path / "bin"
    directory.mkdir()
    script = directory / "hermes"
    script.write_text(f"#!/bin/sh\nexec '{sys.executable}' -m hermes \"$@\"\n")
    script.chmod(0o755)
    return directory


def completed(command: Path, *words: str) -> set[str]:
    """What bash offers for the last of the words."""
    if shutil.which("bash") is None:
        pytest.skip("bash is not here")
    array = " ".join(f"'{word}'" for word in ("hermes", *words))
    code = f"""
eval "$(hermes completion bash)"
COMP_WORDS=({array}); COMP_CWORD={len(words)}
_hermes_completion hermes '{words[-1]}' ''
{PRINT}
"""
    environ = {**os.environ, "PATH": f"{command}:{os.environ['PATH']}", "HOME": str(command.parent)}
    done = subprocess.run(
        ["bash", "--norc", "-c", code], env=environ, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == ""
    return {line for line in done.stdout.splitlines() if line}


def test_bash_completes_commands_subcommands_and_options(command: Path) -> None:
    assert completed(command, "") == set(COMMANDS)
    assert completed(command, "to") == {"tools"}
    assert completed(command, "tools", "") == {"list", "enable", "disable"}
    assert completed(command, "-p", "work", "tools", "e") == {"enable"}
    assert {"--query", "--resume", "--help"} <= completed(command, "--")
    assert completed(command, "tools", "enable", "--pl") == {"--platform"}
    assert completed(command, "completion", "z") == {"zsh"}


def test_names_of_commands_are_completed_without_importing_them() -> None:
    code = "import sys; from hermes.cli.main import main\n"
    code += "try: main([])\nfinally: print(*sys.modules, file=sys.stderr)"
    environ = {**os.environ, "_HERMES_COMPLETE": "complete_bash", "COMP_WORDS": "hermes ", "COMP_CWORD": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False)
    assert done.stdout.split() == list(COMMANDS)
    loaded = {name for name in done.stderr.split() if name.startswith("hermes.cli.")}
    assert loaded == {"hermes.cli.main", "hermes.cli.context"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_script_says_where_it_goes(hermes: Hermes, shell: str) -> None:
    done = hermes("completion", shell)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("# ")
    assert "_HERMES_COMPLETE=complete_" + shell in done.out


def test_another_shell_is_refused_with_those_there_are(hermes: Hermes) -> None:
    done = hermes("completion", "tcsh")
    assert done.code == 2
    assert "'bash', 'zsh', 'fish'" in done.err
