"""`hermes -q`: what a script gives, and what it gets on stdout, on stderr and as the exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from hermes.models.script import Call, Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway, make_gateway

TELL = Step(after_tool=True, text="{{tool}}", times=0)


@dataclass(frozen=True, slots=True)
class Asked:
    code: int
    out: str
    err: str


AskHermes = Callable[..., Asked]


@pytest.fixture
def place(tmp_path: Path, model: ScriptedModelServer) -> Gateway:
    """A home with the scripted model, in which no gateway runs."""
    return make_gateway(tmp_path, model)


@pytest.fixture
def ask(place: Gateway) -> AskHermes:
    """`ask("-q", "hello", stdin=b"text")`: a process; stdin None is /dev/null."""

    def run(*arguments: str, stdin: bytes | None = None) -> Asked:
        ended = subprocess.run(
            [sys.executable, "-m", "hermes", *arguments],
            cwd=place.workdir,
            env=place.environ,
            capture_output=True,
            stdin=subprocess.DEVNULL if stdin is None else None,
            input=stdin,
            timeout=60,
            check=False,
        )
        return Asked(ended.returncode, ended.stdout.decode(), ended.stderr.decode())

    return run


def questions(model: ScriptedModelServer) -> list[str]:
    return [request["messages"][-1]["content"] for request in model.requests]


def test_the_answer_is_on_stdout_and_nothing_else(ask: AskHermes, model: ScriptedModelServer) -> None:
    model.add(
        Step(when="look", text="Let me see.", tool_calls=(Call("read_file", {"path": "/nothing-here"}),)),
        Step(after_tool=True, text="# Nothing\n\nIt is *not* there."),
    )
    assert ask("-q", "look") == Asked(0, "# Nothing\n\nIt is *not* there.\n", "")


def test_verbose_tells_on_stderr_what_goes_on(ask: AskHermes, model: ScriptedModelServer) -> None:
    model.add(Step(when="look", after_tool=False, tool_calls=(Call("read_file", {"path": "/nothing-here"}),)), TELL)
    done = ask("-q", "look", "-v")
    assert (done.code, done.out) == (0, "/nothing-here does not exist.\n")
    assert done.err.split("\n")[0] == "📖 read_file: /nothing-here"


def test_what_is_piped_in_comes_behind_the_question(ask: AskHermes, model: ScriptedModelServer) -> None:
    model.add(Step(text="Fine.", times=0))
    assert ask("-q", "review", stdin=b"- one\n+ two\n") == Asked(0, "Fine.\n", "")
    assert ask("-q", "-", stdin="Grüße".encode()).out == "Fine.\n"
    assert questions(model) == ["review\n\n- one\n+ two", "Grüße"]


@pytest.mark.parametrize(
    ("stdin", "reason"),
    [
        (b"", "there is nothing to ask: hermes -q 'your question', or text on stdin with -q -"),
        (b"\xff\xfe", "stdin is not UTF-8 text; give the agent the file's path instead"),
        (b"a\x00b", "stdin holds binary data; give the agent the file's path instead"),
        (b"x" * ((4 << 20) + 1), "stdin holds more than 4 MiB; give the agent the file's path instead"),
    ],
    ids=["nothing", "no text", "binary", "too much"],
)
def test_what_cannot_be_asked_exits_2_before_anything_is_done(ask: AskHermes, stdin: bytes, reason: str) -> None:
    assert ask("-q", "-", stdin=stdin) == Asked(2, "", f"hermes: {reason}\n")


def test_bytes_that_are_no_utf8_do_not_end_it(ask: AskHermes, model: ScriptedModelServer) -> None:
    model.add("Hello.")
    assert ask("-q", os.fsdecode(b"h\xe4llo")).out == "Hello.\n"
    assert questions(model) == ["h\ufffdllo"]


def test_a_dangerous_call_is_denied_and_said(ask: AskHermes, place: Gateway, model: ScriptedModelServer) -> None:
    (place.workdir / "doomed").mkdir()
    model.add(
        Step(when="remove", after_tool=False, tool_calls=(Call("terminal", {"command": "rm -rf doomed"}),)),
        Step(after_tool=True, text="I could not."),
    )
    done = ask("-q", "remove it")
    assert (done.code, done.out) == (0, "I could not.\n")
    assert done.err.startswith("hermes: terminal was denied: Not run: this deletes directories")
    assert (place.workdir / "doomed").is_dir()


def test_json_is_one_object_with_what_was_done(ask: AskHermes, model: ScriptedModelServer) -> None:
    model.add(Step(when="look", after_tool=False, tool_calls=(Call("read_file", {"path": "/nothing-here"}),)), TELL)
    told = json.loads(ask("-q", "look", "--json", "--session", "mine").out)
    [tool] = told.pop("tools")
    assert isinstance(tool.pop("seconds"), float)
    assert tool == {"tool": "read_file", "preview": "/nothing-here", "error": "/nothing-here does not exist."}
    assert told.pop("run_id").startswith("run_")
    usage = told.pop("usage")
    assert usage["api_calls"] == 2
    assert told == {
        "response": "/nothing-here does not exist.",
        "session_id": "mine",
        "status": "completed",
        "model": "scripted",
        "error": None,
    }


def test_a_model_that_fails_exits_1_with_the_reason(ask: AskHermes, model: ScriptedModelServer) -> None:
    model.add(Step(status=401, error="no such key", times=0))
    done = ask("-q", "hello")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("hermes: ")
    told = ask("-q", "hello", "--json")
    assert told.code == 1
    assert json.loads(told.out)["error"]["code"] == "upstream_auth"


def test_a_session_goes_on_by_name_by_id_and_as_the_last_one(ask: AskHermes, model: ScriptedModelServer) -> None:
    model.add(Step(text="Yes.", times=0))
    ask("-q", "one", "--session", "mine")
    ask("-q", "two", "--resume", "mine")
    ask("-q", "three", "--continue")
    ask("-q", "four")
    assert [len(request["messages"]) for request in model.requests] == [2, 4, 6, 2]
    missing = "hermes: no session 'gone'; list them with: hermes sessions list\n"
    assert ask("-q", "five", "--resume", "gone") == Asked(1, "", missing)


def test_what_is_offered_and_how_often_it_asks_can_be_said(ask: AskHermes, model: ScriptedModelServer) -> None:
    model.add(Step(tool_calls=(Call("read_file", {"path": "/nothing-here"}),), times=0))
    done = ask("-q", "look", "--toolsets", "file, todo", "--max-steps", "2", "--model", "another")
    assert done.code in (0, 1)
    assert [request["model"] for request in model.requests][:2] == ["another", "another"]
    offered = {tool["function"]["name"] for tool in model.requests[0]["tools"]}
    assert offered == {"read_file", "write_file", "patch", "search_files", "todo"}
    wrong = ask("-q", "look", "--toolsets", "telepathy")
    assert (wrong.code, wrong.out) == (2, "")
    assert wrong.err.startswith("hermes: no toolset 'telepathy'; there are terminal, file, ")


def test_a_reader_that_goes_away_is_no_traceback(place: Gateway, model: ScriptedModelServer) -> None:
    model.add(Step(text="line\n" * 50_000))
    command = f"'{sys.executable}' -m hermes -q many | head -n 1"
    ended = subprocess.run(
        ["bash", "-c", command], cwd=place.workdir, env=place.environ, capture_output=True, text=True, check=False
    )
    assert (ended.stdout, ended.stderr) == ("line\n", "")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("-q", "x", "--resume", "a", "--continue"), "--resume, --continue and --session each name a session"),
        (("-q", "x", "runs", "list"), "--query belongs to hermes itself, not to hermes runs"),
        (("--json",), "--json goes with -q"),
        (("--continue",), "a chat needs a terminal; for scripts there is hermes -q 'your question'"),
    ],
)
def test_options_that_do_not_go_together_are_named(ask: AskHermes, arguments: tuple[str, ...], reason: str) -> None:
    done = ask(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"hermes: {reason}")


def test_without_a_terminal_and_without_a_question_it_shows_its_help(ask: AskHermes) -> None:
    done = ask()
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Usage: hermes ")
