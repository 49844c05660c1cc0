"""/pair in a real browser, over a socket."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from hermeslink.core.device import Scope
from hermeslink.pairing.pairing import Newcomer
from tests.support.link import LinkServer, serving_link

CHROMIUM = next((found for found in map(shutil.which, ("chromium", "google-chrome")) if found), None)

pytestmark = [
    pytest.mark.sqlite("Link keeps its data in SQLite"),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on PATH"),
]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[LinkServer]:
    async with serving_link(tmp_path) as serving:
        yield serving


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield running
        finally:
            await running.close()


@pytest.fixture
async def context(browser: Browser) -> BrowserContext:
    return await browser.new_context(locale="en-GB")


class Seen:
    """The page, what it said in its console, and every address it asked for."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.trouble: list[str] = []
        self.asked: list[str] = []
        page.on("pageerror", lambda error: self.trouble.append(str(error)))
        page.on("console", lambda told: self.trouble.append(told.text) if told.type == "error" else None)
        page.on("request", lambda request: self.asked.append(request.url))


async def opened(context: BrowserContext, server: LinkServer, fragment: str = "", query: str = "") -> Seen:
    seen = Seen(await context.new_page())
    await seen.page.goto(f"http://127.0.0.1:{server.port}/pair{query}{fragment}")
    return seen


def kept(page: Page) -> Any:
    return page.evaluate("JSON.parse(localStorage.getItem('hermeslink.session'))")


async def test_at_this_machine_it_shows_a_code_and_pairs_this_browser(
    context: BrowserContext, server: LinkServer
) -> None:
    seen = await opened(context, server)
    await expect(seen.page.locator("#open")).to_be_visible()
    assert (await seen.page.locator("#qr").get_attribute("src") or "").startswith("data:image/svg+xml")
    await expect(seen.page.locator("#left")).to_have_text("5:00")
    await seen.page.click("#here")
    await expect(seen.page.locator("#paired")).to_be_visible()
    session = await kept(seen.page)
    shown = await seen.page.inner_text("body")
    for token in (session["access"]["token"], session["refresh"]["token"]):
        assert token not in shown
        assert token[-4:] in shown
    answer = await server.client.get(
        "/api/v1/auth/me", headers={"Authorization": f"Bearer {session['access']['token']}"}
    )
    assert answer.json()["device"]["platform"] == "web"
    assert seen.trouble == []


async def test_the_same_browser_again_is_the_same_device(context: BrowserContext, server: LinkServer) -> None:
    ids = []
    for _ in range(2):
        seen = await opened(context, server)
        await seen.page.click("#here")
        await expect(seen.page.locator("#paired")).to_be_visible()
        ids.append((await kept(seen.page))["device"]["id"])
    assert ids[0] == ids[1]


async def test_it_sees_that_another_device_took_the_code(context: BrowserContext, server: LinkServer) -> None:
    seen = await opened(context, server)
    await expect(seen.page.locator("#open")).to_be_visible()
    async with seen.page.expect_response("**/api/v1/pairing/session") as making:
        await seen.page.click("#renew")
    code = (await (await making.value).json())["connect_token"]
    await expect(seen.page.locator("#open")).to_be_visible()
    await server.link.pairing.by_connect_token(code, Newcomer("phone"))
    await expect(seen.page.locator("#claimed")).to_be_visible(timeout=10_000)


async def test_a_code_counts_down_and_expires(context: BrowserContext, server: LinkServer) -> None:
    page = await context.new_page()
    await page.clock.install()
    await page.goto(f"http://127.0.0.1:{server.port}/pair")
    await expect(page.locator("#open")).to_be_visible()
    await page.clock.run_for(61_000)
    await expect(page.locator("#left")).to_have_text("3:59")
    await page.clock.run_for(240_000)
    await expect(page.locator("#expired")).to_be_visible()
    await page.click("#again")
    await expect(page.locator("#open")).to_be_visible()


async def test_a_connect_token_in_the_fragment_goes_into_a_header_and_nowhere_else(
    context: BrowserContext, server: LinkServer
) -> None:
    made = await server.link.pairing.make(Scope.CHAT)
    seen = await opened(context, server, f"#code={made.code}")
    await expect(seen.page.locator("#open")).to_be_visible()
    assert await seen.page.evaluate("location.href") == f"http://127.0.0.1:{server.port}/pair"
    await seen.page.click("#here")
    await expect(seen.page.locator("#paired")).to_be_visible()
    assert (await kept(seen.page))["device"]["scope"] == "chat"
    assert made.code not in await seen.page.content()
    assert [url for url in seen.asked if made.code in url.partition("#")[0]] == []
    assert await seen.page.evaluate("history.length") == 2  # about:blank and the page: the token is in neither
    assert seen.trouble == []


async def test_who_is_not_at_the_machine_gets_no_code_and_can_type_a_connect_token(
    browser: Browser, server: LinkServer
) -> None:
    """A forwarding header takes loopback's rights away, as a tunnel would."""
    context = await browser.new_context(locale="en-GB", extra_http_headers={"X-Forwarded-For": "203.0.113.9"})
    seen = await opened(context, server)
    await expect(seen.page.locator("#elsewhere")).to_be_visible()
    assert await seen.page.locator("#qr").get_attribute("src") is None
    made = await server.link.pairing.make()
    await seen.page.fill("#token", made.code)
    await seen.page.click("#typed button")
    await expect(seen.page.locator("#paired")).to_be_visible()


async def test_a_wrong_token_is_told_in_words(context: BrowserContext, server: LinkServer) -> None:
    seen = await opened(context, server, "#code=" + "x" * 43)
    await expect(seen.page.locator("#failed")).to_be_visible()
    assert "connect token" in await seen.page.inner_text("#why")


PAYLOADS = [
    "<img src=x onerror=alert(1)>",
    "%3Cscript%3Ealert(1)%3C/script%3E",
    "javascript:alert(1)",
    "'-alert(1)-'",
    '"><svg onload=alert(1)>',
    "&server=https://evil.example",
]


async def test_nothing_of_the_url_is_run_or_written_or_called(context: BrowserContext, server: LinkServer) -> None:
    page = await context.new_page()
    seen = Seen(page)
    dialogs: list[str] = []

    async def note(dialog: Any) -> None:
        dialogs.append(dialog.message)
        await dialog.dismiss()

    page.on("dialog", note)
    for payload in PAYLOADS:
        where = f"http://127.0.0.1:{server.port}/pair?code={payload}&server={payload}#code={payload}&x={payload}"
        await page.goto(where)
        await expect(page.locator("#open")).to_be_visible()
        assert "alert(1)" not in await page.content()
    assert dialogs == []
    hosts = {url.split("/")[2] for url in seen.asked if url.startswith("http")}
    assert hosts == {f"127.0.0.1:{server.port}"}


async def test_a_name_full_of_html_is_shown_as_text(context: BrowserContext, server: LinkServer) -> None:
    name = "<img src=x onerror=alert(1)>"
    server.link.network._hostname = name
    seen = await opened(context, server)
    await expect(seen.page.locator("#where")).to_have_text(server.link.network.display_name)
    assert await seen.page.locator("main img").count() == 1  # the QR code


async def test_inline_script_is_refused_by_the_policy(context: BrowserContext, server: LinkServer) -> None:
    seen = await opened(context, server)
    await seen.page.evaluate(
        """() => {
            const made = document.createElement("p");
            document.body.append(made);
            try { made.innerHTML = "<img src=x onerror='window.pwned = 1'>"; } catch (error) { window.kept = 1; }
        }"""
    )
    assert await seen.page.evaluate("[window.pwned, window.kept]") == [None, 1]


async def test_a_page_of_another_origin_gets_no_code(context: BrowserContext, server: LinkServer) -> None:
    """It is at this machine, too: the browser's own words about where it is from count."""
    before = json.loads((await server.admin.get("/api/v1/audit")).text)
    page = await context.new_page()
    await page.goto(f"http://localhost:{server.port}/")
    told = await page.evaluate(
        """async (url) => { try { const answer = await fetch(url, {method: "POST", mode: "no-cors", body: "{}"});
                            return answer.type; } catch (error) { return "refused"; } }""",
        f"http://127.0.0.1:{server.port}/api/v1/pairing/session",
    )
    assert told in ("opaque", "refused")
    assert json.loads((await server.admin.get("/api/v1/audit")).text) == before


async def test_the_page_of_a_service_that_went_away_says_so_and_goes_on_when_it_is_back(
    context: BrowserContext, server: LinkServer
) -> None:
    seen = await opened(context, server)
    await expect(seen.page.locator("#open")).to_be_visible()
    await context.set_offline(True)
    await expect(seen.page.locator("#offline")).to_be_visible(timeout=10_000)
    await context.set_offline(False)
    await expect(seen.page.locator("#open")).to_be_visible(timeout=10_000)
