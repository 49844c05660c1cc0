"""Two that go on with one response at the very same moment: both have looked before either is kept."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from hermes.api.auth import Principal
from hermes.api.responses.chain import Started, start
from hermes.api.responses.request import parse
from hermes.api.services import ApiSettings
from hermes.core.run import Run, RunRequest
from hermes.runs.runner import Runner
from tests.support.models import ScriptedModel, says
from tests.support.responses import Responses, open_responses


class TogetherOnly:
    """A runner that lets the first `count` requests in at once, when all of them are there."""

    def __init__(self, runner: Runner, count: int) -> None:
        self.runner = runner
        self.asked: list[RunRequest] = []
        self._barrier = asyncio.Barrier(count)
        self._count = count

    async def start(self, request: RunRequest) -> Run:
        self.asked.append(request)
        if len(self.asked) <= self._count:
            await self._barrier.wait()
        return await self.runner.start(request)


async def together(api: Responses, *bodies: dict[str, Any]) -> tuple[list[Started], TogetherOnly]:
    runner = TogetherOnly(api.runner, len(bodies))
    services = replace(api.server.services, runner=runner)  # type: ignore[arg-type]
    owner = Principal("owner", "owner")
    calls = [parse(body, {}, owner, ApiSettings()) for body in bodies]
    started = await asyncio.gather(*(start(call, services) for call in calls))
    for one in started:
        await api.resume(f"resp_{one.run.id.removeprefix('run_')}")
    return list(started), runner


async def test_one_goes_on_and_the_other_branches() -> None:
    model = ScriptedModel([says("answer")] * 3)
    async with open_responses(model) as api:
        first = await api.post({"input": "one"})
        here, previous = first.headers["x-hermes-session-id"], first.json()["id"]
        bodies = [{"input": text, "previous_response_id": previous} for text in ("left", "right")]
        started, runner = await together(api, *bodies)
        assert [request.session_id for request in runner.asked[:2]] == [here, here]
        assert len(runner.asked) == 3  # the loser asked again, for a session of its own
        sessions = [one.run.session_id for one in started]
        assert (here in sessions, len(set(sessions))) == (True, 2)
        for request in model.requests[1:]:
            assert [m.text for m in request.messages[1:3]] == ["one", "answer"]
            assert len(request.messages) == 4


async def test_two_first_uses_of_a_conversation_are_one() -> None:
    model = ScriptedModel([says("answer")] * 2)
    async with open_responses(model) as api:
        bodies = [{"input": text, "conversation": "plans"} for text in ("left", "right")]
        started, runner = await together(api, *bodies)
        assert [request.session_id for request in runner.asked[:2]] == [None, None]
        assert len({one.run.session_id for one in started}) == 1
        assert sorted(len(request.messages) for request in model.requests) == [2, 4]
