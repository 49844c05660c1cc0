"""The language models of a profile, as a person sees them and changes them.

They are settings of its config.yaml: `model` is the default, `model_routes` are the others, each under the name that a
conversation or a request may ask for. docs/link/models.md says which field is which.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from hermes.core.providers import (
    LOCAL,
    PROVIDERS,
    PYDANTIC_AI_ONLY,
    canonical,
    has_own_api,
    key_in,
    local_addresses,
    provider_at,
    provider_for,
    provider_named,
    split_name,
)
from hermes.core.reasoning import EFFORTS, Effort, known_efforts
from hermes.home.config_file import read_config
from hermes.home.paths import Home
from hermes.home.sections import ModelSettings
from hermes.home.settings import Settings, load_settings

Credential = Literal["configured", "missing", "not_required", "external"]
"""external: not one key, but credentials of AWS or Google Cloud."""

Kind = Literal["route", "model", "implied"]
"""Where it stands: in `model_routes`, in `model`, or nowhere: a provider's key that is there chooses it."""

NAMELESS = "default"
"""Of a model whose server is asked for its name."""

_TITLES = {
    "ollama": "Ollama",
    "lmstudio": "LM Studio",
    "llamacpp": "llama.cpp",
    "vllm": "vLLM",
    "embedded": "Built in",
    "bedrock": "Amazon Bedrock",
    "google-cloud": "Google Cloud",
}


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """`id` is what a conversation names it by, `model` what its provider calls it, None where its server is asked.
    `key_env`: the variable that its key is looked for in. `efforts`: None where nobody knows which it takes."""

    id: str
    kind: Kind
    model: str | None
    provider: str
    provider_name: str
    base_url: str | None
    api_mode: str | None
    context_length: int | None
    key_env: str | None
    credential: Credential
    is_default: bool
    reasoning_effort: Effort | None
    efforts: tuple[Effort, ...] | None
    settings: ModelSettings

    @property
    def target(self) -> str:
        """Where a key of it goes: a provider's own address has the provider's name."""
        own = provider_at(self.settings.base_url or "") if _is_https(self.settings.base_url) else None
        if self.settings.base_url and own is None:
            parts = _parts(self.settings.base_url)
            return f"{parts.scheme}://{parts.netloc.rpartition('@')[2].lower()}"
        return own.name if own is not None else self.provider


@dataclass(frozen=True, slots=True)
class ModelConfigs:
    """`models`: the default first, the others as they stand in the file."""

    config_path: Path
    default_model: str | None
    compression_model: str | None
    models: tuple[ModelConfig, ...]

    @property
    def default(self) -> ModelConfig | None:
        return next((one for one in self.models if one.is_default), None)

    def get(self, model_id: str) -> ModelConfig | None:
        return next((one for one in self.models if one.id == model_id), None)


def of(home: Home, environ: Mapping[str, str]) -> ModelConfigs:
    """`environ` speaks for the default profile, as it does for its gateway. Raises ConfigError for a file that cannot
    be read; a wrong value in it hides nothing else."""
    read_config(home.config_file)
    settings = load_settings(home, {} if home.is_profile else environ, is_lenient=True)
    return configs_of(settings, settings.environ, home.config_file)


def configs_of(settings: Settings, environ: Mapping[str, str], config_path: Path) -> ModelConfigs:
    models = tuple(_all(settings, environ))
    default = next((one.id for one in models if one.is_default), None)
    return ModelConfigs(config_path, default, settings.compression.model, models)


def is_reference(model: ModelSettings, routes: Mapping[str, object]) -> bool:
    """Whether `model` only names a route: as the agent takes it (hermes.models.choice.meant)."""
    is_own = model.provider or model.base_url or model.api_key or model.key_env or model.api_mode
    return model.default in routes and not is_own


def inline_id(settings: ModelSettings, routes: Mapping[str, object]) -> str:
    """Of what `model` says itself: no route has that name."""
    known = provider_named(settings.provider or "") or provider_at(settings.base_url or "")
    name = settings.default or (known.default_model if known else NAMELESS)
    while name in routes:
        name += "@default"
    return name


def shown_address(base_url: str | None) -> str | None:
    """Without a password, and without a query: that may be a key, too."""
    if base_url is None:
        return None
    parts = _parts(base_url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}".rstrip("/")


def _parts(url: str) -> SplitResult:
    """Nothing is in what cannot be read: somebody wrote it by hand."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def _all(settings: Settings, environ: Mapping[str, str]) -> Iterator[ModelConfig]:
    model, routes = settings.model, settings.model_routes
    default: str | None = None
    if is_reference(model, routes):
        default = model.default
        assert default is not None
        above = {
            name: value
            for name in ("context_length", "reasoning_effort")
            if (value := getattr(model, name)) is not None
        }
        yield _config(default, "route", routes[default].model_copy(update=above), environ, is_default=True)
    elif model.default or model.provider or model.base_url:
        yield _config(inline_id(model, routes), "model", model, environ, is_default=True)
    else:
        implied = _implied(environ)
        if implied is not None:
            yield _config(inline_id(implied, routes), "implied", implied, environ, is_default=True)
    for name, route in routes.items():
        if name != default:
            yield _config(name, "route", route, environ)


def _config(
    model_id: str, kind: Kind, settings: ModelSettings, environ: Mapping[str, str], *, is_default: bool = False
) -> ModelConfig:
    provider, model = _served_by(settings, environ)
    known = provider_named(provider)
    key_env, credential = _key_of(settings, provider, environ)
    return ModelConfig(
        id=model_id,
        kind=kind,
        model=model,
        provider=provider,
        provider_name=_title(provider, settings.base_url),
        base_url=shown_address(settings.base_url) or _address(provider, environ),
        api_mode=_api_mode(settings, provider),
        context_length=settings.context_length,
        key_env=key_env,
        credential=credential,
        is_default=is_default,
        reasoning_effort=settings.reasoning_effort,
        efforts=known_efforts(known.name if known else provider, model or ""),
        settings=settings,
    )


def _served_by(settings: ModelSettings, environ: Mapping[str, str]) -> tuple[str, str | None]:
    """Who serves it, and its name there; as the agent finds it, and without asking anybody."""
    provider, model = canonical(settings.provider) if settings.provider else None, settings.default
    if provider is None and model:
        provider, model = split_name(model)
    if settings.base_url:
        owner = provider_at(settings.base_url)
        model = model or (owner.default_model if owner else None)
        return provider if provider not in (None, "custom") else owner.name if owner else "custom", model
    provider = provider or provider_for(model or "", environ)
    known = provider_named(provider)
    return provider, model or (known.default_model if known else None)


def _key_of(settings: ModelSettings, provider: str, environ: Mapping[str, str]) -> tuple[str | None, Credential]:
    if settings.api_key:
        return settings.key_env, "configured"
    if settings.key_env:
        return settings.key_env, "configured" if environ.get(settings.key_env, "").strip() else "missing"
    if provider in PYDANTIC_AI_ONLY:
        return None, "external"
    known = provider_at(settings.base_url or "") or provider_named(provider)
    if known is None:
        return None, "not_required"
    found = key_in(environ, known)
    return (found[1], "configured") if found else (known.keys[0], "missing")


def _api_mode(settings: ModelSettings, provider: str) -> str | None:
    """`native` is another API than both that can be asked for; None: a part of this program."""
    known = provider_named(provider)
    if settings.api_mode is not None or provider == "embedded":
        return settings.api_mode
    if provider in PYDANTIC_AI_ONLY:
        return "native"
    if known is None or not has_own_api(known) or settings.base_url == known.base_url:
        return "chat_completions"
    return "anthropic_messages" if known.name == "anthropic" else "native"


def _address(provider: str, environ: Mapping[str, str]) -> str | None:
    known = provider_named(provider)
    if known is not None:
        return known.base_url
    return shown_address(local_addresses(environ)[provider]) if provider in LOCAL else None


def _title(provider: str, base_url: str | None) -> str:
    known = provider_named(provider)
    if known is not None:
        return known.title
    if provider == "custom" and base_url:
        return _parts(base_url).netloc.rpartition("@")[2]
    return _TITLES.get(provider, provider)


def _implied(environ: Mapping[str, str]) -> ModelSettings | None:
    """What the agent takes where config.yaml names no model: the first provider whose key is there."""
    first = next((provider for provider in PROVIDERS if key_in(environ, provider) is not None), None)
    return None if first is None else ModelSettings(default=first.default_model, provider=first.name)


def _is_https(base_url: str | None) -> bool:
    return (base_url or "").startswith("https://")


def supported(config: ModelConfig) -> tuple[Effort, ...]:
    """What may be asked for: all of it where nobody knows what the model takes; what its server refuses is left out."""
    return EFFORTS if config.efforts is None else config.efforts
