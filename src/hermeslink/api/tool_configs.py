"""The services that a profile's tools ask, read and changed in its files (spec: link-api, section 3)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field
from pydantic.alias_generators import to_camel, to_snake

from hermeslink.api.bodies import Body, CamelAnswer, refusing_with
from hermeslink.api.dependencies import TheCaller, TheLink
from hermeslink.profiles.tool_configs import INVALID, ToolConfig

router = APIRouter(
    prefix="/api/v1/profiles/{name}/tool-configs", tags=["tool-configs"], route_class=refusing_with(INVALID)
)


class ToolConfigAnswer(CamelAnswer):
    """`values`: settings by their names in camelCase; no key is ever among them. `configured`: whether each variable of
    .env is set; false where the agent has no such tool. `missing`: what the tools still wait for."""

    profile_name: str
    config_path: str
    tool_key: str
    available: bool
    values: dict[str, Any]
    configured: dict[str, bool] | Literal[False]
    missing: str | None

    @classmethod
    def of(cls, config: ToolConfig) -> ToolConfigAnswer:
        return cls(
            profile_name=config.profile,
            config_path=str(config.config_file),
            tool_key=config.tool,
            available=config.is_available,
            values={to_camel(name): value for name, value in config.values.items()},
            configured=dict(config.keys) if config.is_available else False,
            missing=config.missing or None,
        )


class ToolConfigChange(Body):
    """What is sent is changed, null is the default again. `env`: keys by the names that `configured` has."""

    values: Annotated[dict[str, Any], Field(max_length=50)] | None = None
    env: Annotated[dict[str, str | None], Field(max_length=20)] | None = None


@router.get("/{tool_key}")
async def show_tool_config(link: TheLink, name: str, tool_key: str) -> ToolConfigAnswer:
    """The settings of one tool's service, and which keys are set."""
    return ToolConfigAnswer.of(await link.tool_configs.show(name, tool_key))


@router.patch("/{tool_key}")
async def change_tool_config(
    link: TheLink, caller: TheCaller, name: str, tool_key: str, body: ToolConfigChange | None = None
) -> ToolConfigAnswer:
    """All that is sent, or nothing where something of it is wrong. Keys are written to .env, and never given back."""
    body = body or ToolConfigChange()
    values = {to_snake(field): value for field, value in (body.values or {}).items()}
    return ToolConfigAnswer.of(await link.tool_configs.change(caller, name, tool_key, values, body.env or {}))
