"""The `delegate_task` tool: sub-agents, each with a context of its own, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, model_validator

from hermes.core.errors import ToolFailed
from hermes.core.ports import DelegatedResult, DelegatedTask, Delegates, ToolContext, ToolResult
from hermes.core.toolset import TOOLSETS
from hermes.toolsets.output import cut
from hermes.toolsets.tool import Arguments, BaseTool, one_line
from hermes.toolsets.toolset import Toolset

MOST_TASKS = 16
MOST_CHARACTERS = 40_000
"""Of all results together."""

Text = Annotated[str, Field(max_length=50_000)]


class Task(Arguments):
    goal: Annotated[str, Field(min_length=1, max_length=10_000)]
    context: Text = ""
    toolsets: list[str] | None = Field(None, description="Fewer than you have.")


class DelegationArguments(Arguments):
    goal: Annotated[str, Field(max_length=10_000)] = Field("", description="What to do, and what to report.")
    context: Text = Field("", description="All it must know: it sees nothing of this conversation.")
    tasks: list[Task] = Field([], max_length=MOST_TASKS, description="Instead of goal: several, side by side.")

    @model_validator(mode="after")
    def _has_one(self) -> DelegationArguments:
        if bool(self.goal.strip()) == bool(self.tasks):
            raise ValueError("give either goal or tasks")
        return self


class DelegateTaskTool(BaseTool[DelegationArguments]):
    name = "delegate_task"
    description = """Give work to sub-agents with your tools and a fresh context; wait for what they report. For parts
        that stand alone and would fill your context: searching much, reading much, several things at once."""
    arguments = DelegationArguments
    is_idempotent = True

    def __init__(self, delegates: Delegates | None) -> None:
        super().__init__()
        self._delegates = delegates

    def summary(self, arguments: DelegationArguments) -> str:
        if arguments.goal:
            return arguments.goal
        return f"{len(arguments.tasks)} tasks: " + "; ".join(task.goal for task in arguments.tasks)

    async def run(self, arguments: DelegationArguments, context: ToolContext) -> ToolResult:
        if self._delegates is None:
            raise ToolFailed("There are no sub-agents here: do it yourself.")
        tasks = arguments.tasks or [Task(goal=arguments.goal, context=arguments.context)]
        results = await self._delegates.delegate(context, [_task(task, arguments.context) for task in tasks])
        return _told(results)


def delegation_toolset(delegates: Delegates | None) -> Toolset:
    is_usable = delegates is not None
    problem = "" if is_usable else "there are no runs here that could delegate"
    return Toolset(TOOLSETS["delegation"], (DelegateTaskTool(delegates),), problem, is_usable)


def _task(task: Task, shared: str) -> DelegatedTask:
    """What is given beside the tasks is for all of them."""
    context = "\n\n".join(dict.fromkeys(text for text in (shared, task.context) if text.strip()))
    return DelegatedTask(task.goal, context, None if task.toolsets is None else tuple(task.toolsets))


def _told(results: Sequence[DelegatedResult]) -> ToolResult:
    room = MOST_CHARACTERS // len(results)
    parts = [_part(result, number, room) for number, result in enumerate(results, 1)]
    failed = sum(bool(result.problem) for result in results)
    whole = len(results) - failed
    preview = f"{whole} of {len(results)} done" if len(results) > 1 else results[0].problem or results[0].text
    return ToolResult("\n\n".join(parts) if len(parts) > 1 else parts[0], not whole, one_line(preview))


def _part(result: DelegatedResult, number: int, room: int) -> str:
    head = f"## Task {number}, sub-agent {result.run_id}: {result.status}"
    if result.problem:
        head += f" ({result.problem})"
    return f"{head}\n{cut(result.text, room) or '[it said nothing]'}"
