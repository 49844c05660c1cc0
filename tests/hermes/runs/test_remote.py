"""Following a run of another node: what is remembered of it, and for how long."""

from __future__ import annotations

import asyncio

import pytest

from hermes.core.run import Run, RunStatus
from hermes.runs.remote import LOOK_SECONDS, Remote
from tests.support.clock import FakeClock


def run(name: str) -> Run:
    return Run(
        id=name,
        session_id="s",
        owner="o",
        source="test",
        status=RunStatus.RUNNING,
        created_at=0.0,
        updated_at=0.0,
        node="node_b",
    )


def test_a_word_of_something_that_cannot_be_a_node_leaves_nothing_behind():
    told: list[str] = []

    def tell(node: str, word: str) -> None:
        if len(node) > 50:
            raise ValueError(node)
        told.append(word)

    remote = Remote(FakeClock(), tell=tell, me=lambda: "node_a", is_told=True)
    with pytest.raises(ValueError, match="nnn"):
        remote.heard_follow("run", "n" * 60)
    remote.kept("run")
    assert told == []


async def test_who_looked_by_itself_leaves_nothing_behind_and_who_is_told_looks_at_once():
    clock = FakeClock()
    remote = Remote(clock, tell=lambda node, word: None, me=lambda: "node_a", is_told=True)
    readers = [asyncio.ensure_future(remote.changed(run("run"), remote.mark("run"))) for _ in range(2)]
    await clock.someone_sleeps()
    await asyncio.sleep(0)
    clock.advance(LOOK_SECONDS)
    await asyncio.gather(*readers)
    assert remote._followed == {}
    reader = asyncio.ensure_future(remote.changed(run("run"), remote.mark("run")))
    await asyncio.sleep(0)
    remote.heard_events("run")
    async with asyncio.timeout(5):
        await reader
