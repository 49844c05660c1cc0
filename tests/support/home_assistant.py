"""A stand-in for Home Assistant's REST API, with a small home behind it."""

from __future__ import annotations

import re
from typing import Any

from tests.support.stand_in import Answer, Asked, StandIn

TOKEN = "eyJ-long-lived-token-0123456789"
DOES = {"turn_on": "on", "turn_off": "off", "unlock": "unlocked", "lock": "locked"}
SERVICES: list[dict[str, Any]] = [
    {
        "domain": "light",
        "services": {
            "turn_on": {
                "name": "Turn on",
                "description": "Turns on one or more lights.",
                "fields": {
                    "brightness_pct": {"description": "How bright.", "example": 47, "selector": {}},
                    "advanced_fields": {"collapsed": True, "fields": {"flash": {"description": "Flash."}}},
                },
                "target": {"entity": [{"domain": ["light"]}]},
            },
            "turn_off": {"name": "Turn off", "description": "Turns off.", "fields": {}},
        },
    },
    {"domain": "lock", "services": {"unlock": {"fields": {"code": {"required": True}}}, "lock": {"fields": {}}}},
    {"domain": "weather", "services": {"get_forecasts": {"fields": {"type": {"required": True}}}}},
]
AREAS = {"Kitchen": ["light.kitchen", "sensor.kitchen_temperature"], "Hall": ["lock.front_door"]}


class HomeAssistant(StandIn):
    def __init__(self) -> None:
        super().__init__()
        self.states = {
            state["entity_id"]: state
            for state in (
                _state("light.kitchen", "off", friendly_name="Kitchen light"),
                _state("light.hall", "on"),
                _state("sensor.kitchen_temperature", "21.5", unit_of_measurement="°C", friendly_name="Temperature"),
                _state("lock.front_door", "locked", friendly_name="Front door"),
            )
        }

    def answer(self, asked: Asked) -> Answer:
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            return Answer(401, b"401: Unauthorized", "text/plain")
        if asked.method == "GET":
            return self._get(asked.path)
        if asked.path == "/api/template":
            return self._template(asked.json)
        found = re.fullmatch(r"/api/services/([a-z_]+)/([a-z_]+)", asked.path)
        if found is None:
            return Answer(404, b"404: Not Found", "text/plain")
        return self._service(found[1], found[2], asked.json, asked.query == "return_response")

    def _get(self, path: str) -> Answer:
        if path == "/api/states":
            return Answer.of(list(self.states.values()))
        if path == "/api/services":
            return Answer.of(SERVICES)
        state = self.states.get(path.removeprefix("/api/states/"))
        return Answer.of(state) if state else Answer.of({"message": "Entity not found."}, 404)

    def _template(self, body: Any) -> Answer:
        assert set(body) == {"template", "variables"} and "area_entities(area)" in body["template"]
        found = AREAS.get(body["variables"]["area"], [])
        return Answer.of({"entities": found, "areas": list(AREAS)})

    def _service(self, domain: str, name: str, body: Any, wants_response: bool) -> Answer:
        services = {entry["domain"]: entry["services"] for entry in SERVICES} | {"homeassistant": DOES}
        if name not in services.get(domain, ()):
            return Answer(400, b"400: Bad Request", "text/plain")
        if (domain == "weather") is not wants_response:
            said = "Add ?return_response to query parameters." if domain == "weather" else "Remove return_response"
            return Answer.of({"message": f"Service call and responses. {said}"}, 400)
        if wants_response:
            return Answer.of({"changed_states": [], "service_response": {"weather.home": {"forecast": ["sun"]}}})
        changed = []
        for entity_id in body.get("entity_id", ()):
            if self.states[entity_id]["state"] != DOES[name]:
                self.states[entity_id] |= {"state": DOES[name]}
                changed.append(self.states[entity_id])
        return Answer.of(changed)


def _state(entity_id: str, state: str, **attributes: str) -> dict[str, Any]:
    return {
        "entity_id": entity_id,
        "state": state,
        "attributes": attributes,
        "last_changed": "2026-01-01T00:00:00+00:00",
        "last_updated": "2026-01-01T00:00:00+00:00",
        "context": {"id": "01", "parent_id": None, "user_id": None},
    }
