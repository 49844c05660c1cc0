"""The pages of a browser, one session each, as playwright gives them. Runs in the worker's process only."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from playwright.async_api import Browser, BrowserContext, Error, Page
from playwright.async_api import TimeoutError as TimedOut

from hermes.core.addresses import AddressRefused
from hermes.toolsets.browser.proxy import Proxy
from hermes.toolsets.fetch import check_reach, whole_url
from hermes.toolsets.output import clean

MOST_TABS = 8
MOST_PAGES = 5
MOST_CHARACTERS = 400_000
SETTLE_MS = 1_500
CLOSE_SECONDS = 5.0
PAUSE_SECONDS = 0.3
"""Until a browser tells of what an action began, such as a window."""
_REF = re.compile(r"(?:f\d+)?e\d+\Z")
_NO_SOCKETS = (
    'for (const name of ["RTCPeerConnection", "webkitRTCPeerConnection", "WebTransport"]) delete globalThis[name]'
)
"""What reaches the network beside the proxy."""


class CannotDo(Exception):
    """The message is for the model."""


class Tab:
    """The pages of one session in a context of their own: no cookie and no cache is shared with another session.

    The newest page is the current one: what a link opens in a new window is what is meant.
    """

    def __init__(self, context: BrowserContext, proxy: Proxy) -> None:
        self.context = context
        self.proxy = proxy
        self.lock = asyncio.Lock()
        self.used_at = time.monotonic()
        self.pages: list[Page] = []
        self.shown = ""
        self.status: int | None = None
        self.is_stuck = False

    def opened(self, page: Page) -> None:
        self.pages.append(page)
        page.on("close", lambda closed: self.pages.remove(closed) if closed in self.pages else None)
        page.on("crash", lambda crashed: self.pages.remove(crashed) if crashed in self.pages else None)

    @property
    def page(self) -> Page:
        if not self.pages:
            raise CannotDo("no page is open; browser_navigate opens one")
        return self.pages[-1]


class Tabs:
    def __init__(
        self, browser: Browser, *, hosts: tuple[str, ...], timeout_seconds: float, output_characters: int
    ) -> None:
        self._browser = browser
        self._hosts = hosts
        self._timeout_ms = timeout_seconds * 1000
        self._room = output_characters
        self._tabs: dict[str, Tab] = {}
        self._opening = asyncio.Lock()
        self._emptied_at = time.monotonic()
        self._closing: set[asyncio.Future[None]] = set()

    def is_idle(self, seconds: float) -> bool:
        """Whether no page has been open for so long."""
        return not self._tabs and time.monotonic() - self._emptied_at > seconds

    async def do(self, what: str, session: str, given: dict[str, Any]) -> str:
        """What the page shows then. Raises CannotDo."""
        doing: Callable[[Tab, dict[str, Any]], Awaitable[None]] = getattr(self, f"_{what}")
        tab = await self._tab(session, makes=what == "navigate")
        async with tab.lock:
            tab.used_at = time.monotonic()
            tab.proxy.refused.clear()
            try:
                await doing(tab, given)
                if what in ("click", "type", "press"):
                    await asyncio.sleep(PAUSE_SECONDS)
                if what != "snapshot":
                    await _settle(tab.page)
                return await self._show(tab, given.get("offset", 0))
            except TimedOut as error:
                tab.is_stuck = True
                raise CannotDo(f"it took longer than {self._timeout_ms / 1000:g} s{_refused(tab)}") from error
            except Error as error:
                raise CannotDo(_said(error) + _refused(tab)) from error
            finally:
                tab.used_at = time.monotonic()

    async def close(self, session: str) -> None:
        tab = self._tabs.pop(session, None)
        if tab is not None:
            await tab.proxy.close()
            with suppress(Error, TimeoutError):  # one that does not let go has no network any more
                async with asyncio.timeout(CLOSE_SECONDS):
                    await tab.context.close()
            self._emptied_at = time.monotonic()

    async def close_idle(self, seconds: float) -> None:
        now = time.monotonic()
        for session, tab in list(self._tabs.items()):
            if not tab.lock.locked() and now - tab.used_at > seconds:
                await self.close(session)

    async def _tab(self, session: str, *, makes: bool) -> Tab:
        async with self._opening:
            tab = self._tabs.get(session)
            if tab is not None and tab.is_stuck and makes:  # a page that hangs lets nothing be done with it any more
                await self.close(session)
                tab = None
            if tab is None and not makes:
                raise CannotDo("no page is open; browser_navigate opens one")
            if tab is None:
                if len(self._tabs) >= MOST_TABS:
                    await self.close(min(self._tabs, key=self._worth))
                tab = self._tabs[session] = await self._new_tab()
            return tab

    def _worth(self, session: str) -> tuple[bool, float]:
        """Pages that nobody is at go first, of those the one that was used least lately."""
        tab = self._tabs[session]
        return tab.lock.locked(), tab.used_at

    async def _new_tab(self) -> Tab:
        proxy = Proxy(self._hosts)
        await proxy.open()
        try:
            return await self._behind(proxy)
        except BaseException:
            await proxy.close()
            raise

    async def _behind(self, proxy: Proxy) -> Tab:
        context = await self._browser.new_context(
            proxy={"server": f"http://127.0.0.1:{proxy.port}", "bypass": "<-loopback>"},
            accept_downloads=False,
            service_workers="block",
            locale="en-US",
        )
        context.set_default_timeout(self._timeout_ms)
        await context.add_init_script(_NO_SOCKETS)
        tab = Tab(context, proxy)
        context.on("page", lambda page: self._came(tab, page))
        return tab

    def _came(self, tab: Tab, page: Page) -> None:
        if len(tab.pages) < MOST_PAGES:
            tab.opened(page)
        else:  # one that opens windows without end
            closing = asyncio.ensure_future(page.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closed)

    def _closed(self, closing: asyncio.Future[None]) -> None:
        self._closing.discard(closing)
        if not closing.cancelled():
            closing.exception()  # its context was closed meanwhile: so is the page

    async def _navigate(self, tab: Tab, given: dict[str, Any]) -> None:
        url = whole_url(given["url"])
        try:
            await check_reach(url, self._hosts, allow_http=True)
        except AddressRefused as refused:
            raise CannotDo(f"not opened: {refused.message}") from refused
        page = tab.pages[-1] if tab.pages else await tab.context.new_page()
        tab.status = None
        response = await page.goto(url, wait_until="domcontentloaded")
        tab.status = response.status if response is not None else None

    async def _snapshot(self, tab: Tab, given: dict[str, Any]) -> None:
        pass

    async def _click(self, tab: Tab, given: dict[str, Any]) -> None:
        await (await _found(tab.page, given["ref"])).click()

    async def _type(self, tab: Tab, given: dict[str, Any]) -> None:
        field = await _found(tab.page, given["ref"])
        await field.fill(given["text"])
        if given["submit"]:
            await field.press("Enter")

    async def _press(self, tab: Tab, given: dict[str, Any]) -> None:
        await tab.page.keyboard.press(given["key"])

    async def _scroll(self, tab: Tab, given: dict[str, Any]) -> None:
        size = tab.page.viewport_size or {"width": 1280, "height": 720}
        await tab.page.mouse.move(size["width"] / 2, size["height"] / 2)
        await tab.page.mouse.wheel(0, size["height"] * (0.9 if given["direction"] == "down" else -0.9))

    async def _back(self, tab: Tab, given: dict[str, Any]) -> None:
        if len(tab.pages) > 1:
            await tab.page.close()
        elif await tab.page.go_back(wait_until="domcontentloaded") is None:
            raise CannotDo("there is no page before this one")
        tab.status = None

    async def _show(self, tab: Tab, offset: int) -> str:
        page = tab.page
        if not offset or not tab.shown:
            tab.shown = clean(await page.aria_snapshot(mode="ai", timeout=self._timeout_ms))[:MOST_CHARACTERS]
        text = tab.shown[offset : offset + self._room]
        end = offset + len(text)
        status = f" [HTTP {tab.status}]" if tab.status is not None and tab.status >= 400 else ""
        title = " ".join((await page.title()).split())[:200]
        lines = [f"{title}{status}" if title else f"(no title){status}", f"URL: {page.url[:2000]}", "", text]
        if end < len(tab.shown):
            lines.append(f"[characters {offset:,} to {end:,} of {len(tab.shown):,}; the rest: offset {end}]")
        elif not text:
            lines.append("[nothing more is there]" if offset else "[the page is empty]")
        return "\n".join(lines) + _refused(tab)


async def _found(page: Page, ref: str) -> Any:
    """What the newest snapshot calls so."""
    if _REF.match(ref) is None:
        raise CannotDo(f"{ref[:40]!r} is no ref: those look like e12, and browser_snapshot shows them")
    found = page.locator(f"aria-ref={ref}")
    if not await found.count():
        raise CannotDo(f"nothing on the page is {ref} any more; browser_snapshot shows what is")
    return found


async def _settle(page: Page) -> None:
    """What the action began: a page that loads, something that is fetched. Pages that never rest are not waited for."""
    with suppress(Error):
        await page.wait_for_load_state("domcontentloaded", timeout=SETTLE_MS)
    with suppress(Error):
        await page.wait_for_load_state("networkidle", timeout=SETTLE_MS)


def _refused(tab: Tab) -> str:
    said = list(dict.fromkeys(tab.proxy.refused))
    return f"\n[not asked: {'; '.join(said)}]" if said else ""


def _said(error: Error) -> str:
    """The first line of what playwright says, without its call log."""
    line = error.message.strip().split("\n", 1)[0]
    line = re.sub(r"^(?:[A-Z]\w+\.\w+|Error): ", "", line)
    if "Download is starting" in line or "ERR_ABORTED" in line:
        return "it is a file to download, and the browser takes none; web_extract reads documents"
    return line[:400]
