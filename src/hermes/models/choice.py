"""What `Models` is told and what it chose: plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hermes.core.providers import Api

if TYPE_CHECKING:
    from hermes.home.sections import ModelSettings


@dataclass(frozen=True, slots=True)
class ModelSetting:
    """One entry of `model`, `fallback_models` or `model_routes` in config.yaml. `name` is its `default`."""

    name: str | None = None
    provider: str | None = None
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    key_env: str | None = None
    context_length: int | None = None
    reasoning_effort: str | None = None
    api_mode: str | None = None

    @property
    def is_empty(self) -> bool:
        return not (self.name or self.provider or self.base_url)


def setting_of(settings: ModelSettings) -> ModelSetting:
    values = settings.model_dump()
    return ModelSetting(name=values.pop("default"), **values)


def meant(setting: ModelSetting, routes: Mapping[str, ModelSetting]) -> ModelSetting:
    """The route that the setting names, where it says nothing of who serves it: a key of its own is for no other
    address. How much it thinks, and what it takes, may be said above the route."""
    route = routes.get(setting.name or "")
    is_own = setting.provider or setting.base_url or setting.api_key or setting.key_env or setting.api_mode
    if route is None or is_own:
        return setting
    return replace(
        route,
        context_length=setting.context_length or route.context_length,
        reasoning_effort=setting.reasoning_effort or route.reasoning_effort,
    )


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to a model that was looked at. `why` says why it is usable, or what is missing, for a person.

    `source`: config, environment, local or embedded. `key_name` is the variable or setting that holds the key.
    """

    source: str
    provider: str
    is_usable: bool
    why: str
    model: str | None = None
    base_url: str | None = None
    api: Api = "openai"
    api_key: str | None = field(default=None, repr=False)
    key_name: str = ""
    context_length: int | None = None
    reasoning_effort: str | None = None
    takes_images: bool = True
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """The model that answers when a request names none. `candidates` are all that were looked at, in order."""

    model: str
    provider: str
    base_url: str | None
    why: str
    source: str
    candidates: tuple[Candidate, ...] = ()
    context_length: int | None = None
