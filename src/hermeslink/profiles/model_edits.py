"""Changes of a profile's models, in its config.yaml and .env: checked, and written whole or not at all.

A key goes to no other address than the one it was given for: a phone may name a new address, and then has to send the
key for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from pydantic import TypeAdapter, ValidationError

from hermes.core.errors import Conflict, InvalidInput, NotFound
from hermes.core.providers import LOCAL, PYDANTIC_AI_ONLY, canonical, is_known, provider_named
from hermes.home.config_file import ConfigDraft
from hermes.home.edit import write_both
from hermes.home.env import EnvDraft
from hermes.home.names import PLACES, PROVIDER_NAMES, env_names
from hermes.home.paths import Home
from hermes.home.reading import Reading
from hermes.home.sections import ModelSettings, NamedModel
from hermes.home.settings import Settings
from hermeslink.profiles.model_configs import ModelConfig, ModelConfigs, configs_of, inline_id

MADE_NAME = re.compile(r"MODEL_[A-Z0-9_]+_API_KEY")
"""How a key's variable is called that a client gave no name for."""
MAX_ID_CHARS = 200
MAX_KEY_CHARS = 4096

_ENV_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,127}")
_OWN_PREFIXES = ("API_SERVER_", "HERMES_")
_NAMED_MODEL: TypeAdapter[ModelSettings] = TypeAdapter(NamedModel)
_REFERENCES = ("compression.model", "delegation.model", "approvals.model", "vision.model")
"""Other settings that may name a route."""

Keys = list[str]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a client wants of one model. `said`: fields of ModelSettings by their names there, None to unset one; what
    is not among them stays as it is. `original_id`: the name it had. `is_default` None: only where there is none."""

    id: str
    said: Mapping[str, Any]
    api_key: str | None = field(default=None, repr=False)
    original_id: str | None = None
    is_default: bool | None = None


class ModelDraft:
    """The models of a home as they will be. Whoever makes it holds the `edit_lock` until `write`.

    `environ` is over .env, as it is for the agent.
    """

    def __init__(self, home: Home, environ: Mapping[str, str]) -> None:
        self.changed: set[str] = set()
        self._home = home
        self._environ = {} if home.is_profile else {name: value for name, value in environ.items() if value.strip()}
        self._config, self._env = ConfigDraft(home.config_file), EnvDraft(home.env_file)

    def write(self) -> None:
        write_both(self._env, self._config)

    @property
    def configs(self) -> ModelConfigs:
        return configs_of(self._settings(), self._variables(), self._home.config_file)

    def save(self, wanted: Wanted) -> None:
        """Raises NotFound `model_config_not_found`, Conflict `model_config_exists`, and InvalidInput
        `model_config_invalid` or `model_config_key_required`."""
        configs, old_id = self.configs, wanted.original_id or wanted.id
        before = configs.get(old_id)
        if before is None and wanted.original_id is not None:
            raise not_found(old_id)
        if wanted.id != old_id and configs.get(wanted.id) is not None:
            raise Conflict(f"there is a model {wanted.id!r} already", code="model_config_exists")
        self._check_id(wanted.id, before)
        entry = self._entry(before, wanted, old_id)
        after = self._seen(wanted.id, entry, before)
        if wanted.api_key is not None:
            name = self._name_for_key(wanted, before, after)
            self._env.set(name, wanted.api_key)
            self.changed.add(name)
            entry = {key: value for key, value in entry.items() if key != "api_key"} | {"key_env": name}
        else:
            self._check_key(before, after)
        self._put(before, after, entry)
        if before is not None and before.is_default and before.kind == "route":
            for name in ("context_length", "reasoning_effort"):  # said above the route: the new word counts
                if name in wanted.said:
                    self._config.unset(["model", name])
        if before is not None:
            self._sweep(before.settings.key_env)
        if wanted.is_default or (wanted.is_default is None and configs.default is None):
            self.make_default(wanted.id)

    def make_default(self, model_id: str) -> None:
        """The one that was the default stays among the others. Raises InvalidInput `model_config_unknown`."""
        chosen = self._known(model_id)
        if chosen.is_default:
            return
        default = self.configs.default
        if default is not None:
            self._as_route(default)
        self._config.set(["model"], {"default": model_id})
        self.changed.add("model")

    def compress_with(self, model_id: str | None) -> None:
        """None: with the one that is asked. Raises InvalidInput `model_config_unknown`."""
        if model_id is None:
            self._config.unset(["compression", "model"])
        else:
            self._as_route(self._known(model_id))
            self._config.set(["compression", "model"], model_id)
        self.changed.add("compression.model")

    def delete(self, model_id: str) -> None:
        """With its key, where the key's variable was made for it. Where it was the default, the first of the others is.
        Raises NotFound `model_config_not_found`, Conflict `model_config_last`."""
        configs = self.configs
        gone = configs.get(model_id)
        if gone is None:
            raise not_found(model_id)
        others = [one.id for one in configs.models if one.id != model_id]
        if not others:
            raise Conflict(
                f"{model_id} is the only model: add another one before this one goes", code="model_config_last"
            )
        if gone.kind == "route":
            self._config.unset(["model_routes", model_id])
        if gone.is_default:
            self._config.set(["model"], {"default": others[0]})
            self.changed.add("model")
        self._refer(model_id, None)
        self.changed.add("model_routes")
        self._sweep(gone.settings.key_env)

    # --- an entry ---

    def _entry(self, before: ModelConfig | None, wanted: Wanted, old_id: str) -> dict[str, Any]:
        """As it will stand in the file. What a client sends back as it was shown changes nothing."""
        entry = self._raw(before)
        has_moved = before is not None and any(
            name in wanted.said and wanted.said[name] != _SHOWN[name](before) for name in ("provider", "base_url")
        )
        for name, value in wanted.said.items():
            is_implied = has_moved and name in ("base_url", "key_env") and name not in entry
            if before is not None and value == _SHOWN[name](before) and not is_implied:
                continue
            if value is None:
                entry.pop(name, None)
            else:
                entry[name] = value
        provider = entry.get("provider")
        if before is None:
            entry = {"default": _name_at(wanted.id, provider), **entry}
        elif wanted.id != old_id and (entry.get("default") or before.model) == old_id:
            entry["default"] = _name_at(wanted.id, provider)
        elif provider is not None and before.settings.provider is None and "default" in entry:
            entry["default"] = _name_at(str(entry["default"]), before.provider)  # it said its provider in front
        return entry

    def _seen(self, model_id: str, entry: Mapping[str, Any], before: ModelConfig | None) -> ModelConfig:
        """The entry as it would be shown. Raises InvalidInput for one that the agent would not take."""
        known = {name: value for name, value in entry.items() if name in ModelSettings.model_fields}
        try:
            settings = _NAMED_MODEL.validate_python(known)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            name = ".".join(map(str, first["loc"]))
            raise _invalid(f"{name}: {first['msg'].removeprefix('Value error, ')}", name) from error
        if before is None or _place_of(settings) != _place_of(before.settings):
            _check_address(settings)
        alone = Settings(model_routes={model_id: settings}, model=ModelSettings(default=model_id))
        [seen] = configs_of(alone, self._variables(), self._home.config_file).models
        _check_api(seen)
        return seen

    def _raw(self, config: ModelConfig | None) -> dict[str, Any]:
        if config is None:
            return {}
        if config.kind == "implied":
            return {"default": config.settings.default, "provider": config.settings.provider}
        raw = self._config.get(_keys_of(config))
        if not isinstance(raw, dict):
            return {"default": raw}
        return {"default" if name == "model" and "default" not in raw else name: deepcopy(raw[name]) for name in raw}

    def _put(self, before: ModelConfig | None, after: ModelConfig, entry: dict[str, Any]) -> None:
        model_id = after.id
        stays = before is not None and before.id == model_id and before.kind != "implied"
        if before is not None and before.kind == "model":  # its id is what it says of itself
            stays = stays and inline_id(after.settings, self._settings().model_routes) == model_id
        keys = _keys_of(before) if before is not None and stays else ["model_routes", model_id]
        self._set_entry(keys, entry)
        self.changed.add(keys[0])
        if before is None or stays:
            return
        if before.kind == "route":
            self._config.unset(["model_routes", before.id])
        if before.is_default:
            above = self._above() if before.kind == "route" else {}
            self._config.set(["model"], {**above, "default": model_id})
            self.changed.add("model")
        if before.id != model_id:
            self._refer(before.id, model_id)

    def _set_entry(self, keys: Keys, entry: dict[str, Any]) -> None:
        """Value by value, so that comments stay."""
        now = self._config.get(keys)
        if not isinstance(now, dict):
            if entry != {"default": now}:
                self._config.set(keys, entry)
            return
        if "model" in now and "default" not in now:  # the file calls it so
            entry = {"model" if name == "default" else name: value for name, value in entry.items()}
        for name, value in entry.items():
            if name not in now or now[name] != value:
                self._config.set([*keys, name], value)
        for name in now.keys() - entry.keys():
            self._config.unset([*keys, name])

    def _above(self) -> dict[str, Any]:
        """What `model` says beside the name of a route."""
        model = self._config.get(["model"])
        return {key: value for key, value in model.items() if key != "model"} if isinstance(model, dict) else {}

    def _as_route(self, config: ModelConfig) -> None:
        """It can be named then, whatever becomes the default. Where it stood in `model`, that names it now."""
        if config.kind == "route":
            return
        self._config.set(["model_routes", config.id], self._raw(config))
        self._config.set(["model"], {"default": config.id})
        self.changed |= {"model", "model_routes"}

    def _refer(self, old_id: str, new_id: str | None) -> None:
        for name in _REFERENCES:
            keys = name.split(".")
            section = self._config.get(keys[:-1])
            is_own = isinstance(section, dict) and (section.get("provider") or section.get("base_url"))
            if self._config.get(keys) != old_id or is_own:
                continue
            if new_id is None:
                self._config.unset(keys)
            else:
                self._config.set(keys, new_id)
            self.changed.add(name)
        fallbacks = self._config.get(["fallback_models"])
        if isinstance(fallbacks, list) and any(one in _alone(old_id) for one in fallbacks):
            told = [new_id if one in _alone(old_id) else one for one in fallbacks]
            self._config.set(["fallback_models"], [one for one in told if one is not None])
            self.changed.add("fallback_models")

    # --- its key ---

    def _sweep(self, key_env: str | None) -> None:
        """A key whose variable was made for a model that needs it no more goes."""
        if key_env and MADE_NAME.fullmatch(key_env) and not self._users_of(key_env):
            self._env.unset(key_env)
            self.changed.add(key_env)

    def _name_for_key(self, wanted: Wanted, before: ModelConfig | None, after: ModelConfig) -> str:
        """The variable that the key is written to."""
        assert wanted.api_key is not None
        if not (wanted.api_key.isascii() and wanted.api_key.isprintable()) or len(wanted.api_key) > MAX_KEY_CHARS:
            raise _invalid("a key is printable ASCII, without line breaks", "api_key")
        if after.provider in PYDANTIC_AI_ONLY or after.provider == "embedded":
            raise _invalid(f"{after.provider_name} takes no key", "api_key")
        mine = before.settings.key_env if before is not None else None
        users = [one for one in self._users_of(mine) if before is None or one != before.id] if mine else []
        named = wanted.said.get("key_env")
        if named is not None and (before is None or named != before.key_env or named == mine):
            self._check_name(named, after)
            if self._variables().get(named) not in (None, wanted.api_key) and (named != mine or users):
                raise _invalid(f"{named} holds another key already: give another name, or none", "key_env")
            chosen: str = named
        elif mine is not None and not users and mine not in PROVIDER_NAMES:
            chosen = mine
        else:
            chosen = self._made_name(wanted.id)
        if chosen in self._environ:
            raise _invalid(f"{chosen} is set in the environment, which beats .env: give another name", "key_env")
        return chosen

    def _made_name(self, model_id: str) -> str:
        stem = re.sub(r"[^A-Z0-9]+", "_", model_id.upper()).strip("_")[:64] or "X"
        variables = self._variables()
        number = 1
        while (name := f"MODEL_{stem}{'' if number == 1 else f'_{number}'}_API_KEY") in variables:
            number += 1
        return name

    def _check_key(self, before: ModelConfig | None, after: ModelConfig) -> None:
        """A key that is there already goes where it went before, or to its provider."""
        is_same_key = before is not None and (
            after.settings.api_key == before.settings.api_key and after.key_env == before.key_env
        )
        if is_same_key and before is not None and before.target == after.target:
            return
        own = provider_named(after.target)
        if after.settings.api_key:
            raise _key_required(after)
        if after.settings.key_env:
            name = after.settings.key_env
            self._check_name(name, after)
            if self._variables().get(name) and (own is None or name not in own.keys):
                raise _key_required(after, name)
        elif own is None and provider_named(after.provider) is not None:  # its key would follow to this address
            raise _key_required(after)

    def _check_name(self, name: str, config: ModelConfig) -> None:
        """What may hold the key of a model: none of ours, and a provider's for that provider's own address alone."""
        is_ours = name in env_names() or name in PLACES or name.startswith(_OWN_PREFIXES)
        own = provider_named(config.target)
        is_of_another = name in PROVIDER_NAMES and (own is None or name not in own.keys)
        if _ENV_NAME.fullmatch(name) is None:
            raise _invalid("key_env is a name of capital letters, digits and _", "key_env")
        if is_ours or is_of_another:
            raise _invalid(f"{name} is for something else: give another name, or none", "key_env")

    def _users_of(self, key_env: str | None) -> list[str]:
        """The models whose settings name it, with what else does."""
        settings = self._settings()
        users = [one.id for one in self.configs.models if one.settings.key_env == key_env]
        endpoints = (settings.vision, settings.image_gen, settings.stt, settings.tts)
        others = [one.key_env for one in settings.fallback_models] + [one.key_env for one in endpoints]
        return users + ["" for name in others if name == key_env]

    # --- what there is ---

    def _known(self, model_id: str) -> ModelConfig:
        found = self.configs.get(model_id)
        if found is None:
            raise InvalidInput(f"there is no model {model_id[:MAX_ID_CHARS]!r}", code="model_config_unknown")
        return found

    def _check_id(self, model_id: str, before: ModelConfig | None) -> None:
        if before is not None and before.id == model_id:
            return
        if not model_id.strip() or len(model_id) > MAX_ID_CHARS or not model_id.isprintable():
            raise _invalid(f"id is the name of a model, of at most {MAX_ID_CHARS} characters", "id")
        if model_id in ("hermes-agent", self._settings().api_server.model_name):
            raise _invalid(f"{model_id} is what the agent itself is called", "id")

    def _settings(self) -> Settings:
        reading = Reading()
        reading.add_config(deepcopy(self._config.values))
        return reading.settings()

    def _variables(self) -> Mapping[str, str]:
        return {**self._env.values, **self._environ}


def not_found(model_id: str) -> NotFound:
    return NotFound(f"there is no model {model_id[:MAX_ID_CHARS]!r}", code="model_config_not_found")


def _name_at(model_id: str, provider: str | None) -> str:
    """The provider's name before it is no part of the model's."""
    prefix, separator, rest = model_id.partition(":")
    return rest if separator and rest and provider and canonical(prefix) == canonical(provider) else model_id


def _keys_of(config: ModelConfig) -> Keys:
    return ["model"] if config.kind == "model" else ["model_routes", config.id]


def _alone(model_id: str) -> list[Any]:
    """How a list says nothing but a name."""
    return [model_id, {"default": model_id}, {"model": model_id}]


def _place_of(settings: ModelSettings) -> tuple[str | None, str | None]:
    return settings.provider, settings.base_url


def _check_address(settings: ModelSettings) -> None:
    if settings.base_url is None:
        provider = settings.provider
        if provider is None or not (is_known(provider) or canonical(provider) == "embedded"):
            raise _invalid(f"{provider or 'it'} is no provider that is known here: say its base_url", "base_url")
        return
    try:
        parts = urlsplit(settings.base_url)
        is_address = bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise _invalid("base_url is an address such as https://models.example/v1", "base_url") from error
    if not is_address or not settings.base_url.isprintable() or " " in settings.base_url:
        raise _invalid("base_url is an address such as https://models.example/v1", "base_url")
    if "@" in parts.netloc:
        raise _invalid("an address holds no password: send it as api_key", "base_url")


def _check_api(config: ModelConfig) -> None:
    """As the agent does (hermes.models.settle), which would have no model then."""
    if config.settings.api_mode is None or config.settings.base_url is not None:
        return
    known = provider_named(config.provider)
    if config.settings.api_mode == "chat_completions":
        has_it = config.provider in LOCAL or (known is not None and known.base_url is not None)
    else:
        has_it = known is not None and known.name == "anthropic"
    if not has_it:
        raise _invalid(f"{config.provider_name} does not speak {config.settings.api_mode}", "api_mode")


def _invalid(message: str, param: str) -> InvalidInput:
    return InvalidInput(message, code="model_config_invalid", param=param)


def _key_required(config: ModelConfig, name: str | None = None) -> InvalidInput:
    key = name or config.key_env or "the key"
    return InvalidInput(
        f"{key} is not sent to an address that it was not given for: send api_key with it, or say the provider custom "
        "for a server that takes none",
        code="model_config_key_required",
        param="api_key",
    )


_SHOWN: Mapping[str, Any] = {
    "provider": lambda config: config.provider,
    "base_url": lambda config: config.base_url,
    "api_mode": lambda config: config.api_mode,
    "context_length": lambda config: config.context_length,
    "key_env": lambda config: config.key_env,
    "reasoning_effort": lambda config: config.reasoning_effort,
}
"""As a client sees it."""
