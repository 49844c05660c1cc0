"""Ids that try to be paths, queries or code: each is an unknown thing, and never reaches further."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest

from tests.support.api import Server

CORPUS = [
    "..",
    "../..",
    "../../etc/passwd",
    "..\\..\\windows",
    "/etc/passwd",
    "//evil.com",
    "%2e%2e",
    "%2e%2e%2f",
    "..%2f",
    "..%c0%af",
    "%00",
    "a\x00b",
    "a/../b",
    "./a",
    "~root",
    "$HOME",
    "`id`",
    "$(id)",
    "|id",
    ";id",
    "&& id",
    "a b",
    "a\tb",
    "a\nb",
    "a\r\nX: y",
    "' OR 1=1 --",
    '" OR ""="',
    "1; DROP TABLE runs",
    "%27%20OR%201",
    "{{7*7}}",
    "${7*7}",
    "<script>alert(1)</script>",
    "javascript:alert(1)",
    "file:///etc/passwd",
    "CON",
    "aux.txt",
    "*",
    "?",
    "#",
    "\u202eabc",
    "\ud83d\ude80".encode("utf-16", "surrogatepass").decode("utf-16"),
    "é",
    "run_" + "a" * 4000,
    "-rf",
    "",
]
PATHS = ["/v1/runs/{}", "/v1/runs/{}/events", "/v1/runs/{}/approval", "/v1/runs/{}/stop", "/v1/models/{}"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("text", CORPUS, ids=lambda text: repr(text[:24]))
async def test_a_strange_id_in_a_path_is_an_unknown_thing(server: Server, path: str, text: str) -> None:
    method = "POST" if path.endswith(("approval", "stop")) else "GET"
    for spelled in {quote(text, safe=""), quote(quote(text, safe=""), safe="")}:
        response = await server.client.request(
            method, path.format(spelled), json={"choice": "once"} if method == "POST" else None
        )
        assert response.status_code in (404, 405), response.text
        assert response.json()["error"]["code"] in (
            "not_found",
            "run_not_found",
            "model_not_found",
            "method_not_allowed",
        )
    legal = re.compile(r"[A-Za-z0-9_-]{1,128}")
    assert all(legal.fullmatch(run_id) for run_id in server.runner.asked_for)


@pytest.mark.parametrize("text", [text for text in CORPUS if text != "CON" and not text.startswith("run_")], ids=repr)
async def test_a_strange_session_id_is_refused(server: Server, text: str) -> None:
    harmless = {"..", "aux.txt", "-rf", "javascript:alert"}
    response = await server.chat(headers={b"X-Hermes-Session-Id": quote(text, safe="").encode()})  # type: ignore[dict-item]
    if text in harmless:  # dots and dashes are legal in a session id, which is a key in a table and never a path
        assert response.status_code == 200
    else:
        assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_session_id")
    assert all(run.session_id in ("sess_1", text) for run in server.runner.runs.values())
