"""What a node holds for a session is that session's own: another of the same id finds nothing of it."""

from __future__ import annotations

from pathlib import Path

from hermes.runs.incarnations import REMEMBERED, Incarnations
from hermes.store import sessions as session_store
from hermes.store.database import Database
from tests.support.database import new_url
from tests.support.engine import ask, open_runner
from tests.support.models import ScriptedModel, says
from tests.support.store import a_session


class Closed(list[str]):
    async def close(self, session_id: str) -> None:
        self.append(session_id)


async def test_the_same_session_is_met_again_and_another_of_its_id_begins_with_nothing() -> None:
    closed = Closed()
    here = Incarnations(closed.close)
    await here.meet(a_session("mine", started_at=1.0))
    closed.clear()
    await here.meet(a_session("mine", started_at=1.0))
    assert closed == []
    await here.meet(a_session("mine", started_at=2.0))
    assert closed == ["mine"]


async def test_what_is_not_remembered_any_more_begins_with_nothing() -> None:
    closed = Closed()
    here = Incarnations(closed.close)
    for number in range(REMEMBERED + 1):
        await here.meet(a_session(f"s{number}"))
    closed.clear()
    await here.meet(a_session("s0"))
    await here.meet(a_session(f"s{REMEMBERED}"))
    assert closed == ["s0"]


async def test_a_session_that_another_process_deleted_and_made_again_finds_nothing_of_the_first(tmp_path: Path) -> None:
    url = new_url(tmp_path / "state.db")
    here, there = await Database.open(url), await Database.open(url)
    async with open_runner(ScriptedModel([says("Hi.")] * 4), database=here) as runner:
        closed = Closed()
        runner._conductor.incarnations = Incarnations(closed.close)
        for number in range(2):
            run = await runner.start(ask(session_id="mine", owner=f"key_{number}"))
            _ = [one async for one in runner.follow(run.id)]
            again = await runner.start(ask(session_id="mine", owner=f"key_{number}"))
            _ = [one async for one in runner.follow(again.id)]
            assert closed == ["mine"] * (number + 1)
            await there.write(session_store.delete, "mine")
            await there.write(session_store.create, a_session("mine", owner="key_1", started_at=77.0))
    await here.close()
    await there.close()
