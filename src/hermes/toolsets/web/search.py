"""The `web_search` tool."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from hermes.core.ports import ToolContext, ToolResult
from hermes.toolsets.output import clean
from hermes.toolsets.tool import Arguments, BaseTool, one_line
from hermes.toolsets.web.engines import Hit, SearchEngine

SNIPPET_CHARACTERS = 400
TITLE_CHARACTERS = 150
URL_CHARACTERS = 1_000


class WebSearchArguments(Arguments):
    query: str = Field(min_length=1, max_length=400)


class WebSearchTool(BaseTool[WebSearchArguments]):
    name = "web_search"
    description = "Search the web: titles, addresses and snippets. Read a page with web_extract."
    arguments = WebSearchArguments
    is_idempotent = True

    def __init__(self, engine: SearchEngine, max_results: int) -> None:
        super().__init__()
        self._engine = engine
        self._max_results = max_results

    def summary(self, arguments: WebSearchArguments) -> str:
        return arguments.query

    async def run(self, arguments: WebSearchArguments, context: ToolContext) -> ToolResult:
        found = await self._engine.search(arguments.query, most=self._max_results, environment=context.environment)
        found = found[: self._max_results]
        count = f"{len(found)} result{'' if len(found) == 1 else 's'}"
        return ToolResult(shown(found), preview=count)


def shown(found: Sequence[Hit]) -> str:
    if not found:
        return "Nothing was found; try fewer or other words."
    return "\n".join(
        f"{number}. {one_line(clean(hit.title), TITLE_CHARACTERS) or '(no title)'}\n"
        f"   {one_line(clean(hit.url), URL_CHARACTERS)}\n"
        f"   {one_line(clean(hit.snippet), SNIPPET_CHARACTERS)}".rstrip()
        for number, hit in enumerate(found, 1)
    )
