"""`hermes` at a terminal: a real process in a pty, what a person types, and what is on the screen."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from hermes.models.script import Call, Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway, StartGateway, make_gateway
from tests.support.terminal import Tty, hermes_tty

pytestmark = pytest.mark.skipif(not hasattr(os, "openpty"), reason="a pty is needed")

TELL = Step(after_tool=True, text="{{tool}}", times=0)
STARTED = "/help shows what you can do; Ctrl-D leaves."

OpenChat = Callable[..., Tty]


@pytest.fixture
def place(tmp_path: Path, model: ScriptedModelServer) -> Gateway:
    """A home with the scripted model, in which no gateway runs."""
    return make_gateway(tmp_path, model)


@pytest.fixture
def open_chat(place: Gateway) -> Iterator[OpenChat]:
    """`open_chat("--continue", columns=40, environ={…})`: at its prompt."""
    with ExitStack() as stack:

        def open_one(*arguments: str, environ: dict[str, str] | None = None, **size: int) -> Tty:
            told = {**place.environ, **(environ or {})}
            tty = stack.enter_context(hermes_tty(told, place.workdir, *arguments, **size))
            tty.wait_for_prompt(mark_of(told))
            return tty

        yield open_one


def mark_of(environ: Mapping[str, str]) -> str:
    return ">" if "ascii" in environ.get("PYTHONIOENCODING", "") else "❯"


def leave(tty: Tty, mark: str = "❯") -> str:
    """Ctrl-D in the empty prompt; the whole screen with what scrolled away."""
    tty.wait_for_prompt(mark)
    tty.write("\x04")
    assert tty.wait_for_end() == 0
    return tty.screen.text


def sessions_of(gateway: Gateway) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = gateway.client.get("/api/sessions").raise_for_status().json()["data"]
    return found


def test_a_turn_is_markdown_and_a_line_for_each_tool(open_chat: OpenChat, model: ScriptedModelServer) -> None:
    model.add(
        Step(when="look", text="I **look**.", tool_calls=(Call("read_file", {"path": "/nothing-here"}),)),
        Step(after_tool=True, text="# Done\n\n- `one`\n- two\n\n```\ncode\n```\n\nThe *end*."),
    )
    tty = open_chat()
    tty.write("look around\r")
    tty.wait_for("The end.")
    tty.wait_for("The end.\n\n❯")
    shown = leave(tty)
    session_id = shown.rpartition("--resume ")[2]
    assert shown.replace("  0.1s", "  0.0s").split("\n") == [
        f"Model: scripted of {model.host}:{model.port} (set in model)",
        STARTED,
        "",
        "❯ look around",
        "",
        "I look.",
        "",
        "📖 read_file /nothing-here  0.0s",
        "   ↳ failed: /nothing-here does not exist.",
        "",
        "Done",
        "",
        " • one",
        " • two",
        "",
        "  code",
        "",
        "The end.",
        "",
        "❯",
        f"Go on with: hermes --resume {session_id}",
    ]
    assert tty.screen.has_cursor


def test_a_dangerous_command_waits_for_one_key(open_chat: OpenChat, place: Gateway, model: ScriptedModelServer) -> None:
    doomed = place.workdir / "doomed"
    doomed.mkdir()
    model.add(
        Step(when="remove", after_tool=False, tool_calls=(Call("terminal", {"command": "rm -rf doomed"}),), times=0),
        TELL,
    )
    tty = open_chat()
    tty.write("remove it\r")
    tty.wait_for("[o] once  [s] session  [a] always  [d] deny ?")
    assert "    rm -rf doomed" in tty.screen.text
    tty.wait_for("↳ deny", again="d")
    tty.wait_for("Not run: the user said no.")
    tty.wait_for_prompt()
    assert doomed.is_dir()
    tty.write("remove it, really\r")
    tty.wait_for("↳ once", again="o")
    tty.wait_for("❯ remove it, really")
    leave(tty)
    assert not doomed.exists()


def test_what_was_typed_before_a_question_was_seen_is_no_answer(
    open_chat: OpenChat, place: Gateway, model: ScriptedModelServer
) -> None:
    (place.workdir / "doomed").mkdir()
    model.add(Step(when="remove", after_tool=False, tool_calls=(Call("terminal", {"command": "rm -rf doomed"}),)), TELL)
    tty = open_chat()
    tty.write("remove it\ro")
    tty.wait_for("[o] once")
    tty.write("ooo")  # still typing
    tty.wait_for("↳ deny", again="\x1b")
    tty.wait_for("❯ o")
    tty.write("\x7f")
    leave(tty)
    assert (place.workdir / "doomed").is_dir()


def test_what_the_model_asks_is_answered_by_a_number_or_in_words(
    open_chat: OpenChat, model: ScriptedModelServer
) -> None:
    asked = Call("clarify", {"question": "Which colour?", "choices": ["red", "blue"]})
    model.add(Step(when="paint", after_tool=False, tool_calls=(asked,), times=0), TELL)
    tty = open_chat()
    for said, meant in (("2", "blue"), ("rather green", "rather green")):
        tty.write("paint it\r")
        tty.wait_for("write your answer, or the number of one of those, and press Enter")
        tty.write(f"{said}\r")
        tty.wait_for(f"? Which colour?\n    1. red\n    2. blue\n    ↳ {meant}\n")
        tty.wait_for_prompt()
    leave(tty)


def test_ctrl_c_stops_the_turn_and_keeps_what_was_being_written(
    open_chat: OpenChat, model: ScriptedModelServer
) -> None:
    model.add(Step(when="wait", after_tool=False, tool_calls=(Call("terminal", {"command": "sleep 60"}),)), "Hello.")
    tty = open_chat()
    tty.write("wait for it\r")
    tty.wait_for("💻 sleep 60")
    tty.write("next ti")
    tty.wait_for("» next ti")
    tty.write("\x03")
    tty.wait_for("✗ stopped: stopped by the user")
    tty.wait_for("❯ next ti")
    tty.write("me\r")
    tty.wait_for("Hello.\n\n❯")
    shown = leave(tty)
    assert "💻 sleep 60  not finished\n" in shown
    assert [request["messages"][-1]["content"] for request in model.requests] == ["wait for it", "next time"]


def test_ctrl_c_stops_a_turn_from_its_first_moment(open_chat: OpenChat, model: ScriptedModelServer) -> None:
    model.add(Step(text="never", hang="before", times=0))
    tty = open_chat()
    for turn in ("one", "two", "three"):
        tty.write(f"{turn}\r")
        tty.wait_for(f"❯ {turn}\n")
        tty.wait_for("thinking")
        tty.write("\x03")
        tty.wait_for(f"❯ {turn}\n\n✗ stopped: stopped by the user\n\n❯")
    leave(tty)


def test_ctrl_c_empties_a_prompt_and_twice_in_an_empty_one_leaves(open_chat: OpenChat) -> None:
    tty = open_chat()
    tty.write("half a thought")
    tty.wait_for("half a thought")
    tty.write("\x03")
    tty.wait_for_prompt()
    tty.write("\x03")
    tty.wait_for("Ctrl-C once more, or Ctrl-D, leaves.")
    tty.wait_for_prompt()
    tty.write("\x03")
    assert tty.wait_for_end() == 0


def test_what_is_typed_while_a_turn_runs_is_told_to_it(
    open_chat: OpenChat, place: Gateway, model: ScriptedModelServer
) -> None:
    pipe = place.workdir / "pipe"
    os.mkfifo(pipe)
    model.add(
        Step(when="go", after_tool=False, tool_calls=(Call("terminal", {"command": "cat pipe"}),)),
        Step(when="quickly", text="I hurry."),
    )
    tty = open_chat()
    tty.write("go\r")
    tty.wait_for("💻 cat pipe")
    tty.write("quickly\r")
    tty.wait_for("working")
    os.close(os.open(pipe, os.O_WRONLY))
    tty.wait_for("I hurry.")
    shown = leave(tty)
    assert "» quickly" in shown


def test_slash_commands_are_about_the_conversation(open_chat: OpenChat, model: ScriptedModelServer) -> None:
    model.add(Step(text="Hello.", times=0))
    tty = open_chat()
    tty.write("/title A talk\r")
    tty.wait_for("This session is called 'A talk' now.")
    tty.write("hi\r")
    tty.wait_for("Hello.\n\n❯")
    tty.write("/usage\r")
    tty.wait_for("2 messages, 0 tool calls, 1 model calls")
    tty.write("/nonsense\r")
    tty.wait_for("no command /nonsense; see /help")
    tty.write("/model another-one\r")
    tty.wait_for("another-one answers in this chat from now on.")
    tty.write("again\r")
    tty.wait_for("❯ again\n\nHello.\n\n❯")
    tty.write("/new\r")
    tty.wait_for("A new session begins with your next message.")
    tty.write("/sessions\r")
    tty.wait_for("A talk\nGo on with one of them")
    tty.write("/resume 1\r")
    tty.wait_for("user: again\n\nassistant: Hello.")
    tty.write("/etc/hosts is a path\r")
    tty.wait_for("❯ /etc/hosts is a path\n\nHello.\n\n❯")
    tty.write("/quit\r")
    assert tty.wait_for_end() == 0
    assert [request["model"] for request in model.requests] == ["scripted", "another-one", "another-one"]
    assert [len(request["messages"]) for request in model.requests] == [2, 4, 6]


def test_a_locale_that_knows_no_umlaut_takes_one(open_chat: OpenChat, model: ScriptedModelServer) -> None:
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    model.add(Step(text="Read.", times=0))
    tty = open_chat(environ=locale)
    tty.write("grün\r")
    tty.wait_for("Read.")
    leave(tty, ">")
    assert model.requests[-1]["messages"][-1]["content"] == "grün"


def test_why_a_turn_failed_is_shown_whole(open_chat: OpenChat, model: ScriptedModelServer) -> None:
    model.add(Step(status=401, error="no such key", times=0))
    tty = open_chat(columns=60)
    tty.write("hi\r")
    tty.wait_for("✗ failed: ")
    tty.wait_for("no such key\n\n❯")
    assert "does not accept the API key (401): no such key" in " ".join(leave(tty).split())


def test_tab_completes_a_command(open_chat: OpenChat) -> None:
    tty = open_chat()
    tty.write("/usa")
    tty.wait_for("Show what this session used.")
    tty.write("\t")
    tty.wait_for("❯ /usage")
    tty.write("\r")
    tty.wait_for("Nothing was used yet.")
    leave(tty)


def test_enter_sends_and_a_backslash_or_alt_enter_goes_on(open_chat: OpenChat, model: ScriptedModelServer) -> None:
    model.add(Step(text="Read.", times=0))
    tty = open_chat()
    tty.write("one\\\r")
    tty.write("two\x1b\rthree\r")
    tty.wait_for("Read.")
    leave(tty)
    assert model.requests[-1]["messages"][-1]["content"] == "one\ntwo\nthree"


def test_what_was_written_is_offered_again_and_is_nobody_elses(
    open_chat: OpenChat, place: Gateway, model: ScriptedModelServer
) -> None:
    model.add(Step(text="Yes.", times=0))
    tty = open_chat()
    tty.write("a secret thought\r")
    tty.wait_for("Yes.")
    leave(tty)
    history = place.home / "chat_history"
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    tty = open_chat("--continue")
    tty.wait_for("user: a secret thought\n\nassistant: Yes.")
    tty.write("\x1b[A")
    tty.wait_for("❯ a secret thought")
    tty.write("\r")
    tty.wait_for("Yes.\n\n❯")
    leave(tty)
    assert len(model.requests[-1]["messages"]) == 4


def test_a_chat_and_a_gateway_share_a_home(start_gateway: StartGateway, model: ScriptedModelServer) -> None:
    """The gateway lists the session, may answer its question, and neither minds the other."""
    gateway = start_gateway()
    (gateway.workdir / "doomed").mkdir()
    model.add(Step(when="remove", after_tool=False, tool_calls=(Call("terminal", {"command": "rm -rf doomed"}),)), TELL)
    with hermes_tty(gateway.environ, gateway.workdir) as tty:
        tty.wait_for_prompt()
        tty.write("remove it\r")
        tty.wait_for("[o] once")
        [session] = sessions_of(gateway)
        assert (session["source"], session["preview"]) == ("cli", "remove it")
        [run] = gateway.client.get("/v1/runs", params={"session_id": session["id"]}).raise_for_status().json()["data"]
        assert run["status"] == "waiting_for_approval"
        said = gateway.client.post(f"/v1/runs/{run['run_id']}/approval", json={"choice": "deny"})
        assert said.status_code == 200
        tty.wait_for("↳ deny")
        tty.wait_for("Not run: the user said no.")
        tty.wait_for_prompt()
        goes_on = gateway.client.post("/v1/runs", json={"input": "and you?", "session_id": session["id"]})
        assert goes_on.status_code == 202
        leave(tty)
    assert gateway.stop() == 0


def test_a_chat_that_is_killed_leaves_a_run_that_the_next_one_tells_as_interrupted(
    open_chat: OpenChat, place: Gateway, model: ScriptedModelServer
) -> None:
    model.add(Step(when="wait", text="never", hang="before"), "Hello.")
    tty = open_chat()
    tty.write("wait\r")
    tty.wait_for("thinking")
    tty.kill()
    tty = open_chat("--continue")
    tty.write("hello\r")
    tty.wait_for("Hello.")
    leave(tty)
    listed = [sys.executable, "-m", "hermes", "runs", "list", "--json"]
    done = subprocess.run(listed, env=place.environ, capture_output=True, text=True, check=True)
    assert [(run["status"], run["output"]) for run in json.loads(done.stdout)] == [
        ("completed", "Hello."),
        ("interrupted", None),
    ]


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(open_chat: OpenChat, model: ScriptedModelServer) -> None:
    model.add(Step(text="I **look**.", tool_calls=(Call("terminal", {"command": "echo 7"}),)), "# Done")
    tty = open_chat(environ={"TERM": "dumb"})
    tty.write("look\r")
    tty.wait_for("# Done")
    leave(tty)
    assert "\x1b" not in tty.raw.replace("\x1b[6n", "")
    assert "💻 echo 7\n" in tty.screen.text


@pytest.mark.parametrize(
    ("environ", "columns"),
    [({"NO_COLOR": "1"}, 80), ({"PYTHONIOENCODING": "ascii"}, 80), ({}, 40)],
    ids=["no colour", "no unicode", "width 40"],
)
def test_colour_unicode_and_width_are_as_the_terminal_has_them(
    open_chat: OpenChat, model: ScriptedModelServer, environ: dict[str, str], columns: int
) -> None:
    text = "# Wide\n\nA paragraph that is longer than forty columns, `code` and **bold** — and • more.\n\n> quoted"
    model.add(Step(text=text, tool_calls=(Call("terminal", {"command": "echo " + "7" * 60}),)), "The end.")
    tty = open_chat(environ=environ, columns=columns)
    tty.write("look\r")
    tty.wait_for("The end.")
    shown = leave(tty, mark_of(environ))
    assert max(map(len, shown.split("\n")[3:-1])) <= columns
    assert "Traceback" not in shown
    if "NO_COLOR" in environ:
        assert not re.search(r"\x1b\[(?:\d+;)*[349]\d[;m]", tty.raw)
    if "PYTHONIOENCODING" in environ:
        assert tty.raw.isascii()
