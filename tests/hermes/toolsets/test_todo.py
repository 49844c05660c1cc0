"""The `todo` tool: a plan that is made, changed, and always shown whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes.core.clock import SystemClock
from hermes.core.errors import ToolFailed
from hermes.core.ports import ToolContext, ToolResult
from hermes.core.todo import Todo, TodoStatus
from hermes.toolsets.todo import MOST_TODOS, TodoItem, TodoTool, merged, read_back, shown
from tests.support.sessions import FakeSessions

CONTEXT = ToolContext("s", "run_1", "call_1", Path("/"), None, SystemClock(), {}, {})
PLAN = [{"id": "1", "content": "read", "status": "in_progress"}, {"id": 2, "content": "write"}]


async def call(keeper: FakeSessions | None, **arguments: Any) -> ToolResult:
    tool = TodoTool(keeper)
    return await tool.run(tool.parse(json.dumps(arguments)), CONTEXT)


async def failure(keeper: FakeSessions | None, **arguments: Any) -> str:
    before = dict(keeper.lists) if keeper else {}
    with pytest.raises(ToolFailed) as failed:
        await call(keeper, **arguments)
    assert keeper is None or keeper.lists == before
    return failed.value.message


async def test_a_plan_is_shown_whole_after_each_call() -> None:
    keeper = FakeSessions()
    assert (await call(keeper)).content == "The list is empty."
    made = await call(keeper, todos=PLAN)
    assert made.content == "[>] 1: read\n[ ] 2: write\n2 in all: 1 pending, 1 in progress"
    changed = await call(
        keeper,
        merge=True,
        todos=[{"id": "1", "status": "completed"}, {"id": "2", "status": "in_progress"}, {"content": "check\nit"}],
    )
    assert (
        changed.content == "[x] 1: read\n[>] 2: write\n[ ] 3: check it\n3 in all: 1 pending, 1 in progress, 1 completed"
    )
    assert changed.preview == "3 in all: 1 pending, 1 in progress, 1 completed"
    assert (await call(keeper)).content == changed.content
    assert (await call(keeper, todos=[])).content == "The list is empty."


async def test_a_new_list_takes_the_place_of_the_old_one() -> None:
    keeper = FakeSessions()
    await call(keeper, todos=PLAN)
    await call(keeper, todos=[{"content": "anew", "status": "cancelled"}])
    assert keeper.lists["s"] == (Todo("1", "anew", TodoStatus.CANCELLED),)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"todos": [{"id": "1"}]}, "todos.0.content: is missing for the new item '1'; the list has no items"),
        ({"todos": [{"id": "9"}], "merge": True}, "is missing for the new item '9'; the ids are 1, 2"),
        ({"todos": [{"id": "1", "content": "a"}, {"id": "1", "content": "b"}]}, "todos.1.id: '1' is given twice"),
        ({"todos": [{"content": "a", "status": "done"}]}, "todos.0.status: Input should be 'pending', 'in_progress'"),
        ({"todos": [{"content": "x" * 501}]}, "todos.0.content: String should have at most 500 characters"),
        ({"todos": [{"content": "x"}] * (MOST_TODOS + 1)}, "todos: List should have at most 100 items"),
        ({"todos": "write"}, "todos: Input should be a valid array"),
        ({"todos": [{"content": f"more {n}"} for n in range(MOST_TODOS - 1)], "merge": True}, "would have 101 items"),
    ],
)
async def test_what_is_wrong_is_named_and_the_list_stays(arguments: dict[str, Any], said: str) -> None:
    keeper = FakeSessions()
    await call(keeper, todos=PLAN)
    assert said in await failure(keeper, **arguments)


async def test_a_session_that_is_gone_is_told() -> None:
    assert "it was deleted" in await failure(FakeSessions(gone=frozenset("s")), todos=PLAN)
    assert "nowhere to keep" in await failure(None, todos=PLAN)


IDS = st.sampled_from(["", "1", "2", "3", "a"])
ITEMS = st.lists(
    st.builds(TodoItem, id=IDS, content=st.sampled_from(["x", "y"]), status=st.none() | st.sampled_from(TodoStatus)),
    max_size=6,
)


@given(ITEMS, ITEMS)
def test_ids_stay_unique_and_known_items_in_their_order(first: list[TodoItem], second: list[TodoItem]) -> None:
    try:
        known = merged((), first)
        both = merged(known, second)
    except ToolFailed as failed:
        assert "is given twice" in failed.message
        return
    assert [todo.id for todo in both][: len(known)] == [todo.id for todo in known]
    assert len({todo.id for todo in both}) == len(both)
    assert len(known) == len(first)


@given(
    st.lists(
        st.builds(
            Todo,
            st.text("ab: ", min_size=1).map(str.strip).filter(bool).filter(lambda one: ": " not in one),
            st.text("xyz: [] ").map(str.strip),
            st.sampled_from(TodoStatus),
        )
    )
)
def test_a_list_that_was_shown_can_be_read_back(todos: list[Todo]) -> None:
    assert read_back(shown(todos)) == todos
