"""What a key may spend: before a run, while it runs, and what is written down at its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from hermes.core import event as events
from hermes.core.errors import BudgetExceeded
from hermes.core.key import OWNER, Key, Scope
from hermes.core.run import IdempotencyClaim, Limits, Usage
from hermes.models.retry import ResilientModel
from hermes.runs.budget import within_budget
from hermes.store import audit
from hermes.store import keys as key_store
from hermes.store.database import Database
from tests.support.database import new_url
from tests.support.engine import ask, open_runner
from tests.support.models import ScriptedModel, calls, says
from tests.support.tools import EchoTool

BOT = Key(id="key_1", name="bot", scopes=frozenset(Scope), created_at=1.0, budget_usd=1.0)


@pytest.fixture
async def database() -> AsyncIterator[Database]:
    database = await Database.open(new_url())
    await database.write(key_store.add, BOT, "d" * 64, "cli")
    yield database
    await database.close()


def costing(usd: float | None) -> Usage:
    return Usage(input_tokens=10, output_tokens=5, api_calls=1, cost_usd=usd)


async def spent(database: Database) -> float:
    key = await database.read(key_store.get, "key_1")
    assert key is not None
    return key.spent_usd


async def test_a_run_is_limited_to_what_its_key_has_left(database: Database) -> None:
    await database.write(key_store.spend, "key_1", 0.25)
    asked = await within_budget(ask(owner="key_1"), database)
    assert asked.limits.max_usd == 0.75
    tighter = await within_budget(ask(owner="key_1", limits=Limits(max_usd=0.5)), database)
    assert tighter.limits.max_usd == 0.5


@pytest.mark.parametrize("owner", [OWNER, "key_2"])
async def test_who_has_no_budget_is_not_limited(database: Database, owner: str) -> None:
    await database.write(key_store.add, replace(BOT, id="key_2", name="free", budget_usd=None), "e" * 64, "cli")
    asked = ask(owner=owner)
    assert await within_budget(asked, database) is asked


@pytest.mark.parametrize("end", ["completed", "failed"])
async def test_what_a_run_cost_is_its_keys_spending_at_its_end_however_it_ends(database: Database, end: str) -> None:
    answers = [calls(("c1", "echo", '{"text": "x"}'), usage=costing(0.25)), says("done", usage=costing(0.5))]
    if end == "failed":
        answers[1] = [RuntimeError("broken")]  # type: ignore[list-item]
    async with open_runner(ScriptedModel(answers), EchoTool("echo"), database=database) as runner:
        run = await runner.start(await within_budget(ask(owner="key_1"), database))
        kept = [one.event async for one in runner.follow(run.id)]
        assert kept[-1].name == f"run.{end}"
        assert await spent(database) == (0.75 if end == "completed" else 0.25)


async def test_a_run_stops_where_the_budget_of_its_key_ends(database: Database) -> None:
    call = ("c1", "echo", '{"text": "x"}')
    model = ScriptedModel([calls(call, usage=costing(0.75)), calls(call, usage=costing(0.75))])
    async with open_runner(model, EchoTool("echo"), database=database) as runner:
        run = await runner.start(await within_budget(ask(owner="key_1"), database))
        kept = [one.event async for one in runner.follow(run.id)]
        final = kept[-1]
        assert isinstance(final, events.RunCompleted)
        assert final.finish_reason == "length"
        assert any("max_usd=1" in one.message for one in kept if isinstance(one, events.Warned))
        assert len(model.requests) == 2
        assert await spent(database) == 1.5


async def test_a_key_past_its_budget_starts_nothing_and_nothing_is_left_of_it(database: Database) -> None:
    await database.write(key_store.spend, "key_1", 1.0)
    async with open_runner(ScriptedModel([]), database=database) as runner:
        request = await within_budget(ask(owner="key_1", session_id="mine"), database)
        with pytest.raises(BudgetExceeded):
            await runner.start(request)
        assert await runner.list_runs("key_1") == []
        assert runner.active == 0


@pytest.mark.parametrize(("first_usd", "code"), [(1.25, "budget_exceeded"), (0.5, None)])
async def test_a_run_that_waited_gets_what_the_ones_before_it_left(
    database: Database, first_usd: float, code: str | None
) -> None:
    hold, call = asyncio.Event(), ("c1", "echo", '{"text": "x"}')
    model = ScriptedModel([[hold, *says("hi", usage=costing(first_usd))], calls(call, usage=costing(0.75))])
    async with open_runner(model, EchoTool("echo"), database=database) as runner:
        for_one = [await within_budget(ask(owner="key_1", session_id="s"), database) for _ in range(2)]
        first, waiting = [await runner.start(request) for request in for_one]
        hold.set()
        assert [one async for one in runner.follow(first.id)]
        kept = [one.event async for one in runner.follow(waiting.id)]
        final = kept[-1]
        if code is not None:
            assert isinstance(final, events.RunFailed)
            assert (final.error["code"], len(model.requests), await spent(database)) == (code, 1, first_usd)
        else:
            assert any("max_usd=0.5" in one.message for one in kept if isinstance(one, events.Warned))
            assert await spent(database) == 1.25


async def test_what_still_waited_when_its_key_was_revoked_does_not_begin(database: Database) -> None:
    hold = asyncio.Event()
    model = ScriptedModel([[hold, *says("the work that had begun goes on")]])
    async with open_runner(model, database=database) as runner:
        first, waiting = [await runner.start(ask(owner="key_1", session_id="s")) for _ in range(2)]
        await database.write(key_store.revoke, "bot", 2.0, "cli")
        hold.set()
        assert [one async for one in runner.follow(first.id)][-1].event.name == "run.completed"
        final = [one async for one in runner.follow(waiting.id)][-1].event
        assert isinstance(final, events.RunFailed)
        assert (final.error["code"], len(model.requests)) == ("invalid_api_key", 1)


async def test_the_repeat_of_an_earlier_request_gets_its_run_also_without_a_budget(database: Database) -> None:
    claim = IdempotencyClaim("once", "f" * 64)
    async with open_runner(ScriptedModel([says("hi", usage=costing(2.0))]), database=database) as runner:
        first = await runner.start(await within_budget(ask(owner="key_1", idempotency=claim), database))
        assert [one async for one in runner.follow(first.id)]
        again = await runner.start(await within_budget(ask(owner="key_1", idempotency=claim), database))
        assert (again.id, again.is_replay) == (first.id, True)


async def test_of_many_at_once_the_spending_of_all_is_added_up(database: Database) -> None:
    model = ScriptedModel([says("hi", usage=costing(0.125)) for _ in range(6)])
    async with open_runner(model, database=database) as runner:
        runs = [await runner.start(await within_budget(ask(owner="key_1"), database)) for _ in range(6)]
        for run in runs:
            assert [one async for one in runner.follow(run.id)]
    assert await spent(database) == 0.75


@pytest.mark.parametrize("is_durable", [True, False])
async def test_what_a_run_that_still_goes_on_has_cost_is_not_spent_again_on_another_node(
    tmp_path: Path, is_durable: bool
) -> None:
    url, hold = new_url(tmp_path / "state.db"), asyncio.Event()
    here, there = await Database.open(url), await Database.open(url)
    await here.write(key_store.add, BOT, "d" * 64, "cli")
    call = ("c1", "echo", '{"text": "x"}')
    model = ScriptedModel([calls(call, usage=costing(0.75)), [hold, *says("done", usage=costing(0.5))]])
    async with open_runner(model, EchoTool("echo"), database=here) as runner:
        run = await runner.start(await within_budget(ask(owner="key_1", is_durable=is_durable), here))
        async for one in runner.follow(run.id):
            if isinstance(one.event, events.ToolCompleted):
                break
        assert (await within_budget(ask(owner="key_1"), there)).limits.max_usd == 0.25
        assert await spent(here) == 0.0  # it is its key's spending at its end
        hold.set()
        assert [one async for one in runner.follow(run.id)]
    with pytest.raises(BudgetExceeded):
        await there.read(key_store.check_budget, "key_1")
    assert await spent(there) == 1.25
    await here.close()
    await there.close()


@pytest.mark.parametrize(("price", "is_warned"), [(0.001, False), (0.0, False), (None, True)])
async def test_a_limit_in_money_where_the_price_is_unknown_is_said(
    database: Database, price: float | None, is_warned: bool
) -> None:
    inner = ScriptedModel([says("hi")])
    model = ResilientModel([inner], cost=lambda provider, name, usage: price)
    async with open_runner(model, database=database) as runner:
        run = await runner.start(await within_budget(ask(owner="key_1"), database))
        kept = [one.event async for one in runner.follow(run.id)]
        warned = [one.message for one in kept if isinstance(one, events.Warned)]
        assert warned == (
            ["the price of scripted is not known, so max_usd counts only what its provider says it cost"]
            if is_warned
            else []
        )


async def test_an_answer_that_holds_for_always_is_in_the_audit_log(database: Database) -> None:
    model = ScriptedModel([calls(("c1", "echo", '{"text": "x"}')), says("done")])
    async with open_runner(model, EchoTool("echo", is_dangerous=True), database=database) as runner:
        run = await runner.start(ask())
        async for one in runner.follow(run.id):
            if isinstance(one.event, events.ApprovalRequested):
                await runner.answer(run.id, OWNER, "always", by="bot")
        entries = await database.read(audit.newest)
        assert [(one.actor, one.action) for one in entries] == [("cli", "key.added"), ("bot", "approval.always")]
        assert entries[1].detail["run_id"] == run.id
