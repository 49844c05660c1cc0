"""The 97 published rows over the socket of a real Link: each is there, asks for the right token, answers in the form
that its model and the document say, and refuses with the codes that clients know.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import make_gateway
from tests.acceptance.link.phone import refused
from tests.acceptance.link.process import make_link, tell_link
from tests.acceptance.link.rows import BEYOND, ROWS, WRONGS, Row, Wrong, anonymous
from tests.acceptance.link.world import SCRIPT, World
from tests.support.tunnels import StandInTailscale

pytestmark = [pytest.mark.sqlite("Link keeps its data in SQLite"), pytest.mark.slow]

EVERY = ROWS + BEYOND
SECRET = [row for row in EVERY if row.access in {"chat", "admin"}]
SECURITY_HEADERS = ("content-security-policy", "x-content-type-options", "referrer-policy")

every_row = pytest.mark.parametrize("row", EVERY, ids=str)
every_secret_row = pytest.mark.parametrize("row", SECRET, ids=str)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root = tmp_path_factory.mktemp("rows")
    with ScriptedModelServer(SCRIPT) as model:
        gateway = make_gateway(root, model).start()
        tell_link(gateway)
        link = make_link(root, gateway.home)
        # at an address where nobody listens
        link.environ["PATH"] = StandInTailscale(root, name="127.77.88.99").environ["PATH"]
        link.start()
        yield World(link)
        link.close()
        gateway.close()


@pytest.fixture
def world(served: World) -> World:
    served.forget()
    return served


@pytest.fixture(scope="module")
def document(served: World) -> dict[str, Any]:
    found: dict[str, Any] = served.admin.client.get(f"{served.link.url}/api/openapi.json").json()
    return found


def test_the_table_is_the_published_one() -> None:
    assert len(ROWS) == len({str(row) for row in ROWS}) == 97
    assert Counter(row.method for row in ROWS) == {"GET": 44, "POST": 28, "PATCH": 14, "DELETE": 11}


@every_row
def test_it_is_there_and_in_the_document(world: World, document: dict[str, Any], row: Row) -> None:
    if row.kind == "html":
        return
    shape = anonymous(row.route)
    operations = [operations for path, operations in document["paths"].items() if anonymous(path) == shape]
    assert [row.method.lower() in one for one in operations] == [True]


@every_secret_row
def test_nobody_calls_it_without_a_token(world: World, row: Row) -> None:
    path = without_things(row.route)
    assert refused(world.ask(None, row.method, path, body={})) == (401, "auth_required")
    assert refused(world.ask("hlat_" + "x" * 43, row.method, path)) == (401, "device_access_token_invalid")
    assert refused(world.ask(world.admin.refresh_token, row.method, path)) == (401, "device_access_token_invalid")


@every_secret_row
def test_the_scope_chat_reaches_what_it_may_and_no_more(world: World, row: Row) -> None:
    answer = world.ask(world.chat.access, row.method, without_things(row.route), body={})
    if row.access == "admin":
        assert refused(answer) == (403, "scope_required")
    else:
        assert answer.status_code != 403, answer.text


def test_no_row_is_left_for_later(document: dict[str, Any]) -> None:
    answers = {status for path in document["paths"].values() for one in path.values() for status in one["responses"]}
    assert "501" not in answers and "200" in answers


@every_row
def test_a_right_call_gets_the_answer_that_clients_know(world: World, document: dict[str, Any], row: Row) -> None:
    path = world.fill(row.route)
    query, body = world.fill(dict(row.query)), world.fill(row.body)
    token = {"public": None, "connect": None, "machine": None, "chat": world.chat.access, "admin": world.admin.access}[
        row.access
    ]
    if row.access == "connect":
        world.of("pairing")
        token = world.of("code")

    answer = world.ask(token, row.method, path, query=query, body=body, content=row.content)

    assert answer.status_code == row.status, answer.text
    for name in SECURITY_HEADERS:
        assert name in answer.headers
    if row.method == "GET" and row.kind in {"json", "bare"}:
        assert "no-store" in answer.headers["cache-control"]
    match row.kind:
        case "html":
            assert answer.headers["content-type"].startswith("text/html")
        case "sse":
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert answer.headers["cache-control"] == "no-cache" and answer.headers["x-accel-buffering"] == "no"
        case "bytes":
            assert answer.content == b"text of blob"
        case "empty":
            assert answer.content == b""
        case _:
            found = answer.json()
            assert row.kind == "bare" or found["ok"] is True
            assert set(row.fields.split()) <= set(found), found
            assert model_of(document, row), "the route has no model"
            schema = {**model_of(document, row), "components": document["components"]}
            jsonschema_rs.Draft202012Validator(schema).validate(found)


@pytest.mark.parametrize("wrong", WRONGS, ids=str)
def test_a_wrong_call_gets_its_code(world: World, wrong: Wrong) -> None:
    path, query, body = world.fill(f"/api/v1{wrong.path}"), world.fill(dict(wrong.query)), world.fill(wrong.body)
    token = world.admin.access if wrong.token is None else wrong.token
    answer = world.ask(token, wrong.method, path, query=query, body=body, content=wrong.content)
    found = answer.json()
    assert (answer.status_code, found["error"]["code"], found["ok"]) == (wrong.status, wrong.code, False)
    assert isinstance(found["error"]["message"], str) and found["error"]["message"]


@every_row
def test_a_form_is_no_json(world: World, row: Row) -> None:
    if row.body is None:
        return
    path = without_things(row.route)
    headers = {"Content-Type": "text/plain", "Authorization": f"Bearer {world.admin.access}"}
    answer = world.admin.client.request(row.method, f"{world.link.url}{path}", headers=headers, content=b'{"a": 1}')
    assert refused(answer) == (415, "unsupported_media_type")


@pytest.mark.parametrize("path", sorted({row.route for row in EVERY}))
def test_another_method_is_told_which_there_are(world: World, path: str) -> None:
    shape = anonymous(path)
    methods = {row.method for row in EVERY if anonymous(row.route) == shape}
    answer = world.ask(world.admin.access, "PUT", without_things(path), body={})
    assert refused(answer) == (405, "method_not_allowed")
    assert methods <= set(re.split(r",\s*", answer.headers["allow"]))


def model_of(document: dict[str, Any], row: Row) -> dict[str, Any]:
    """The schema of its answer, which a named model gives."""
    shape = anonymous(row.route)
    [operations] = [operations for path, operations in document["paths"].items() if anonymous(path) == shape]
    answer = operations[row.method.lower()]["responses"][str(row.status)]
    found: dict[str, Any] = answer.get("content", {}).get("application/json", {}).get("schema", {})
    return found


def without_things(path: str) -> str:
    """With ids that nothing has."""
    return path.replace("{profile}", "default").format_map(NOBODYS)


NOBODYS = {
    name: f"{prefix}_{'0' * 32}"
    for name, prefix in {
        "conversation": "conv",
        "device": "dev",
        "revoked": "dev",
        "plan": "plan",
        "run": "run",
        "direct": "run",
        "approval": "appr",
        "blob": "blob",
        "job": "job",
        "skill": "skill",
        "tool": "tool",
        "archive_plan": "plan",
        "provider": "provider",
        "spare": "profile",
    }.items()
}
