"""`hermes setup`: the questions in a real terminal, and none of them with --yes."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from hermes.models.scripted import ScriptedModelServer
from tests.support.terminal import Tty, hermes_tty

KEY = "sk-of-the-owner-0123456789"
WRONG = "sk-wrong-0123456789"
FIRST, PORT, MODE, DIRECTORY = "Number, name or address", "Port, or no", "manual, smart or off", "Directory, or -"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """A machine where no home and no key is. Ports of local servers are looked at; none answers as OpenAI does."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "VIRTUAL_ENV", "LANG") if name in os.environ}
    return {**kept, "HOME": str(tmp_path), "HERMES_HOME": str(tmp_path / "home"), "OLLAMA_HOST": "127.0.0.1:9"}


def setup(environ: dict[str, str], *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hermes", "setup", *arguments],
        env=environ,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def contents(home: Path) -> dict[str, str]:
    return {name: (home / name).read_text() for name in (".env", "config.yaml")}


def answer(tty: Tty, question: str, said: str) -> None:
    tty.wait_for(question)
    tty.write(f"{said}\r")


def test_five_questions_set_up_a_home(environ: dict[str, str], tmp_path: Path) -> None:
    home, work = tmp_path / "home", tmp_path / "work"
    work.mkdir()
    with (
        ScriptedModelServer(["OK"], api_key=KEY) as model,
        hermes_tty({**environ, "OPENAI_BASE_URL": model.base_url}, tmp_path, "setup", columns=200) as tty,
    ):
        answer(tty, "Number, name or address", "openai scripted")
        answer(tty, "OPENAI_API_KEY, which is not shown", WRONG)
        tty.wait_for("Refused: ")
        tty.wait_for_prompt("OPENAI_API_KEY, which is not shown (Enter: later):")  # what is typed before is not read
        tty.write(f"{KEY}\r")
        tty.wait_for("It answers.")
        answer(tty, "Port, or no [8642]", "8700")
        answer(tty, "manual, smart or off [manual]", "loud")
        tty.wait_for("one of manual, smart, off")
        tty.write("off\r")
        answer(tty, "Directory, or - for where it is started [-]", str(work))
        assert tty.wait_for_end() == 0
    assert f"Kept in {home}." in tty.screen.text
    assert KEY not in tty.raw
    assert WRONG not in tty.raw
    kept = contents(home)
    assert f"OPENAI_API_KEY={KEY}\n" in kept[".env"]
    assert "API_SERVER_PORT=8700\n" in kept[".env"]
    assert stat.S_IMODE((home / ".env").stat().st_mode) == 0o600
    assert "# Who is asked before something dangerous." in kept["config.yaml"]
    shown = subprocess.run(
        [sys.executable, "-m", "hermes", "config", "show"], env=environ, capture_output=True, text=True, check=True
    ).stdout
    for line in ("model.default", "scripted", "approvals.mode", "off", str(work)):
        assert line in shown


def test_enter_keeps_everything(environ: dict[str, str], tmp_path: Path) -> None:
    home = tmp_path / "home"
    with ScriptedModelServer(["OK"]) as model:
        made = setup(environ, "--yes", "--base-url", model.base_url, "--model", "scripted", "--approvals", "smart")
    assert (made.returncode, made.stderr) == (0, "")
    before = contents(home)
    with hermes_tty(environ, tmp_path, "setup") as tty:
        for question in (FIRST, PORT, MODE, DIRECTORY):
            answer(tty, question, "")
        assert tty.wait_for_end() == 0
    assert "1. scripted of http" in tty.screen.text
    assert contents(home) == before
    assert setup(environ, "--yes").returncode == 0
    assert contents(home) == before


def test_a_server_that_does_not_answer_is_told_and_kept(environ: dict[str, str], tmp_path: Path) -> None:
    done = setup(environ, "--yes", "--base-url", "http://127.0.0.1:9/v1", "--model", "mine")
    assert (done.returncode, done.stderr) == (0, "")
    assert "It could not be tried: " in done.stdout
    assert "base_url: http://127.0.0.1:9/v1" in contents(tmp_path / "home")["config.yaml"]


def test_a_key_comes_by_stdin_and_a_wrong_one_changes_nothing(environ: dict[str, str], tmp_path: Path) -> None:
    with ScriptedModelServer(["OK"], api_key=KEY) as model:
        told = {**environ, "OPENAI_BASE_URL": model.base_url}
        wrong = setup(told, "--yes", "--provider", "openai", "--key-stdin", stdin=f"{WRONG}\n")
        assert (wrong.returncode, WRONG in wrong.stdout + wrong.stderr) == (1, False)
        assert not (tmp_path / "home").exists()
        right = setup(told, "--yes", "--provider", "openai", "--key-stdin", "--no-api", stdin=f"{KEY}\n")
    assert (right.returncode, right.stderr) == (0, "")
    assert "It answers." in right.stdout
    assert KEY not in right.stdout
    env = contents(tmp_path / "home")[".env"]
    assert f"OPENAI_API_KEY={KEY}\n" in env
    assert "\nAPI_SERVER_ENABLED=true" not in env


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "there is nobody to ask: add --yes"),
        (("--yes", "--provider", "openai"), "openai needs a key: set OPENAI_API_KEY, or give it on stdin"),
        (("--yes", "--provider", "nobody"), "no provider 'nobody'; there are openai, "),
        (("--yes", "--cwd", "/no/such"), "/no/such is no directory"),
        (("--yes", "--key-stdin"), "--key-stdin gives the key of a provider"),
    ],
)
def test_what_cannot_be_done_is_said_and_no_home_is_made(
    environ: dict[str, str], tmp_path: Path, arguments: tuple[str, ...], reason: str
) -> None:
    done = setup(environ, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"hermes: {reason}")
    assert not (tmp_path / "home").exists()


def test_who_leaves_in_the_middle_has_changed_nothing(environ: dict[str, str], tmp_path: Path) -> None:
    with hermes_tty(environ, tmp_path, "setup") as tty:
        answer(tty, FIRST, "http://127.0.0.1:9/v1 mine")
        tty.wait_for("Port, or no")
        tty.write("\x04")
        assert tty.wait_for_end() == 1
    assert "hermes: nothing was changed" in tty.screen.text
    assert not (tmp_path / "home").exists()
