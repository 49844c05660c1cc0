from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from hermes.core.errors import InvalidInput, NoModel
from hermes.core.message import Message
from hermes.core.model import Model, ModelDone, ModelItem, ModelRequest, ModelRetried, TextDelta
from hermes.core.run import Usage
from hermes.models.choice import ModelSetting
from hermes.models.openai_chat import OpenAIChatModel
from hermes.models.providers import PydanticAIModel
from hermes.models.resolve import HOW_TO_CONNECT, Models
from hermes.models.scripted import ScriptedModelServer, Step
from tests.support.clock import FakeClock
from tests.support.local_models import ollama, openai, serving
from tests.support.models import ONE_CALL, ScriptedModel, says

NOWHERE = {"ollama": "http://127.0.0.1:9/v1"}
"""The discard port: nothing of ours listens there, and no test may find a real Ollama."""
FREE_CALL = replace(ONE_CALL, cost_usd=0.0)
ASK = ModelRequest((Message("user", "hi"),))


@dataclass
class Builtins:
    """The built-in model, installed or not."""

    lacks: str | None = "the built-in model is not installed: pip install it"
    opened: list[str] = field(default_factory=list)

    def missing(self, name: str) -> str | None:
        return self.lacks

    def open(self, name: str) -> Model:
        self.opened.append(name)
        return ScriptedModel([says("built in")], name=name, provider="embedded")


@asynccontextmanager
async def choosing(
    setting: ModelSetting | None = None, environ: Mapping[str, str] | None = None, **more: Any
) -> AsyncIterator[Models]:
    options = {"addresses": NOWHERE, "builtin": Builtins(), "clock": FakeClock(), "chance": lambda: 0.0, **more}
    models = Models(setting, environ=environ or {}, **options)
    await models.start()
    try:
        yield models
    finally:
        await models.close()


def chosen(models: Models) -> tuple[str, str, str | None, str, str]:
    choice = models.choice
    assert choice is not None
    return choice.model, choice.provider, choice.base_url, choice.source, choice.why


async def only_model(models: Models, name: str | None = None) -> Any:
    (model,) = (await models.resolve(name)).models  # type: ignore[attr-defined]
    return model


async def say(models: Models, name: str | None = None) -> list[ModelItem]:
    return [item async for item in (await models.resolve(name)).stream(ASK)]


OPENAI = ("gpt-6.1-terra", "openai", "https://api.openai.com/v1")
KEYS = {"OPENAI_API_KEY": "sk-o", "ANTHROPIC_API_KEY": "sk-a", "OPENROUTER_API_KEY": "sk-r"}


@pytest.mark.parametrize(
    ("setting", "environ", "expected", "key"),
    [
        (ModelSetting("x", base_url="http://box:1/v1/"), {}, ("x", "box:1", "http://box:1/v1"), None),
        (
            ModelSetting("x", "custom", "http://box:1/v1", key_env="MY_KEY"),
            {"MY_KEY": "k", "OPENAI_API_KEY": "never sent there"},
            ("x", "box:1", "http://box:1/v1"),
            "k",
        ),
        (ModelSetting("x", base_url="http://b:1/v1"), {"OPENAI_API_KEY": "k"}, ("x", "b:1", "http://b:1/v1"), None),
        (
            ModelSetting("x", base_url="https://api.openai.com/v1"),
            {"OPENAI_API_KEY": "k"},
            ("x", "openai", "https://api.openai.com/v1"),
            "k",
        ),
        (
            ModelSetting("x", "openai", "https://eu.openai.proxy.test/v1"),
            {"OPENAI_API_KEY": "k"},
            ("x", "openai", "https://eu.openai.proxy.test/v1"),
            "k",
        ),
        (ModelSetting("x", "openai"), {"OPENAI_API_KEY": " k "}, ("x", "openai", "https://api.openai.com/v1"), "k"),
        (ModelSetting("openai:x"), {"OPENAI_API_KEY": "k"}, ("x", "openai", "https://api.openai.com/v1"), "k"),
        (ModelSetting("x", "openai", api_key="mine"), {"OPENAI_API_KEY": "k"}, ("x", *OPENAI[1:]), "mine"),
        (ModelSetting(provider="OpenAI"), {"OPENAI_API_KEY": "k"}, OPENAI, "k"),
        (ModelSetting("gpt-6-luna"), KEYS, ("gpt-6-luna", *OPENAI[1:]), "sk-o"),
        (ModelSetting("a/b"), KEYS, ("a/b", "openrouter", "https://openrouter.ai/api/v1"), "sk-r"),
        (ModelSetting("mystery"), KEYS, ("mystery", *OPENAI[1:]), "sk-o"),
        (ModelSetting("qwen3:4b"), {}, ("qwen3:4b", "ollama", NOWHERE["ollama"]), None),
        (ModelSetting("x", "ollama", key_env="MINE"), {"MINE": "k"}, ("x", "ollama", NOWHERE["ollama"]), "k"),
        (ModelSetting("ollama:qwen3:4b"), KEYS, ("qwen3:4b", "ollama", NOWHERE["ollama"]), None),
        (ModelSetting("grok-4.7", "x-ai"), {"XAI_API_KEY": "k"}, ("grok-4.7", "xai", "https://api.x.ai/v1"), "k"),
        (
            ModelSetting("x", "openai"),
            {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "http://proxy.test/v1/"},
            ("x", "openai", "http://proxy.test/v1"),
            "k",
        ),
    ],
)  # fmt: skip
async def test_what_is_configured_is_taken(
    setting: ModelSetting, environ: dict[str, str], expected: tuple[str, str, str], key: str | None
) -> None:
    async with choosing(setting, environ) as models:
        assert chosen(models) == (*expected, "config", "set in model")
        model = await only_model(models)
        assert isinstance(model, OpenAIChatModel)
        assert (model.name, model.provider, model._api_key) == (expected[0], expected[1], key)


@pytest.mark.parametrize("base_url", ["http://box:1", "http://box:1/", "http://box:1/v1", "http://box:1/v1/"])
async def test_anthropics_library_is_given_the_address_without_the_version(base_url: str) -> None:
    async with choosing(ModelSetting("x", "custom", base_url, api_mode="anthropic_messages")) as models:
        model = await only_model(models)
        assert isinstance(model, PydanticAIModel) and model._base_url == "http://box:1"


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        (ModelSetting("x", "acme"), "model.provider 'acme' is not known; there are openai, openrouter, anthropic"),
        (ModelSetting("x", "openai"), "model names OpenAI, but OPENAI_API_KEY is not set: put it into .env"),
        (ModelSetting("x", "openai", key_env="MINE"), "model.key_env names MINE, which is not set: put it into .env"),
        (ModelSetting("embedded"), "the built-in model is not installed"),
        (ModelSetting(provider="ollama"), "model.default is not set, and nothing listens at http://127.0.0.1:9/v1"),
        (ModelSetting(provider="bedrock"), "model.default must name the model of bedrock"),
    ],
)
async def test_a_setting_that_cannot_work_is_no_model_and_nothing_else_is_taken(
    setting: ModelSetting, why: str
) -> None:
    async with choosing(setting, {"ANTHROPIC_API_KEY": "k"}, is_installed=lambda module: True) as models:
        assert models.choice is None
        with pytest.raises(NoModel) as error:
            await models.resolve(None)
        assert error.value.message.startswith(why)


async def test_a_name_alone_may_be_a_route() -> None:
    route = ModelSetting("llama", base_url="http://box:1/v1", api_key="k", reasoning_effort="low", context_length=100)
    async with choosing(ModelSetting("fast"), KEYS, routes={"fast": route}) as models:
        assert chosen(models)[:3] == ("llama", "box:1", "http://box:1/v1")
        assert await models.resolve(None) is not await models.resolve("fast")
        assert (await only_model(models))._dialect.reasoning_effort == "low"
    setting = ModelSetting("fast", reasoning_effort="high")
    async with choosing(setting, KEYS, routes={"fast": route}) as models:
        assert (await only_model(models))._dialect.reasoning_effort == "high"


@pytest.mark.parametrize(
    "own", [{"provider": "openai"}, {"base_url": "https://api.openai.com/v1"}, {"api_key": "mine"}, {"key_env": "MINE"}]
)
async def test_what_says_who_serves_it_or_has_a_key_is_no_route(own: dict[str, Any]) -> None:
    """The key is for no other address."""
    routes = {"fast": ModelSetting("llama", base_url="http://box:1/v1")}
    async with choosing(ModelSetting("fast", **own), {**KEYS, "MINE": "k"}, routes=routes) as models:
        assert chosen(models)[:3] == ("fast", *OPENAI[1:])


async def test_a_fallback_may_be_a_route() -> None:
    routes = {"fast": ModelSetting("llama", base_url="http://box:1/v1")}
    async with choosing(environ=KEYS, fallbacks=[ModelSetting("fast")], routes=routes) as models:
        resolved: Any = await models.resolve(None)
        assert [model.name for model in resolved.models] == [OPENAI[0], "llama"]


@pytest.mark.parametrize(
    ("setting", "kind", "place"),
    [
        (ModelSetting(provider="anthropic"), PydanticAIModel, "anthropic"),
        (ModelSetting(provider="anthropic", api_mode="anthropic_messages"), PydanticAIModel, "anthropic"),
        (ModelSetting(provider="anthropic", api_mode="chat_completions"), OpenAIChatModel, "anthropic"),
        (ModelSetting("x", "anthropic", "http://box:1", api_mode="chat_completions"), OpenAIChatModel, "anthropic"),
        (ModelSetting("x", "custom", "http://box:1", api_mode="anthropic_messages"), PydanticAIModel, "anthropic"),
        (ModelSetting("x", "custom", "http://box:1", api_mode="chat_completions"), OpenAIChatModel, "box:1"),
    ],
)
async def test_the_api_may_be_chosen(setting: ModelSetting, kind: type[Model], place: str) -> None:
    async with choosing(setting, {"ANTHROPIC_API_KEY": "k"}) as models:
        assert chosen(models)[1] == place
        model = await only_model(models)
        assert isinstance(model, kind)
        is_their_own = setting.provider == "anthropic"
        assert model._api_key == ("k" if is_their_own else None)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        (ModelSetting("x", "openai", api_mode="anthropic_messages"), "model.api_mode: openai does not speak anth"),
        (ModelSetting("x", "cohere", api_mode="chat_completions"), "model.api_mode: cohere does not speak chat_comp"),
        (ModelSetting("x", "bedrock", api_mode="chat_completions"), "model.api_mode: bedrock does not speak chat_comp"),
        (ModelSetting("x", base_url="http://b", api_mode="anthropic_messages"), "model.api_mode anthropic_messages ne"),
    ],
)
async def test_an_api_that_is_not_there_is_no_model(setting: ModelSetting, why: str) -> None:
    async with choosing(setting, {"OPENAI_API_KEY": "k"}, is_installed=lambda module: False) as models:
        with pytest.raises(NoModel) as error:
            await models.resolve(None)
        assert error.value.message.startswith(why)


async def test_a_server_without_a_named_model_is_asked_for_its_first() -> None:
    async with (
        serving(openai({"id": "first", "max_model_len": 4096}), key="k") as base_url,
        choosing(ModelSetting(base_url=base_url, api_key="k")) as models,
    ):
        assert chosen(models)[0] == "first"
        assert (await models.resolve(None)).context_length == 4096


async def test_keys_in_the_environment_count_in_the_tables_order() -> None:
    async with choosing(environ=KEYS) as models:
        assert chosen(models) == (*OPENAI, "environment", "OPENAI_API_KEY is set")
        assert [(c.provider, c.is_usable, c.why) for c in models.candidates[:4]] == [
            ("openai", True, "OPENAI_API_KEY is set"),
            ("openrouter", True, "OPENROUTER_API_KEY is set"),
            ("anthropic", True, "ANTHROPIC_API_KEY is set"),
            ("google", False, "GOOGLE_API_KEY or GEMINI_API_KEY is not set"),
        ]
        assert "sk-" not in repr(models.candidates)


async def test_anthropic_speaks_its_own_api_where_the_extra_is_installed() -> None:
    async with choosing(environ={"ANTHROPIC_API_KEY": "k"}) as models:
        assert chosen(models) == ("claude-sonnet-5-5", "anthropic", None, "environment", "ANTHROPIC_API_KEY is set")
        assert isinstance(await only_model(models), PydanticAIModel)


async def test_without_the_extra_anthropics_openai_compatible_api_is_used() -> None:
    async with choosing(environ={"ANTHROPIC_API_KEY": "k"}, is_installed=lambda module: False) as models:
        assert chosen(models)[2:] == (
            "https://api.anthropic.com/v1",
            "environment",
            "ANTHROPIC_API_KEY is set, through its OpenAI-compatible API "
            "(pip install 'hermes-server[providers]' speaks its own)",
        )
        assert isinstance(await only_model(models), OpenAIChatModel)


@pytest.mark.parametrize("provider", ["cohere", "bedrock"])
async def test_a_provider_that_needs_the_extra_says_so(provider: str) -> None:
    setting = ModelSetting("x", provider)
    async with choosing(setting, {"CO_API_KEY": "k"}, is_installed=lambda module: False) as models:
        with pytest.raises(NoModel, match=r"needs pip install 'hermes-server\[providers\]'"):
            await models.resolve(None)


async def test_a_local_server_is_taken_where_there_is_no_key() -> None:
    async with (
        serving(ollama(qwen3={"capabilities": ["tools"]})) as base_url,
        choosing(addresses={"vllm": NOWHERE["ollama"], "ollama": base_url}) as models,
    ):
        why = "Ollama answers, and this is its newest model with tools"
        assert chosen(models) == ("qwen3", "ollama", base_url, "local", why)


async def test_a_key_makes_it_needless_to_ask_the_network() -> None:
    async with ScriptedModelServer([]) as server:
        async with choosing(environ=KEYS, addresses={"vllm": server.base_url}):
            assert server.received == []
        async with choosing(ModelSetting("x", base_url=server.base_url), addresses={"vllm": server.base_url}):
            assert server.received == []


async def test_the_built_in_model_is_the_last_resort() -> None:
    async with choosing(builtin=Builtins(lacks=None)) as models:
        assert chosen(models) == (
            "embedded", "embedded", None, "embedded", "no key and no local server: the small built-in model"
        )  # fmt: skip
        assert await say(models) == says("built in", usage=FREE_CALL)


async def test_with_nothing_at_all_the_error_names_every_way_out() -> None:
    async with choosing() as models:
        assert models.choice is None
        with pytest.raises(NoModel) as error:
            await models.resolve(None)
    assert error.value.message == f"no language model is connected: {HOW_TO_CONNECT}"
    for way in ("OPENAI_API_KEY", "Ollama", "LM Studio", "model.base_url", "hermes-server[local]", "hermes model"):
        assert way in error.value.message


async def test_what_was_started_meanwhile_is_found_at_the_next_request() -> None:
    clock = FakeClock()
    builtin = Builtins()
    async with choosing(clock=clock, builtin=builtin) as models:
        builtin.lacks = None
        with pytest.raises(NoModel):
            await models.resolve(None)
        clock.advance(5)
        assert await say(models) == says("built in", usage=FREE_CALL)


async def test_a_survey_looks_at_everything_and_changes_nothing() -> None:
    setting = ModelSetting("x", base_url="http://box:1/v1")
    async with (
        serving(ollama(qwen3={"capabilities": ["tools"]})) as base_url,
        choosing(setting, KEYS, addresses={"ollama": base_url}) as models,
    ):
        before = models.choice
        survey = await models.survey()
        assert models.choice == before
    usable = [(candidate.source, candidate.provider) for candidate in survey if candidate.is_usable]
    assert usable == [
        ("config", "box:1"),
        ("environment", "openai"),
        ("environment", "openrouter"),
        ("environment", "anthropic"),
        ("local", "ollama"),
    ]
    assert all(candidate.why for candidate in survey)
    assert survey[-1].why == "the built-in model is not installed: pip install it"


async def test_the_models_field_is_cosmetic_unless_it_is_a_route() -> None:
    async with ScriptedModelServer(["one", "two", "three"]) as server:
        routes = {"fast": ModelSetting("tiny", base_url=server.base_url)}
        setting = ModelSetting("big", base_url=server.base_url)
        async with choosing(setting, routes=routes) as models:
            assert models.names == ("fast",)
            for name in (None, "fast", "gpt-4o"):
                await say(models, name)
        assert [request["model"] for request in server.requests] == ["big", "tiny", "big"]


async def test_direct_requests_name_the_models_of_the_default_provider_or_another() -> None:
    async with ScriptedModelServer([Step(text="a", times=0)]) as server:
        setting = ModelSetting("big", base_url=server.base_url, api_key="k")
        async with choosing(
            setting, {"OPENAI_API_KEY": "o"}, direct_model_requests=True, own_names=["hermes-agent"]
        ) as models:
            for name in ("hermes-agent", "big", "other"):
                await say(models, name)
            assert [request["model"] for request in server.requests] == ["big", "big", "other"]
            assert {received.headers["authorization"] for received in server.received} == {"Bearer k"}
            assert (await only_model(models, "openai:gpt-6-luna")).base_url == "https://api.openai.com/v1"
            with pytest.raises(InvalidInput, match="ANTHROPIC_API_KEY is not set") as error:
                await models.resolve("anthropic:claude-x")
            assert (error.value.param, error.value.code) == ("model", "model_not_found")


async def test_many_names_do_not_fill_the_memory_and_routes_are_kept() -> None:
    setting = ModelSetting("big", base_url="http://box:1/v1")
    routes = {"fast": ModelSetting("tiny", base_url="http://box:1/v1")}
    async with choosing(setting, routes=routes, direct_model_requests=True) as models:
        kept = [await models.resolve(None), await models.resolve("fast")]
        for number in range(1000):
            await models.resolve(f"model-{number}")
        assert len(models._models) <= 64
        assert len(models._opened) <= 64
        assert [await models.resolve(None), await models.resolve("fast")] == kept


async def test_fallback_models_answer_when_the_first_does_not() -> None:
    async with ScriptedModelServer([Step(status=401), "from the second"]) as server:
        first = ModelSetting("first", base_url=server.base_url)
        fallbacks = [
            first,
            ModelSetting("left out", "openai"),
            ModelSetting("second", base_url=server.base_url),
        ]
        async with choosing(first, fallbacks=fallbacks) as models:
            items = await say(models)
        assert [request["model"] for request in server.requests] == ["first", "second"]
    provider = server.base_url.removeprefix("http://").removesuffix("/v1")
    reason = f"{provider} at {server.base_url} does not accept the API key (401): scripted 401"
    assert items == [
        ModelRetried(reason, 2, 0.0, "second"),
        TextDelta("from the second"),
        ModelDone("stop", usage=Usage(10, 3, api_calls=1), model="second"),
    ]


async def test_one_model_is_one_object_whichever_way_it_is_reached() -> None:
    builtin = Builtins(lacks=None)
    routes = {"small": ModelSetting("embedded"), "also": ModelSetting(provider="embedded")}
    async with choosing(
        ModelSetting("x", base_url="http://box:1/v1"),
        routes=routes,
        fallbacks=[ModelSetting("embedded")],
        builtin=builtin,
    ) as models:
        for name in (None, "small", "also"):
            await models.resolve(name)
    assert builtin.opened == ["embedded"]


async def test_what_was_changed_answers_from_then_on_and_what_is_being_asked_goes_on() -> None:
    async with choosing(ModelSetting("first", base_url="http://box:1/v1"), KEYS) as models:
        before = await only_model(models)
        models.change(ModelSetting("second", "openai"), environ=KEYS, routes={"quick": ModelSetting("third", "openai")})
        assert (await only_model(models)).name == "second"
        assert (await only_model(models, "quick")).name == "third"
        assert before.name == "first"
        assert chosen(models)[0] == "second"
        models.change(ModelSetting("second", "openai"), environ=KEYS | {"OPENAI_API_KEY": "sk-new"})
        assert models.choice is None
        assert (await only_model(models))._api_key == "sk-new"


async def test_who_asks_while_it_is_changed_gets_what_is_said_then() -> None:
    """The server that is asked for its first model answers when the settings name another already."""
    asked = asyncio.Event()

    class Slow(Builtins):
        def missing(self, name: str) -> str | None:
            loop.call_soon_threadsafe(asked.set)
            changed.wait(10)
            return None

    loop, changed = asyncio.get_running_loop(), threading.Event()
    async with choosing(ModelSetting("first", base_url="http://box:1/v1"), KEYS, builtin=Slow()) as models:
        models.change(ModelSetting("embedded"), environ=KEYS)
        asking = asyncio.create_task(only_model(models))
        await asked.wait()
        models.change(ModelSetting("second", "openai"), environ=KEYS)
        changed.set()
        assert (await asking).name == "second"
        assert chosen(models)[0] == "second"


async def test_a_built_in_model_stays_loaded_for_whoever_needs_it_again() -> None:
    builtin = Builtins(lacks=None)
    async with choosing(ModelSetting("embedded"), builtin=builtin) as models:
        first = await only_model(models)
        models.change(ModelSetting("x", "openai"), environ=KEYS)
        models.change(ModelSetting("embedded"), environ={})
        assert await only_model(models) is first
    assert builtin.opened == ["embedded"]
