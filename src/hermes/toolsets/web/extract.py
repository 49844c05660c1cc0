"""The `web_extract` tool: pages as markdown, documents as text."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import cast
from urllib.parse import urlsplit

from pydantic import Field

from hermes.core.errors import ToolFailed
from hermes.core.ports import DocumentReader, ToolContext, ToolResult
from hermes.core.untrusted import mark
from hermes.toolsets.fetch import Fetcher, whole_url
from hermes.toolsets.settings import WebSettings
from hermes.toolsets.tool import Arguments, BaseTool, one_line
from hermes.toolsets.web.page import Page, read_page

MOST_URLS = 5
REMEMBERED = "web_extract"
REMEMBERED_PAGES = 5
ACCEPT = "text/html, application/xhtml+xml, text/*;q=0.9, application/json;q=0.9, application/pdf;q=0.9, */*;q=0.5"


class WebExtractArguments(Arguments):
    urls: list[str] = Field(min_length=1, max_length=MOST_URLS)
    offset: int = Field(0, ge=0, description="Goes on at this character of each text.")


class WebExtractTool(BaseTool[WebExtractArguments]):
    name = "web_extract"
    description = "Read web pages as markdown; PDF and Office documents as text."
    arguments = WebExtractArguments
    is_idempotent = True

    def __init__(self, fetcher: Fetcher, settings: WebSettings, documents: DocumentReader | None) -> None:
        super().__init__()
        self._fetcher = fetcher
        self._settings = settings
        self._documents = documents
        self._reading = asyncio.Semaphore(2)

    def summary(self, arguments: WebExtractArguments) -> str:
        return ", ".join(arguments.urls)

    async def run(self, arguments: WebExtractArguments, context: ToolContext) -> ToolResult:
        urls = list(dict.fromkeys(whole_url(url) for url in arguments.urls))
        async with asyncio.TaskGroup() as tasks:
            reading = [tasks.create_task(self._page(url, arguments.offset > 0, context)) for url in urls]
        answers = [task.result() for task in reading]
        pages = [answer for answer in answers if isinstance(answer, Page)]
        room = self._settings.output_characters // max(1, len(pages))
        if not pages:
            raise ToolFailed("\n".join(answer for answer in answers if isinstance(answer, str)))
        said = []
        for url, answer in zip(urls, answers, strict=True):
            text = shown(answer, url, arguments.offset, room) if isinstance(answer, Page) else answer
            said.append(mark(url, text) if len(urls) > 1 else text)  # none of several can pass for another
        names = ", ".join(page.title or urlsplit(page.url).netloc for page in pages)
        failed = f" ({len(urls) - len(pages)} failed)" if len(pages) < len(urls) else ""
        return ToolResult("\n\n".join(said), preview=one_line(f"{names}{failed}"))

    async def _page(self, url: str, goes_on: bool, context: ToolContext) -> Page | str:
        """The page, or what was wrong: the other URLs of the call are still worth reading."""
        known = cast(OrderedDict[str, Page], context.state.setdefault(REMEMBERED, OrderedDict()))
        if goes_on and url in known:  # the rest of the very text whose beginning was shown
            return known[url]
        try:
            fetched = await self._fetcher.get(url, most_bytes=self._settings.max_bytes, accept=ACCEPT, cuts=True)
        except ToolFailed as failed:
            return failed.message
        try:
            async with self._reading:
                page = await read_page(fetched, self._documents, context.environment)
        except ToolFailed as failed:
            return f"{fetched.url}: {failed.message}"
        known.pop(url, None)
        if len(page.text) > self._settings.output_characters // MOST_URLS:  # else all of it is shown
            known[url] = page
        while len(known) > REMEMBERED_PAGES:
            known.popitem(last=False)
        return page


def shown(page: Page, url: str, offset: int, room: int) -> str:
    """One page under a head that says where it is from, and below it what was left out."""
    text = page.text[offset : offset + room]
    end = offset + len(text)
    head = [f"# {page.title}"] if page.title and not text.startswith(f"# {page.title}\n") else []
    head.append(f"URL: {page.url}" if page.url == url else f"URL: {page.url} (from {url})")
    notes = [page.note] if page.note else []
    if end < len(page.text):
        notes.append(f"characters {offset:,} to {end:,} of {len(page.text):,}; the rest: offset {end}")
    elif offset and not text:
        notes.append(f"it has {len(page.text):,} characters: nothing is at offset {offset:,}")
    elif not text:
        notes.append("no text is in it")
    return "\n".join([*head, "", text, *(f"[{note}]" for note in notes)])
