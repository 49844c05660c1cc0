"""From what `AIAgent` was given, and what the home says, to settings and parameters of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hermes.core.errors import InvalidInput
from hermes.core.toolset import COMPOSITES, TOOLSETS
from hermes.home.paths import Home, resolve_home
from hermes.home.sections import ModelSettings
from hermes.home.settings import Settings, load_settings

NOT_IN_THIS_BUILD = frozenset(
    [
        "clarify",
        "code_execution",
        "cronjob",
        "delegation",
        "messaging",
        "moa",
        "rl",
        "search",
        "video",
    ]
)
"""Published toolsets that may be disabled though they are not there; a name nobody knows is an error."""

THERE = (*TOOLSETS, *COMPOSITES)

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")


def settings_for(
    *,
    model: str,
    base_url: str | None,
    api_key: str | None,
    provider: str | None,
    fallback_model: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None,
    max_iterations: int,
) -> Settings:
    """The home's settings where there is one (`HERMES_HOME`, `~/.hermes`), and the arguments over them.

    What names another model or another place takes nothing of the home's model: its key goes nowhere else.
    """
    settings = load_settings(resolve_home())
    changed: dict[str, Any] = {"limits": settings.limits.model_copy(update={"max_steps": max_iterations})}
    configured = settings.model
    if base_url or provider:
        changed["model"] = _model({"default": model, "base_url": base_url, "provider": provider, "api_key": api_key})
    elif model or api_key:
        is_same = not model or model == configured.default
        changed["model"] = configured.model_copy(
            update={
                "default": model or configured.default,
                "api_key": api_key or configured.api_key,
                "context_length": configured.context_length if is_same else None,
            }
        )
    if fallback_model is not None:
        several = [fallback_model] if isinstance(fallback_model, Mapping) else list(fallback_model)
        changed["fallback_models"] = [_model(dict(one)) for one in several]
    elif base_url or provider or model:
        changed["fallback_models"] = []
    return settings.model_copy(update=changed)


def _model(values: dict[str, Any]) -> ModelSettings:
    named = {"default" if name == "model" else name: value for name, value in values.items() if value}
    try:
        return ModelSettings.model_validate(named)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise InvalidInput(f"{name}: {first['msg'].removeprefix('Value error, ')}", param=name) from error


def enabled(names: Sequence[str] | None, settings: Settings) -> tuple[str, ...] | None:
    """None: what is on by default, or what the home says. `mcp-NAME` is a server of the settings."""
    if names is None:
        return None
    chosen = _names(names, "enabled_toolsets")
    there = _there(settings)
    for name in chosen:
        if name not in there:
            raise _unknown(name, "enabled_toolsets", there)
    return chosen


def disabled(names: Sequence[str] | None, settings: Settings) -> tuple[str, ...]:
    chosen = _names(names or (), "disabled_toolsets")
    there = _there(settings)
    for name in chosen:
        if name not in there and name not in NOT_IN_THIS_BUILD:
            raise _unknown(name, "disabled_toolsets", there)
    return tuple(name for name in chosen if name in there)


def _there(settings: Settings) -> tuple[str, ...]:
    return (*THERE, *(f"mcp-{server}" for server in settings.mcp_servers))


def _names(names: Sequence[str], param: str) -> tuple[str, ...]:
    if isinstance(names, str):
        raise InvalidInput(f"{param} is a list of names, not text", param=param)
    return tuple(names)


def _unknown(name: str, param: str, there: Sequence[str]) -> InvalidInput:
    return InvalidInput(f"no toolset {name!r}; there are {', '.join(there)}", code="unknown_toolset", param=param)


def parameters(
    *, max_tokens: int | None, reasoning_config: Mapping[str, Any] | None, request_overrides: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Under OpenAI's chat names. `reasoning_config` is `{"effort": "low"}` or `{"enabled": False}`."""
    told: dict[str, Any] = {}
    if max_tokens is not None:
        told["max_tokens"] = max_tokens
    if reasoning_config is not None:
        effort = "none" if reasoning_config.get("enabled") is False else reasoning_config.get("effort")
        if effort is not None and effort not in EFFORTS:
            raise InvalidInput(f"reasoning_config.effort must be one of {', '.join(EFFORTS)}", param="reasoning_config")
        if effort is not None:
            told["reasoning_effort"] = effort
    return {**told, **(request_overrides or {})}


def memory_home() -> Home | None:
    """The home whose memory and skills these are; None where nobody set one up."""
    home = resolve_home()
    return home if home.exists() else None


def database_url(store: str | Path | None) -> str:
    """`store` is a file, or a URL of a database."""
    if store is None:
        return "sqlite://"
    text = str(store)
    return text if "://" in text else f"sqlite:///{Path(text).expanduser().absolute()}"
