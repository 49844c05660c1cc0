"""What every answer has: its headers, and a failure's one form, with nothing of the inside in it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from itertools import product
from pathlib import Path
from typing import Annotated

import pytest
from fastapi import APIRouter, HTTPException, Query
from pydantic import Field

from hermes.core.errors import Busy, Conflict, HermesError, NotFound, StoreUnavailable, Unauthorized
from hermeslink.api.app import GROUPS, rows_of
from hermeslink.api.bodies import Answer, Body, CamelAnswer
from hermeslink.api.errors import CODES, STATUSES, error_body, status_of
from tests.support.link import LinkServer, serving_link

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")

EVERYWHERE = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
SECRET = "hlat_never-in-an-answer"


class Wish(Body):
    content: str = Field(max_length=10)
    older_than_days: int | None = None
    profile: str | None = None


class Look(Body):
    q: str = ""
    limit: int = Field(20, ge=1, le=100)
    cursor: str | None = None


class Made(Answer):
    some_name: str


class MadeInCamels(CamelAnswer):
    some_name: str


RAISED: dict[str, Exception] = {
    "bug": RuntimeError(f"{SECRET} in /home/somebody/file.py"),
    "inside": HermesError(SECRET),
    "missing": NotFound("no such thing", code="thing_not_found"),
    "late": Conflict("too late", code="thing_done"),
    "busy": Busy("wait", retry_after_seconds=2.2),
    "store": StoreUnavailable("the database does not answer"),
    "unknown": Unauthorized("who?", code="auth_required"),
    "http": HTTPException(418, SECRET),
}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[LinkServer]:
    router = APIRouter(prefix="/api/v1")

    @router.get("/raise/{name}")
    async def fail(name: str) -> None:
        raise RAISED[name]

    @router.post("/wish")
    async def wish(body: Wish) -> dict[str, object]:
        return body.model_dump()

    @router.get("/look")
    async def look(query: Annotated[Look, Query()]) -> dict[str, object]:
        return query.model_dump()

    @router.get("/snake")
    async def snake() -> Made:
        return Made(some_name="x")

    @router.get("/camel")
    async def camel() -> MadeInCamels:
        return MadeInCamels(some_name="x")

    async with serving_link(tmp_path, groups=[*GROUPS, router]) as serving:
        yield serving


async def test_every_answer_carries_the_security_headers(server: LinkServer) -> None:
    answers = [
        await server.client.get("/api/v1/system/version"),
        await server.client.head("/api/v1/system/version"),
        await server.client.options("/api/v1/system/version"),
        await server.client.get("/api/v1/no-such"),
        await server.client.get("/api/v1/bootstrap", headers={"Host": "evil.com"}),
        await server.admin.get("/api/v1/no-such"),
        await server.admin.put("/api/v1/profiles/x/memory"),
        await server.admin.get("/api/v1/profiles/x/memory"),
        await server.chat.delete("/api/v1/profiles/x/memory"),
        await server.admin.post("/api/v1/wish", json={}),
        *[await server.admin.get(f"/api/v1/raise/{name}") for name in RAISED],
    ]
    for answer in answers:
        assert {name: answer.headers.get(name) for name in EVERYWHERE} == EVERYWHERE, answer.url
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-request-id"].startswith("req_")
        assert "server" not in answer.headers


async def test_a_request_id_is_taken_where_it_is_one(server: LinkServer) -> None:
    for sent, is_taken in (("abc-1", True), ("x" * 129, False), ("a b", False), ("süß", False)):
        answer = await server.client.get("/api/v1/system/version", headers={b"X-Request-Id": sent.encode()})
        assert (answer.headers["x-request-id"] == sent) is is_taken


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("bug", 500, "internal_error"),
        ("inside", 500, "internal_error"),
        ("http", 500, "internal_error"),
        ("missing", 404, "thing_not_found"),
        ("late", 409, "thing_done"),
        ("busy", 429, "rate_limit_exceeded"),
        ("store", 503, "store_unavailable"),
        ("unknown", 401, "auth_required"),
    ],
)
async def test_a_failure_has_one_form(server: LinkServer, name: str, status: int, code: str) -> None:
    answer = await server.admin.get(f"/api/v1/raise/{name}")
    told = answer.json()
    assert (answer.status_code, told["ok"], told["error"]["code"]) == (status, False, code)
    assert told["error"]["message"]
    assert answer.headers.get("retry-after") == ("3" if status == 429 else None)
    assert answer.headers.get("www-authenticate") == ("Bearer" if status == 401 else None)


@pytest.mark.parametrize("name", ["bug", "inside", "http"])
async def test_a_500_tells_nothing_but_where_in_the_log(
    server: LinkServer, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        answer = await server.admin.get(f"/api/v1/raise/{name}")
    assert SECRET not in answer.text
    assert "/home" not in answer.text
    assert answer.json()["error"]["request_id"] == answer.headers["x-request-id"]
    assert any(record.exc_info or record.levelno >= logging.ERROR for record in caplog.records)


async def test_a_body_that_breaks_the_schema_is_422_with_the_field_and_not_with_what_was_sent(
    server: LinkServer,
) -> None:
    answer = await server.admin.post("/api/v1/wish", json={"content": SECRET})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["field"]) == (422, "validation_error", "content")
    assert SECRET not in answer.text
    answer = await server.admin.post("/api/v1/wish", json={"content": "x", "olderThanDays": "soon"})
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, "olderThanDays")
    answer = await server.admin.post("/api/v1/wish", json={"content": "x", "older_than_days": False})
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, "older_than_days")
    answer = await server.admin.post("/api/v1/wish", json=[])
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "validation_error")
    answer = await server.admin.get("/api/v1/look", params={"limit": 101})
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, "limit")


async def test_bodies_are_read_by_every_name_that_clients_know(server: LinkServer) -> None:
    names = product(
        ("content", "text", "input"),
        ("older_than_days", "olderThanDays"),
        ("profile", "profile_name", "profileName"),
    )
    for text, days, profile in names:
        answer = await server.admin.post("/api/v1/wish", json={text: "hi", days: 3, profile: "work", "unknown": 1})
        assert answer.json() == {"content": "hi", "older_than_days": 3, "profile": "work"}, (text, days, profile)


async def test_a_fields_own_name_beats_its_others(server: LinkServer) -> None:
    answer = await server.admin.post("/api/v1/wish", json={"input": "c", "text": "b", "content": "a"})
    assert answer.json()["content"] == "a"


async def test_queries_too(server: LinkServer) -> None:
    for word, place in product(("q", "query", "keyword"), ("cursor", "after")):
        answer = await server.admin.get("/api/v1/look", params={word: "x", place: "abc", "limit": 5})
        assert answer.json() == {"q": "x", "cursor": "abc", "limit": 5}, (word, place)


async def test_answers_keep_their_case_and_say_ok(server: LinkServer) -> None:
    assert (await server.admin.get("/api/v1/snake")).json() == {"ok": True, "some_name": "x"}
    assert (await server.admin.get("/api/v1/camel")).json() == {"ok": True, "someName": "x"}


async def test_every_route_has_options_and_every_get_a_head(server: LinkServer) -> None:
    by_path: dict[str, set[str]] = {}
    for method, path in rows_of(GROUPS):
        by_path.setdefault(path.replace("{", "").replace("}", ""), set()).add(method)
    for path, methods in by_path.items():
        answer = await server.admin.options(path)
        assert answer.status_code == 204, path
        allowed = set(answer.headers["allow"].split(", "))
        assert allowed >= {*methods, "OPTIONS"}
        assert ("HEAD" in allowed) == ("GET" in allowed)
        missing = next(iter({"PUT", "TRACE"} - allowed))
        refused = await server.admin.request(missing, path)
        assert (refused.status_code, refused.json()["error"]["code"]) == (405, "method_not_allowed")
        assert set(refused.headers["allow"].split(", ")) == allowed


async def test_a_head_is_its_get_without_the_body(server: LinkServer) -> None:
    get = await server.client.get("/api/v1/system/version")
    head = await server.client.head("/api/v1/system/version")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == get.headers["content-length"]


async def test_a_head_of_what_fails_is_its_error_without_the_body(server: LinkServer) -> None:
    answer = await server.admin.head("/api/v1/raise/missing")
    assert (answer.status_code, answer.content) == (404, b"")
    assert (await server.admin.get("/api/v1/raise/missing")).status_code == 404


async def test_a_slash_behind_a_path_is_another_path(server: LinkServer) -> None:
    assert (await server.admin.get("/api/v1/system/version/")).status_code == 404
    assert (await server.admin.get("//api/v1/system/version")).status_code == 404


def test_every_class_of_error_has_a_status() -> None:
    assert {status_of(kind("x")) for kind in STATUSES} == set(STATUSES.values())
    assert all(400 <= status < 600 for status in CODES.values())
    assert error_body(NotFound("no", param="id"))["error"] == {"code": "not_found", "message": "no", "field": "id"}
