"""The `todo` tool: a plan that stays with the session."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from pydantic import Field, field_validator

from hermes.core.errors import NotFound, ToolFailed
from hermes.core.ports import TodoKeeper, ToolContext, ToolResult
from hermes.core.todo import Todo, TodoStatus
from hermes.toolsets.tool import Arguments, BaseTool

MOST_TODOS = 100
MARKS = {
    TodoStatus.PENDING: "[ ]",
    TodoStatus.IN_PROGRESS: "[>]",
    TodoStatus.COMPLETED: "[x]",
    TodoStatus.CANCELLED: "[-]",
}


class TodoItem(Arguments):
    id: str = Field("", max_length=64)
    content: str = Field("", max_length=500)
    status: TodoStatus | None = None

    @field_validator("id", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("id", "content")
    @classmethod
    def _on_one_line(cls, value: str) -> str:
        return " ".join(value.split())


class TodoArguments(Arguments):
    todos: list[TodoItem] | None = Field(None, description="Omit to read the list.", max_length=MOST_TODOS)
    merge: bool = Field(
        False, description="true: change the given ids and add new ones. false: this is the whole list."
    )


class TodoTool(BaseTool[TodoArguments]):
    name = "todo"
    description = """Keep a plan for tasks of three or more steps, in order of work. One item is in_progress at a time;
        set it to completed as soon as it is done. Returns the whole list."""
    arguments = TodoArguments
    is_idempotent = True

    def __init__(self, keeper: TodoKeeper | None) -> None:
        super().__init__()
        self._keeper = keeper

    def summary(self, arguments: TodoArguments) -> str:
        if arguments.todos is None:
            return "read the list"
        return f"{'change' if arguments.merge else 'plan'} {len(arguments.todos)}"

    async def run(self, arguments: TodoArguments, context: ToolContext) -> ToolResult:
        if self._keeper is None:
            raise ToolFailed("There is nowhere to keep a list here.")
        given, merge = arguments.todos, arguments.merge

        def change(known: Sequence[Todo]) -> Sequence[Todo]:
            if given is None:
                return known
            return merged(known, given) if merge else merged((), given)

        try:
            todos = await self._keeper.change_todos(context.session_id, change)
        except NotFound as error:
            raise ToolFailed(f"Not kept: {error.message}") from error
        return ToolResult(shown(todos), preview=counted(todos))


def merged(known: Sequence[Todo], given: Sequence[TodoItem]) -> list[Todo]:
    """Known ones stay where they are, new ones come behind them. Raises ToolFailed naming the item that is wrong."""
    todos = {todo.id: todo for todo in known}
    seen: set[str] = set()
    for number, item in enumerate(given):
        todo_id = item.id or _free_id(todos, given)
        if todo_id in seen:
            raise ToolFailed(f"todos.{number}.id: {todo_id!r} is given twice; each item has an id of its own.")
        seen.add(todo_id)
        before = todos.get(todo_id)
        if before is None and not item.content:
            there = f"the ids are {', '.join(todos)}" if known else "the list has no items to change"
            raise ToolFailed(f"todos.{number}.content: is missing for the new item {todo_id!r}; {there}.")
        status = item.status or (before.status if before else TodoStatus.PENDING)
        todos[todo_id] = Todo(todo_id, item.content or (before.content if before else ""), status)
    if len(todos) > MOST_TODOS:
        raise ToolFailed(f"The list would have {len(todos)} items; at most {MOST_TODOS}. Give the whole list anew.")
    return list(todos.values())


def _free_id(todos: dict[str, Todo], given: Sequence[TodoItem]) -> str:
    taken = {*todos, *(item.id for item in given)}
    return next(str(number) for number in range(1, len(taken) + 2) if str(number) not in taken)


def shown(todos: Sequence[Todo]) -> str:
    lines = [f"{MARKS[todo.status]} {todo.id}: {todo.content}" for todo in todos]
    return "\n".join([*lines, counted(todos)])


def read_back(text: str) -> list[Todo]:
    """The list that `shown` made this text of; lines that are no items are left out."""
    statuses = {mark: status for status, mark in MARKS.items()}
    todos = []
    for line in text.splitlines():
        mark, (todo_id, colon, content) = line[:3], line[4:].partition(": ")
        if mark in statuses and colon:
            todos.append(Todo(todo_id, content, statuses[mark]))
    return todos


def counted(todos: Sequence[Todo]) -> str:
    if not todos:
        return "The list is empty."
    counts = Counter(todo.status for todo in todos)
    said = [f"{counts[status]} {status.replace('_', ' ')}" for status in TodoStatus if counts[status]]
    return f"{len(todos)} in all: {', '.join(said)}"
