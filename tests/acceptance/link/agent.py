"""An agent beside a phone that changes its settings: what it does is looked at before and after."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hermes.models.script import Script
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway, make_gateway
from tests.acceptance.link.phone import Phone, ok
from tests.acceptance.link.process import make_link, tell_link

PROFILE = "/profiles/default"
NOT_LOOKED_AT: Any = object()
"""What was before would ask the whole internet, or wait for a minute."""


@dataclass(frozen=True)
class Said:
    output: str
    question: dict[str, Any] | None


@dataclass
class Agent:
    """The gateway as its clients see it, and a phone beside it. `places`: what `fill` puts for `{name}`."""

    gateway: Gateway
    model: ScriptedModelServer
    phone: Phone
    places: dict[str, str]

    def say(self, text: str, *, answer: str | None = "deny") -> Said:
        """In a session of its own. A question gets `answer`."""
        started = self.gateway.client.post("/v1/runs", json={"input": text}).raise_for_status().json()
        return self.follow(started["run_id"], answer=answer)

    def follow(self, run_id: str, *, answer: str | None = "deny") -> Said:
        question: dict[str, Any] | None = None
        event: dict[str, Any] = {}
        with self.gateway.client.stream("GET", f"/v1/runs/{run_id}/events") as stream:
            for line in stream.iter_lines():
                if not line.startswith("data: "):
                    continue
                event = json.loads(line[6:])
                if event["event"] == "approval.request":
                    question = event
                    if answer is not None:
                        choice = {"choice": answer}
                        self.gateway.client.post(f"/v1/runs/{run_id}/approval", json=choice).raise_for_status()
        assert event["event"] == "run.completed", event
        return Said(event["output"], question)

    def run(self, command: str) -> str:
        return self.say(f"run: {self.fill(command)}").output

    def fill(self, value: Any) -> Any:
        """With the places of this test for their names in braces."""
        text = json.dumps(value)
        for name, place in self.places.items():
            text = text.replace(f"{{{name}}}", place)
        return json.loads(text)

    def instructions(self) -> str:
        self.say("hello")
        return str(self.model.requests[-1]["messages"][0]["content"])

    def offered(self) -> set[str]:
        self.say("hello")
        return {tool["function"]["name"] for tool in self.model.requests[-1].get("tools", ())}

    def send(self, path: str, body: Any, method: str = "PATCH") -> dict[str, Any]:
        return ok(self.phone.client.request(method, path, json=self.fill(body)))


Seen = Callable[[Agent], Any]


@dataclass(frozen=True)
class Change:
    """`names`: the settings, as the document calls them. `path`: where below the profile. `first`: what has to be set
    for it to be seen at all. `needs`: why it cannot be seen here, empty where it can."""

    names: str
    body: dict[str, Any]
    seen: Seen
    before: Any
    after: Any
    path: str = "permissions"
    first: dict[str, Any] = field(default_factory=dict)
    needs: str = ""
    method: str = "PATCH"

    def __str__(self) -> str:
        return f"{self.path}:{self.names}"

    def check(self, agent: Agent) -> None:
        """Both looks, and the change between them."""
        if self.first:
            self._send(agent, self.first)
        if self.before is not NOT_LOOKED_AT:
            assert self.seen(agent) == agent.fill(self.before)
        self._send(agent, self.body)
        assert self.seen(agent) == agent.fill(self.after)

    def _send(self, agent: Agent, body: dict[str, Any]) -> None:
        agent.send(f"{PROFILE}/{self.path}", body, self.method)


@contextmanager
def running_agent(
    root: Path, script: Script, config: Mapping[str, Any], environ: Mapping[str, str], places: Mapping[str, str]
) -> Iterator[Agent]:
    with ScriptedModelServer(script) as model:
        gateway = make_gateway(root, model, config, environ).start()
        tell_link(gateway)
        link = make_link(root, gateway.home).start()
        try:
            yield Agent(gateway, model, link.phone(), {"root": str(root), **places})
        finally:
            link.close()
            gateway.close()


@contextmanager
def as_it_was(agent: Agent) -> Iterator[None]:
    """Behind it, the settings are again those that were there."""
    files = [agent.gateway.home / name for name in ("config.yaml", ".env")]
    kept = [file.read_text() for file in files]
    yield
    for file, text in zip(files, kept, strict=True):
        copy = file.with_name(f"{file.name}.kept")
        copy.write_text(text)
        copy.chmod(0o600)
        copy.replace(file)


def body_of(document: dict[str, Any], place: str, method: str = "patch") -> dict[str, Any]:
    operation = document["paths"][f"/api/v1/profiles/{{name}}/{place}"][method]
    found: dict[str, Any] = operation["requestBody"]["content"]["application/json"]["schema"]
    return found


def leaves(document: dict[str, Any], schema: dict[str, Any], above: str = "") -> Iterator[str]:
    """The dotted names of what holds no others."""
    for one in (schema, *schema.get("anyOf", ())):
        if "$ref" in one:
            named = document["components"]["schemas"][one["$ref"].rpartition("/")[2]]
            for name, inner in named["properties"].items():
                within = list(leaves(document, inner, f"{above}{name}."))
                yield from within or [f"{above}{name}"]
