"""Documentation of the routes that are imported at every start: kept apart, so that a start makes no model of it.

Every other handler has its own beside it (`hermes.api.documented`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from hermes.api.chat.documentation import ChatCompletion, ChatRequest
from hermes.api.documented import Answer, Documentation, Query


class Health(Answer):
    status: Literal["ok", "draining"]
    platform: Literal["hermes-agent"]
    version: str


State = Literal["ok", "degraded"]


class CheckRow(Answer):
    status: State
    detail: str | None


class Readiness(Answer):
    status: State
    checks: dict[str, CheckRow]


class Platform(Answer):
    state: Literal["connected"]
    error_code: str | None
    error_message: str | None
    updated_at: float


class NodeRow(Answer):
    """A process that conducts runs of the same database. `beat_at` is by its own clock."""

    id: str
    name: Annotated[str, Field(description="its host and its home")]
    kind: str
    url: str | None
    version: str
    pid: int
    started_at: float
    beat_at: float
    silent_seconds: Annotated[
        float | None, Field(description="since then, by the database's clock; null in a file, where nobody beats")
    ]
    running: int
    queued: int
    state: Annotated[
        Literal["ready", "draining", "silent", "gone"],
        Field(description="silent: not heard of for seconds, and soon given up; gone: its process has ended"),
    ]


class DetailedHealth(Answer):
    status: State
    readiness: Readiness
    platform: Literal["hermes-agent"]
    version: str
    gateway_state: Literal["starting", "running", "draining", "stopped"]
    platforms: dict[str, Platform]
    active_agents: int
    queued_runs: int
    gateway_busy: bool
    gateway_drainable: bool
    nodes: Annotated[
        list[NodeRow] | None, Field(description="those that share the database; null when it does not answer")
    ]
    pid: int
    uptime_seconds: float
    rss_bytes: int
    updated_at: float


class DetailedHealthQuery(Query):
    fail: Annotated[str | None, Field(description="`degraded`: answer 503 when the server is degraded")] = None


class Model(Answer):
    id: str
    object: Literal["model"]
    created: Annotated[int, Field(description="when the server started, unix seconds")]
    owned_by: Literal["hermes"]
    root: str
    parent: Annotated[str | None, Field(description="of an alias of model_routes: the agent's own name")]


class ModelList(Answer):
    object: Literal["list"]
    data: list[Model]


class Auth(Answer):
    type: Literal["bearer"]
    required: Literal[True]


class Runtime(Answer):
    mode: Literal["server_agent"]
    tool_execution: Literal["server"]
    split_runtime: Literal[True]


class Endpoint(Answer):
    method: str
    path: str


class Capabilities(Answer):
    object: Literal["hermes.api_server.capabilities"]
    platform: Literal["hermes-agent"]
    model: str
    auth: Auth
    runtime: Runtime
    features: dict[str, bool | str]
    endpoints: dict[str, Endpoint]


class Toolset(Answer):
    name: str
    label: str
    description: str
    enabled: Annotated[bool, Field(description="the model is offered it")]
    configured: Annotated[bool, Field(description="nothing is missing for it to work")]
    tools: list[str]
    problem: Annotated[str | None, Field(description="what is missing, or why an MCP server is not connected")]


class ToolsetList(Answer):
    object: Literal["list"]
    platform: Literal["api_server"]
    data: list[Toolset]


HTML = Documentation(media_type="text/html")

# by module and function within hermes.api, as in the table of routes
DOCUMENTATION: Mapping[str, Documentation] = {
    "chat.completions.create": Documentation(
        body=ChatRequest,
        answer=ChatCompletion,
        also=("text/event-stream",),
        errors=(
            "invalid_session_id",
            "invalid_session_key",
            "invalid_idempotency_key",
            "invalid_content_part",
            "file_not_found",
            "invalid_image_url",
            "unsupported_content_type",
            "unsupported_parameter",
        ),
    ),
    "status.health.show": Documentation(answer=Health, other_statuses=(503,)),
    "status.health.show_detailed": Documentation(
        answer=DetailedHealth, query=DetailedHealthQuery, other_statuses=(503,)
    ),
    "status.models.list_models": Documentation(answer=ModelList),
    "status.models.show": Documentation(answer=Model, errors=("model_not_found",)),
    "status.capabilities.show": Documentation(answer=Capabilities),
    "status.toolsets.list_toolsets": Documentation(answer=ToolsetList),
    "pages.home.show": HTML,
}
