"""/v1/runs: start, list, look at, answer, steer and stop (spec: api-server section 5). Its events: `run_events`."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from hermes.api.answers import JsonAnswer, headers_of, owner_of
from hermes.api.auth import Scope
from hermes.api.chat.answer import answer_headers
from hermes.api.content import prepared
from hermes.api.documented import checked, documented, read_query
from hermes.api.limits import read_object
from hermes.api.runs.documentation import (
    ApprovalAnswered,
    ApprovalBody,
    Clarified,
    ClarifyBody,
    RunAccepted,
    RunBody,
    RunList,
    RunListQuery,
    RunObject,
    SteerBody,
    Steered,
    Stopping,
)
from hermes.api.runs.path import run_of
from hermes.api.runs.request import RunCall, parse
from hermes.api.services import PendingApproval, PendingClarification, Services
from hermes.core.errors import Forbidden, InvalidInput, NotFound
from hermes.core.run import Run, RunRequest, RunStatus
from hermes.runs.approvals import parse_choice
from hermes.runs.run_object import run_object
from hermes.store import responses as response_store

_CURSOR = re.compile(r"([0-9.e+]{1,32}) ([A-Za-z0-9_-]{1,128})\Z")


@documented(
    body=RunBody,
    answer=RunAccepted,
    status=202,
    errors=(
        "invalid_callback_url",
        "invalid_content_part",
        "file_not_found",
        "invalid_image_url",
        "unsupported_content_type",
        "unsupported_parameter",
        "unknown_toolset",
        "model_not_found",
        "previous_response_not_found",
        "session_not_found",
        "forbidden",
    ),
)
async def create(request: Request, services: Services) -> Response:
    """Start a run and go away.

    It goes on without a reader, waits for its place without a limit of time, and asks before dangerous calls. `status`
    is `queued` where the session or the server is busy. Its messages are part of the session, like any other turn.
    """
    body = await read_object(request)
    enabled = {toolset.name: toolset.is_enabled for toolset in services.toolsets()}
    call = parse(body, headers_of(request), owner_of(request).id, services.settings, enabled)
    asked = await prepared(await _resolved(call, services), services, call.remote_images)
    run = await services.runner.start(asked)
    return _accepted(run, asked)


@documented(query=RunListQuery, answer=RunList)
async def list_runs(request: Request, services: Services) -> Response:
    """List this key's runs, the newest first.

    `next_cursor` of one page is `cursor` of the next. Runs that begin meanwhile change nothing on later pages.
    """
    query = read_query(request, RunListQuery)
    owner = owner_of(request).id
    found = await services.runner.list_runs(
        owner,
        session_id=query.session_id,
        statuses=_statuses(query.status),
        limit=query.limit + 1,
        before=None if not query.cursor else _place(query.cursor),
    )
    page = found[: query.limit]
    has_more = len(found) > len(page)
    answer = {
        "object": "list",
        "data": [await _told(run, services) for run in page],
        "has_more": has_more,
        "next_cursor": _cursor(page[-1]) if has_more else None,
    }
    return JsonAnswer(answer)


@documented(answer=RunObject, errors=("run_not_found",))
async def show(request: Request, services: Services) -> Response:
    """Look at a run: its status, what it said, what it used, and the questions that wait for an answer.

    Kept as long as its session.
    """
    run = await run_of(request, services)
    return JsonAnswer(await _told(run, services))


@documented(
    body=ApprovalBody,
    answer=ApprovalAnswered,
    errors=("run_not_found", "invalid_approval_choice", "approval_not_pending", "approval_not_active"),
)
async def approve(request: Request, services: Services) -> Response:
    """Answer a run's question about a dangerous call.

    `session` holds for the session, `always` writes the owner's allow-list, which holds for every key: it takes the
    scope `admin`. Without `approval_id` the oldest question is answered, with `all` every one.
    """
    body = await read_object(request)
    key = owner_of(request)
    run = await run_of(request, services)
    choice = parse_choice(body.get("choice", body.get("decision")))
    if choice == "always" and not key.may(Scope.ADMIN):
        raise Forbidden(
            "always holds for every key of this home, and takes the scope 'admin'; session holds for this session",
            code="insufficient_scope",
            param="choice",
        )
    asked = checked(ApprovalBody, {**body, "choice": choice, "decision": None})
    resolved = await services.runner.answer(
        run.id,
        key.id,
        choice,
        approval_id=asked.approval_id or asked.request_id,
        all_pending=bool(asked.all),
        by=key.name,
        reason=asked.reason,
    )
    answer = {"object": "hermes.run.approval_response", "run_id": run.id, "choice": choice, "resolved": resolved}
    return JsonAnswer(answer)


@documented(body=ClarifyBody, answer=Clarified, errors=("run_not_found", "clarify_not_pending", "clarify_not_active"))
async def clarify(request: Request, services: Services) -> Response:
    """Answer what the model asked.

    `clarify.request` among the run's events is the question, `clarifications` of the run are those that wait. What is
    said with `…/steer` while one waits is its answer, too.
    """
    body = checked(ClarifyBody, await read_object(request))
    run = await run_of(request, services)
    by = owner_of(request).name
    answered = await services.runner.clarify(run.owner, run.id, body.answer, body.clarify_id or None, by=by)
    said = body.answer.strip()
    answer = {"object": "hermes.run.clarify_response", "run_id": run.id, "clarify_id": answered, "answer": said}
    return JsonAnswer(answer)


@documented(body=SteerBody, answer=Steered, errors=("run_not_found", "run_not_accepting_steer"))
async def steer(request: Request, services: Services) -> Response:
    """Say something to a run that goes on.

    Its model hears it before its next step; until then `pending_steer` of the run is true. Where the model has asked
    something and waits (`clarify.request`), this is the answer.
    """
    body = checked(SteerBody, await read_object(request))
    run = await run_of(request, services)
    text = next((said for said in (body.input, body.message, body.text) if said is not None), "")
    if not text.strip():
        raise InvalidInput("input must say something", param="input")
    await services.runner.steer(run.id, run.owner, text, by=owner_of(request).name)
    pending = await services.runner.has_pending_steer(run.id)
    answer = {"object": "hermes.run.steer", "run_id": run.id, "status": "accepted", "pending_steer": pending}
    return JsonAnswer(answer)


@documented(answer=Stopping, errors=("run_not_found", "run_not_active"))
async def stop(request: Request, services: Services) -> Response:
    """End a run: its model call, its tools and every process they started.

    It is gone within a second, and what was said so far stays in the session. A run in the queue ends at once.
    """
    run = await run_of(request, services)
    await services.runner.stop(run.id, run.owner)
    return JsonAnswer({"run_id": run.id, "status": "stopping"})


def approval_object(pending: PendingApproval, run: Run) -> dict[str, Any]:
    question = pending.question
    return {
        "approval_id": question.id,
        "request_id": question.id,
        "tool": question.tool,
        "tool_call_id": question.tool_call_id,
        "command": question.command,
        "description": question.description,
        "choices": list(question.choices),
        "allow_permanent": question.allow_permanent,
        "expires_at": pending.expires_at,
        "subagent_id": None if question.run_id == run.id else question.run_id,
    }


def clarification_object(pending: PendingClarification) -> dict[str, Any]:
    return {
        "clarify_id": pending.id,
        "question": pending.question,
        "choices": list(pending.choices),
        "expires_at": pending.expires_at,
    }


async def _told(run: Run, services: Services) -> dict[str, Any]:
    if run.status.is_final:
        return run_object(run)
    pending = await services.runner.pending_approvals(run.id, run.owner)
    if pending and run.status is RunStatus.RUNNING:  # it began to wait after it was read
        run = await services.runner.get(run.id, run.owner)
    has_steer = await services.runner.has_pending_steer(run.id)
    asked = await services.runner.pending_clarifications(run.id, run.owner)
    return run_object(
        run,
        [approval_object(one, run) for one in pending],
        clarifications=[clarification_object(one) for one in asked],
        has_pending_steer=has_steer,
    )


async def _resolved(call: RunCall, services: Services) -> RunRequest:
    """The request with what others had to be asked for."""
    request = call.request
    if call.previous_response_id is not None:
        previous = await services.database.read(response_store.get, call.previous_response_id, request.owner)
        if previous is None:
            raise NotFound(
                f"no response {call.previous_response_id!r}",
                code="previous_response_not_found",
                param="previous_response_id",
            )
        if request.session_id not in (None, previous.session_id):
            raise InvalidInput(
                "previous_response_id is of another session than session_id names", param="previous_response_id"
            )
        request = replace(request, session_id=previous.session_id)
    if call.callback_url is not None:
        request = replace(request, keep=(*request.keep, await services.callbacks.promise(call.callback_url)))
    return request


def _accepted(run: Run, request: RunRequest) -> Response:
    headers = answer_headers(run, request, run.warnings)
    answer = {
        "run_id": run.id,
        "status": "queued" if run.status is RunStatus.QUEUED else "started",
        "session_id": run.session_id,
        "replayed": run.is_replay,
    }
    return JsonAnswer(answer, 202, headers)


def _statuses(text: str | None) -> frozenset[RunStatus]:
    try:
        return frozenset(RunStatus(word.strip()) for word in (text or "").split(",") if word.strip())
    except ValueError:
        raise InvalidInput(f"status must be of {', '.join(RunStatus)}, with commas between", param="status") from None


def _cursor(run: Run) -> str:
    return base64.urlsafe_b64encode(f"{run.created_at!r} {run.id}".encode()).decode().rstrip("=")


def _place(cursor: str) -> tuple[float, str]:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
        found = _CURSOR.match(text)
        if found is not None:
            return float(found[1]), found[2]
    except (binascii.Error, ValueError):
        pass
    raise InvalidInput("cursor must be next_cursor of the page before", param="cursor")
