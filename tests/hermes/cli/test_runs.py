"""`hermes runs` without a gateway: what the store has, and what is said of the rest."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from hermes.cli.render import PlainView
from hermes.cli.runs import CHOICES, _ask
from hermes.core import event as events
from hermes.core.event import KeptEvent, RunEvent, event_data
from hermes.core.run import RunStatus, Usage
from hermes.home.paths import create_home
from hermes.store import events as event_store
from hermes.store.database import Connection, Database
from tests.support.cli import Hermes
from tests.support.database import new_url
from tests.support.store import keep_run

USAGE = {"input_tokens": 10, "output_tokens": 5, "cost_usd": 0.25}

TURN: list[RunEvent] = [
    events.RunStarted("s", "m"),
    events.ReasoningDelta("let me"),
    events.ReasoningDelta(" see"),
    events.MessageDelta("Look"),
    events.MessageDelta("ing.\x1b[2J"),
    events.ToolStarted("terminal", "c1", "ls\x1b]0;x\x07", {}, "💻"),
    events.ApprovalRequested("appr_1", "terminal", "c1", "rm -rf x", "deletes\nfiles", ("once", "deny"), False, 9.0),
    events.ApprovalResponded("appr_1", "once", "owner", "user"),
    events.ClarifyRequested("clar_1", "c3", "Which\ncolour?", ("red", "blue"), 9.0),
    events.ClarifyResponded("clar_1", "green", "owner", "user"),
    events.ClarifyRequested("clar_2", "c4", "And then?", (), 9.0),
    events.ClarifyResponded("clar_2", None, None, "timeout"),
    events.SubagentStarted("run_2", "c5", 0, "count\nthem"),
    events.SubagentCompleted("run_2", "c5", 0, "completed", 1.5, "three\nlines", None, USAGE),
    events.SubagentCompleted("run_3", "c5", 1, "failed", 1.5, "", "no model", USAGE),
    events.ToolCompleted("terminal", "c1", 0.5, None, "a b"),
    events.ToolCompleted("terminal", "c2", 0.5, "no such file", ""),
    events.ModelRetrying("429", 1, 2.0, "m2"),
    events.Warned("careful"),
    events.ContextCompacted(12_000, 5_000, 40),
    events.RunSteered("faster"),
    events.MessageDelta("Done.\n"),
    events.RunCompleted("Done.", USAGE),
]

WATCHED = """\
(thinking) let me see
Looking.\\x1b[2J
💻 terminal: ls\\x1b]0;x\\x07
? terminal: deletes files
    rm -rf x
Answer with: hermes runs approve r
  ↳ once by owner (user)
? Which colour?
    · red
    · blue
Answer with: hermes runs answer r TEXT
  ↳ green
? And then?
Answer with: hermes runs answer r TEXT
  ↳ nobody answered
👥 run_2: count them
  ↳ 1.5 s  run_2 completed: three lines
  ↳ 1.5 s  run_3 failed: no model
  ↳ 0.5 s  a b
  ↳ 0.5 s  failed: no such file
… the model failed (429); asking m2
! careful
… too long for the model, which is shown it in short: about 12,000 tokens, now 5,000
» faster
Done.
✓ completed: 10 tokens in, 5 out, 0.2500 USD
"""


def fill(hermes: Hermes, happened: list[RunEvent], **fields: Any) -> None:
    create_home(hermes.home)
    database = Database.open_now(new_url(hermes.home.state_db))

    def keep(conn: Connection) -> None:
        keep_run(conn, **{"id": "r", "owner": "owner", "model": "m", **fields})
        event_store.append(conn, "r", [KeptEvent(seq, 2.0, event) for seq, event in enumerate(happened, 1)])

    database.write_now(keep)
    database.close_now()


def test_a_run_that_is_over_is_watched_again_from_the_store(hermes: Hermes) -> None:
    fill(hermes, TURN, status=RunStatus.COMPLETED, finished_at=9.0)
    done = hermes("runs", "watch", "r")
    assert (done.code, done.out) == (0, WATCHED)
    assert hermes("runs", "watch", "r", "--after", str(len(TURN) - 1)).out == WATCHED.splitlines(True)[-1]
    lines = [json.loads(line) for line in hermes("runs", "watch", "r", "--json").out.splitlines()]
    told = [{"event": event.name, "run_id": "r", "timestamp": 2.0, **event_data(event)} for event in TURN]
    assert lines == [json.loads(json.dumps({**one, "seq": seq})) for seq, one in enumerate(told, 1)]


@pytest.mark.parametrize(
    ("final", "line"),
    [
        (events.RunFailed({"message": "The model\nbroke"}), "✗ failed: The model broke\n"),
        (events.RunCancelled("stopped by the user"), "✗ stopped: stopped by the user\n"),
        (events.RunCancelled(), "✗ stopped\n"),
        (events.RunInterrupted("the server stopped"), "✗ interrupted: the server stopped\n"),
    ],
)
def test_watching_a_run_that_did_not_complete_exits_with_1(hermes: Hermes, final: RunEvent, line: str) -> None:
    fill(hermes, [final], finished_at=9.0)
    done = hermes("runs", "watch", "r")
    assert (done.code, done.out, done.err) == (1, line, "")


def test_a_run_without_its_end_needs_the_gateway(hermes: Hermes) -> None:
    fill(hermes, TURN[:1])
    done = hermes("runs", "watch", "r")
    assert done.code == 1
    assert "has not ended, and the gateway that could go on with it does not run" in done.err


def test_every_event_there_is_can_be_shown() -> None:
    view = PlainView()
    shown = {type(event) for event in TURN if view.show({"event": event.name, **event_data(event)})}
    silent = {events.RunStarted, events.ReasoningAvailable, events.RunResumed}
    elsewhere = {events.ClientToolCalled, events.RunFailed, events.RunCancelled, events.RunInterrupted}
    assert shown | silent | elsewhere == set(events.EVENT_TYPES.values())
    assert view.show({"event": "of.tomorrow"}) == ""
    called = {"event": "tool.client_call", **event_data(events.ClientToolCalled("find", "c", "{}"))}
    assert view.show(called) == "🔌 find is the client's to run: {}\n"


def test_the_list_has_the_owners_runs_the_newest_first(hermes: Hermes) -> None:
    fill(hermes, [], created_at=1.0, status=RunStatus.COMPLETED, finished_at=2.0, output="All\ndone\x1b")
    database = Database.open_now(new_url(hermes.home.state_db))
    failed = {"status": RunStatus.FAILED, "finished_at": 3.0, "error": {"message": "broke"}, "created_at": 2.0}
    database.write_now(lambda conn: keep_run(conn, "r2", "s2", owner="owner", **failed))
    database.write_now(lambda conn: keep_run(conn, "foreign", "s3", owner="key_1"))
    database.close_now()
    lines = hermes("runs", "list").out.splitlines()
    assert [line.split()[0] for line in lines] == ["id", "r2", "r"]
    assert lines[1].endswith("broke")
    assert lines[2].endswith("All done\\x1b")
    assert [one["run_id"] for one in json.loads(hermes("runs", "list", "--json").out)] == ["r2", "r"]
    assert [one["run_id"] for one in json.loads(hermes("runs", "list", "--session", "s2", "--json").out)] == ["r2"]
    assert [one["run_id"] for one in json.loads(hermes("runs", "list", "--status", "failed", "--json").out)] == ["r2"]
    refused = hermes("runs", "list", "--status", "odd")
    assert (refused.code, "--status is one of queued, running" in refused.err) == (2, True)


def test_a_run_is_shown_from_the_store(hermes: Hermes) -> None:
    fill(hermes, [], status=RunStatus.COMPLETED, finished_at=3.0, started_at=2.0, output="Done", usage=Usage(1, 2))
    out = hermes("runs", "show", "r").out
    assert "status    completed" in out
    assert "tokens    1 in, 2 out, 0 model calls" in out
    assert out.endswith("\n\nDone\n")
    assert json.loads(hermes("runs", "show", "r", "--json").out)["output"] == "Done"


@pytest.mark.parametrize("command", ["show", "watch"])
def test_an_unknown_run_is_told_with_the_way_to_the_list(hermes: Hermes, command: str) -> None:
    fill(hermes, [], owner="key_1")
    for unknown in ("nope", "r"):
        done = hermes("runs", command, unknown)
        assert (done.code, done.err) == (1, f"hermes: no run {unknown!r}; list them with: hermes runs list\n")


@pytest.mark.parametrize("arguments", [("stop", "r"), ("approve", "r", "once")])
def test_what_only_a_gateway_can_do_says_how_to_start_one(hermes: Hermes, arguments: tuple[str, ...]) -> None:
    fill(hermes, [])
    done = hermes("runs", *arguments)
    assert (done.code, "start it with: hermes gateway start" in done.err) == (1, True)


def test_a_choice_that_is_none_is_refused(hermes: Hermes) -> None:
    fill(hermes, [])
    done = hermes("runs", "approve", "r", "perhaps")
    assert (done.code, "one of once, session, always, deny" in done.err) == (2, True)


@pytest.mark.parametrize(
    ("said", "choice"), [("y", "once"), ("once", "once"), ("Session", "session"), ("deny", "deny"), ("no", "deny")]
)
def test_a_question_is_answered_by_a_letter_or_by_the_word_of_the_choice(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], said: str, choice: str
) -> None:
    question = {"tool": "terminal", "command": "rm -rf x", "description": "deletes", "choices": CHOICES}
    monkeypatch.setattr("sys.stdin", io.StringIO(f"perhaps\n{said}\n"))
    assert _ask(question) == choice
    assert capsys.readouterr().out.count("[n]o: ") == 2


def test_the_help_names_every_command(hermes: Hermes) -> None:
    out = hermes("runs", "--help").out
    assert all(f"\n  {word} " in out for word in ["list", "show", "watch", "stop", "approve"])
