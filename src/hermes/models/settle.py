"""How a setting, a key or a local server becomes a candidate: its gaps are filled, or it is said what is missing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from hermes.core.errors import ConfigError, HermesError, NoModel
from hermes.core.model import Model
from hermes.core.providers import (
    LOCAL,
    PROVIDERS,
    PYDANTIC_AI_ONLY,
    Provider,
    canonical,
    has_own_api,
    key_in,
    provider_at,
    provider_for,
    provider_named,
    split_name,
)

from .choice import Candidate, ModelSetting

if TYPE_CHECKING:
    import aiohttp

    from .discover import Found

Progress = Callable[[str, int, int], None]
"""What is being done, how much of it is done, and how much there is."""

_ASKED_SECONDS = 5.0
"""How long a configured server may take to list its models."""
_ANTHROPIC = next(provider for provider in PROVIDERS if provider.name == "anthropic")
INSTALL_PROVIDERS = "pip install 'hermes-server[providers]'"


class Builtin(Protocol):
    """The built-in model as far as the choice is concerned. `missing` says what it lacks, None when it can start."""

    def missing(self, name: str) -> str | None: ...

    def open(self, name: str) -> Model: ...


class Settler:
    """Keys come from `environ`, local servers from `addresses`; `session` is only asked for when one is needed."""

    def __init__(
        self,
        environ: Mapping[str, str],
        addresses: Mapping[str, str],
        own_ports: Sequence[int],
        builtin: Builtin,
        session: Callable[[], aiohttp.ClientSession],
        is_installed: Callable[[str], bool],
    ) -> None:
        self._environ = environ
        self._addresses = addresses
        self._own_ports = own_ports
        self._builtin = builtin
        self._session = session
        self._is_installed = is_installed

    def of_environment(self) -> list[Candidate]:
        """One for each provider of the table, in its order."""
        return [self._of_environment(provider) for provider in PROVIDERS]

    async def of_this_machine(self) -> list[Candidate]:
        """The local servers, asked at once, and then the built-in model."""
        from .discover import discover

        found = await discover(self._session(), self._addresses, own_ports=self._own_ports)
        return [*map(_of_found, found), await asyncio.to_thread(self._of_builtin, "embedded")]

    async def settled(self, setting: ModelSetting, where: str) -> Candidate:
        """A setting with its gaps filled. What cannot be filled is said in `why`."""
        try:
            return replace(await self._filled(setting, where), reasoning_effort=setting.reasoning_effort)
        except HermesError as exc:
            return Candidate("config", setting.provider or "", False, exc.message, model=setting.name)

    async def _filled(self, setting: ModelSetting, where: str) -> Candidate:
        name = setting.name
        provider_name = canonical(setting.provider) if setting.provider else None
        if name and provider_name is None:
            provider_name, name = split_name(name)
        if setting.base_url:
            return await self._at_address(setting, name, provider_name, where)
        if provider_name is None:
            provider_name = provider_for(name or "", self._environ)
        if provider_name == "embedded":
            return await asyncio.to_thread(self._of_builtin, name or "embedded", f"set in {where}")
        if provider_name in self._addresses:
            return await self._of_local(setting, name, provider_name, where)
        provider = provider_named(provider_name)
        if provider is None and provider_name not in PYDANTIC_AI_ONLY:
            known = ", ".join([*(p.name for p in PROVIDERS), *LOCAL, *PYDANTIC_AI_ONLY, "embedded"])
            raise ConfigError(f"{where}.provider {setting.provider!r} is not known; there are {known}, or set base_url")
        self._check_api(setting, provider, provider_name, where)
        if provider is None:
            return self._native(provider_name, name, where)
        key, key_name = self._key(setting, provider, where)
        if key is None:
            raise ConfigError(
                f"{where} names {provider.title}, but {' or '.join(provider.keys)} is not set: put it into .env, "
                f"or set {where}.key_env"
            )
        if setting.api_mode == "chat_completions":
            provider = replace(provider, api="openai")
        return self._of_provider(provider, name, key, key_name, f"set in {where}", "config", setting.context_length)

    async def _at_address(
        self, setting: ModelSetting, name: str | None, provider_name: str | None, where: str
    ) -> Candidate:
        assert setting.base_url is not None
        base_url = setting.base_url.rstrip("/")
        owner = provider_at(base_url)
        named = provider_named(provider_name) if provider_name else None
        # The key of the environment goes to its provider's own address, or where the configuration names the provider.
        key, key_name = self._key(setting, owner or named, where)
        if provider_name in (None, "custom"):
            provider_name = owner.name if owner is not None else _host(base_url)
        context_length, takes_images = setting.context_length, True
        if name is None and owner is not None:
            name = owner.default_model
        if name is None:
            found = await self._first_model_at(provider_name, base_url, key, where)
            name, takes_images = found.model, found.takes_images
            context_length = context_length or found.context_length
        is_native = named is not None and named.api == "pydantic-ai" and base_url != named.base_url
        is_native = is_native and setting.api_mode is None and self._has_own_api(named)
        if setting.api_mode == "anthropic_messages":
            if not self._has_own_api(_ANTHROPIC):
                raise NoModel(f"{where}.api_mode anthropic_messages needs {INSTALL_PROVIDERS}")
            provider_name, is_native = _ANTHROPIC.name, True
        if is_native and provider_name == _ANTHROPIC.name:
            base_url = base_url.removesuffix("/v1")  # its library puts that before each path
        return Candidate(
            "config",
            provider_name,
            True,
            f"set in {where}",
            model=name,
            base_url=base_url,
            api="pydantic-ai" if is_native else "openai",
            api_key=key,
            key_name=key_name,
            context_length=context_length,
            takes_images=takes_images,
        )

    async def _first_model_at(self, provider: str, base_url: str, key: str | None, where: str) -> Found:
        from .discover import discover

        found = (await discover(self._session(), {provider: base_url}, key=key, seconds=_ASKED_SECONDS))[0]
        if found.model is None:
            raise NoModel(f"{where}.default is not set, and {found.why}")
        return found

    async def _of_local(self, setting: ModelSetting, name: str | None, provider: str, where: str) -> Candidate:
        base_url = self._addresses[provider]
        key, key_name = self._key(setting, None, where)
        found: Found | None = None
        if name is None:
            found = await self._first_model_at(provider, base_url, key, where)
            name = found.model
        return Candidate(
            "config",
            provider,
            True,
            f"set in {where}",
            model=name,
            base_url=base_url,
            api_key=key,
            key_name=key_name,
            context_length=setting.context_length or (found.context_length if found else None),
            takes_images=found.takes_images if found else True,
        )

    def _of_environment(self, provider: Provider) -> Candidate:
        key, key_name = self._key(ModelSetting(), provider, "")
        if key is None:
            return Candidate("environment", provider.name, False, f"{' or '.join(provider.keys)} is not set")
        try:
            return self._of_provider(provider, None, key, key_name, f"{key_name} is set", "environment", None)
        except HermesError as exc:
            return Candidate("environment", provider.name, False, exc.message)

    def _of_provider(
        self,
        provider: Provider,
        name: str | None,
        key: str,
        key_name: str,
        why: str,
        source: str,
        context_length: int | None,
    ) -> Candidate:
        api, base_url = provider.api, provider.base_url
        if api == "pydantic-ai":
            if self._has_own_api(provider):
                base_url = None
            elif base_url is None:
                raise NoModel(f"{provider.title} needs {INSTALL_PROVIDERS}")
            else:
                api = "openai"
                why += f", through its OpenAI-compatible API ({INSTALL_PROVIDERS} speaks its own)"
        if provider.name == "openai" and self._environ.get("OPENAI_BASE_URL"):
            base_url = self._environ["OPENAI_BASE_URL"].rstrip("/")
        return Candidate(
            source,
            provider.name,
            True,
            why,
            model=name or provider.default_model,
            base_url=base_url,
            api=api,
            api_key=key,
            key_name=key_name,
            context_length=context_length,
        )

    @staticmethod
    def _check_api(setting: ModelSetting, provider: Provider | None, name: str, where: str) -> None:
        """Raises ConfigError for an API that the provider does not have."""
        has_chat = provider is not None and provider.base_url is not None
        if setting.api_mode == "chat_completions" and not has_chat:
            raise ConfigError(f"{where}.api_mode: {name} does not speak chat_completions; leave api_mode out")
        if setting.api_mode == "anthropic_messages" and provider is not _ANTHROPIC:
            raise ConfigError(
                f"{where}.api_mode: {name} does not speak anthropic_messages; leave it out, or set base_url"
            )

    def _native(self, provider: str, name: str | None, where: str) -> Candidate:
        """A provider whose credentials are not ours to look for."""
        if not self._has(PYDANTIC_AI_ONLY[provider]):
            raise NoModel(f"{where}.provider {provider} needs {INSTALL_PROVIDERS}")
        if name is None:
            raise ConfigError(f"{where}.default must name the model of {provider}")
        return Candidate("config", provider, True, f"set in {where}", model=name, api="pydantic-ai")

    def _has(self, sdk: str) -> bool:
        return self._is_installed("pydantic_ai") and self._is_installed(sdk)

    def _has_own_api(self, provider: Provider | None) -> bool:
        return provider is not None and has_own_api(provider, self._is_installed)

    def _of_builtin(self, name: str, why: str = "no key and no local server: the small built-in model") -> Candidate:
        missing = self._builtin.missing(name)
        if missing is not None:
            return Candidate("embedded", "embedded", False, missing, model=name)
        return Candidate("embedded", "embedded", True, why, model=name, takes_images=False)

    def _key(self, setting: ModelSetting, provider: Provider | None, where: str) -> tuple[str | None, str]:
        """The key and what it is called. Raises ConfigError when `key_env` names what is not there."""
        if setting.api_key:
            return setting.api_key, f"{where}.api_key"
        if setting.key_env:
            value = self._environ.get(setting.key_env, "").strip()
            if not value:
                raise ConfigError(f"{where}.key_env names {setting.key_env}, which is not set: put it into .env")
            return value, setting.key_env
        found = key_in(self._environ, provider) if provider is not None else None
        return found or (None, "")


class EmbeddedBuiltin:
    """The models of `hermes.models.embedded`, imported when one is looked at. `progress` hears of the slow things."""

    def __init__(self, progress: Progress | None = None) -> None:
        self._progress = progress

    def missing(self, name: str) -> str | None:
        from .embedded import BUILTINS, missing

        if name not in BUILTINS:
            return f"there is no built-in model {name!r}; there are {', '.join(BUILTINS)}"
        error = missing(BUILTINS[name])
        return error.message if error is not None else None

    def open(self, name: str) -> Model:
        from .embedded import BUILTINS, EmbeddedModel

        return EmbeddedModel(BUILTINS[name], progress=self._progress)


def _of_found(found: Found) -> Candidate:
    return Candidate(
        "local",
        found.provider,
        found.model is not None,
        found.why,
        model=found.model,
        base_url=found.base_url,
        context_length=found.context_length,
        takes_images=found.takes_images,
        models=found.models,
    )


def _host(base_url: str) -> str:
    return base_url.partition("://")[2].partition("/")[0].rpartition("@")[2] or "custom"
