"""`hermes sessions` without a gateway: straight from and to the store."""

from __future__ import annotations

import io
import json
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from hermes.core.message import ImagePart, Message, TextPart, ToolCall
from hermes.core.run import Usage
from hermes.home.paths import create_home
from hermes.store import sessions as session_store
from hermes.store.database import Connection, Database
from tests.support.cli import Hermes
from tests.support.database import new_url
from tests.support.store import a_session, keep_run

SAID = [
    Message("user", (TextPart("Where is the swordfish?"), ImagePart("data:image/png;base64,AAAA"))),
    Message("assistant", "Looking.", (ToolCall("c1", "terminal", '{"command": "ls"}'),)),
    Message("tool", "a\x1b[2J\n```\nswordfish", tool_call_id="c1", name="terminal"),
    Message("assistant", "Here it is."),
]


class Terminal(io.StringIO):
    """A keyboard with these lines typed."""

    def isatty(self) -> bool:
        return True


def fill(hermes: Hermes, **sessions: dict[str, Any]) -> None:
    create_home(hermes.home)
    database = Database.open_now(new_url(hermes.home.state_db))

    def keep(conn: Connection) -> None:
        for session_id, fields in sessions.items():
            said = fields.pop("said", [])
            session_store.create(conn, a_session(session_id, **{"owner": "owner", **fields}))
            for message in said:
                session_store.add_messages(conn, session_id, None, [message], fields.get("last_active", 1.0))

    database.write_now(keep)
    database.close_now()


def kept_ids(hermes: Hermes) -> list[str]:
    done = hermes("sessions", "list", "--all", "--json")
    return sorted(one["id"] for one in json.loads(done.out))


def test_without_a_home_it_says_how_to_make_one(hermes: Hermes) -> None:
    done = hermes("sessions", "list")
    assert done.code == 2
    assert "it is made with: hermes gateway" in done.err
    assert not hermes.home.path.exists()


def test_the_list_has_the_owners_sessions_the_latest_first(hermes: Hermes) -> None:
    fill(
        hermes,
        old={"last_active": 1.0, "title": "Old one"},
        new={"last_active": 2.0, "said": SAID},
        hidden={"is_stateless": True},
        foreign={"owner": "key_1"},
    )
    done = hermes("sessions", "list")
    assert done.code == 0
    lines = done.out.splitlines()
    assert [line.split()[0] for line in lines] == ["id", "new", "old"]
    assert lines[1].endswith("4         api     Where is the swordfish?")
    assert [one["id"] for one in json.loads(hermes("sessions", "list", "--json").out)] == ["new", "old"]
    assert kept_ids(hermes) == ["hidden", "new", "old"]
    assert [line.split()[0] for line in hermes("sessions", "list", "OLD").out.splitlines()] == ["id", "old"]
    assert hermes("sessions", "list", "nothing").out == "No session has 'nothing' in its title or first line.\n"


def test_a_session_is_shown_with_what_was_said_and_nothing_in_it_moves_the_cursor(hermes: Hermes) -> None:
    usage = Usage(10, 20, api_calls=2, cost_usd=0.5)
    fill(hermes, sess_12={"said": SAID, "title": "T\x1b[1m", "model": "m", "usage": usage})
    done = hermes("sessions", "show", "sess_1")
    assert done.code == 0
    assert "title     T\\x1b[1m" in done.out
    assert "tokens    10 in, 20 out, 2 model calls, 0.5000 USD" in done.out
    assert '→ terminal {"command": "ls"}' in done.out
    assert "[image]" in done.out
    assert "a\\x1b[2J" in done.out
    assert "\x1b" not in done.out
    last = hermes("sessions", "show", "sess_12", "--limit", "1").out
    assert "(the last 1 of 4 messages; --limit shows more)" in last
    assert "Looking." not in last
    told = json.loads(hermes("sessions", "show", "sess_12", "--json").out)
    assert told["session"]["message_count"] == 4
    assert [one["role"] for one in told["messages"]] == ["user", "assistant", "tool", "assistant"]
    assert told["messages"][2]["content"] == SAID[2].content


@pytest.mark.parametrize("command", ["show", "export", "delete"])
def test_an_unknown_session_is_told_with_the_way_to_the_list(hermes: Hermes, command: str) -> None:
    fill(hermes, a1={}, a2={}, foreign={"owner": "key_1"})
    for unknown in ("nope", "foreign", "for"):
        done = hermes("sessions", command, unknown)
        assert (done.code, done.err) == (
            1,
            f"hermes: no session {unknown!r}; list them with: hermes sessions list --all\n",
        )
    done = hermes("sessions", command, "a")
    assert (done.code, done.err) == (2, "hermes: more than one session begins with 'a': a1, a2\n")


def test_a_search_shows_where_it_was_said(hermes: Hermes) -> None:
    fill(hermes, s={"said": SAID, "title": "Fish"}, foreign={"owner": "key_1", "said": SAID})
    done = hermes("sessions", "search", "swordfish", "where*")
    assert done.code == 0
    first, snippet = done.out.splitlines()
    assert first.startswith("s  ")
    assert first.endswith("user  Fish")
    assert snippet == "    >>>Where<<< is the >>>swordfish<<<?"
    assert "\x1b" not in hermes("sessions", "search", "swordfish").out
    assert [one["role"] for one in json.loads(hermes("sessions", "search", "swordfish", "--json").out)] == [
        "tool",
        "user",
    ]
    assert hermes("sessions", "search", "sailfish").out == "Nothing found.\n"
    refused = hermes("sessions", "search", "!")
    assert (refused.code, refused.err) == (2, "hermes: q has no word to look for\n")


def test_an_export_has_a_session_a_line_and_everything_in_it(hermes: Hermes, tmp_path: Path) -> None:
    fill(hermes, s={"said": SAID, "system_prompt": "Be brief."}, t={"is_stateless": True}, foreign={"owner": "key_1"})
    lines = [json.loads(line) for line in hermes("sessions", "export").out.splitlines()]
    assert [line["session"]["id"] for line in lines] == ["t", "s"]
    assert lines[1]["session"]["system_prompt"] == "Be brief."
    assert lines[1]["messages"][0]["content"][1]["image_url"]["url"].startswith("data:image/png")
    output = tmp_path / "out.jsonl"
    assert hermes("sessions", "export", "s", "-o", str(output)).out == f"Wrote 1 sessions to {output}.\n"
    assert json.loads(output.read_text()) == lines[1]
    assert stat.S_IMODE(output.stat().st_mode) == 0o600
    again = hermes("sessions", "export", "-o", str(output))
    assert (again.code, "exists already" in again.err) == (1, True)
    assert json.loads(output.read_text()) == lines[1]


def test_an_export_in_markdown_keeps_the_fences_of_a_result_inside_its_own(hermes: Hermes) -> None:
    fill(hermes, s={"said": SAID, "title": "Fish"})
    text = hermes("sessions", "export", "s", "--format", "markdown").out
    assert text.startswith("# Fish\n\nSession `s`, api, ")
    assert "## tool: terminal\n\n````\na\x1b[2J\n```\nswordfish\n````\n" in text
    assert 'Calls `terminal`:\n\n```json\n{"command": "ls"}\n```' in text
    assert hermes("sessions", "export", "--format", "pdf").code == 2


def test_deleting_asks_and_without_anybody_to_ask_needs_yes(hermes: Hermes, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(hermes, a={}, b={}, c={})
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    done = hermes("sessions", "delete", "a")
    assert (done.code, "add --yes" in done.err) == (2, True)
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    assert hermes("sessions", "delete", "a").code == 1
    assert kept_ids(hermes) == ["a", "b", "c"]
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    done = hermes("sessions", "delete", "a")
    assert done.code == 0
    assert done.out.endswith("Deleted 1 session.\n")
    assert hermes("sessions", "delete", "b", "c", "--yes").code == 0
    assert kept_ids(hermes) == []


def test_one_unknown_id_among_several_deletes_none(hermes: Hermes) -> None:
    fill(hermes, a={}, b={})
    assert hermes("sessions", "delete", "a", "nope", "b", "--yes").code == 1
    assert kept_ids(hermes) == ["a", "b"]


def test_pruning_deletes_what_was_idle_for_so_long_but_not_what_runs(hermes: Hermes) -> None:
    now = time.time()
    fill(
        hermes,
        old={"last_active": now - 40 * 86_400},
        cron={"last_active": now - 50 * 86_400, "source": "cron"},
        young={"last_active": now - 20 * 86_400},
        busy={"last_active": now - 60 * 86_400},
        foreign={"last_active": 1.0, "owner": "key_1"},
    )
    database = Database.open_now(new_url(hermes.home.state_db))
    database.write_now(lambda conn: keep_run(conn, "r", "busy"))
    database.close_now()
    refused = hermes("sessions", "prune", "--older-than", "30d")
    assert (refused.code, refused.out.startswith("2 sessions, last active between ")) == (2, True)
    assert hermes("sessions", "prune", "--older-than", "30d", "--source", "cron", "--yes").out.endswith(
        "Deleted 1 session.\n"
    )
    assert kept_ids(hermes) == ["busy", "old", "young"]
    assert hermes("sessions", "prune", "--older-than", "30d", "-y").code == 0
    assert kept_ids(hermes) == ["busy", "young"]
    assert hermes("sessions", "prune", "--older-than", "30d", "-y").out == "No session was idle for 30d.\n"


@pytest.mark.parametrize("age", ["", "30", "d", "-1d", "1y", "999999d"])
def test_an_age_that_is_none_is_refused(hermes: Hermes, age: str) -> None:
    fill(hermes)
    done = hermes("sessions", "prune", "--older-than", age, "--yes")
    assert (done.code, done.err) == (2, "hermes: --older-than is a number and m, h, d or w: 30d\n")


def test_the_help_names_every_command(hermes: Hermes) -> None:
    out = hermes("sessions", "--help").out
    assert all(f"\n  {word} " in out for word in ["list", "show", "search", "export", "delete", "prune"])
