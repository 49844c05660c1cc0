"""The `clarify` tool: asks the person in the middle of a run."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from hermes.core.errors import ToolFailed
from hermes.core.ports import CLARIFY, Clarifies, ToolContext, ToolResult
from hermes.core.toolset import TOOLSETS
from hermes.toolsets.tool import Arguments, BaseTool
from hermes.toolsets.toolset import Toolset

NOBODY = "Nobody can be asked here. Go on with your best guess and say so, or end your answer with the question."
NO_ANSWER = "Nobody answered in time. Go on with your best guess and say so, or end your answer with the question."


class ClarifyArguments(Arguments):
    question: str = Field(min_length=1, max_length=4_000)
    choices: list[Annotated[str, Field(min_length=1, max_length=400)]] = Field(
        [], max_length=10, description="Likely answers."
    )


class ClarifyTool(BaseTool[ClarifyArguments]):
    name = CLARIFY
    description = """Ask the user one question and wait for the answer. Only where you cannot find out yourself and a
        wrong guess would cost much."""
    arguments = ClarifyArguments
    is_idempotent = True

    def __init__(self, clarifies: Clarifies | None) -> None:
        super().__init__()
        self._clarifies = clarifies

    def summary(self, arguments: ClarifyArguments) -> str:
        return arguments.question

    async def run(self, arguments: ClarifyArguments, context: ToolContext) -> ToolResult:
        if self._clarifies is None:
            raise ToolFailed(NOBODY)
        answer = await self._clarifies.clarify(context, arguments.question, arguments.choices)
        if answer.text is None:
            raise ToolFailed(NO_ANSWER if answer.outcome == "timeout" else NOBODY)
        return ToolResult(f"The user answered: {answer.text}", preview=answer.text)


def clarify_toolset(clarifies: Clarifies | None) -> Toolset:
    is_usable = clarifies is not None
    problem = "" if is_usable else "there are no runs here that could wait for an answer"
    return Toolset(TOOLSETS[CLARIFY], (ClarifyTool(clarifies),), problem, is_usable)
