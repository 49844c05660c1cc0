"""Attachments in a real browser: nothing in them runs, whatever they pretend to be."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hermes.toolsets.browser import there
from tests.support.link import LinkServer, serving_link
from tests.support.link_conversations import add_conversation

MISSING = there.problem(None)
pytestmark = [
    pytest.mark.sqlite("Link keeps its data in SQLite"),
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=MISSING),
]

SCRIPT = "<script>alert(1)</script>"
SVG = f'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)">{SCRIPT}</svg>'
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8cfc0000003010100c9fe92ef"
    "0000000049454e44ae426082"
)
PAYLOADS: dict[str, bytes] = {
    "page": f"<!doctype html><title>x</title>{SCRIPT}".encode(),
    "page without a head": SCRIPT.encode(),
    "page behind spaces": b" \t\r\n" * 400 + SCRIPT.encode(),
    "page behind much text": b"a" * 9000 + SCRIPT.encode(),
    "page behind a zero": b"\0" + SCRIPT.encode(),
    "page in UTF-16": SCRIPT.encode("utf-16"),
    "page in UTF-7": b"+ADw-script+AD4-alert(1)+ADw-/script+AD4-",
    "svg": SVG.encode(),
    "svg with a prolog": f'<?xml version="1.0"?>{SVG}'.encode(),
    "xhtml": f'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml">{SCRIPT}</html>'.encode(),
    "stylesheet": b'<?xml version="1.0"?><?xml-stylesheet type="text/xsl" href="#x"?><x onload="alert(1)"/>',
    "gif and page": b"GIF89a" + SCRIPT.encode(),
    "png and page": PNG + SCRIPT.encode(),
    "jpeg and page": b"\xff\xd8\xff\xe0" + SCRIPT.encode(),
    "pdf and page": b"%PDF-1.7\n" + SCRIPT.encode(),
    "pdf with a script": b"%PDF-1.7\n1 0 obj<</OpenAction<</S/JavaScript/JS(app.alert(1))>>>>endobj",
    "mp4 and page": b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + SCRIPT.encode(),
    "script": b"alert(1)",
    "mhtml": b"From: x\r\nContent-Type: multipart/related; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n"
    + SCRIPT.encode(),
}


class Browser:
    """One page that sends the token with all it asks, as no browser would by itself."""

    def __init__(self, page: object) -> None:
        self.page = page
        self.alerts: list[str] = []


@asynccontextmanager
async def browsing(token: str) -> AsyncIterator[Browser]:
    from playwright.async_api import Dialog, async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=there.program(), chromium_sandbox=os.geteuid() != 0, args=["--disable-dev-shm-usage"]
        )
        context = await browser.new_context(extra_http_headers={"Authorization": token})
        page = await context.new_page()
        found = Browser(page)

        async def hear(dialog: Dialog) -> None:
            found.alerts.append(dialog.message)
            await dialog.dismiss()

        page.on("dialog", hear)
        yield found
        await browser.close()


async def visit(browser: Browser, url: str) -> str:
    """What the browser did with it: `shown` or `saved`."""
    from playwright.async_api import Error, Page

    page = browser.page
    assert isinstance(page, Page)
    try:
        await page.goto(url, wait_until="load", timeout=15_000)
    except Error as error:
        assert "Download is starting" in error.message or "ERR_ABORTED" in error.message, error.message
        return "saved"
    await page.wait_for_timeout(50)
    return "shown"


async def upload(server: LinkServer, there_: str, name: str, data: bytes) -> str:
    headers = {"Content-Type": "text/html", "Content-Disposition": f'inline; filename="{name}.html"'}
    answer = await server.chat.post(there_, content=data, headers=headers)
    return f"http://127.0.0.1:{server.port}{there_}/{answer.json()['blob_id']}"


async def test_nothing_in_an_attachment_runs(tmp_path: Path) -> None:
    async with serving_link(tmp_path) as server:
        place = f"/api/v1/conversations/{await add_conversation(server.link.database)}/blobs"
        async with browsing(server.chat.headers["Authorization"]) as browser:
            alive = tmp_path / "alive.html"
            alive.write_bytes(PAYLOADS["page"])
            assert await visit(browser, alive.as_uri()) == "shown"
            assert browser.alerts == ["1"]  # the browser would run it
            browser.alerts.clear()
            done = {}
            for name, data in PAYLOADS.items():
                done[name] = await visit(browser, await upload(server, place, name, data))
                assert browser.alerts == [], name
            shown = {name for name, what in done.items() if what == "shown"}
            assert shown <= {"png and page", "jpeg and page", "mp4 and page", "pdf and page", "pdf with a script"}
            assert "png and page" in shown
