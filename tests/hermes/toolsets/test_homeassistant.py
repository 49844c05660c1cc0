from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from hermes.agent.calls import arguments_data
from hermes.core.errors import ToolFailed
from hermes.core.ports import Action, ActionKind
from hermes.toolsets.homeassistant import HomeServer, homeassistant_toolset
from tests.support.home_assistant import TOKEN, HomeAssistant
from tests.support.stand_in import NEVER, Answer

from .conftest import Bench

WAY_OUT = "hermes config set HASS_TOKEN TOKEN"


@pytest.fixture
def home() -> Iterator[HomeAssistant]:
    with HomeAssistant() as home:
        yield home


@pytest.fixture
def tools(bench: Bench, home: HomeAssistant) -> Bench:
    server = HomeServer(url=home.url, token=TOKEN, way_out=WAY_OUT, timeout_seconds=5)
    bench.registry.add(homeassistant_toolset(server))
    return bench


async def answer(bench: Bench, name: str, **arguments: Any) -> list[str]:
    return (await bench.call(name, **arguments)).content.splitlines()


async def failure(bench: Bench, name: str, **arguments: Any) -> str:
    with pytest.raises(ToolFailed) as failed:
        await bench.call(name, **arguments)
    return failed.value.message


KITCHEN = ["light.kitchen: off (Kitchen light)", "sensor.kitchen_temperature: 21.5 °C (Temperature)"]


async def test_the_things_of_a_home_are_listed_by_domain_and_by_room(tools: Bench) -> None:
    everything = [KITCHEN[0], "light.hall: on", KITCHEN[1], "lock.front_door: locked (Front door)"]
    assert await answer(tools, "ha_list_entities") == everything
    assert await answer(tools, "ha_list_entities", domain="light") == [everything[0], everything[1]]
    assert await answer(tools, "ha_list_entities", area="Kitchen") == KITCHEN
    assert await answer(tools, "ha_list_entities", area="Kitchen", domain="light") == KITCHEN[:1]
    assert await answer(tools, "ha_list_entities", area="Hall", domain="light") == [
        "There is nothing of that kind. There are: lock."
    ]
    assert await failure(tools, "ha_list_entities", area="Cellar") == (
        "area: 'Cellar' has nothing in it, or is no area; there are: Kitchen, Hall."
    )


async def test_a_large_home_is_cut_and_says_so(tools: Bench, home: HomeAssistant) -> None:
    home.next.append(Answer.of([{"entity_id": f"sensor.s{n}", "state": "1"} for n in range(250)]))
    lines = await answer(tools, "ha_list_entities")
    assert (len(lines), lines[-1]) == (201, "[50 more; narrow by domain or area]")


async def test_a_state_comes_with_its_attributes_and_a_wrong_name_with_near_ones(tools: Bench) -> None:
    [text] = [(await tools.call("ha_get_state", entity_id="lock.front_door")).content]
    assert json.loads(text) == {
        "entity_id": "lock.front_door",
        "state": "locked",
        "attributes": {"friendly_name": "Front door"},
        "last_changed": "2026-01-01T00:00:00+00:00",
        "last_updated": "2026-01-01T00:00:00+00:00",
    }
    assert await failure(tools, "ha_get_state", entity_id="light.kitchn") == (
        "There is no light.kitchn. Did you mean light.kitchen, light.hall?"
    )


async def test_services_are_listed_and_described(tools: Bench) -> None:
    assert await answer(tools, "ha_list_services") == [
        "light: turn_on, turn_off",
        "lock: unlock, lock",
        "weather: get_forecasts",
    ]
    assert await answer(tools, "ha_list_services", domain="light") == [
        "light.turn_on: Turns on one or more lights.",
        "  brightness_pct: How bright.",
        "  flash: Flash.",
        "light.turn_off: Turns off.",
    ]
    assert await answer(tools, "ha_list_services", domain="lock") == ["lock.unlock", "  code (required)", "lock.lock"]
    assert "there are light, lock, weather" in await failure(tools, "ha_list_services", domain="cover")


async def test_a_service_is_called_and_what_changed_is_told(tools: Bench, home: HomeAssistant) -> None:
    call = {"domain": "light", "service": "turn_on", "entity_id": "light.kitchen, light.hall"}
    assert await answer(tools, "ha_call_service", **call, data={"brightness_pct": 40}) == [
        "Done. Now:",
        "light.kitchen: on (Kitchen light)",
    ]
    assert home.asked[-1].json == {"entity_id": ["light.kitchen", "light.hall"], "brightness_pct": 40}
    assert await answer(tools, "ha_call_service", **call) == ["Done; no state has changed yet."]


async def test_a_service_that_answers_is_asked_for_its_answer(tools: Bench, home: HomeAssistant) -> None:
    lines = await answer(tools, "ha_call_service", domain="weather", service="get_forecasts", data={"type": "daily"})
    assert lines == ["Done.", '{"weather.home": {"forecast": ["sun"]}}']
    assert [asked.query for asked in home.asked] == ["", "return_response"]


def test_the_gate_and_the_events_are_told_what_would_be_done_but_no_code(tools: Bench) -> None:
    tool = tools.tool("ha_call_service")
    call = {"domain": "lock", "service": "unlock", "entity_id": "lock.a,lock.b", "data": {"code": "1234", "x": [1]}}
    arguments = tool.parse(json.dumps(call))
    action = tool.action(arguments, tools.context())
    assert arguments_data(arguments) == {**call, "data": {"code": "***", "x": [1]}}
    assert arguments.data == {"code": "1234", "x": [1]}
    assert action == Action(ActionKind.SERVICE, 'lock.unlock lock.a, lock.b {"code": "***", "x": [1]}')


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ({"domain": "light", "service": "../../config"}, "service: "),
        ({"domain": "light", "service": "turn_on", "entity_id": "light"}, "entity_id: "),
        ({"domain": "light", "service": "turn_on", "data": {"entity_id": "lock.a"}}, "entity_id is an argument"),
        ({"domain": "light", "service": "turn_on", "data": {"x": "x" * 10_001}}, "more than 10,000 characters"),
    ],
)
def test_wrong_arguments_are_named(tools: Bench, call: dict[str, Any], said: str) -> None:
    with pytest.raises(ToolFailed, match=said):
        tools.tool("ha_call_service").parse(json.dumps(call))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            Answer(401, b"401: Unauthorized"),
            f"{{host}} does not accept the token (401). The owner can set it: {WAY_OUT}",
        ),
        (Answer(400, b"400: Bad Request"), "Home Assistant refused it (400): 400: Bad Request"),
        (
            Answer(500, b"500: Internal Server Error"),
            "Home Assistant failed (500): 500: Internal Server Error. Look at the state before you try again.",
        ),
        (Answer(429, b"slow"), "Home Assistant failed (429): slow. Look at the state before you try again."),
        (
            Answer(200, b"<html>A router</html>"),
            "{host} gave an answer that is not Home Assistant's: mend homeassistant.url.",
        ),
        (Answer.of({}), "{host} gave an answer that is not Home Assistant's: mend homeassistant.url."),
        (
            Answer(302, headers={"Location": "/"}),
            "{host} redirects (302), which is not followed: mend homeassistant.url.",
        ),
    ],
)
async def test_a_failure_says_what_can_be_done(tools: Bench, home: HomeAssistant, given: Answer, said: str) -> None:
    home.next.append(given)
    message = await failure(tools, "ha_call_service", domain="light", service="turn_on", entity_id="light.hall")
    assert message == said.format(host=home.host)
    assert len(home.asked) == 1, "what acts on the world is not tried twice"


async def test_a_home_that_is_slow_or_gone_is_said(bench: Bench, home: HomeAssistant) -> None:
    bench.registry.add(homeassistant_toolset(HomeServer(url=home.url, token=TOKEN, timeout_seconds=0.2)))
    home.next.append(NEVER)
    assert await failure(bench, "ha_list_entities") == (
        f"{home.host} did not answer within 0.2 s (setting homeassistant.timeout). "
        "What was asked for may have been done: look at the state."
    )
    bench.registry.add(homeassistant_toolset(HomeServer(url="http://127.0.0.1:1", token=TOKEN)))
    assert await failure(bench, "ha_list_entities") == (
        "127.0.0.1:1 cannot be asked (ClientConnectorError): does Home Assistant run at homeassistant.url?"
    )


async def test_a_stopped_call_ends_at_once(tools: Bench, home: HomeAssistant) -> None:
    home.next.append(NEVER)
    call = asyncio.create_task(tools.call("ha_list_entities"))
    await asyncio.to_thread(home.came.wait, 5)
    call.cancel()
    async with asyncio.timeout(1):
        with pytest.raises(asyncio.CancelledError):
            await call
