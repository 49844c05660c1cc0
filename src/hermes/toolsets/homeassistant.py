"""The `ha_*` tools: what Home Assistant's REST API says of a home, and what it does there.

Which services pass without a question is in `hermes.agent.home_rules`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, field_serializer, field_validator

from hermes.core.errors import ToolFailed
from hermes.core.ports import Action, ActionKind, ToolContext, ToolResult
from hermes.core.redact import is_secret_name
from hermes.core.toolset import TOOLSETS
from hermes.toolsets import output
from hermes.toolsets.tool import Arguments, BaseTool, one_line
from hermes.toolsets.toolset import Toolset

MOST_BYTES = 16 << 20
MOST_ENTITIES = 200
LONGEST_STATE = 8_000
LONGEST_SERVICES = 12_000
LONGEST_DATA = 10_000
NAME = r"^[a-z0-9_]*$"
ENTITY = r"[a-z0-9_]+\.[a-z0-9_]+"
SECRET_FIELDS = frozenset({"code", "pin"})
"""Fields of a service's data that open a door; hidden in questions, events and the allow-list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeServer:
    """`url` without a slash at its end. `way_out` is the command that sets the token."""

    url: str
    token: str = field(repr=False)
    way_out: str = ""
    timeout_seconds: float = 15.0

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc.rpartition("@")[2]

    async def get(self, path: str) -> Any:
        return await self.ask("GET", path)

    async def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The JSON of a 2xx. Raises Refused for a 4xx that is about the call, ToolFailed for all else."""
        text = await self.text(method, path, body)
        try:
            return json.loads(text)
        except ValueError as error:
            raise self.odd() from error

    async def text(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> str:
        import aiohttp

        from hermes import __version__

        headers = {"Authorization": f"Bearer {self.token}", "User-Agent": f"hermes-server/{__version__}"}
        try:
            async with asyncio.timeout(self.timeout_seconds):
                session = aiohttp.ClientSession(
                    cookie_jar=aiohttp.DummyCookieJar(), timeout=aiohttp.ClientTimeout(total=None), trust_env=False
                )
                asked = session.request(
                    method, f"{self.url}/api/{path}", json=body, headers=headers, allow_redirects=False
                )
                async with session, asked as answer:
                    data = bytearray()
                    async for chunk in answer.content.iter_chunked(1 << 16):
                        data += chunk
                        if len(data) > MOST_BYTES:
                            raise ToolFailed(f"{self.host} answers with more than {MOST_BYTES:,} bytes.")
                    text = data.decode("utf-8", "replace")
                    if 200 <= answer.status < 300:
                        return text
                    raise self._refused(answer.status, text)
        except TimeoutError as error:
            seconds = f"{self.timeout_seconds:g}"
            raise ToolFailed(
                f"{self.host} did not answer within {seconds} s (setting homeassistant.timeout). "
                "What was asked for may have been done: look at the state."
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            raise ToolFailed(
                f"{self.host} cannot be asked ({type(error).__name__}): does Home Assistant run at homeassistant.url?"
            ) from error

    def odd(self) -> ToolFailed:
        return ToolFailed(f"{self.host} gave an answer that is not Home Assistant's: mend homeassistant.url.")

    def _refused(self, status: int, text: str) -> ToolFailed:
        try:
            value = json.loads(text)
        except ValueError:
            value = None
        said = str(value["message"]) if isinstance(value, dict) and "message" in value else text
        said = one_line(said, 300)
        if status in (401, 403):
            what = "does not accept the token" if status == 401 else "does not let this token do it"
            return ToolFailed(f"{self.host} {what} ({status}). The owner can set it: {self.way_out}")
        if 300 <= status < 400:
            return ToolFailed(f"{self.host} redirects ({status}), which is not followed: mend homeassistant.url.")
        if 400 <= status < 500 and status != 429:
            return Refused(f"Home Assistant refused it ({status}): {said}", status)
        return ToolFailed(f"Home Assistant failed ({status}): {said}. Look at the state before you try again.")


class Refused(ToolFailed):
    """The call itself was wrong."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class _HomeTool:
    """What the four share."""

    def __init__(self, server: HomeServer | None) -> None:
        super().__init__()
        self._home = server

    @property
    def home(self) -> HomeServer:
        if self._home is None:
            raise ToolFailed("No Home Assistant is configured here.")
        return self._home

    async def states(self) -> list[dict[str, Any]]:
        found = await self.home.get("states")
        if not isinstance(found, list):
            raise self.home.odd()
        return [state for state in found if isinstance(state, dict) and isinstance(state.get("entity_id"), str)]


class ListEntitiesArguments(Arguments):
    domain: str = Field("", description="Such as light.", pattern=NAME)
    area: str = Field("", description="Name or id of a room.", max_length=200)


class ListEntitiesTool(_HomeTool, BaseTool[ListEntitiesArguments]):
    name = "ha_list_entities"
    description = "List the things of the home and their states."
    arguments = ListEntitiesArguments
    is_idempotent = True

    def summary(self, arguments: ListEntitiesArguments) -> str:
        return " in ".join(filter(None, (arguments.domain or "everything", arguments.area)))

    async def run(self, arguments: ListEntitiesArguments, context: ToolContext) -> ToolResult:
        states = await self.states()
        if arguments.area:
            inside = await self._of_area(arguments.area)
            states = [state for state in states if state["entity_id"] in inside]
        domains = sorted({state["entity_id"].partition(".")[0] for state in states})
        if arguments.domain:
            states = [state for state in states if state["entity_id"].startswith(f"{arguments.domain}.")]
        if not states:
            there = f" There are: {', '.join(domains)}." if domains else ""
            return ToolResult(f"There is nothing of that kind.{there}", preview="nothing")
        lines = [shown(state) for state in states[:MOST_ENTITIES]]
        if len(states) > MOST_ENTITIES:
            lines.append(f"[{len(states) - MOST_ENTITIES:,} more; narrow by domain or area]")
        return ToolResult("\n".join(lines), preview=f"{len(states)} things")

    async def _of_area(self, area: str) -> set[str]:
        """The REST API has no areas; its templates have."""
        template = "{{ {'entities': area_entities(area), 'areas': areas() | map('area_name') | list} | tojson }}"
        answer = await self.home.ask("POST", "template", {"template": template, "variables": {"area": area}})
        if not isinstance(answer, dict) or not isinstance(answer.get("entities"), list):
            raise self.home.odd()
        if not answer["entities"]:
            known = ", ".join(str(name) for name in answer.get("areas") or ())
            raise ToolFailed(f"area: {area!r} has nothing in it, or is no area; there are: {known or 'none'}.")
        return set(answer["entities"])


class GetStateArguments(Arguments):
    entity_id: str = Field(pattern=f"^{ENTITY}$")


class GetStateTool(_HomeTool, BaseTool[GetStateArguments]):
    name = "ha_get_state"
    description = "The state of one thing of the home, with all its attributes."
    arguments = GetStateArguments
    is_idempotent = True

    def summary(self, arguments: GetStateArguments) -> str:
        return arguments.entity_id

    async def run(self, arguments: GetStateArguments, context: ToolContext) -> ToolResult:
        try:
            state = await self.home.get(f"states/{arguments.entity_id}")
        except Refused as refused:
            if refused.status != 404:
                raise
            raise ToolFailed(f"There is no {arguments.entity_id}.{await self._near(arguments.entity_id)}") from refused
        if not isinstance(state, dict) or "state" not in state:
            raise self.home.odd()
        kept = {name: state.get(name) for name in ("entity_id", "state", "attributes", "last_changed", "last_updated")}
        text = json.dumps(kept, indent=1, ensure_ascii=False)
        return ToolResult(output.cut(text, LONGEST_STATE), preview=one_line(f"{state['state']}"))

    async def _near(self, entity_id: str) -> str:
        names = [state["entity_id"] for state in await self.states()]
        near = get_close_matches(entity_id, names, n=3, cutoff=0.5)
        return f" Did you mean {', '.join(near)}?" if near else " List what there is with ha_list_entities."


class ListServicesArguments(Arguments):
    domain: str = Field("", description="Such as light; with it, the fields of each service.", pattern=NAME)


class ListServicesTool(_HomeTool, BaseTool[ListServicesArguments]):
    name = "ha_list_services"
    description = "What can be done in the home, by domain."
    arguments = ListServicesArguments
    is_idempotent = True

    def summary(self, arguments: ListServicesArguments) -> str:
        return arguments.domain or "all domains"

    async def run(self, arguments: ListServicesArguments, context: ToolContext) -> ToolResult:
        found = await self.home.get("services")
        if not isinstance(found, list):
            raise self.home.odd()
        domains = {
            str(entry["domain"]): entry["services"]
            for entry in found
            if isinstance(entry, dict) and "domain" in entry and isinstance(entry.get("services"), dict)
        }
        if not arguments.domain:
            lines = [f"{domain}: {', '.join(services)}" for domain, services in sorted(domains.items())]
        elif arguments.domain not in domains:
            raise ToolFailed(f"domain: there is no {arguments.domain}; there are {', '.join(sorted(domains))}.")
        else:
            services = domains[arguments.domain]
            lines = [f"{arguments.domain}.{name}{_described(about)}" for name, about in services.items()]
        text = output.cut("\n".join(lines), LONGEST_SERVICES)
        return ToolResult(text, preview=f"{len(lines)} {'services' if arguments.domain else 'domains'}")


class CallServiceArguments(Arguments):
    domain: str = Field(pattern=r"^[a-z0-9_]+$")
    service: str = Field(pattern=r"^[a-z0-9_]+$")
    entity_id: str = Field("", description="One, or several with commas.", pattern=rf"^({ENTITY}( *, *{ENTITY})*)?$")
    data: dict[str, Any] = Field({}, description='Further fields, such as {"brightness_pct": 40}.')

    @field_validator("data")
    @classmethod
    def _without_what_has_a_place(cls, data: dict[str, Any]) -> dict[str, Any]:
        if "entity_id" in data:
            raise ValueError("entity_id is an argument of its own")
        if len(json.dumps(data)) > LONGEST_DATA:
            raise ValueError(f"has more than {LONGEST_DATA:,} characters")
        return data

    @field_serializer("data")
    def _as_shown(self, data: dict[str, Any]) -> Any:
        """In events."""
        return _without_codes(data)

    @property
    def entities(self) -> list[str]:
        return [entity.strip() for entity in self.entity_id.split(",") if entity.strip()]


class CallServiceTool(_HomeTool, BaseTool[CallServiceArguments]):
    name = "ha_call_service"
    description = "Do something in the home. Find service and fields with ha_list_services."
    arguments = CallServiceArguments

    def summary(self, arguments: CallServiceArguments) -> str:
        return service_text(arguments)

    def action(self, arguments: CallServiceArguments, context: ToolContext) -> Action:
        return Action(ActionKind.SERVICE, service_text(arguments))

    async def run(self, arguments: CallServiceArguments, context: ToolContext) -> ToolResult:
        path = f"services/{arguments.domain}/{arguments.service}"
        body = {**arguments.data, **({"entity_id": arguments.entities} if arguments.entities else {})}
        try:
            answer = await self.home.ask("POST", path, body)
        except Refused as refused:
            if "return_response" not in refused.message:
                raise
            answer = await self.home.ask("POST", f"{path}?return_response", body)  # nothing was done before
        changed, response = answer, None
        if isinstance(answer, dict):
            changed, response = answer.get("changed_states"), answer.get("service_response")
        if not isinstance(changed, list):
            raise self.home.odd()
        lines = [shown(state) for state in changed[:MOST_ENTITIES] if isinstance(state, dict) and "entity_id" in state]
        done = "Done. Now:" if lines else "Done; no state has changed yet." if response is None else "Done."
        if response is not None:
            lines.append(output.cut(json.dumps(response, ensure_ascii=False), LONGEST_STATE))
        return ToolResult("\n".join([done, *lines]), preview=one_line(service_text(arguments)))


def service_text(arguments: CallServiceArguments) -> str:
    """`light.turn_on light.kitchen {"brightness_pct": 40}`: what the rules read and a person is asked about."""
    said = [f"{arguments.domain}.{arguments.service}", ", ".join(arguments.entities)]
    if arguments.data:
        said.append(json.dumps(_without_codes(arguments.data), sort_keys=True, ensure_ascii=False))
    return " ".join(filter(None, said))


def shown(state: Mapping[str, Any]) -> str:
    attributes = state.get("attributes")
    attributes = attributes if isinstance(attributes, dict) else {}
    unit = attributes.get("unit_of_measurement")
    name = attributes.get("friendly_name")
    return one_line(
        f"{state['entity_id']}: {state.get('state')}{f' {unit}' if unit else ''}{f' ({name})' if name else ''}"
    )


def _described(about: Any) -> str:
    about = about if isinstance(about, dict) else {}
    said = f": {one_line(str(about['description']), 200)}" if about.get("description") else ""
    return "".join([said, *(f"\n  {line}" for line in _fields(about.get("fields")))])


def _fields(fields: Any) -> Iterable[str]:
    """Sections of fields (`advanced_fields`) are gone into."""
    for name, about in fields.items() if isinstance(fields, dict) else ():
        about = about if isinstance(about, dict) else {}
        if isinstance(about.get("fields"), dict):
            yield from _fields(about["fields"])
            continue
        required = " (required)" if about.get("required") is True else ""
        said = f": {one_line(str(about['description']), 120)}" if about.get("description") else ""
        yield f"{name}{required}{said}"


def _without_codes(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            name: "***" if str(name).lower() in SECRET_FIELDS or is_secret_name(str(name)) else _without_codes(inner)
            for name, inner in value.items()
        }
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_without_codes(item) for item in value]
    return value


def homeassistant_toolset(server: HomeServer | None, problem: str = "") -> Toolset:
    tools = (ListEntitiesTool(server), GetStateTool(server), ListServicesTool(server), CallServiceTool(server))
    return Toolset(TOOLSETS["homeassistant"], tools, problem, not problem)
