"""What a run was asked, as JSON: a run that waits in line, or is resumed, needs it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from hermes.core.message import Message
from hermes.core.model import ToolSpec
from hermes.core.run import Ask, ChildOf, Limits, Run, RunRequest

from .messages import decode, encode

_PLAIN = (
    "session_key",
    "is_stateless",
    "instructions",
    "model",
    "tool_choice",
    "may_wait_forever",
    "workdir",
    "skip_context_files",
    "skip_memory",
)


def request_data(request: RunRequest) -> dict[str, Any]:
    """Everything but the idempotency claim, the warnings and `keep`, which have done their work when it is kept."""
    return {
        **{name: getattr(request, name) for name in _PLAIN},
        "messages": _out(request.messages),
        "history": None if request.history is None else _out(request.history),
        "params": dict(request.params),
        "client_tools": [[tool.name, tool.description, tool.parameters, tool.strict] for tool in request.client_tools],
        "toolsets": request.toolsets,
        "disabled_toolsets": request.disabled_toolsets,
        "limits": asdict(request.limits),
        "ask": request.ask.value,
        "may_clarify": request.may_clarify,
        "parent_session_id": None if request.child_of is None else request.child_of.session_id,
    }


def whereabouts(data: Mapping[str, Any]) -> dict[str, Any]:
    """What stays of `request_data` when no restart goes on with the run: the folder that its session is about, and the
    model that was asked for, so that whoever opens the session again finds both."""
    return {"workdir": data["workdir"], "model": data.get("model")} if data.get("workdir") is not None else {}


def messages_of(data: Mapping[str, Any]) -> tuple[Message, ...]:
    """The new turn of a run that was kept with `request_data`; none for a run that was not."""
    return _in(data.get("messages", ()))


def request_from_data(data: Mapping[str, Any], run: Run) -> RunRequest:
    """Raises KeyError for a request that was not kept whole: the run of a plain chat."""
    toolsets, parent = data["toolsets"], run.parent_run_id
    return RunRequest(
        **{name: data[name] for name in _PLAIN},
        owner=run.owner,
        source=run.source,
        session_id=run.session_id,
        messages=_in(data["messages"]),
        history=None if data["history"] is None else _in(data["history"]),
        params=data["params"],
        client_tools=tuple(ToolSpec(*tool) for tool in data["client_tools"]),
        toolsets=None if toolsets is None else tuple(toolsets),
        disabled_toolsets=tuple(data["disabled_toolsets"]),
        limits=Limits(**data["limits"]),
        ask=Ask(data["ask"]),
        may_clarify=data.get("may_clarify"),
        is_durable=run.is_durable,
        child_of=None if parent is None else ChildOf(parent, data["parent_session_id"], run.id),
    )


def _out(messages: Sequence[Message]) -> list[list[Any]]:
    return [list(encode(message).values()) for message in messages]


def _in(rows: Sequence[Sequence[Any]]) -> tuple[Message, ...]:
    return tuple(decode(row) for row in rows)
