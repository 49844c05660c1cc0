"""One good call for each route of the table, by the route's operation id, against a real gateway.

Each call makes what it needs first, so that they can be made in any order. The model's script is `SCRIPT`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx

from hermes.models.script import DEFAULT_SCRIPT, Call, Step

SCRIPT = (
    Step(when=r"^hang$", hang=True, text="I wait", times=0),
    Step(when=r"^delete (\S+)$", after_tool=False, tool_calls=(Call("terminal", {"command": "rm -rf {{1}}"}),)),
    Step(when="^which one$", after_tool=False, tool_calls=(Call("clarify", {"question": "Which one?"}),), times=0),
    *DEFAULT_SCRIPT,
)
DEADLINE_SECONDS = 20.0

Client = httpx.Client
Make = Callable[[Client], httpx.Response]

HI = {"messages": [{"role": "user", "content": "hello"}]}


def until(look: Callable[[], Any], what: str) -> Any:
    """What `look` gives as soon as it is true."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (found := look()):
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.01)
    return found


def started(client: Client, text: str = "hello", status: str | None = None) -> str:
    """A run's id, as soon as it has `status`."""
    made = client.post("/v1/runs", json={"input": text})
    assert made.status_code == 202, made.text
    run_id: str = made.json()["run_id"]
    if status is not None:
        until(lambda: client.get(f"/v1/runs/{run_id}").json()["status"] == status, f"a run that is {status}")
    return run_id


def response(client: Client, **fields: Any) -> str:
    made = client.post("/v1/responses", json={"input": "hello", **fields})
    assert made.status_code == 200, made.text
    found: str = made.json()["id"]
    return found


def session(client: Client) -> str:
    made = client.post("/api/sessions", json={"title": "a walk"})
    assert made.status_code == 201, made.text
    session_id: str = made.json()["session"]["id"]
    said = client.post(f"/api/sessions/{session_id}/chat", json={"message": "hello"})
    assert said.status_code == 200, said.text
    return session_id


def job(client: Client, **fields: Any) -> str:
    made = client.post("/api/jobs", json={"name": "walk", "schedule": "every 2h", "prompt": "hello", **fields})
    assert made.status_code == 200, made.text
    job_id: str = made.json()["job"]["id"]
    return job_id


def file(client: Client) -> str:
    made = client.post("/v1/files", files={"file": ("a.txt", b"some text")}, data={"purpose": "user_data"})
    assert made.status_code == 200, made.text
    file_id: str = made.json()["id"]
    return file_id


def get(path: str) -> Make:
    return lambda client: client.get(path)


def of_a_run(path: str, body: object = None, *, text: str = "hello", status: str = "completed") -> Make:
    def call(client: Client) -> httpx.Response:
        where = f"/v1/runs/{started(client, text, status)}{path}"
        return client.get(where) if body is None else client.post(where, json=body)

    return call


def of(kind: Callable[[Client], str], base: str, method: str, path: str = "", body: object = None) -> Make:
    return lambda client: client.request(method, f"{base}/{kind(client)}{path}", json=body)


def cancelled_response(client: Client) -> httpx.Response:
    return client.post(f"/v1/responses/{response(client, input='hang', background=True)}/cancel")


def compacted(client: Client) -> httpx.Response:
    items = [{"type": "message", "role": "user", "content": "hello"}]
    return client.post("/v1/responses/compact", json={"model": "hermes-agent", "input": items})


def uploaded(client: Client) -> httpx.Response:
    return client.post("/v1/files", files={"file": ("a.txt", b"some text")}, data={"purpose": "user_data"})


def resumed_job(client: Client) -> httpx.Response:
    return client.post(f"/api/jobs/{job(client, paused=True)}/resume")


def answered_question(client: Client) -> httpx.Response:
    run_id = started(client, "which one")
    until(lambda: client.get(f"/v1/runs/{run_id}").json()["clarifications"], "a run that asks")
    return client.post(f"/v1/runs/{run_id}/clarify", json={"answer": "the red one"})


CALLS: dict[str, Make] = {
    "chat_completions": lambda client: client.post("/v1/chat/completions", json=HI),
    "health": get("/health"),
    "get_v1_health": get("/v1/health"),
    "health_detailed": get("/health/detailed"),
    "models": get("/v1/models"),
    "model": get("/v1/models/hermes-agent"),
    "capabilities": get("/v1/capabilities"),
    "toolsets": get("/v1/toolsets"),
    "runs": lambda client: client.post("/v1/runs", json={"input": "hello"}),
    "run_list": get("/v1/runs"),
    "run_status": of_a_run("", text="delete old", status="waiting_for_approval"),
    "run_events": of_a_run("/events"),
    "run_approval": of_a_run("/approval", {"choice": "deny"}, text="delete old", status="waiting_for_approval"),
    "run_clarify": answered_question,
    "run_steer": of_a_run("/steer", {"input": "shorter"}, text="hang", status="running"),
    "run_stop": of_a_run("/stop", {}, text="hang", status="running"),
    "responses": lambda client: client.post("/v1/responses", json={"input": "hello"}),
    "responses_compact": compacted,
    "response": of(response, "/v1/responses", "GET"),
    "response_delete": of(response, "/v1/responses", "DELETE"),
    "response_cancel": cancelled_response,
    "response_input_items": of(response, "/v1/responses", "GET", "/input_items"),
    "sessions": lambda client: (session(client), client.get("/api/sessions"))[1],
    "session_create": lambda client: client.post("/api/sessions", json={}),
    "session_search": lambda client: (session(client), client.get("/api/sessions/search", params={"q": "hello"}))[1],
    "session": of(session, "/api/sessions", "GET"),
    "session_update": of(session, "/api/sessions", "PATCH", body={"title": "another walk"}),
    "session_delete": of(session, "/api/sessions", "DELETE"),
    "session_messages": of(session, "/api/sessions", "GET", "/messages"),
    "session_fork": of(session, "/api/sessions", "POST", "/fork", {}),
    "session_chat": of(session, "/api/sessions", "POST", "/chat", {"message": "run: echo hello"}),
    "session_chat_stream": of(session, "/api/sessions", "POST", "/chat/stream", {"message": "run: echo hello"}),
    "jobs": lambda client: (job(client), client.get("/api/jobs"))[1],
    "job_create": lambda client: client.post(
        "/api/jobs", json={"name": "walk", "schedule": "0 9 * * mon", "prompt": "hello"}
    ),
    "job": of(job, "/api/jobs", "GET"),
    "job_update": of(job, "/api/jobs", "PATCH", body={"prompt": "hello again"}),
    "job_delete": of(job, "/api/jobs", "DELETE"),
    "job_pause": of(job, "/api/jobs", "POST", "/pause"),
    "job_resume": resumed_job,
    "job_run": of(job, "/api/jobs", "POST", "/run"),
    "job_runs": of(job, "/api/jobs", "GET", "/runs"),
    "files": uploaded,
    "file_list": lambda client: (file(client), client.get("/v1/files"))[1],
    "file": of(file, "/v1/files", "GET"),
    "file_content": of(file, "/v1/files", "GET", "/content"),
    "file_delete": of(file, "/v1/files", "DELETE"),
    "skills": get("/v1/skills"),
    "metrics": get("/metrics"),
    "openapi": get("/openapi.json"),
    "get_docs": get("/docs"),
    "get_docs_swagger_ui_bundle_js": get("/docs/swagger-ui-bundle.js"),
    "get_docs_swagger_ui_css": get("/docs/swagger-ui.css"),
    "get_docs_docs_js": get("/docs/docs.js"),
    "get_docs_docs_css": get("/docs/docs.css"),
    "get": get("/"),
}

STREAMED: dict[str, Make] = {
    "chat_completions": lambda client: client.post("/v1/chat/completions", json={**HI, "stream": True}),
    "responses": lambda client: client.post("/v1/responses", json={"input": "hello", "stream": True}),
    "response": of(lambda client: response(client, background=True), "/v1/responses", "GET", "?stream=true"),
}
"""What the routes with a second form, a stream, are asked for it."""
