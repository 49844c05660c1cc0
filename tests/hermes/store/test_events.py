"""A run's events come back as they were, in order, from any place on."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes.core.errors import Conflict, NotFound
from hermes.core.event import EVENT_TYPES, ApprovalRequested, KeptEvent, MessageDelta, RunEvent, ToolStarted
from hermes.store import events
from hermes.store.database import Connection, Database
from tests.support.database import give_back, new_url
from tests.support.store import keep_run

texts = st.text(st.characters(codec="utf-8"), max_size=20)
numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
# What the fields of events are declared as, and values of it.
of_declared: dict[str, st.SearchStrategy[Any]] = {
    "str": texts,
    "str | None": st.none() | texts,
    "int": st.integers(0, 1000),
    "int | None": st.none() | st.integers(0, 1000),
    "float": st.floats(0, 1e9),
    "bool": st.booleans(),
    "tuple[str, ...]": st.lists(texts, max_size=3).map(tuple),
    "Mapping[str, Any]": st.dictionaries(texts, json_values, max_size=3),
}


def events_of(kind: type[RunEvent]) -> st.SearchStrategy[RunEvent]:
    declared = {name: text for name, text in kind.__annotations__.items() if name != "name"}
    return st.builds(kind, **{name: of_declared[text] for name, text in declared.items()})


any_events = st.one_of([events_of(kind) for kind in EVENT_TYPES.values()])


@given(st.lists(any_events, max_size=8))
def test_events_come_back_as_they_were_in_order(happened: list[RunEvent]) -> None:
    kept = [KeptEvent(seq, 1000.5 + seq, event) for seq, event in enumerate(happened, start=1)]
    url = new_url()
    database = Database.open_now(url)
    database.write_now(keep_run)
    database.write_now(events.append, "r", kept)
    assert database.read_now(events.after, "r") == kept
    database.close_now()
    give_back(url)


@given(st.integers(0, 12), st.integers(1, 12))
def test_a_page_has_what_comes_after_its_place_up_to_its_limit(after: int, limit: int) -> None:
    url = new_url()
    database = Database.open_now(url)
    database.write_now(_keep_ten)
    page = database.read_now(events.after, "r", after, limit)
    assert [one.seq for one in page] == [*range(1, 11)][after : after + limit]
    database.close_now()
    give_back(url)


async def test_an_unknown_run_has_no_events(database: Database) -> None:
    assert await database.read(events.after, "nobody") == []


async def test_a_number_that_is_there_already_undoes_the_whole_write(database: Database) -> None:
    await database.write(_keep_ten)
    with pytest.raises(Conflict):
        await database.write(events.append, "r", [_delta(11), _delta(10), _delta(12)])
    assert [one.seq for one in await database.read(events.after, "r")] == [*range(1, 11)]


async def test_events_of_an_unknown_run_are_refused(database: Database) -> None:
    with pytest.raises(NotFound, match="no run 'nobody'"):
        await database.write(events.append, "nobody", [_delta(1)])


async def test_appending_nothing_does_nothing(database: Database) -> None:
    await database.write(events.append, "nobody", [])


async def test_arguments_that_json_cannot_hold_are_mended_and_not_refused(database: Database) -> None:
    await database.write(keep_run)
    args = {"text": "\ud800", "big": 2**70, "none": float("nan"), "deep": [{"\udfff": float("inf")}]}
    await database.write(events.append, "r", [KeptEvent(1, 1.0, ToolStarted("terminal", "c", "p", args))])
    (kept,) = await database.read(events.after, "r")
    assert isinstance(kept.event, ToolStarted)
    assert kept.event.args == {"text": "\ufffd", "big": 2.0**70, "none": None, "deep": [{"\ufffd": None}]}


async def test_the_choices_of_an_approval_come_back_as_a_tuple(database: Database) -> None:
    await database.write(keep_run)
    asked = ApprovalRequested("a", "terminal", "c", "ls", "lists", ("once", "deny"), False, 60.0)
    await database.write(events.append, "r", [KeptEvent(1, 1.0, asked)])
    assert [kept.event for kept in await database.read(events.after, "r")] == [asked]


def _keep_ten(conn: Connection) -> None:
    keep_run(conn)
    events.append(conn, "r", [_delta(seq) for seq in range(1, 11)])


def _delta(seq: int) -> KeptEvent:
    return KeptEvent(seq, 1.0, MessageDelta(str(seq)))
