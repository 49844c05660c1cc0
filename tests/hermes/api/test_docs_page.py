"""The page at /docs: everything from this server, nothing inline, and no key in it."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from importlib.resources import files

import pytest

from hermes.api.auth import DOCS_FILES
from hermes.api.pages.docs import CONTENT_SECURITY_POLICY, PAGE
from tests.support.api import Server

NO_KEY = {"Authorization": ""}


class Loaded(HTMLParser):
    """What the page loads, and what is inline."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []
        self.inline: list[str] = []
        self._is_script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._is_script = tag in ("script", "style")
        for name, value in attrs:
            if name in ("src", "href"):
                self.urls.append(value or "")
            if name == "style" or name.startswith("on"):
                self.inline.append(f"{tag} {name}")

    def handle_endtag(self, tag: str) -> None:
        self._is_script = False

    def handle_data(self, data: str) -> None:
        if self._is_script and data.strip():
            self.inline.append(data)


async def test_the_page_is_public_and_runs_only_this_servers_files(server: Server) -> None:
    answer = await server.client.get("/docs", headers=NO_KEY)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert answer.headers["x-frame-options"] == "DENY"
    found = Loaded()
    found.feed(answer.text)
    assert found.inline == []
    assert sorted(found.urls) == sorted(["data:,", *(f"docs/{name}" for name in DOCS_FILES)])
    assert "version" not in answer.text


def test_its_policy_lets_no_inline_script_or_foreign_address_in() -> None:
    rules = dict(rule.strip().split(" ", 1) for rule in CONTENT_SECURITY_POLICY.split(";"))
    assert rules == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }


@pytest.mark.parametrize("name", DOCS_FILES)
async def test_its_files_are_public_and_have_their_type(server: Server, name: str) -> None:
    answer = await server.client.get(f"/docs/{name}", headers=NO_KEY)
    kind = "text/javascript" if name.endswith(".js") else "text/css"
    assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, kind)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "max-age=3600"
    assert len(answer.content) > 50


@pytest.mark.parametrize(
    "path", ["/docs/redoc.standalone.js", "/docs/favicon.png", "/docs/docs.html", "/docs/", "/docs/..%2fauth.py"]
)
async def test_no_other_file_is_there(server: Server, path: str) -> None:
    assert (await server.client.get(path, headers=NO_KEY)).status_code == 401
    assert (await server.client.get(path)).status_code == 404


async def test_the_document_itself_wants_a_key(server: Server) -> None:
    assert (await server.client.get("/openapi.json", headers=NO_KEY)).status_code == 401


def test_the_pages_script_keeps_the_key_in_memory_and_sends_it_in_a_header_only() -> None:
    script = (files("hermes.api.pages") / "docs_files" / "docs.js").read_text("utf-8")
    assert "Authorization: `Bearer ${key}`" in script
    for place in ("localStorage", "sessionStorage", "cookie", "history.", "location.hash", "location.search", "?key"):
        assert place not in script
    assert "persistAuthorization: false" in script
    assert not re.search(r"https?://", script)


def test_the_field_of_the_key_has_no_name_so_that_no_form_can_carry_it() -> None:
    field = re.search(r"<input[^>]*>", PAGE)
    assert field is not None
    assert "name=" not in field[0]
    assert 'type="password"' in field[0]
