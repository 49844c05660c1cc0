"""The rules about services of a home (`ha_call_service`): what passes, what nothing lifts. Whatever stands in neither
table asks (docs/adr/0105)."""

from __future__ import annotations

import re
from collections.abc import Iterator

_SERVICE = re.compile(r"(?P<domain>[a-z0-9_]+)\.(?P<name>[a-z0-9_]+)(?P<rest>.*)", re.DOTALL)
_ENTITY = re.compile(r"([a-z0-9_]+)\.[a-z0-9_]+")

RUNS_CODE: dict[str, str] = {
    "hassio": "the machine itself: reboots, add-ons and what is typed into them",
    "shell_command": "commands for its shell",
    "command_line": "commands for its shell",
    "python_script": "Python",
    "pyscript": "Python",
}
"""Domain → what it reaches. A way around the gate for commands, on a machine where this server cannot look."""

HARMLESS: dict[str, tuple[str, ...]] = {
    "light": ("*",),
    "fan": ("*",),
    "media_player": (
        "turn_on",
        "turn_off",
        "toggle",
        "volume_up",
        "volume_down",
        "volume_set",
        "volume_mute",
        "media_play",
        "media_pause",
        "media_play_pause",
        "media_stop",
        "media_next_track",
        "media_previous_track",
        "media_seek",
        "select_source",
        "select_sound_mode",
        "shuffle_set",
        "repeat_set",
    ),
    "calendar": ("get_events",),
    "todo": ("get_items",),
    "weather": ("get_forecasts",),
    "homeassistant": ("update_entity",),
}
"""Domain → services that pass without a question: light, moving air, what is playing, and what only reads."""

GENERIC = ("turn_on", "turn_off", "toggle")
"""Of the domain `homeassistant`: they do to a thing what its own domain does, and are judged as that."""

ASKING: dict[str, str] = {
    "lock.unlock": "opens a door",
    "cover.open_cover": "may open a garage",
    "alarm_control_panel.alarm_disarm": "lets anybody in",
    "climate.set_temperature": "heats, or lets pipes freeze",
    "switch.turn_on": "what hangs on it is not known here: a lamp, an oven",
    "scene.turn_on": "a scene may hold locks and covers",
    "script.turn_on": "may do anything",
    "automation.turn_off": "may be what guards the home",
    "notify.mobile_app_phone": "says something to a person",
    "media_player.play_media": "gets any address, at any volume",
    "rest_command.send": "asks any address",
}
"""Examples, with the reason."""


def runs_code(text: str) -> bool:
    """`text` is an action's: `domain.service`, what it is done to, further data."""
    found = _SERVICE.fullmatch(text)
    return found is not None and found["domain"] in RUNS_CODE


def is_harmless(text: str) -> bool:
    found = _SERVICE.fullmatch(text)
    if found is None:
        return False
    domain, name, rest = found["domain"], found["name"], found["rest"]
    if domain == "homeassistant" and name in GENERIC:
        targets = list(_targets(rest))
        return "{" not in rest and bool(targets) and all(_has(target, name) for target in targets)
    return _has(domain, name)


def _has(domain: str, name: str) -> bool:
    return bool({"*", name} & set(HARMLESS.get(domain, ())))


def _targets(rest: str) -> Iterator[str]:
    """The domains of what it is done to."""
    for word in rest.replace(",", " ").split():
        found = _ENTITY.fullmatch(word)
        yield found[1] if found else ""
