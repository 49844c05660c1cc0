from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest

from hermes.core.providers import PROVIDERS, canonical, local_addresses, provider_at, provider_of_model
from hermes.models.connection import open_session, proxy_for
from hermes.models.discover import Found, discover
from hermes.models.scripted import ScriptedModelServer
from tests.support.local_models import Routes, ollama, openai, serving


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with open_session() as opened:
        yield opened


async def found(session: aiohttp.ClientSession, provider: str, routes: Routes, **more: Any) -> Found:
    """What is found, with the address left out: it is another one each time."""
    async with serving(routes) as base_url:
        (one,) = await discover(session, {provider: base_url}, seconds=5, **more)
    assert one.base_url == base_url
    return Found(
        one.provider, "", one.model, one.why.replace(base_url, "URL"), one.context_length, one.takes_images, one.models
    )


async def test_ollamas_newest_model_with_tools(session: aiohttp.ClientSession) -> None:
    routes = ollama(
        embed={"capabilities": ["embedding"]},
        qwen3_4b={
            "capabilities": ["completion", "tools"],
            "model_info": {"general.name": "q", "qwen3.context_length": 40960},
        },
        llava_7b={"capabilities": ["tools", "vision"]},
    )
    assert await found(session, "ollama", routes) == Found(
        "ollama",
        "",
        "qwen3:4b",
        "Ollama answers, and this is its newest model with tools",
        context_length=40960,
        takes_images=False,
        models=("embed", "qwen3:4b", "llava:7b"),
    )


async def test_ollamas_own_setting_of_the_context_counts(session: aiohttp.ClientSession) -> None:
    details = {"capabilities": ["tools", "vision"], "parameters": 'stop "x"\nnum_ctx   8192\n'}
    one = await found(session, "ollama", ollama(a={**details, "model_info": {"x.context_length": 131072}}))
    assert (one.context_length, one.takes_images) == (8192, True)


@pytest.mark.parametrize(
    ("routes", "why"),
    [
        (ollama(), "Ollama has no model: ollama pull qwen3"),
        (
            ollama(a={"capabilities": ["completion"]}, b={}),
            "none of Ollama's models can use tools (a, b): ollama pull qwen3",
        ),
        ({"GET /api/tags": 500}, "URL: it answers 500"),
        ({"GET /api/tags": {"models": 3}}, "URL is something else: its answer is no list of models"),
        ({"GET /api/tags": "<html>"}, "URL is something else: its answer is no list of models"),
    ],
)
async def test_an_ollama_that_cannot_serve_says_why(session: aiohttp.ClientSession, routes: Routes, why: str) -> None:
    one = await found(session, "ollama", routes)
    assert (one.model, one.why) == (None, why)


def lm(name: str, state: str, *, kind: str = "llm", tools: bool = True, **more: Any) -> Mapping[str, Any]:
    return {"id": name, "type": kind, "state": state, "capabilities": ["tool_use"] if tools else [], **more}


@pytest.mark.parametrize(
    ("entries", "model", "why"),
    [
        (
            [lm("a", "not-loaded"), lm("b", "loaded", tools=False), lm("c", "loaded")],
            "c",
            "LM Studio answers and has this model loaded",
        ),
        (
            [lm("e", "loaded", kind="embeddings"), lm("a", "not-loaded", tools=False), lm("b", "not-loaded")],
            "b",
            "LM Studio answers and has this model downloaded",
        ),
        ([lm("e", "loaded", kind="embeddings")], None, "LM Studio has no chat model: download one in its window"),
    ],
)
async def test_lm_studios_best_model(
    session: aiohttp.ClientSession, entries: list[Mapping[str, Any]], model: str | None, why: str
) -> None:
    one = await found(session, "lmstudio", {"GET /api/v0/models": {"data": entries}})
    assert (one.model, one.why) == (model, why)


async def test_lm_studio_without_its_own_interface_is_asked_like_any_other(session: aiohttp.ClientSession) -> None:
    one = await found(session, "lmstudio", openai({"id": "text-embedding-x"}, {"id": "qwen"}))
    assert (one.provider, one.model) == ("lmstudio", "qwen")


@pytest.mark.parametrize(
    ("asked", "entry", "expected"),
    [
        (
            "vllm",
            {"id": "qwen", "owned_by": "vllm", "max_model_len": 32768},
            ("vllm", "qwen", 32768),
        ),
        ("vllm", {"id": "x.gguf", "owned_by": "llamacpp", "meta": {"n_ctx": 4096}}, ("llamacpp", "x.gguf", 4096)),
        ("llamacpp", {"id": "x", "owned_by": "someone"}, ("llamacpp", "x", None)),
    ],
)
async def test_a_server_with_a_list_of_models(
    session: aiohttp.ClientSession, asked: str, entry: Mapping[str, Any], expected: tuple[str, str, int | None]
) -> None:
    one = await found(session, asked, openai(entry))
    assert (one.provider, one.model, one.context_length) == expected


@pytest.mark.parametrize(
    ("routes", "why"),
    [
        (openai(), "URL serves no model"),
        (openai({"id": "hermes-agent", "owned_by": "hermes"}), "URL is a Hermes gateway, not a model"),
        ({"GET /v1/models": "<html>a blog</html>"}, "URL is something else: its answer is no list of models"),
        ({"GET /v1/models": ["a"]}, "URL is something else: its answer is no list of models"),
        ({}, "URL: it answers 404"),
    ],
)
async def test_what_is_no_model_server_is_not_taken_for_one(
    session: aiohttp.ClientSession, routes: Routes, why: str
) -> None:
    one = await found(session, "vllm", routes)
    assert (one.model, one.why) == (None, why)


async def test_a_server_that_wants_a_key_gets_the_configured_one(session: aiohttp.ClientSession) -> None:
    async with serving(openai({"id": "m"}), key="k") as base_url:
        (without,) = await discover(session, {"vllm": base_url}, seconds=5)
        (with_key,) = await discover(session, {"vllm": base_url}, seconds=5, key="k")
    assert (without.model, without.why) == (
        None, f"{base_url}: it wants a key: set model.base_url and model.key_env"
    )  # fmt: skip
    assert with_key.model == "m"


async def test_our_own_port_is_not_asked(session: aiohttp.ClientSession) -> None:
    async with ScriptedModelServer([]) as server:
        (one,) = await discover(session, {"vllm": server.base_url}, own_ports=[server.port])
        assert (one.model, one.why) == (None, f"{server.base_url} is this gateway itself")
        assert server.received == []


async def test_all_are_asked_at_once_and_a_silent_one_is_not_waited_for(session: aiohttp.ClientSession) -> None:
    everyone_asked = asyncio.Barrier(2)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await everyone_asked.wait()
        await reader.read()
        writer.close()

    async with AsyncExitStack() as stack:
        servers = [await asyncio.start_server(silent, "127.0.0.1", 0) for _ in range(2)]
        for server in servers:
            await stack.enter_async_context(server)
        ports = [server.sockets[0].getsockname()[1] for server in servers]
        urls = [f"http://127.0.0.1:{port}/v1" for port in ports]
        results = await discover(session, {"llamacpp": urls[0], "vllm": urls[1]}, seconds=0.5)
    assert [one.why for one in results] == [f"{url} did not answer within 500 ms" for url in urls]
    assert everyone_asked.n_waiting == 0


async def test_where_nothing_listens_is_said(session: aiohttp.ClientSession) -> None:
    async with serving({}) as base_url:
        pass
    (one,) = await discover(session, {"ollama": base_url}, seconds=5)
    assert one.why == f"nothing listens at {base_url}"


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("", "http://127.0.0.1:11434/v1"),
        ("0.0.0.0", "http://127.0.0.1:11434/v1"),
        ("box.lan", "http://box.lan:11434/v1"),
        ("box.lan:9999", "http://box.lan:9999/v1"),
        ("https://box.lan", "https://box.lan:443/v1"),
        ("http://box.lan:1/base/", "http://box.lan:1/base/v1"),
        ("[::1]:7", "http://[::1]:7/v1"),
    ],
)
def test_ollama_host_moves_ollama(host: str, address: str) -> None:
    assert local_addresses({"OLLAMA_HOST": host})["ollama"] == address


@pytest.mark.parametrize(
    ("environ", "url", "proxy"),
    [
        ({}, "https://api.test/v1", None),
        ({"HTTPS_PROXY": "http://p:1"}, "https://api.test/v1", "http://p:1"),
        ({"https_proxy": "http://p:2", "HTTPS_PROXY": "http://p:1"}, "https://api.test/v1", "http://p:2"),
        ({"HTTPS_PROXY": "http://p:1"}, "http://api.test/v1", None),
        ({"ALL_PROXY": "http://p:3"}, "http://api.test/v1", "http://p:3"),
        ({"ALL_PROXY": "socks5://p:3"}, "http://api.test/v1", None),
        ({"ALL_PROXY": "http://p:3"}, "http://127.0.0.1:11434/v1", None),
        ({"ALL_PROXY": "http://p:3", "NO_PROXY": "x, .test"}, "http://api.test/v1", None),
        ({"ALL_PROXY": "http://p:3", "NO_PROXY": "est"}, "http://api.test/v1", "http://p:3"),
        ({"ALL_PROXY": "http://p:3", "no_proxy": "*"}, "http://api.test/v1", None),
    ],
)
def test_the_environments_proxy(environ: dict[str, str], url: str, proxy: str | None) -> None:
    assert proxy_for(url, environ) == proxy


def test_the_table_of_providers_is_whole() -> None:
    assert len({provider.name for provider in PROVIDERS}) == len(PROVIDERS)
    assert len({key for provider in PROVIDERS for key in provider.keys}) == sum(len(p.keys) for p in PROVIDERS)
    for provider in PROVIDERS:
        assert provider.keys
        assert provider.default_model
        assert canonical(provider.name) == provider.name
        assert provider.base_url is not None or provider.sdk is not None
        if provider.base_url is not None:
            assert provider.base_url.startswith("https://")
            assert provider_at(provider.base_url) is provider
        if provider.prefixes:
            assert provider_of_model(provider.default_model) is provider
