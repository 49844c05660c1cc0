"""A web page of another origin, in a real browser on the machine of Link itself, tries every verb: it changes nothing,
and reads nothing.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from hermes.toolsets.browser import there
from tests.acceptance.link.phone import Phone
from tests.acceptance.link.process import LinkProcess

MISSING = there.problem(None)
pytestmark = [
    pytest.mark.sqlite("Link keeps its data in SQLite"),
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=MISSING),
]

PATHS = (
    "/api/v1/bootstrap",
    "/api/v1/pairing/session",
    "/api/v1/pairing/claim",
    "/api/v1/auth/refresh",
    "/api/v1/auth/logout",
    "/api/v1/conversations",
    "/api/v1/devices",
    "/metrics",
)
TRY = """async ([base, paths, token]) => {
    const read = [];
    const bodies = [
        ["text/plain", '{"scope": "admin"}'],
        ["application/x-www-form-urlencoded", "scope=admin"],
        ["application/json", '{"scope": "admin"}'],
        [null, undefined],
    ];
    for (const path of paths)
        for (const method of ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
            for (const mode of ["cors", "no-cors"])
                for (const [type, body] of bodies)
                    for (const authorization of [null, token]) {
                        const headers = type ? {"Content-Type": type} : {};
                        if (authorization) headers.Authorization = "Bearer " + authorization;
                        const options = {method, mode, headers, credentials: "include"};
                        if (method !== "GET" && method !== "HEAD") options.body = body;
                        try {
                            const answer = await fetch(base + path, options);
                            const text = await answer.text();
                            if (answer.type !== "opaque" || text) read.push([method, path, mode, answer.status, text]);
                        } catch (error) { /* the browser did not let it through, or Link did not let it be read */ }
                    }
    return read;
}"""
FORMS = """async ([base, paths]) => {
    for (const path of paths)
        for (const enctype of ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]) {
            const form = document.createElement("form");
            const frame = document.createElement("iframe");
            frame.name = form.target = path + enctype;
            const field = document.createElement("input");
            field.name = '{"scope": "admin", "x": "';
            field.value = '"}';
            Object.assign(form, {action: base + path, method: "POST", enctype});
            form.append(field);
            document.body.append(frame, form);
            const done = new Promise(resolve => { frame.onload = resolve; setTimeout(resolve, 1000); });
            form.submit();
            await done;
        }
}"""


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>Another page</title><body>")

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 as its base has it
        """Nothing."""


@pytest.fixture(scope="module")
def foreign_port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_a_page_of_another_origin_changes_nothing_and_reads_nothing(
    link: LinkProcess, phone: Phone, foreign_port: int, host: str
) -> None:
    """`localhost` is another site than 127.0.0.1; another port of 127.0.0.1 is another origin of the same site."""
    from playwright.async_api import async_playwright

    before = state(phone)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=there.program(), chromium_sandbox=os.geteuid() != 0, args=["--disable-dev-shm-usage"]
        )
        page = await browser.new_page()
        await page.goto(f"http://{host}:{foreign_port}/")
        read = await page.evaluate(TRY, [link.url, PATHS, phone.access])
        await page.evaluate(FORMS, [link.url, [path for path in PATHS if path != "/metrics"]])
        framed = [one.url for one in page.frames if one.url.startswith(link.url)]
        await browser.close()
    assert read == []
    assert framed == [], "its pages are in no frame of another"
    assert state(phone) == before


def state(phone: Phone) -> str:
    """All that a page could have changed."""
    return json.dumps(
        [phone.get("/audit"), phone.get("/conversations"), [one["id"] for one in phone.get("/devices")["devices"]]]
    )
