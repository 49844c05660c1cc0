"""The `session_search` tool: what was said in earlier sessions."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import Field

from hermes.core.errors import InvalidInput, NotFound, ToolFailed
from hermes.core.ports import Recalled, Said, SessionRecall, ToolContext, ToolResult, Whose
from hermes.toolsets.tool import Arguments, BaseTool, one_line

CURRENT = "current"
TITLE_CHARACTERS = 60
SNIPPET_CHARACTERS = 300
MESSAGE_CHARACTERS = 600


class SessionSearchArguments(Arguments):
    query: str = Field("", description='Words that all occur; "a phrase", begin*. Empty: what was said last.')
    limit: int = Field(5, ge=1, le=20, description="Results.")
    session_id: str = Field("", description="Only this session; current is the running one.")


class SessionSearchTool(BaseTool[SessionSearchArguments]):
    name = "session_search"
    description = """Find what was said in earlier sessions, the newest first. Without a query: the latest sessions or,
        with session_id, the end of that one. Use it when the user means something from before."""
    arguments = SessionSearchArguments
    is_idempotent = True

    def __init__(self, sessions: SessionRecall | None) -> None:
        super().__init__()
        self._sessions = sessions

    def summary(self, arguments: SessionSearchArguments) -> str:
        return " in ".join(filter(None, (arguments.query or "what was last said", arguments.session_id)))

    async def run(self, arguments: SessionSearchArguments, context: ToolContext) -> ToolResult:
        if self._sessions is None:
            raise ToolFailed("No sessions are kept here.")
        whose = Whose(
            owner=context.owner,
            session_key=context.session_key,
            session_id=context.session_id,
            run_id=context.run_id,
        )
        query, limit = arguments.query.strip(), arguments.limit
        session_id = context.session_id if arguments.session_id == CURRENT else arguments.session_id or None
        try:
            if query:
                found = await self._sessions.recall(whose, query, limit=limit, session_id=session_id)
            elif session_id is not None:
                found = await self._sessions.last_said(whose, session_id, limit=limit)
            else:
                found = await self._sessions.recent(whose, limit=limit)
        except (InvalidInput, NotFound) as error:
            message = error.message.removeprefix("q ")
            raise ToolFailed(f"query {message}" if message != error.message else message) from error
        return _result(found, query)


def _result(found: Recalled, query: str) -> ToolResult:
    lines = [_line(said, SNIPPET_CHARACTERS if query else MESSAGE_CHARACTERS) for said in found.said]
    if not lines:
        lines = ["Nothing was found; try fewer or other words." if query else "Nothing was said before."]
    if found.has_more:
        lines.append("[there is more: narrow the query, or raise limit]")
    if found.pending:
        lines.append(f"[{found.pending:,} recent messages are not in the index yet and may be missing]")
    count = len(found.said)
    return ToolResult("\n".join(lines), preview=f"{count} result{'' if count == 1 else 's'}")


def _line(said: Said, characters: int) -> str:
    when = datetime.fromtimestamp(said.created_at, UTC).strftime("%Y-%m-%d %H:%M")
    title = f" “{one_line(said.title, TITLE_CHARACTERS)}”" if said.title else ""
    return f"{when} {said.role}, {said.session_id}{title}: {one_line(said.text, characters)}"
