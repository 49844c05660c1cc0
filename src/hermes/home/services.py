"""Services that toolsets ask: what their settings and keys come to, or what is missing for them.

The agent and Link go by the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hermes.home.sections import EndpointSettings
from hermes.home.settings import Settings

OPENAI = "https://api.openai.com/v1"
OPENAI_KEY = "OPENAI_API_KEY"
EXAMPLES = {"image_gen": "gpt-image-1", "stt": "gpt-4o-transcribe", "tts": "gpt-4o-mini-tts"}
"""The toolsets with a service of OpenAI's wire format, and a model for each."""
HOME = "homeassistant"
NEEDING = frozenset({*EXAMPLES, HOME})
"""The toolsets that are not there before somebody configured them."""


@dataclass(frozen=True, slots=True)
class Service:
    """`key_name`: what is to be set for another key. No key where it needs none."""

    base_url: str
    model: str
    key: str | None
    key_name: str


def endpoint_of(settings: Settings, name: str) -> EndpointSettings:
    endpoint: EndpointSettings = getattr(settings, name)
    return endpoint


def service_of(
    name: str, endpoint: EndpointSettings, keys: Mapping[str, str], command: str
) -> tuple[Service | None, str]:
    """The service, or what is missing for it. OpenAI's key goes to OpenAI's own address and to no other."""
    if not endpoint.model:
        return None, f"no model is named: {command} config set {name}.model {EXAMPLES[name]}"
    base_url = endpoint.base_url or keys.get("OPENAI_BASE_URL", "").strip().rstrip("/") or OPENAI
    key, key_name = endpoint.api_key, f"{name}.api_key"
    if not key and (endpoint.key_env or endpoint.base_url in (None, OPENAI)):
        key_name = endpoint.key_env or OPENAI_KEY
        key = keys.get(key_name, "").strip()
        if not key:
            own = "" if endpoint.key_env else f", or a server of your own: {command} config set {name}.base_url URL"
            return None, f"{key_name} is not set: {command} config set {key_name} KEY{own}"
    return Service(base_url, endpoint.model, key, key_name), ""


def home_lacks(settings: Settings, command: str) -> str:
    """What is missing for the home; empty when nothing."""
    if not settings.homeassistant.url:
        return f"no address is set: {command} config set homeassistant.url http://homeassistant.local:8123"
    if not settings.homeassistant.token:
        return f"no long-lived access token is set: {command} config set HASS_TOKEN TOKEN"
    return ""


def lacking(name: str, settings: Settings, keys: Mapping[str, str], command: str) -> str:
    """What a toolset waits for that settings or a key would give; empty when nothing. `keys`: the environment over
    .env."""
    if name == HOME:
        return home_lacks(settings, command)
    return service_of(name, endpoint_of(settings, name), keys, command)[1] if name in EXAMPLES else ""
