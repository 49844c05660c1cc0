"""What models there are to talk to: the API server's list, as it is."""

from __future__ import annotations

from typing import Annotated, Literal

import orjson
from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from hermes.home.paths import DEFAULT_PROFILE
from hermeslink.api.dependencies import TheLink

router = APIRouter(prefix="/api/v1", tags=["models"])

OfProfile = Annotated[str, Query(description="Whose API server is asked.")]


class Model(BaseModel):
    model_config = ConfigDict(extra="allow")

    id: str
    object: Literal["model"] = "model"


class ModelList(BaseModel):
    """OpenAI's list: no `ok`. As an API server has it, with all that it says beside this."""

    model_config = ConfigDict(extra="allow")

    object: Literal["list"] = "list"
    data: list[Model]


@router.get("/models", response_model=ModelList)
async def list_models(link: TheLink, profile: OfProfile = DEFAULT_PROFILE) -> Response:
    """The models of an API server. 503 `hermes_api_server_unavailable` while it does not answer."""
    return Response(orjson.dumps(await link.servers.of(profile).models()), media_type="application/json")
