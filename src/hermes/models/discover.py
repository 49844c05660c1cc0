"""Which local servers answer, and with which model: Ollama, LM Studio, llama.cpp, vLLM. All are asked at once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson

log = logging.getLogger(__name__)

PROBE_SECONDS = 0.3
_MOST_MODELS_SHOWN = 8
_OURS = "hermes"
"""`owned_by` of this gateway's own model list: asking ourselves would never end."""


@dataclass(frozen=True, slots=True)
class Found:
    """What one address gave. `model` is None where nothing usable answers; `why` says it in either case."""

    provider: str
    base_url: str
    model: str | None
    why: str
    context_length: int | None = None
    takes_images: bool = True
    models: tuple[str, ...] = ()


async def discover(
    session: aiohttp.ClientSession,
    addresses: Mapping[str, str],
    *,
    own_ports: Sequence[int] = (),
    key: str | None = None,
    seconds: float = PROBE_SECONDS,
) -> list[Found]:
    """One result for each address, in their order. A port of our own is not asked. `key` is sent to all of them."""

    async def probe(provider: str, base_url: str) -> Found:
        if urlsplit(base_url).port in own_ports:
            return Found(provider, base_url, None, f"{base_url} is this gateway itself")
        ask = _PROBES.get(provider, _openai)
        try:
            async with asyncio.timeout(seconds):
                return await ask(_Asker(session, key), provider, base_url)
        except TimeoutError:
            return Found(provider, base_url, None, f"{base_url} did not answer within {seconds * 1000:.0f} ms")
        except aiohttp.ClientConnectorError:
            return Found(provider, base_url, None, f"nothing listens at {base_url}")
        except (aiohttp.ClientError, OSError, _Unusable) as exc:
            return Found(provider, base_url, None, f"{base_url}: {exc}")
        except (LookupError, TypeError, AttributeError, ValueError) as exc:
            log.debug("unexpected answer of %s", base_url, exc_info=exc)
            return Found(provider, base_url, None, f"{base_url} is something else: its answer is no list of models")

    return list(await asyncio.gather(*(probe(provider, url) for provider, url in addresses.items())))


class _Unusable(Exception):
    """The server answers, but not with a model for us."""


@dataclass(frozen=True, slots=True)
class _Asker:
    session: aiohttp.ClientSession
    key: str | None

    async def get(self, url: str) -> Any:
        headers = {"Authorization": f"Bearer {self.key}"} if self.key is not None else None
        async with self.session.get(url, headers=headers, allow_redirects=False) as response:
            return await self._value(response)

    async def post(self, url: str, body: Mapping[str, Any]) -> Any:
        async with self.session.post(url, data=orjson.dumps(body), allow_redirects=False) as response:
            return await self._value(response)

    async def _value(self, response: aiohttp.ClientResponse) -> Any:
        if response.status in (401, 403):
            raise _Unusable("it wants a key: set model.base_url and model.key_env")
        if response.status != 200:
            raise _Unusable(f"it answers {response.status}")
        return orjson.loads(await response.read())


async def _ollama(ask: _Asker, provider: str, base_url: str) -> Found:
    """The model most recently changed that has tools. Ollama lists its models in that order."""
    root = base_url.removesuffix("/v1")
    names: list[str] = [entry["name"] for entry in (await ask.get(f"{root}/api/tags"))["models"]]
    if not names:
        return Found(provider, base_url, None, "Ollama has no model: ollama pull qwen3")

    async def show(name: str) -> Mapping[str, Any]:
        try:
            value = await ask.post(f"{root}/api/show", {"model": name})
        except _Unusable:
            return {}
        return value if isinstance(value, dict) else {}

    shown = await asyncio.gather(*(show(name) for name in names[:_MOST_MODELS_SHOWN]))
    for name, details in zip(names, shown, strict=False):
        capabilities = details.get("capabilities") or ()
        if "tools" in capabilities:
            return Found(
                provider,
                base_url,
                name,
                "Ollama answers, and this is its newest model with tools",
                context_length=_ollama_context(details),
                takes_images="vision" in capabilities,
                models=tuple(names),
            )
    why = f"none of Ollama's models can use tools ({', '.join(names[:_MOST_MODELS_SHOWN])}): ollama pull qwen3"
    return Found(provider, base_url, None, why, models=tuple(names))


def _ollama_context(details: Mapping[str, Any]) -> int | None:
    """`num_ctx` where the model sets it; else what it was trained for, of which Ollama may serve less."""
    for line in str(details.get("parameters") or "").splitlines():
        words = line.split()
        if len(words) == 2 and words[0] == "num_ctx" and words[1].isdigit():
            return int(words[1])
    for key, value in (details.get("model_info") or {}).items():
        if key.endswith(".context_length") and isinstance(value, int):
            return value
    return None


async def _lmstudio(ask: _Asker, provider: str, base_url: str) -> Found:
    """A loaded model with tools before a loaded one before one with tools; LM Studio loads what is asked for."""
    root = base_url.removesuffix("/v1")
    try:
        entries = (await ask.get(f"{root}/api/v0/models"))["data"]
    except _Unusable:
        return await _openai(ask, provider, base_url)
    chat = [entry for entry in entries if entry.get("type") in ("llm", "vlm")]
    if not chat:
        return Found(provider, base_url, None, "LM Studio has no chat model: download one in its window")

    def rank(entry: Mapping[str, Any]) -> tuple[bool, bool]:
        return entry.get("state") != "loaded", "tool_use" not in (entry.get("capabilities") or ())

    best = min(chat, key=rank)
    state = "loaded" if best.get("state") == "loaded" else "downloaded"
    return Found(
        provider,
        base_url,
        best["id"],
        f"LM Studio answers and has this model {state}",
        context_length=_integer(best.get("loaded_context_length")) or _integer(best.get("max_context_length")),
        takes_images=best.get("type") == "vlm",
        models=tuple(entry["id"] for entry in chat),
    )


async def _openai(ask: _Asker, provider: str, base_url: str) -> Found:
    """Any server with /v1/models. Other programs listen on 8000 and 8080 too: the list must look like one."""
    listing = await ask.get(f"{base_url}/models")
    entries = [entry for entry in listing["data"] if isinstance(entry["id"], str)]
    if any(entry.get("owned_by") == _OURS for entry in entries):
        return Found(provider, base_url, None, f"{base_url} is a Hermes gateway, not a model")
    if not entries:
        return Found(provider, base_url, None, f"{base_url} serves no model")
    entry = next((entry for entry in entries if "embed" not in entry["id"].lower()), entries[0])
    owner = entry.get("owned_by")
    return Found(
        _OWNERS.get(owner if isinstance(owner, str) else "", provider),
        base_url,
        entry["id"],
        f"a server answers at {base_url} and this is its first model",
        context_length=_integer(entry.get("max_model_len")) or _integer((entry.get("meta") or {}).get("n_ctx")),
        models=tuple(entry["id"] for entry in entries),
    )


_OWNERS = {"llamacpp": "llamacpp", "vllm": "vllm"}
_Probe = Callable[[_Asker, str, str], Awaitable[Found]]
_PROBES: dict[str, _Probe] = {"ollama": _ollama, "lmstudio": _lmstudio}


def _integer(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
