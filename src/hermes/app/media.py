"""The toolsets that ask a service of their own: pictures, sound, the home. Each is there, and says what it lacks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hermes.core.model import Model
from hermes.home.paths import Home
from hermes.home.sections import EndpointSettings
from hermes.home.services import home_lacks, service_of
from hermes.home.settings import Settings
from hermes.models.choice import ModelSetting
from hermes.models.resolve import Models
from hermes.toolsets.endpoint import Endpoint
from hermes.toolsets.fetch import Fetcher
from hermes.toolsets.homeassistant import HomeServer, homeassistant_toolset
from hermes.toolsets.image_gen import image_gen_toolset
from hermes.toolsets.paths import Reach
from hermes.toolsets.stt import stt_toolset
from hermes.toolsets.toolset import Toolset
from hermes.toolsets.tts import tts_toolset
from hermes.toolsets.vision import Vision, vision_toolset


def media_toolsets(settings: Settings, home: Home | None, keys: Mapping[str, str], models: Models) -> list[Toolset]:
    command = home.command if home else "hermes"
    reach = Reach(home.path if home else None, tuple(Path(root).expanduser() for root in settings.file.roots))
    picture, lacks_picture = endpoint_of("image_gen", settings.image_gen, keys, command)
    ear, lacks_ear = endpoint_of("stt", settings.stt, keys, command)
    voice, lacks_voice = endpoint_of("tts", settings.tts, keys, command)
    stt, tts = settings.stt, settings.tts
    return [
        _vision(settings, reach, models, command),
        image_gen_toolset(picture, reach, size=settings.image_gen.size, problem=lacks_picture),
        stt_toolset(
            ear,
            reach,
            Fetcher(hosts=settings.web.allow_private_hosts, timeout_seconds=stt.timeout),
            language=stt.language,
            most_bytes=int(stt.max_mb * 2**20),
            problem=lacks_ear,
        ),
        tts_toolset(voice, reach, voice=tts.voice, audio_format=tts.format, problem=lacks_voice),
        _homeassistant(settings, command),
    ]


def _vision(settings: Settings, reach: Reach, models: Models, command: str) -> Toolset:
    vision = settings.vision
    setting = ModelSetting(
        name=vision.model,
        provider=vision.provider,
        base_url=vision.base_url,
        api_key=vision.api_key,
        key_env=vision.key_env,
    )
    way_out = f"Name one that does: {command} config set vision.model NAME"

    async def model(own: Model | None) -> Model:
        if not setting.is_empty:
            return await models.special(setting, "vision")
        return own or await models.resolve(None)

    looks = Vision(
        model=model,
        way_out=way_out,
        fetcher=Fetcher(hosts=settings.web.allow_private_hosts, timeout_seconds=vision.timeout),
        timeout_seconds=vision.timeout,
        most_bytes=int(vision.max_mb * 2**20),
    )
    is_there = models.is_named if setting.is_empty else True
    return vision_toolset(looks, reach, "" if is_there else f"no model is named that takes pictures. {way_out}")


def endpoint_of(
    name: str, settings: EndpointSettings, keys: Mapping[str, str], command: str
) -> tuple[Endpoint | None, str]:
    """The service, or what is missing for it. OpenAI's key goes to OpenAI's own address and to no other."""
    service, lacks = service_of(name, settings, keys, command)
    if service is None:
        return None, lacks
    from hermes.models.connection import proxy_for  # aiohttp

    return Endpoint(
        name=name,
        base_url=service.base_url,
        model=service.model,
        api_key=service.key,
        key_name=service.key_name,
        set_key=f"{command} config set {service.key_name} KEY",
        timeout_seconds=settings.timeout,
        proxy=proxy_for(service.base_url, keys),
    ), ""


def _homeassistant(settings: Settings, command: str) -> Toolset:
    home, lacks = settings.homeassistant, home_lacks(settings, command)
    if not home.url or not home.token:
        return homeassistant_toolset(None, lacks)
    way_out = f"{command} config set HASS_TOKEN TOKEN"
    return homeassistant_toolset(
        HomeServer(url=home.url, token=home.token, way_out=way_out, timeout_seconds=home.timeout)
    )
