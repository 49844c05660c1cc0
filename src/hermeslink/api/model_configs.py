"""The language models of a profile: which there are, which answers, and their keys, which go in and never out."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BeforeValidator, Field

from hermes.core.reasoning import Effort
from hermes.home.paths import DEFAULT_PROFILE
from hermeslink.api.bodies import Body, CamelAnswer, CamelView
from hermeslink.api.dependencies import TheCaller, TheLink
from hermeslink.profiles.model_configs import Credential, ModelConfig, ModelConfigs, supported
from hermeslink.profiles.model_edits import Wanted
from hermeslink.profiles.models import Changed

router = APIRouter(prefix="/api/v1", tags=["model configs"])


def _none(value: object) -> object:
    """A field of a form that was left empty."""
    return None if isinstance(value, str) and not value.strip() else value.strip() if isinstance(value, str) else value


Text = Annotated[str, Field(max_length=2048)]
MaybeText = Annotated[Text | None, BeforeValidator(_none)]
ModelId = Annotated[str | None, Query(description="As in the body, for clients whose DELETE has none.")]


class ModelConfigView(CamelView):
    """`id` is what a conversation's model is set to, `modelName` what its provider calls it. `credentialConfigured`:
    nothing is missing to call it. `reasoningSupport` unknown: every effort may be tried, and what the model's server
    refuses is left out."""

    id: str
    model_name: str | None
    provider: str
    provider_name: str
    base_url: str | None
    api_mode: str | None
    context_length: int | None
    key_env: str | None
    credential_configured: bool
    credential_state: Credential
    is_default: bool
    reasoning_effort: Effort | None
    reasoning_support: Literal["supported", "unsupported", "unknown"]
    supported_reasoning_efforts: list[Effort]

    @classmethod
    def of(cls, config: ModelConfig) -> ModelConfigView:
        support = "unknown" if config.efforts is None else "supported" if config.efforts else "unsupported"
        return cls(
            id=config.id,
            model_name=config.model,
            provider=config.provider,
            provider_name=config.provider_name,
            base_url=config.base_url,
            api_mode=config.api_mode,
            context_length=config.context_length,
            key_env=config.key_env,
            credential_configured=config.credential != "missing",
            credential_state=config.credential,
            is_default=config.is_default,
            reasoning_effort=config.reasoning_effort,
            reasoning_support=support,
            supported_reasoning_efforts=list(supported(config)),
        )


class ModelConfigList(CamelAnswer):
    config_path: str
    default_model: str | None
    default_reasoning_effort: Effort | None
    compression_model_id: str | None
    models: list[ModelConfigView]

    @classmethod
    def of(cls, configs: ModelConfigs) -> ModelConfigList:
        return ModelConfigList(**facts_of(configs))


class ModelConfigsChanged(ModelConfigList):
    """`restartHint`: what to do where a running gateway does not take it up by itself."""

    requires_gateway_reload: bool
    restart_hint: str | None


class ModelConfigSaved(ModelConfigsChanged):
    model: ModelConfigView


class ModelConfigChange(Body):
    """What is not sent stays as it is; null or empty takes it away. `original_id`: the one that is renamed."""

    id: Text
    provider: Text
    base_url: MaybeText = None
    api_key: Annotated[Annotated[str, Field(max_length=4096)] | None, BeforeValidator(_none)] = None
    context_length: Annotated[Annotated[int, Field(gt=0, le=100_000_000)] | None, BeforeValidator(_none)] = None
    set_default: bool | None = None
    reasoning_effort: Annotated[Effort | None, BeforeValidator(_none)] = None
    api_mode: Annotated[Literal["chat_completions", "anthropic_messages", "native"] | None, BeforeValidator(_none)] = (
        None
    )
    key_env: MaybeText = None
    original_id: MaybeText = None

    def wanted(self) -> Wanted:
        names = ("provider", "base_url", "context_length", "reasoning_effort", "api_mode", "key_env")
        said: dict[str, Any] = {name: getattr(self, name) for name in names if name in self.model_fields_set}
        return Wanted(self.id.strip(), said, self.api_key, self.original_id, self.set_default)


class DefaultsChange(Body):
    """`task_model_id`: the model that answers. `compression_model_id` null: the one that is asked writes its own."""

    task_model_id: MaybeText = None
    compression_model_id: MaybeText = None

    def said(self) -> dict[str, str | None]:
        return {
            name: getattr(self, name)
            for name in ("task_model_id", "compression_model_id")
            if name in self.model_fields_set
        }


class WhichModel(Body):
    model_id: MaybeText = None


@router.get("/profiles/{name}/model-configs")
async def list_model_configs(link: TheLink, name: str) -> ModelConfigList:
    """The models of a profile, the default first."""
    return ModelConfigList.of(await link.models.show(name))


@router.post("/profiles/{name}/model-configs")
async def save_model_config(link: TheLink, caller: TheCaller, name: str, body: ModelConfigChange) -> ModelConfigSaved:
    """Add a model, or change one. Its key goes to the profile's .env, and comes back never."""
    wanted = body.wanted()
    changed = await link.models.save(caller, name, wanted)
    saved = changed.configs.get(wanted.id)
    assert saved is not None
    return ModelConfigSaved(**_changed(changed), model=ModelConfigView.of(saved))


@router.delete("/profiles/{name}/model-configs")
async def delete_model_config(
    link: TheLink, caller: TheCaller, name: str, body: WhichModel | None = None, model_id: ModelId = None
) -> ModelConfigsChanged:
    """Delete a model, with the key that was sent for it. Where it was the default, the first of the others is."""
    which = body.model_id if body is not None else None
    return ModelConfigsChanged(**_changed(await link.models.delete(caller, name, which or model_id)))


@router.patch("/profiles/{name}/model-configs/defaults")
async def set_default_models(link: TheLink, caller: TheCaller, name: str, body: DefaultsChange) -> ModelConfigsChanged:
    """Choose the model that answers, and the one that shortens long histories."""
    return ModelConfigsChanged(**_changed(await link.models.set_defaults(caller, name, body.said())))


@router.get("/model-configs")
async def list_default_model_configs(link: TheLink) -> ModelConfigList:
    """The models of the default profile."""
    return await list_model_configs(link, DEFAULT_PROFILE)


@router.post("/model-configs")
async def save_default_model_config(link: TheLink, caller: TheCaller, body: ModelConfigChange) -> ModelConfigSaved:
    """Add or change a model of the default profile."""
    return await save_model_config(link, caller, DEFAULT_PROFILE, body)


@router.delete("/model-configs")
async def delete_default_model_config(
    link: TheLink, caller: TheCaller, body: WhichModel | None = None, model_id: ModelId = None
) -> ModelConfigsChanged:
    """Delete a model of the default profile."""
    return await delete_model_config(link, caller, DEFAULT_PROFILE, body, model_id)


@router.patch("/model-configs/defaults")
async def set_default_models_of_default(link: TheLink, caller: TheCaller, body: DefaultsChange) -> ModelConfigsChanged:
    """The same choice for the default profile."""
    return await set_default_models(link, caller, DEFAULT_PROFILE, body)


def facts_of(configs: ModelConfigs) -> dict[str, Any]:
    default = configs.default
    return {
        "config_path": str(configs.config_path),
        "default_model": configs.default_model,
        "default_reasoning_effort": default.reasoning_effort if default else None,
        "compression_model_id": configs.compression_model,
        "models": [ModelConfigView.of(one) for one in configs.models],
    }


def _changed(changed: Changed) -> dict[str, Any]:
    return {
        **facts_of(changed.configs),
        "requires_gateway_reload": changed.restart_hint is not None,
        "restart_hint": changed.restart_hint,
    }
