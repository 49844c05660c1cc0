"""Every route that takes an id, asked for somebody else's: the answer must be that for an id nobody has."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

import httpx

from hermes.api.routes import ROUTES, ApiRoute

BODIES: dict[str, object] = {
    "runs.approve": {"choice": "once"},
    "runs.steer": {"input": "stop that"},
    "runs.handlers.clarify": {"answer": "the red one"},
    "sessions.change": {"title": "mine now"},
    "session_chat.chat": {"message": "hello"},
    "session_chat.stream": {"message": "hello"},
    "jobs.change": {"name": "mine now"},
}
OWNED = ("run_id", "response_id", "session_id", "job_id", "file_id")


@dataclass(frozen=True)
class Crossed:
    """What an outsider hears of `route`, once of a thing that is there and once of one that is not."""

    route: ApiRoute
    foreign: httpx.Response
    unknown: httpx.Response
    foreign_id: str
    unknown_id: str

    @property
    def name(self) -> str:
        return f"{self.route.method} {self.route.path}"

    def problem(self) -> str | None:
        foreign = self.foreign.text.replace(self.foreign_id, "ID")
        unknown = self.unknown.text.replace(self.unknown_id, "ID")
        if self.unknown.status_code != 404 or self.foreign.status_code != 404:
            return f"{self.name}: foreign {self.foreign.status_code}, unknown {self.unknown.status_code}: {foreign}"
        return None if foreign == unknown else f"{self.name}: {foreign} is not {unknown}"


def id_routes() -> list[ApiRoute]:
    return [route for route in ROUTES if any(f"{{{name}}}" in route.path for name in OWNED)]


def make_one_of_each(client: httpx.Client, prefix: str = "") -> dict[str, str]:
    """A thing of each kind, made by this key: path parameter → id. The model answers anything."""
    file = client.post(f"{prefix}/v1/files", files={"file": ("a.txt", b"text")}, data={"purpose": "user_data"})
    response = client.post(f"{prefix}/v1/responses", json={"input": "hello"})
    session = client.post(f"{prefix}/api/sessions", json={})
    run = client.post(f"{prefix}/v1/runs", json={"input": "hello"})
    job = client.post(f"{prefix}/api/jobs", json={"name": "j", "schedule": "every 2h", "prompt": "hello"})
    for made in (file, response, session, run, job):
        assert made.status_code in (200, 201, 202), f"{made.request.url}: {made.text}"
    return {
        "file_id": file.json()["id"],
        "response_id": response.json()["id"],
        "session_id": session.json()["session"]["id"],
        "run_id": run.json()["run_id"],
        "job_id": job.json()["job"]["id"],
    }


def crossed(client: httpx.Client, ids: dict[str, str], prefix: str = "") -> list[Crossed]:
    return [_crossed(client, route, ids, prefix) for route in id_routes()]


def _crossed(client: httpx.Client, route: ApiRoute, ids: dict[str, str], prefix: str) -> Crossed:
    parameter = next(name for name in OWNED if f"{{{name}}}" in route.path)
    foreign_id = ids[parameter]
    unknown_id = re.sub(r"[0-9a-f]{8,}\Z", lambda found: secrets.token_hex(32)[: len(found[0])], foreign_id)
    assert unknown_id != foreign_id
    answers = [
        client.request(route.method, prefix + route.path.replace(f"{{{parameter}}}", one), json=_body(route))
        for one in (foreign_id, unknown_id)
    ]
    return Crossed(route, answers[0], answers[1], foreign_id, unknown_id)


def _body(route: ApiRoute) -> object:
    if route.method in ("GET", "DELETE"):
        return None
    handler = route.handler if isinstance(route.handler, str) else route.handler.__name__
    return BODIES.get(handler, BODIES.get(f"runs.{handler}", {}))
