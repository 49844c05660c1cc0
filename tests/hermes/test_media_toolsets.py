"""Which of the toolsets with a service of their own are offered, and what those that are not lack."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hermes.app import open_engine
from hermes.app.engine import Engine
from hermes.app.media import endpoint_of
from hermes.core.message import Message
from hermes.core.run import RunRequest
from hermes.core.toolset import CATALOGUE
from hermes.home.paths import Home, create_home
from hermes.home.sections import TtsSettings
from hermes.home.settings import load_settings
from tests.support.cli import hermes_in
from tests.support.database import new_url

KEY = "k-0123456789abcdef"
MEDIA = ("vision", "image_gen", "stt", "tts", "homeassistant")


@asynccontextmanager
async def engine(
    folder: Path, config: Mapping[str, Any] | None, environ: Mapping[str, str] | None = None
) -> AsyncIterator[Engine]:
    home = Home(folder / "home")
    create_home(home)
    if config is not None:
        home.config_file.write_text(json.dumps(config))
    settings = load_settings(home, environ or {})
    async with open_engine(settings, home=home, environ=environ or {}, database_url=new_url()) as engine:
        yield engine


async def states(
    folder: Path, config: Mapping[str, Any] | None, environ: Mapping[str, str] | None = None
) -> dict[str, tuple[bool, str]]:
    async with engine(folder, config, environ) as running:
        return {s.name: (s.is_enabled, s.problem) for s in running.registry.toolsets() if s.name in MEDIA}


async def test_what_the_settings_list_and_cannot_work_is_offered_only_to_a_request_that_names_it(
    tmp_path: Path,
) -> None:
    async with engine(tmp_path, {"toolsets": ["todo", "image_gen"]}) as running:
        said = RunRequest(owner="owner", source="api", messages=(Message("user", "hi"),))
        assert list(running.agent.tools(said)) == ["todo"]
        assert [spec.name for spec in running.agent.opening()[0]] == ["todo"]
        assert list(running.agent.tools(replace(said, toolsets=("image_gen",)))) == ["image_generate"]


async def test_every_toolset_of_the_catalogue_is_there(tmp_path: Path) -> None:
    async with engine(tmp_path, {}) as running:
        there = [(state.name, state.tools) for state in running.registry.toolsets()]
    of_media = [(info.name, tuple(tool.name for tool in info.tools)) for info in CATALOGUE if info.name in MEDIA]
    assert [state for state in there if state[0] in MEDIA] == of_media


async def test_without_a_setting_none_is_offered_and_each_says_the_command(tmp_path: Path) -> None:
    hermes = Home(tmp_path / "home").command
    assert await states(tmp_path, {}) == {
        "vision": (
            False,
            f"no model is named that takes pictures. Name one that does: {hermes} config set vision.model NAME",
        ),
        "image_gen": (False, f"no model is named: {hermes} config set image_gen.model gpt-image-1"),
        "stt": (False, f"no model is named: {hermes} config set stt.model gpt-4o-transcribe"),
        "tts": (False, f"no model is named: {hermes} config set tts.model gpt-4o-mini-tts"),
        "homeassistant": (
            False,
            f"no address is set: {hermes} config set homeassistant.url http://homeassistant.local:8123",
        ),
    }


async def test_what_is_half_set_says_the_other_half(tmp_path: Path) -> None:
    hermes = Home(tmp_path / "home").command
    named = {"model": "m"}
    config = {"tts": named, "stt": {**named, "key_env": "EAR"}, "homeassistant": {"url": "http://ha:8123"}}
    found = await states(tmp_path, config)
    assert found["tts"] == (
        False,
        f"OPENAI_API_KEY is not set: {hermes} config set OPENAI_API_KEY KEY, or a server of your own: "
        f"{hermes} config set tts.base_url URL",
    )
    assert found["stt"] == (False, f"EAR is not set: {hermes} config set EAR KEY")
    assert found["homeassistant"] == (
        False,
        f"no long-lived access token is set: {hermes} config set HASS_TOKEN TOKEN",
    )


@pytest.mark.parametrize(
    ("name", "config", "environ"),
    [
        ("vision", {"model": {"default": "m", "base_url": "http://127.0.0.1:1/v1"}}, {}),
        ("vision", {}, {"OPENAI_API_KEY": KEY}),
        ("vision", {"model": "embedded", "vision": {"model": "m", "base_url": "http://127.0.0.1:1/v1"}}, {}),
        ("image_gen", {"image_gen": {"model": "m", "base_url": "http://127.0.0.1:1/v1"}}, {}),
        ("tts", {"tts": {"model": "m"}}, {"OPENAI_API_KEY": KEY}),
        ("tts", {"tts": {"model": "m", "base_url": "https://api.openai.com/v1/"}}, {"OPENAI_API_KEY": KEY}),
        ("stt", {"stt": {"model": "m", "key_env": "EAR"}}, {"EAR": KEY}),
        ("stt", {"stt": {"model": "m", "api_key": KEY}}, {}),
        ("homeassistant", {}, {"HASS_URL": "http://ha:8123", "HASS_TOKEN": KEY}),
    ],
)
async def test_what_is_set_is_offered(
    tmp_path: Path, name: str, config: Mapping[str, Any], environ: Mapping[str, str]
) -> None:
    assert (await states(tmp_path, config, environ))[name] == (True, "")


@pytest.mark.parametrize(
    ("config", "environ", "sent_to"),
    [
        ({}, {}, ("https://api.openai.com/v1", KEY)),
        ({"base_url": "https://api.openai.com/v1"}, {}, ("https://api.openai.com/v1", KEY)),
        ({}, {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1/"}, ("http://127.0.0.1:1/v1", KEY)),
        ({"base_url": "http://127.0.0.1:1/v1"}, {}, ("http://127.0.0.1:1/v1", None)),
        ({"base_url": "http://127.0.0.1:1/v1", "key_env": "OWN"}, {"OWN": "own"}, ("http://127.0.0.1:1/v1", "own")),
    ],
)
def test_openais_key_goes_to_openai_alone(
    config: Mapping[str, Any], environ: Mapping[str, str], sent_to: tuple[str, str | None]
) -> None:
    settings = TtsSettings.model_validate({"model": "m", **config})
    found, problem = endpoint_of("tts", settings, {"OPENAI_API_KEY": KEY, **environ}, "hermes")
    assert found is not None and problem == ""
    assert (found.base_url, found.api_key) == sent_to


async def test_the_built_in_model_is_not_offered_pictures(tmp_path: Path) -> None:
    assert (await states(tmp_path, {"model": "embedded"}, {"OPENAI_API_KEY": KEY}))["vision"][0] is False


async def test_keys_are_hidden_and_reach_no_child(tmp_path: Path) -> None:
    keys = {name: f"{name}-secret-1" for name in ("vision", "image_gen", "stt", "tts")}
    config = {
        **{name: {"api_key": key} for name, key in keys.items()},
        "homeassistant": {"token": "home-secret-1"},
        "tts": {"key_env": "MY_VOICE"},
    }
    environ = {"MY_VOICE": "voice-secret-1", "ORDINARY": "x image_gen-secret-1 x", "PATH": "/bin"}
    async with engine(tmp_path, config, environ) as running:
        hidden = running.registry.redactor(
            "vision-secret-1 image_gen-secret-1 stt-secret-1 home-secret-1 voice-secret-1"
        )
        children = running.agent.environment
    assert "secret-1" not in hidden
    assert children == {"PATH": "/bin"}


async def test_the_commands_that_are_said_do_what_they_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hermes = hermes_in(tmp_path, capsys)
    given = {"URL": "http://127.0.0.1:1/v1", "KEY": KEY, "TOKEN": KEY, "NAME": "m"}
    hermes("config", "set", "model.default", "embedded")
    for _ in range(2):  # what is half set says the other half
        for _, problem in (await states(tmp_path, None)).values():
            said = re.search(r"hermes (config set \S+ \S+?),?(?: or|$)", problem)
            if said is not None:
                *words, value = said[1].split()
                assert hermes(*words, given.get(value, value)).code == 0
    assert await states(tmp_path, None) == dict.fromkeys(MEDIA, (True, ""))
    assert KEY not in hermes.home.config_file.read_text()
