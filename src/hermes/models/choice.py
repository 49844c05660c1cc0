"""What `Models` is told and what it chose: plain values."""

from __future__ import annotations

from dataclasses import dataclass, field

from .known import Api


@dataclass(frozen=True, slots=True)
class ModelSetting:
    """One entry of `model`, `fallback_models` or `model_routes` in config.yaml. `name` is its `default`."""

    name: str | None = None
    provider: str | None = None
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    key_env: str | None = None
    context_length: int | None = None

    @property
    def is_empty(self) -> bool:
        return not (self.name or self.provider or self.base_url)


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
