"""The tools of the browser. Each acts on the page of its session, and gives what the page shows then."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Literal

from pydantic import Field

from hermes.core.ports import ToolContext, ToolResult
from hermes.toolsets.browser.browser import Browser
from hermes.toolsets.tool import Arguments, ArgumentsT, BaseTool, one_line


class PageTool(BaseTool[ArgumentsT]):
    does: ClassVar[str]

    def __init__(self, browser: Browser) -> None:
        super().__init__()
        self._browser = browser

    @abstractmethod
    def given(self, arguments: ArgumentsT) -> dict[str, Any]: ...

    async def run(self, arguments: ArgumentsT, context: ToolContext) -> ToolResult:
        shows = await self._browser.do(
            self.does,
            self.given(arguments),
            session_id=context.session_id,
            run_id=context.run_id,
            environment=context.environment,
        )
        return ToolResult(shows, preview=one_line(shows.split("\n", 1)[0]))


class NavigateArguments(Arguments):
    url: str = Field(min_length=1)


class NavigateTool(PageTool[NavigateArguments]):
    name = "browser_navigate"
    does = "navigate"
    description = """Open a page in a browser, for pages that need clicks or JavaScript; web_extract is quicker to read.
        Gives the page as a tree with refs."""
    arguments = NavigateArguments
    is_idempotent = True

    def summary(self, arguments: NavigateArguments) -> str:
        return arguments.url

    def given(self, arguments: NavigateArguments) -> dict[str, Any]:
        return {"url": arguments.url}


class SnapshotArguments(Arguments):
    offset: int = Field(0, ge=0)


class SnapshotTool(PageTool[SnapshotArguments]):
    name = "browser_snapshot"
    does = "snapshot"
    description = "The page as it is now."
    arguments = SnapshotArguments
    is_idempotent = True

    def summary(self, arguments: SnapshotArguments) -> str:
        return "look at the page"

    def given(self, arguments: SnapshotArguments) -> dict[str, Any]:
        return {"offset": arguments.offset}


class ClickArguments(Arguments):
    ref: str = Field(min_length=1, max_length=40)


class ClickTool(PageTool[ClickArguments]):
    name = "browser_click"
    does = "click"
    description = "Click the element with this ref."
    arguments = ClickArguments

    def summary(self, arguments: ClickArguments) -> str:
        return arguments.ref

    def given(self, arguments: ClickArguments) -> dict[str, Any]:
        return {"ref": arguments.ref}


class TypeArguments(ClickArguments):
    text: str = Field(max_length=20_000)
    submit: bool = Field(False, description="Then press Enter.")


class TypeTool(PageTool[TypeArguments]):
    name = "browser_type"
    does = "type"
    description = "Replace the text of a field."
    arguments = TypeArguments

    def summary(self, arguments: TypeArguments) -> str:
        return f"{arguments.ref}: {arguments.text}"

    def given(self, arguments: TypeArguments) -> dict[str, Any]:
        return {"ref": arguments.ref, "text": arguments.text, "submit": arguments.submit}


class PressArguments(Arguments):
    key: str = Field(min_length=1, max_length=40, description="Such as Enter, Escape, ArrowDown, Control+a.")


class PressTool(PageTool[PressArguments]):
    name = "browser_press"
    does = "press"
    description = "Press a key."
    arguments = PressArguments

    def summary(self, arguments: PressArguments) -> str:
        return arguments.key

    def given(self, arguments: PressArguments) -> dict[str, Any]:
        return {"key": arguments.key}


class ScrollArguments(Arguments):
    direction: Literal["up", "down"] = "down"


class ScrollTool(PageTool[ScrollArguments]):
    name = "browser_scroll"
    does = "scroll"
    description = "Scroll by a screen, for pages that load more then."
    arguments = ScrollArguments

    def summary(self, arguments: ScrollArguments) -> str:
        return arguments.direction

    def given(self, arguments: ScrollArguments) -> dict[str, Any]:
        return {"direction": arguments.direction}


class BackArguments(Arguments):
    pass


class BackTool(PageTool[BackArguments]):
    name = "browser_back"
    does = "back"
    description = "Go back to the page before."
    arguments = BackArguments

    def summary(self, arguments: BackArguments) -> str:
        return "go back"

    def given(self, arguments: BackArguments) -> dict[str, Any]:
        return {}
