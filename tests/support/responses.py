"""/v1/responses over a real socket, with the real runner behind it. All that comes back is checked by the schema."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from hermes.api.auth import KeyRing, OwnerKey, Principal, digest_of
from hermes.api.services import ApiSettings, Services
from hermes.core.clock import Clock, SystemClock
from hermes.core.model import Model
from hermes.files import Files
from hermes.runs.runner import Runner, RunnerSettings
from hermes.store.database import Database
from tests.support.api import KEY, Server, make_services, serving, sse_events
from tests.support.database import new_url
from tests.support.engine import open_runner
from tests.support.openresponses import check_response, check_stream
from tests.support.tools import EchoTool

OTHER_KEY = "o" * 20 + "0123456789abcdef"

Event = dict[str, Any]


class TwoKeys:
    """The owner's key and somebody else's."""

    async def find(self, digest: bytes) -> Principal | None:
        if digest == digest_of(OTHER_KEY.encode()):
            return Principal("other", "other")
        return await OwnerKey(KEY).find(digest)


@dataclass
class Responses:
    server: Server
    runner: Runner
    database: Database

    @property
    def client(self) -> httpx.AsyncClient:
        return self.server.client

    async def post(self, body: Any, headers: Mapping[str, str] | None = None) -> httpx.Response:
        return await self.client.post("/v1/responses", json=body, headers=headers)

    async def create(self, text: Any = "Hi", headers: Mapping[str, str] | None = None, **fields: Any) -> dict[str, Any]:
        answer = await self.post({"input": text, **fields}, headers)
        assert answer.status_code == 200, answer.text
        response: dict[str, Any] = answer.json()
        check_response(response)
        return response

    async def stream(self, text: Any = "Hi", headers: Mapping[str, str] | None = None, **fields: Any) -> list[Event]:
        answer = await self.post({"input": text, "stream": True, **fields}, headers)
        assert answer.status_code == 200, answer.text
        return read_stream(answer.text)

    async def get(self, response_id: str, **query: Any) -> dict[str, Any]:
        answer = await self.client.get(f"/v1/responses/{response_id}", params=query)
        assert answer.status_code == 200, answer.text
        response: dict[str, Any] = answer.json()
        check_response(response)
        return response

    async def resume(self, response_id: str, after: int | None = None) -> list[Event]:
        query = {"stream": "true"} | ({} if after is None else {"starting_after": str(after)})
        answer = await self.client.get(f"/v1/responses/{response_id}", params=query)
        assert answer.status_code == 200, answer.text
        return read_stream(answer.text, 0 if after is None else after + 1)


def read_stream(body: str, first: int = 0) -> list[Event]:
    """Checked one by one. The last line is [DONE]."""
    sent = sse_events(body)
    assert sent.pop().data == "[DONE]"
    assert [one.event for one in sent] == [one.data["type"] for one in sent]
    events = [one.data for one in sent]
    check_stream(events, first)
    return events


def error_of(answer: httpx.Response) -> tuple[int, str, str | None]:
    """Status, code and param."""
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return answer.status_code, error["code"], error["param"]


def text_of(response: Mapping[str, Any]) -> str:
    return "".join(part["text"] for item in response["output"] if item["type"] == "message" for part in item["content"])


@asynccontextmanager
async def open_responses(
    model: Model,
    *tools: EchoTool,
    settings: ApiSettings | None = None,
    runner_settings: RunnerSettings | None = None,
    keys: KeyRing | None = None,
    clock: Clock | None = None,
    database: Database | None = None,
) -> AsyncIterator[Responses]:
    clock = clock or SystemClock()
    own = database is None
    database = database or await Database.open(new_url())
    async with open_runner(model, *tools, database=database, clock=clock, settings=runner_settings) as runner:
        services: Services = make_services(
            runner=runner,  # type: ignore[arg-type]
            database=database,
            files=Files(database, None, clock),
            clock=clock,
            keys=keys or OwnerKey(KEY),
            **({} if settings is None else {"settings": settings}),
        )
        async with serving(services) as server:
            yield Responses(server, runner, database)
    if own:
        await database.close()
