from __future__ import annotations

import pytest

from hermes.agent.approval import Allowances
from hermes.agent.home_rules import ASKING, HARMLESS, RUNS_CODE
from hermes.agent.rules import Level, Verdict, classify
from hermes.core.ports import Action, ActionKind


def judge(text: str) -> Verdict:
    return classify(Action(ActionKind.SERVICE, text))


ALLOWED = [
    "light.turn_on light.kitchen",
    'light.turn_on light.kitchen, light.hall {"brightness_pct": 40}',
    'light.turn_off {"area_id": "kitchen"}',
    "media_player.volume_set media_player.tv",
    "fan.turn_on fan.bedroom",
    'weather.get_forecasts weather.home {"type": "daily"}',
    "homeassistant.turn_on light.kitchen",
    "homeassistant.toggle light.kitchen, fan.bedroom",
    "homeassistant.update_entity lock.front",
]
DANGEROUS = [
    *ASKING,
    "lock.unlock lock.front",
    "lock.lock lock.front",
    'scene.apply {"entities": {"lock.front": "unlocked"}}',
    "media_player.play_media media_player.tv",
    "homeassistant.turn_on switch.oven",
    "homeassistant.turn_off light.kitchen, switch.freezer",
    "homeassistant.turn_on",
    'homeassistant.turn_on light.kitchen {"area_id": "kitchen"}',
    "homeassistant.restart",
    "todo.remove_item todo.shopping",
    "light",
    "LIGHT.turn_on light.kitchen",
    "unheard.of",
    "",
]
BLOCKED = [
    "hassio.host_reboot",
    'hassio.addon_stdin {"addon": "ssh"}',
    "shell_command.backup",
    "python_script.x",
    "pyscript.x",
    "command_line.reload",
]


@pytest.mark.parametrize(
    ("text", "level"),
    [
        *((text, Level.ALLOWED) for text in ALLOWED),
        *((text, Level.DANGEROUS) for text in DANGEROUS),
        *((text, Level.BLOCKED) for text in BLOCKED),
    ],
)
def test_a_service_is_judged(text: str, level: Level) -> None:
    assert judge(text).level is level


def test_what_is_allowed_for_a_session_is_this_very_call() -> None:
    assert judge('lock.unlock lock.front {"x": 1}') == Verdict(
        Level.DANGEROUS,
        "home-service",
        "switches something in the home",
        'home-service: lock.unlock lock.front {"x": 1}',
        ('home-service: lock.unlock lock.front {"x": 1}',),
        ('lock.unlock lock.front {"x": 1}',),
    )


def test_no_domain_is_both_harmless_and_runs_code() -> None:
    assert not HARMLESS.keys() & RUNS_CODE.keys()


@pytest.mark.parametrize(
    ("entry", "text", "is_covered"),
    [
        ("home-service: climate.*", "climate.set_temperature climate.hall", True),
        ("home-service: scene.turn_on scene.movie", "scene.turn_on scene.movie", True),
        ("home-service", "lock.unlock lock.front", True),
        ("home-service: scene.turn_on scene.movie", "scene.turn_on scene.leave", False),
        ("home-service: scene.turn_on scene.movie", "scene.turn_on scene.movie, scene.leave", False),
        ("home-service: climate.*", "lock.unlock lock.front", False),
    ],
)
def test_the_allow_list_names_a_call_a_beginning_or_the_rule(entry: str, text: str, is_covered: bool) -> None:
    assert Allowances({entry}).covers("s1", judge(text).patterns) is is_covered
