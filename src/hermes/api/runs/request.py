"""The body of POST /v1/runs → a `RunRequest` (spec: api-server section 5)."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hermes.agent.messages import from_openai, image_urls
from hermes.api import headers as names
from hermes.api.chat import parameters
from hermes.api.chat.completions import Keep, answers_known, check_tool_results, fingerprint, split_turn
from hermes.api.documented import checked
from hermes.api.runs.documentation import RunBody, RunFields, RunLimits
from hermes.api.services import ApiSettings
from hermes.core.errors import Forbidden, InvalidInput
from hermes.core.ids import is_session_id
from hermes.core.message import Message
from hermes.core.run import Ask, IdempotencyClaim, Limits, RunRequest
from hermes.http.headers import RawHeaders

ROUTE = "POST /v1/runs"

_FIELD_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")


@dataclass(frozen=True, slots=True)
class RunCall:
    """A parsed request. What has to be asked of others is still to be done: `previous_response_id` gives the session,
    `callback_url` is to be checked. `remote_images` are places in the client's request and URLs.
    """

    request: RunRequest
    previous_response_id: str | None = None
    callback_url: str | None = None
    remote_images: tuple[tuple[str, str], ...] = ()


def parse(
    body: Mapping[str, Any],
    headers: RawHeaders,
    owner: str,
    settings: ApiSettings,
    enabled_toolsets: Mapping[str, bool],
) -> RunCall:
    """`enabled_toolsets`: every toolset there is, and whether it is enabled. Raises InvalidInput naming the field, and
    Forbidden for a toolset that the owner has not enabled.
    """
    fields = checked(RunFields, body)
    session_id = _session_id(fields, headers)
    warnings = _ignored(body, RunBody.model_fields, "")
    keep: tuple[Keep, ...] = ()
    said, resent = _said(body.get("input")), _resent(body.get("conversation_history"))
    history, turn = split_turn([message for message in said if message.role != "system"], "input")
    goes_on = session_id is not None or fields.previous_response_id is not None
    if resent is not None or not goes_on:
        check_tool_results(resent or (), "conversation_history")
        check_tool_results(said, "input", before=resent or ())
        history = (*(message for message in resent or () if message.role != "system"), *history)
    else:
        keep = answers_known(said, turn, "input")
        if history:
            warnings.append("the messages before the last turn of input are not used: the session's own history counts")
    model, model_warnings = _model(fields, settings)
    session_key = names.session_key(headers)
    key = names.idempotency_key(headers)
    request = RunRequest(
        owner=owner,
        source="api",
        messages=turn,
        session_id=session_id,
        session_key=session_key,
        history=history if resent is not None or (history and not goes_on) else None,
        instructions=_instructions(fields.instructions, (*(resent or ()), *said)),
        model=model,
        params=_params(fields.model_options or {}),
        toolsets=_toolsets(fields.toolsets, enabled_toolsets),
        limits=_limits(fields),
        ask=Ask.WAIT,
        is_durable=True,
        may_wait_forever=True,
        keep=keep,
        idempotency=None
        if key is None
        else IdempotencyClaim(key, fingerprint(body, session_id, session_key, route=ROUTE)),
        warnings=(
            *warnings,
            *_ignored(fields.model_options or {}, parameters.FORWARDED, "model_options."),
            *_ignored(body.get("limits") or {}, RunLimits.model_fields, "limits."),
            *model_warnings,
        ),
    )
    images = (*image_urls(said, "input"), *image_urls(resent or (), "conversation_history"))
    return RunCall(request, fields.previous_response_id, fields.callback_url, images)


def _session_id(fields: RunFields, headers: RawHeaders) -> str | None:
    in_header, in_body = names.session_id(headers), fields.session_id
    if in_body is not None and in_header is not None and in_body != in_header:
        raise InvalidInput(
            f"session_id and {names.SESSION_ID} name two sessions", code="invalid_session_id", param="session_id"
        )
    if in_body is not None and not is_session_id(in_body):
        raise InvalidInput(
            "session_id must be 1 to 256 of the characters A-Z a-z 0-9 . _ : -",
            code="invalid_session_id",
            param="session_id",
        )
    return in_body or in_header


def _said(value: object) -> list[Message]:
    if isinstance(value, str):
        if not value.strip():
            raise InvalidInput("input must not be empty", param="input")
        return [Message("user", value)]
    if not isinstance(value, list):
        raise InvalidInput("input must be text or a list of messages", param="input")
    return from_openai(value, "input")


def _resent(value: object) -> list[Message] | None:
    return None if value is None else from_openai(value, "conversation_history")


def _instructions(sent: str | None, messages: Sequence[Message]) -> str:
    texts = [sent or "", *(message.text for message in messages if message.role == "system")]
    return "\n\n".join(text.strip() for text in texts if text.strip())


def _model(fields: RunFields, settings: ApiSettings) -> tuple[str | None, list[str]]:
    """What the run asks for, and what of it is not honoured."""
    name, provider = parameters.model_name(fields.model), fields.provider or None
    if provider is not None and settings.is_direct_model and name not in settings.model_aliases:
        return _model_of(provider, name), []
    warnings = []
    chosen = settings.chosen_model(name)
    if provider is not None:
        why = "the model is an alias" if name in settings.model_aliases else "direct_model_requests is off"
        warnings.append(f"provider is not used: {why}")
    if name is not None and chosen is None and name != settings.model_id:
        warnings.append("model is not used: it is no alias of model_routes, and direct_model_requests is off")
    return chosen, warnings


def _model_of(provider: str, name: str | None) -> str:
    from hermes.core.providers import is_known

    if not is_known(provider):
        raise InvalidInput(f"provider {provider!r} is not known; docs/models.md lists them", param="provider")
    if name is None:
        raise InvalidInput("provider is of no use without a model", param="model")
    return f"{provider}:{name}"


def _params(options: Mapping[str, Any]) -> dict[str, Any]:
    try:
        parameters.check_unsupported(options)
        return parameters.model_params(options)
    except InvalidInput as wrong:
        where = f"model_options.{wrong.param}"
        raise InvalidInput(f"model_options.{wrong.message}", code=wrong.code, param=where) from wrong


def _toolsets(asked: Sequence[str] | None, enabled: Mapping[str, bool]) -> tuple[str, ...] | None:
    """A run may take fewer than the owner has enabled, and never more."""
    if asked is None:
        return None
    for i, name in enumerate(asked):
        if name not in enabled:
            known = ", ".join(enabled)
            raise InvalidInput(
                f"toolsets[{i}]: no toolset {name!r}; there are {known}", code="unknown_toolset", param=f"toolsets[{i}]"
            )
        if not enabled[name]:
            raise Forbidden(
                f"the toolset {name!r} is not enabled on this server; its owner does that with `hermes tools`",
                param=f"toolsets[{i}]",
            )
    return tuple(dict.fromkeys(asked))


def _limits(fields: RunFields) -> Limits:
    limits = fields.limits
    if limits is None:
        return Limits(max_steps=None)
    return Limits(limits.max_steps, limits.max_tokens, limits.max_seconds, limits.max_usd)


def _ignored(sent: Mapping[str, Any], known: Collection[str], prefix: str) -> list[str]:
    unknown = [name for name, value in sent.items() if name not in known and value is not None and value is not False]
    return [f"not supported, ignored: {prefix}{name}" for name in unknown[:20] if _FIELD_NAME.match(name)]
