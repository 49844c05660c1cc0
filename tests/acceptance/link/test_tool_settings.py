"""Each setting of a tool's service that a phone can write is what the tool goes by, while the gateway runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import pytest

from hermes.models.script import Call, Step
from tests.acceptance.link.agent import NOT_LOOKED_AT, PROFILE, Agent, Change, Seen, as_it_was, running_agent
from tests.support.home_assistant import TOKEN, HomeAssistant
from tests.support.media_services import KEY, WAV, MediaServices
from tests.support.stand_in import NEVER, Answer, Asked, Pages, StandIn

pytestmark = [pytest.mark.sqlite("Link keeps its data in SQLite"), pytest.mark.slow]


def calls(tool: str, when: str, **arguments: Any) -> Step:
    return Step(when=when, after_tool=False, tool_calls=(Call(tool, arguments),))


SCRIPT = (
    calls("web_search", "^search", query="tea"),
    calls("web_extract", "^read (.+)", urls=["{{1}}"]),
    calls("image_generate", "^draw", prompt="A fox"),
    calls("text_to_speech", "^speak", text="Good day"),
    calls("speech_to_text", "^listen", audio="talk.wav"),
    calls("ha_list_entities", "^home", area="Kitchen"),
    Step(after_tool=True, text="{{tool}}"),
    Step(times=0, text="Hello."),
)


class Wiki(Pages):
    """A SearXNG, and what it finds."""

    def answer(self, asked: Asked) -> Answer:
        if asked.path == "/search":
            found = [
                {"title": f"Tea {number}", "url": f"{self.url}/{number}", "content": "Boil"} for number in range(5)
            ]
            return Answer.of({"results": found})
        return NEVER if asked.path == "/never" else super().answer(asked)


@dataclass
class Services:
    """Two of each: the settings say which is asked."""

    wiki: Wiki = field(default_factory=lambda: Wiki({"/tea": page(600), "/long": page(5_000)}))
    other_wiki: Wiki = field(default_factory=lambda: Wiki({}))
    studio: MediaServices = field(default_factory=MediaServices)
    other_studio: MediaServices = field(default_factory=MediaServices)
    house: HomeAssistant = field(default_factory=HomeAssistant)
    other_house: HomeAssistant = field(default_factory=HomeAssistant)


def page(words: int) -> Answer:
    return Answer(200, f"<html><body><p>{'tea ' * words}</p><p>the end</p></body></html>".encode(), "text/html")


SERVICES: dict[str, Services] = {}
"""Those of this module while it runs, by one name."""


def services() -> Services:
    return SERVICES["now"]


def asked_by(text: str, told: Callable[[Asked], Any]) -> Seen:
    """What the last request was that any of the services got for what is said; None where none did."""

    def seen(agent: Agent) -> Any:
        every = list(vars(services()).values())
        for service in every:
            service.asked.clear()
        agent.say(text, answer="once")
        last = [asked for service in every for asked in service.asked]
        return told(last[-1]) if last else None

    return seen


def host(asked: Asked) -> str:
    return asked.headers["host"]


def key(asked: Asked) -> str:
    return asked.headers["authorization"].removeprefix("Bearer ")


def output_has(text: str, wanted: str) -> Seen:
    return lambda agent: wanted in agent.say(agent.fill(text), answer="once").output


def after_silence(service: Callable[[], StandIn], text: str, wanted: str) -> Seen:
    """What is said of a service that does not answer."""

    def seen(agent: Agent) -> bool:
        service().next.append(NEVER)
        return wanted in agent.say(agent.fill(text), answer="once").output

    return seen


def is_configured(toolset: str) -> Seen:
    """As the gateway says that it can offer it."""

    def seen(agent: Agent) -> bool:
        listed = agent.gateway.client.get("/v1/toolsets").raise_for_status().json()["data"]
        return bool(next(one for one in listed if one["name"] == toolset)["configured"])

    return seen


WEB, HOME = "tool-configs/web", "tool-configs/homeassistant"
FOUND = {"values": {"searxngUrl": "{wiki}", "allowPrivateHosts": ["{wiki_host}"]}}
LIVES = {"values": {"url": "{house}"}, "env": {"HASS_TOKEN": TOKEN}}


def web(name: str, value: Any, seen: Seen, before: Any, after: Any, first: dict[str, Any] = FOUND) -> Change:
    return Change(f"values.{name}", {"values": {name: value}}, seen, before, after, WEB, first)


def of_service(tool: str, text: str) -> tuple[Change, ...]:
    """What pictures, recordings and voices have in common."""
    path, own = f"tool-configs/{tool}", f"{tool.upper()}_API_KEY"
    works = {"values": {"baseUrl": "{studio}", "model": "painter"}, "env": {own: KEY}}

    def change(name: str, value: Any, seen: Seen, before: Any, after: Any, first: dict[str, Any] = works) -> Change:
        return Change(f"values.{name}", {"values": {name: value}}, seen, before, after, path, first)

    return (
        change("model", "painter", is_configured(tool), False, True, {"values": {"baseUrl": "{studio}"}}),
        change("baseUrl", "{other_studio}", asked_by(text, host), "{studio_host}", "{other_studio_host}"),
        change("timeout", 0.3, after_silence(lambda: services().studio, text, "0.3"), NOT_LOOKED_AT, True),
        change("keyEnv", "STUDIO_KEY", asked_by(text, key), KEY, "sk-of-the-environment"),
        Change(f"env.{own}", {"env": {own: "sk-of-its-own"}}, asked_by(text, key), KEY, "sk-of-its-own", path, works),
        Change(
            "env.OPENAI_API_KEY",
            {"env": {"OPENAI_API_KEY": "sk-of-openai"}},
            is_configured(tool),
            False,
            True,
            path,
            {"values": {"model": "painter"}},
        ),
    )


def own_of(tool: str, text: str, name: str, value: Any, seen: Seen, before: Any, after: Any) -> Change:
    works = {"values": {"baseUrl": "{studio}", "model": "painter"}, "env": {f"{tool.upper()}_API_KEY": KEY}}
    return Change(f"values.{name}", {"values": {name: value}}, seen, before, after, f"tool-configs/{tool}", works)


TABLE = (
    web("searxngUrl", "{other_wiki}", asked_by("search", host), "{wiki_host}", "{other_wiki_host}"),
    web(
        "searchBackend",
        "ours",
        output_has("search", "web.search_backend names ours"),
        False,
        True,
        {"values": {"searchBackend": "theirs"}},
    ),
    web("region", "de-de", asked_by("search", lambda asked: parse_qs(asked.query).get("language")), None, ["de-DE"]),
    web("maxResults", 2, output_has("search", "Tea 2"), True, False),
    web("timeout", 0.3, output_has("read {wiki}/never", "0.3"), NOT_LOOKED_AT, True),
    web("maxMb", 0.01, output_has("read {wiki}/long", "the end"), True, False),
    web("outputCharacters", 300, lambda a: len(a.say(a.fill("read {wiki}/tea")).output) > 1500, True, False),
    web("allowPrivateHosts", [], output_has("read {wiki}/tea", "tea tea"), True, False),
    *of_service("image_gen", "draw"),
    *of_service("stt", "listen"),
    *of_service("tts", "speak"),
    own_of("image_gen", "draw", "size", "512x512", asked_by("draw", lambda a: a.json.get("size")), None, "512x512"),
    own_of("stt", "listen", "language", "de", asked_by("listen", lambda a: b'name="language"' in a.body), False, True),
    own_of("stt", "listen", "maxMb", 0.00001, output_has("listen", "Hello there."), True, False),
    own_of("tts", "speak", "voice", "nova", asked_by("speak", lambda a: a.json["voice"]), "alloy", "nova"),
    own_of("tts", "speak", "format", "wav", asked_by("speak", lambda a: a.json["response_format"]), "mp3", "wav"),
    Change(
        "values.url",
        {"values": {"url": "{other_house}"}},
        asked_by("home", host),
        "{house_host}",
        "{other_house_host}",
        HOME,
        LIVES,
    ),
    Change(
        "values.timeout",
        {"values": {"timeout": 0.3}},
        after_silence(lambda: services().house, "home", "0.3"),
        NOT_LOOKED_AT,
        True,
        HOME,
        LIVES,
    ),
    Change("env.HASS_TOKEN", {"env": {"HASS_TOKEN": "another"}}, asked_by("home", key), TOKEN, "another", HOME, LIVES),
    Change(
        "env.HASS_URL",
        {"env": {"HASS_URL": "{other_house}"}},
        asked_by("home", host),
        "{house_host}",
        "{other_house_host}",
        HOME,
        LIVES,
    ),
)


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    root = tmp_path_factory.mktemp("tools")
    config = {"approvals": {"mode": "off"}}
    made = Services()
    with made.wiki, made.other_wiki, made.studio, made.other_studio, made.house, made.other_house:
        every: dict[str, StandIn] = vars(made)
        places = {name: one.base_url if isinstance(one, MediaServices) else one.url for name, one in every.items()}
        places |= {f"{name}_host": one.host for name, one in every.items()}
        SERVICES["now"] = made
        with running_agent(root, SCRIPT, config, {"STUDIO_KEY": "sk-of-the-environment"}, places) as running:
            (running.gateway.workdir / "talk.wav").write_bytes(WAV)
            yield running
        SERVICES.clear()


@pytest.fixture(autouse=True)
def _as_it_was(agent: Agent) -> Iterator[None]:
    with as_it_was(agent):
        yield


@pytest.mark.parametrize("change", TABLE, ids=str)
def test_a_change_has_its_effect_with_the_next_run(agent: Agent, change: Change) -> None:
    change.check(agent)


def test_no_setting_of_a_tool_is_missing_here(agent: Agent) -> None:
    for tool in ("web", "image_gen", "stt", "tts", "homeassistant"):
        shown = agent.phone.get(f"{PROFILE}/tool-configs/{tool}")
        there = {*(f"values.{name}" for name in shown["values"]), *(f"env.{name}" for name in shown["configured"])}
        assert there == {change.names for change in TABLE if change.path == f"tool-configs/{tool}"}, tool
    for tool in ("messaging", "rl"):
        assert not agent.phone.get(f"{PROFILE}/tool-configs/{tool}")["available"], "it would have to be in the table"
