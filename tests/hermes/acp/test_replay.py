"""A stored session told again, also where its events are gone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hermes.acp.replay import replay
from hermes.core import event as events
from hermes.core.event import KeptEvent, RunEvent
from hermes.core.message import FilePart, ImagePart, Message, TextPart, ToolCall
from hermes.core.run import Run, RunStatus
from hermes.core.session import Session
from hermes.store import events as event_store
from hermes.store import runs as run_store
from hermes.store import sessions as session_store
from hermes.store.database import Connection, Database
from tests.support.database import new_url

FOLDER = Path("/work/of/mine")


def kept(conn: Connection, run_id: str | None, messages: list[Message], told: list[RunEvent] | None = None) -> None:
    if session_store.get(conn, "s") is None:
        session = Session(id="s", owner="owner", source="acp", started_at=1.0, last_active=1.0)
        session_store.create(conn, session)
    if run_id is not None:
        run = Run(
            id=run_id,
            session_id="s",
            owner="owner",
            source="acp",
            status=RunStatus.COMPLETED,
            created_at=1.0,
            updated_at=1.0,
        )
        run_store.insert(conn, run)
        event_store.append(conn, run_id, [KeptEvent(seq, 1.0, one) for seq, one in enumerate(told or (), 1)])
    session_store.add_messages(conn, "s", run_id, messages, 1.0)


async def shown(*runs: tuple[str | None, list[Message], list[RunEvent] | None]) -> list[tuple[str, Any]]:
    database = await Database.open(new_url())
    try:
        for run_id, messages, told in runs:
            await database.write(kept, run_id, messages, told)
        return [_short(update) async for update in replay(database, "s", FOLDER)]
    finally:
        await database.close()


def _short(update: Any) -> tuple[str, Any]:
    match update.session_update:
        case "tool_call":
            return "call", (update.title, update.kind, [place.path for place in update.locations])
        case "tool_call_update":
            return update.status, [getattr(one, "new_text", None) or one.content.text for one in update.content or ()]
        case "plan":
            return "plan", [(entry.content, entry.status) for entry in update.entries]
        case kind:
            content = update.content
            return kind.split("_")[1 if kind.startswith("agent") else 0], getattr(content, "text", content.type)


ASKED = Message("user", "do it")


async def test_what_is_in_messages_alone_is_told_from_them() -> None:
    picture = Message(
        "user", (TextPart("see"), ImagePart("data:image/png;base64,AA=="), FilePart("/a/b.txt", text="B"))
    )
    calls = (
        ToolCall("c", "write_file", '{"path": "a.txt", "content": "new"}'),
        ToolCall("e", "terminal", '{"command": "ls"}'),
        ToolCall("d", "todo", "not json"),
    )
    told = await shown(
        (
            None,
            [
                picture,
                Message("assistant", "Well.", calls, reasoning="Hm."),
                Message("tool", "Wrote it.", tool_call_id="c", name="write_file"),
                Message("tool", "a  b", tool_call_id="e", name="terminal"),
                Message("tool", "[x] 1: one\n[-] 2: given up\n2 in all", tool_call_id="d", name="todo"),
                Message("user", "and more"),
            ],
            None,
        )
    )
    assert told == [
        ("user", "see"),
        ("user", "image"),
        ("user", "resource_link"),
        ("thought", "Hm."),
        ("message", "Well."),
        ("call", ("Write a file: a.txt", "edit", ["/work/of/mine/a.txt"])),
        ("call", ("ls", "execute", [])),
        ("call", ("Plan", "think", [])),
        ("completed", ["new"]),
        ("completed", ["a  b"]),
        ("completed", ["[x] 1: one\n[-] 2: given up\n2 in all"]),
        ("plan", [("one", "completed")]),
        ("user", "and more"),
    ]


async def test_what_was_said_to_a_run_stands_where_it_was_heard_and_behind_it_where_it_was_not() -> None:
    told = await shown(
        (
            "run_1",
            [ASKED, Message("user", "early"), Message("assistant", "Yes."), Message("user", "late")],
            [
                events.RunStarted("s", "m"),
                events.RunSteered("early"),
                events.MessageDelta("Yes."),
                events.RunCompleted("Yes.", {}),
            ],
        )
    )
    assert told == [("user", "do it"), ("user", "early"), ("message", "Yes."), ("user", "late")]


async def test_a_run_whose_events_were_removed_is_told_from_its_messages() -> None:
    said = [ASKED, Message("assistant", "Done.")]
    last: list[RunEvent] = [events.RunCompleted("Done.", {})]
    database = await Database.open(new_url())
    try:
        await database.write(kept, "run_1", said, None)
        await database.write(event_store.append, "run_1", [KeptEvent(7, 1.0, one) for one in last])
        told = [_short(update) async for update in replay(database, "s", FOLDER)]
    finally:
        await database.close()
    assert told == [("user", "do it"), ("message", "Done.")]


async def test_a_call_that_was_cut_off_is_told_as_failed_and_lost_text_not_at_all() -> None:
    told = await shown(
        (
            "run_1",
            [ASKED],
            [
                events.RunStarted("s", "m"),
                events.MessageDelta("lost"),
                events.RunResumed("restart", void_after=1),
                events.ToolStarted("terminal", "c", "ls", {"command": "ls"}),
                events.RunCancelled("stopped"),
            ],
        ),
        ("run_2", [Message("user", "again")], [events.RunStarted("s", "m"), events.RunFailed({"message": "no"})]),
    )
    assert told == [
        ("user", "do it"),
        ("call", ("ls", "execute", [])),
        ("failed", []),
        ("user", "again"),
    ]
