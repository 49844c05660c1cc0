"""Every route of the table, over a socket of a real gateway: who is let in, what is refused and how, and that what
comes back is what /openapi.json says.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from hermes.api import headers as names
from hermes.api.auth import Scope
from hermes.api.pages.openapi import documentation_of, operation_id
from hermes.api.pages.openapi_parts import STARTS_A_RUN
from hermes.api.routes import ROUTES, ApiRoute
from hermes.http.headers import SECURITY_HEADERS
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway, StartGateway, make_gateway
from tests.support.calls import CALLS, SCRIPT, STREAMED, started
from tests.support.crossing import OWNED, make_one_of_each

ORIGIN = "https://chat.example.com"
SERVED = [route for route in ROUTES if route.method != "WEBSOCKET"]
KEYED = [route for route in SERVED if route.scope is not None]
WITH_JSON = [
    route
    for route in KEYED
    if (documentation := documentation_of(route)) and documentation.body is not None and route.takes == "json"
]
INCLUDES = {Scope.READ: {Scope.READ}, Scope.CHAT: {Scope.READ, Scope.CHAT}, Scope.ADMIN: set(Scope)}
NO_JSON = {
    "cut": b"{",
    "a word": b"nothing",
    "no UTF-8": b"\xff\xfe",
    "NaN": b'{"a": NaN}',
    "101 deep": b'{"a":' * 101 + b"1" + b"}" * 101,
    "5000 open": b"[" * 5000,
}
SAID = {"role": "user", "content": "hello"}
START_BODIES: dict[str, dict[str, Any]] = {
    "chat_completions": {"messages": [SAID]},
    "responses": {"input": "hello"},
    "responses_compact": {"model": "hermes-agent", "input": [{"type": "message", **SAID}]},
    "runs": {"input": "hello"},
    "session_chat": {"message": "hello"},
    "session_chat_stream": {"message": "hello"},
}
REFUSED = {"message": "Invalid API key", "type": "invalid_request_error", "param": None, "code": "invalid_api_key"}
NOBODYS = {name: f"{name}_{'0' * 32}" for name in OWNED} | {"model_id": "hermes-agent"}


def named(route: ApiRoute) -> str:
    return f"{route.method} {route.path}"


every_route = pytest.mark.parametrize("route", SERVED, ids=named)
every_keyed_route = pytest.mark.parametrize("route", KEYED, ids=named)
every_json_route = pytest.mark.parametrize("route", WITH_JSON, ids=named)


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory, module_database: str | None) -> Iterator[Gateway]:
    """One gateway for all of them. A page of ORIGIN may call it."""
    with ScriptedModelServer(SCRIPT) as model:
        config = {"api_server": {"cors_origins": [ORIGIN]}, "approvals": {"timeout": 300}}
        gateway = make_gateway(tmp_path_factory.mktemp("walk"), model, config, database_url=module_database).start()
        yield gateway
        gateway.close()


@pytest.fixture(scope="module")
def keys(walked: Gateway) -> dict[Scope, str]:
    """A named key of each scope."""
    return {scope: _made_key(walked, scope) for scope in Scope}


def _made_key(gateway: Gateway, scope: Scope) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "hermes", "keys", "add", f"walk-{scope.value}", "--scope", scope.value, "--json"],
        env=gateway.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    key: str = json.loads(done.stdout)["key"]
    return key


@pytest.fixture(scope="module")
def ids(walked: Gateway) -> dict[str, str]:
    """A thing of each kind that is there."""
    return NOBODYS | make_one_of_each(walked.client)


@pytest.fixture(scope="module")
def document(walked: Gateway) -> dict[str, Any]:
    found: dict[str, Any] = walked.client.get("/openapi.json").json()
    return found


@pytest.fixture
def anybody(walked: Gateway) -> Iterator[httpx.Client]:
    """A client without a key."""
    with httpx.Client(base_url=walked.url, timeout=30) as client:
        yield client


def path_of(route: ApiRoute, ids: dict[str, str] = NOBODYS) -> str:
    """With ids that nothing has, unless some are given."""
    return route.path.format_map(ids)


def assert_headers(response: httpx.Response) -> None:
    own = {"cache-control", "content-security-policy", "cross-origin-resource-policy"}
    for name, value in SECURITY_HEADERS:
        if name.decode() not in own:
            assert response.headers[name.decode()] == value.decode()
    assert "frame-ancestors 'none'" in response.headers["content-security-policy"]
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert "unsafe" not in response.headers["content-security-policy"]
    assert "server" not in response.headers
    assert response.headers["x-request-id"]


def assert_error(response: httpx.Response, document: dict[str, Any], route: ApiRoute, status: int, code: str) -> None:
    """The envelope, and a code that the document gives this route."""
    assert response.headers["content-type"] == "application/json"
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (status, code), response.text
    assert set(error) == {"message", "type", "param", "code"}
    assert_headers(response)
    told = document["paths"][route.path][route.method.lower()]["responses"]
    assert code in told[str(status)]["x-hermes-codes"]


# --- what comes back is what is documented ---


def test_every_route_is_documented_and_has_a_call_here() -> None:
    assert [named(route) for route in SERVED if documentation_of(route) is None] == []
    assert [named(route) for route in ROUTES if not (route.resolve().__doc__ or "").strip()] == []
    assert set(CALLS) == {operation_id(route) for route in SERVED}


@every_route
def test_a_good_call_answers_what_the_document_says(walked: Gateway, route: ApiRoute) -> None:
    documentation = documentation_of(route)
    assert documentation is not None
    response = CALLS[operation_id(route)](walked.client)
    assert response.status_code == documentation.status, response.text
    assert_headers(response)
    if documentation.answer is not None:
        assert response.headers["content-type"] == "application/json"
        documentation.answer.model_validate_json(response.content, strict=True)
    elif documentation.media_type != "*/*":
        assert response.headers["content-type"].partition(";")[0] == documentation.media_type
    if route.name in STARTS_A_RUN:
        assert response.headers["x-hermes-session-id"]
        assert response.headers["x-hermes-run-id"].startswith("run_")


@pytest.mark.parametrize(
    "route", [route for route in SERVED if getattr(documentation_of(route), "also", ())], ids=named
)
def test_a_route_that_may_stream_does(walked: Gateway, route: ApiRoute) -> None:
    response = STREAMED[operation_id(route)](walked.client)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].partition(";")[0] == "text/event-stream"
    assert_headers(response)


def test_every_true_capability_is_one_of_a_route_that_was_called(walked: Gateway) -> None:
    told = walked.client.get("/v1/capabilities").json()
    true = {name for name, value in told["features"].items() if value is True} - {"idempotency", "cors"}
    assert true == {feature for route in ROUTES for feature in route.features}
    assert told["endpoints"] == {r.name: {"method": r.method, "path": r.path} for r in ROUTES if r.name}
    assert told["features"]["cors"] is True


@pytest.mark.parametrize("route", [route for route in SERVED if route.name in STARTS_A_RUN], ids=named)
def test_a_run_is_started_once_for_one_idempotency_key(walked: Gateway, route: ApiRoute) -> None:
    with httpx.Client(base_url=walked.url, headers=walked.client.headers, timeout=30) as client:
        made = client.post("/api/sessions", json={}).json()["session"]["id"]
        path = route.path.format(session_id=made)
        body = START_BODIES[route.name]
        key = {"Idempotency-Key": f"once-{route.name}"}
        first, again = [client.post(path, json=body, headers=key) for _ in range(2)]
        assert (first.status_code, again.status_code) == (documentation_of(route).status,) * 2  # type: ignore[union-attr]
        assert again.headers["x-hermes-run-id"] == first.headers["x-hermes-run-id"]
        assert (first.headers.get("idempotency-replayed"), again.headers["idempotency-replayed"]) == (None, "true")
        other = client.post(path, json={**body, "instructions": "x"}, headers=key)
        assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_key_conflict")


# --- who is let in ---


@every_keyed_route
@pytest.mark.parametrize("sent", [{}, {"Authorization": "Bearer wrong"}, {"x-api-key": "wrong"}], ids=str)
def test_without_the_right_key_there_is_nothing(
    anybody: httpx.Client, document: dict[str, Any], route: ApiRoute, sent: dict[str, str]
) -> None:
    response = anybody.request(route.method, path_of(route), headers=sent)
    assert_error(response, document, route, 401, "invalid_api_key")
    assert response.json()["error"] == REFUSED
    assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("route", [route for route in SERVED if route.scope is None], ids=named)
def test_a_public_page_says_nothing_of_this_server(anybody: httpx.Client, walked: Gateway, route: ApiRoute) -> None:
    response = anybody.get(route.path)
    assert response.status_code == 200
    assert_headers(response)
    for secret in (walked.key, str(walked.home), str(walked.workdir)):
        assert secret not in response.text


def test_the_files_of_the_page_are_public_by_name_only(anybody: httpx.Client, walked: Gateway) -> None:
    for path in ("/docs/redoc.standalone.js", "/docs/../auth.py", "/docs/%2e%2e/auth.py", "/docs/", "/docs/docs.js/"):
        assert anybody.get(path).status_code == 401
        assert walked.client.get(path).status_code == 404


@every_keyed_route
@pytest.mark.parametrize("has", Scope)
def test_a_key_reaches_as_far_as_its_scope(
    walked: Gateway, keys: dict[Scope, str], document: dict[str, Any], route: ApiRoute, has: Scope
) -> None:
    with httpx.Client(base_url=walked.url, headers={"Authorization": f"Bearer {keys[has]}"}, timeout=30) as client:
        body: list[Any] | None = None if route.method in ("GET", "DELETE") else []
        response = client.request(route.method, path_of(route), json=body)
    if route.scope in INCLUDES[has]:
        assert response.status_code not in (401, 403), response.text
        assert response.status_code < 500
    else:
        assert_error(response, document, route, 403, "insufficient_scope")


# --- methods ---


@pytest.mark.parametrize("route", [route for route in SERVED if route.method == "GET"], ids=named)
def test_head_is_get_without_the_body_unless_it_streams(walked: Gateway, route: ApiRoute) -> None:
    head = walked.client.head(path_of(route))
    assert head.content == b""
    assert_headers(head)
    if route.is_stream:
        assert (head.status_code, "GET" in head.headers["allow"]) == (405, True)
    else:
        got = walked.client.get(path_of(route))
        assert head.status_code == got.status_code
        assert head.headers["content-type"] == got.headers["content-type"]


@every_route
def test_options_lists_the_methods_and_another_one_is_405(walked: Gateway, route: ApiRoute) -> None:
    options = walked.client.options(path_of(route))
    assert (options.status_code, options.content) == (204, b"")
    assert_headers(options)
    allowed = options.headers["allow"].split(", ")
    assert {route.method, "OPTIONS"} <= set(allowed)
    for method in {"GET", "PUT", "PATCH", "DELETE", "POST", "TRACE", "PROPFIND"} - set(allowed):
        response = walked.client.request(method, path_of(route))
        assert (response.status_code, response.json()["error"]["code"]) == (405, "method_not_allowed")
        assert response.headers["allow"] == options.headers["allow"]
        assert_headers(response)


# --- bodies ---


@every_json_route
@pytest.mark.parametrize("body", NO_JSON.values(), ids=NO_JSON.keys())
def test_what_is_no_json_or_too_deep_is_400(
    walked: Gateway, document: dict[str, Any], ids: dict[str, str], route: ApiRoute, body: bytes
) -> None:
    response = walked.client.request(
        route.method, path_of(route, ids), content=body, headers={"Content-Type": "application/json"}
    )
    assert_error(response, document, route, 400, "invalid_json")


@every_json_route
@pytest.mark.parametrize("body", [[], None, "text", 1, True, [{}]], ids=repr)
def test_json_that_is_no_object_is_400(
    walked: Gateway, document: dict[str, Any], ids: dict[str, str], route: ApiRoute, body: object
) -> None:
    response = walked.client.request(
        route.method, path_of(route, ids), content=json.dumps(body), headers={"Content-Type": "application/json"}
    )
    assert_error(response, document, route, 400, "invalid_request")


@every_json_route
@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": ""},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ],
    ids=str,
)
def test_another_content_type_is_415(
    walked: Gateway, document: dict[str, Any], ids: dict[str, str], route: ApiRoute, headers: dict[str, str]
) -> None:
    response = walked.client.request(route.method, path_of(route, ids), content=b"{}", headers=headers)
    assert_error(response, document, route, 415, "unsupported_media_type")


@every_keyed_route
def test_a_body_over_the_limit_is_refused_by_its_length_alone(
    walked: Gateway, document: dict[str, Any], ids: dict[str, str], route: ApiRoute
) -> None:
    limit = (50 if route.takes == "upload" else 10) * 1024 * 1024
    answer = raw(walked, route, ids, f"Content-Length: {limit + 1}\r\n")
    assert_error(answer, document, route, 413, "body_too_large")


@every_json_route
def test_a_body_without_a_length_is_counted_as_it_comes(
    walked: Gateway, document: dict[str, Any], ids: dict[str, str], route: ApiRoute
) -> None:
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    answer = raw(walked, route, ids, "Transfer-Encoding: chunked\r\n", chunk * 11)
    assert_error(answer, document, route, 413, "body_too_large")


def raw(gateway: Gateway, route: ApiRoute, ids: dict[str, str], more: str, body: bytes = b"") -> httpx.Response:
    """The answer to a head and a body as they stand here; a body that is refused on its way is not sent to its end."""
    address = urlsplit(gateway.url)
    head = (
        f"{route.method} {path_of(route, ids)} HTTP/1.1\r\nHost: {address.netloc}\r\nConnection: close\r\n"
        f"Authorization: Bearer {gateway.key}\r\nContent-Type: application/json\r\n{more}\r\n"
    )
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        with suppress(ConnectionError):  # it has answered and closed
            connection.sendall(head.encode() + body)
        answer = connection.makefile("rb")
        status = int(answer.readline().split()[1])
        lines = [line.decode("latin-1").strip() for line in iter(answer.readline, b"\r\n")]
        headers = [tuple(line.split(": ", 1)) for line in lines]
        length = next(int(value) for name, value in headers if name.lower() == "content-length")
        return httpx.Response(status, headers=headers, content=answer.read(length))  # type: ignore[arg-type]


# --- the request's id, and pages of other origins ---


@every_route
def test_a_request_id_comes_back(walked: Gateway, route: ApiRoute) -> None:
    headers = {"X-Request-Id": "walk-1.a:b"}
    response = walked.client.request(route.method, path_of(route), headers=headers)
    assert response.headers["x-request-id"] == "walk-1.a:b"


@every_route
def test_a_page_of_a_listed_origin_may_read_every_answer(walked: Gateway, route: ApiRoute) -> None:
    headers = {"Origin": ORIGIN, "Sec-Fetch-Site": "cross-site"}
    response = walked.client.request(route.method, path_of(route), headers=headers)
    assert response.status_code != 403
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert "access-control-allow-credentials" not in response.headers
    exposed = response.headers["access-control-expose-headers"].split(", ")
    ours = {value for name, value in vars(names).items() if name.isupper() and str(value).startswith("X-Hermes-")}
    assert (ours - {names.DETACH, names.TOOL_ITEMS}) | {"Retry-After", "X-Request-Id"} <= set(exposed)


@every_route
def test_a_page_of_another_origin_reads_nothing_and_writes_nothing(walked: Gateway, route: ApiRoute) -> None:
    headers = {"Origin": "https://evil.example"}
    response = walked.client.request(route.method, path_of(route), headers=headers)
    assert not any(name.startswith("access-control-") for name in response.headers)
    refused = (response.status_code, "origin_not_allowed" in response.text) == (403, True)
    assert refused == (route.method != "GET")


@every_route
def test_a_preflight_needs_no_key_and_names_what_may_be_sent(anybody: httpx.Client, route: ApiRoute) -> None:
    asked = {"Origin": ORIGIN, "Access-Control-Request-Method": route.method}
    granted = anybody.options(path_of(route), headers={**asked, "Access-Control-Request-Headers": "x-stainless-os"})
    assert (granted.status_code, granted.headers["access-control-max-age"]) == (204, "600")
    assert route.method in granted.headers["access-control-allow-methods"]
    allowed = {name.lower() for name in granted.headers["access-control-allow-headers"].split(", ")}
    sent = {"authorization", "content-type", "idempotency-key", "last-event-id", "x-request-id", "x-api-key"}
    assert sent | {"x-hermes-session-id", "x-hermes-session-key", "x-hermes-detach", "x-hermes-tool-items"} <= allowed
    assert "x-stainless-os" in allowed
    assert_headers(granted)
    refused = anybody.options(path_of(route), headers={**asked, "Origin": "https://evil.example"})
    assert refused.status_code == 403
    assert not any(name.startswith("access-control-") for name in refused.headers)


# --- the WebSocket rows, and the end ---


@pytest.mark.parametrize("route", [route for route in ROUTES if route.method == "WEBSOCKET"], ids=named)
@pytest.mark.parametrize("key", [None, "wrong"])
def test_a_socket_is_not_opened_without_the_key(walked: Gateway, route: ApiRoute, key: str | None) -> None:
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with pytest.raises(InvalidStatus) as refused:
        connect(walked.url.replace("http", "ws", 1) + route.path, additional_headers=headers)
    assert refused.value.response.status_code in (401, 403)


def test_a_gateway_that_stops_starts_nothing_more_and_says_when_to_come_back(
    start_gateway: StartGateway, model: ScriptedModelServer
) -> None:
    model.add(*SCRIPT)
    gateway = start_gateway()
    client = gateway.client
    session_id = client.post("/api/sessions", json={}).json()["session"]["id"]
    started(client, "hang", "running")
    assert gateway.process is not None
    gateway.process.terminate()
    while client.get("/health/detailed").json()["gateway_state"] != "draining":
        pass
    for route in [route for route in SERVED if route.name in STARTS_A_RUN]:
        refused = client.post(route.path.format(session_id=session_id), json=START_BODIES[route.name])
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "gateway_draining"), named(route)
        assert int(refused.headers["retry-after"]) >= 1
