"""Jobs and their history in the store: whole values, claims, owners."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection

from hermes.core.errors import NotFound
from hermes.core.job import CatchUp, Job, JobRun, JobState, Reason
from hermes.core.run import RunStatus, Usage
from hermes.store import jobs, runs, sessions
from hermes.store.database import Database
from tests.support.database import new_url
from tests.support.store import keep_run, keep_session

JOB = Job(
    id="0123456789ab",
    owner="alice",
    name="news \u2713",
    schedule="every 1h",
    timezone="Europe/Berlin",
    anchor=1.5,
    prompt="Read the news",
    deliver="session:s",
    skills=("a", "b"),
    repeat=3,
    model="clever",
    enabled_toolsets=("file",),
    workdir="/srv",
    catch_up=CatchUp.ALL,
    created_at=1.5,
    updated_at=2.25,
    paused_at=2.0,
    fired=1,
    last_due=100.1,
    next_due=200.2,
)
ENTRY = JobRun(id=1, job_id=JOB.id, due_at=100.1, fired_at=101.0, reason=Reason.RAN)


def keep(conn: Connection, *kept: Job) -> None:
    for job in kept or (JOB,):
        jobs.insert(conn, job)


async def test_a_job_comes_back_as_it_was(database: Database) -> None:
    needed = {"schedule": "30m", "timezone": "UTC", "anchor": 0.0, "prompt": "p"}
    plain = Job(id="b" * 12, owner="bob", name="n", created_at=0.0, updated_at=0.0, **needed)  # type: ignore[arg-type]
    await database.write(keep, JOB, plain)
    assert await database.read(jobs.get, JOB.id) == JOB
    assert await database.read(jobs.get, plain.id) == plain
    assert await database.read(jobs.get, "c" * 12) is None


async def test_an_empty_list_of_toolsets_is_not_none(database: Database) -> None:
    await database.write(keep, replace(JOB, enabled_toolsets=()))
    found = await database.read(jobs.get, JOB.id)
    assert found is not None
    assert found.enabled_toolsets == ()


async def test_somebody_elses_job_is_as_unknown_as_none(database: Database) -> None:
    await database.write(keep)
    told = []
    for owner, job_id in (("bob", JOB.id), ("alice", "c" * 12)):
        for function in (jobs.owned, jobs.delete):
            with pytest.raises(NotFound) as refused:
                await database.write(function, job_id, owner)
            told.append(refused.value.message.replace(job_id, "ID"))
            assert refused.value.code == "job_not_found"
    assert len(set(told)) == 1
    assert await database.read(jobs.list_jobs, "bob") == []


async def test_a_list_shows_those_that_fire_and_all_when_asked(database: Database) -> None:
    off = replace(JOB, id="b" * 12, state=JobState.PAUSED, next_due=None, created_at=9.0)
    await database.write(keep, off, JOB)
    assert await database.read(jobs.list_jobs, "alice") == [JOB]
    assert await database.read(lambda conn: jobs.list_jobs(conn, "alice", include_disabled=True)) == [JOB, off]


async def test_what_is_due_comes_longest_due_first(database: Database) -> None:
    later = replace(JOB, id="b" * 12, next_due=300.0)
    never = replace(JOB, id="c" * 12, next_due=None)
    await database.write(keep, later, never, JOB)
    assert await database.read(jobs.due, 200.1) == []
    assert await database.read(jobs.due, 200.2) == [JOB]
    assert await database.read(jobs.due, 999.0) == [JOB, later]
    assert await database.read(jobs.next_due_at) == 200.2


async def test_a_due_time_is_claimed_once(database: Database) -> None:
    await database.write(keep)
    then = replace(JOB, fired=2, last_due=200.2, next_due=300.3)
    assert await database.write(jobs.claim, JOB, then)
    assert not await database.write(jobs.claim, JOB, then)
    assert await database.read(jobs.get, JOB.id) == then


async def test_a_job_that_was_changed_is_not_claimed_as_it_was(database: Database) -> None:
    await database.write(keep)
    await database.write(jobs.change, JOB.id, "alice", lambda job: replace(job, prompt="Other", updated_at=3.0))
    assert not await database.write(jobs.claim, JOB, replace(JOB, next_due=300.3))


async def test_a_change_that_raises_changes_nothing(database: Database) -> None:
    await database.write(keep)

    def wrong(job: Job) -> Job:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await database.write(jobs.change, JOB.id, "alice", wrong)
    assert await database.read(jobs.get, JOB.id) == JOB


async def test_an_entry_tells_of_its_run(database: Database) -> None:
    def fill(conn: Connection) -> None:
        keep(conn)
        keep_run(conn, "run_1", "s")
        jobs.add_run(conn, replace(ENTRY, run_id="run_1", detail="why", is_manual=True), 10)
        runs.finish(conn, "run_1", RunStatus.FAILED, 110.0, "out", None, Usage(), {"message": "broke"}, "run.failed", 3)

    await database.write(fill)
    [entry] = await database.read(jobs.runs_of, JOB.id)
    assert entry == replace(
        ENTRY,
        run_id="run_1",
        detail="why",
        is_manual=True,
        status=RunStatus.FAILED,
        session_id="s",
        output="out",
        error={"message": "broke"},
        finished_at=110.0,
    )
    assert entry.problem == "broke"
    await database.write(sessions.delete, "s")
    [entry] = await database.read(jobs.runs_of, JOB.id)
    assert entry == replace(ENTRY, detail="why", is_manual=True)


async def test_the_history_is_paged_newest_first(database: Database) -> None:
    await database.write(keep)
    for n in range(5):
        await database.write(jobs.add_run, replace(ENTRY, due_at=float(n)), 10)
    page = await database.read(jobs.runs_of, JOB.id, 2)
    assert [entry.due_at for entry in page] == [4, 3]
    assert [entry.due_at for entry in await database.read(jobs.runs_of, JOB.id, 9, page[-1].id)] == [2, 1, 0]


async def test_old_entries_are_dropped_but_not_those_still_to_be_delivered(database: Database) -> None:
    other = replace(JOB, id="b" * 12)
    await database.write(keep, JOB, other)
    await database.write(jobs.add_run, replace(ENTRY, job_id=other.id), 2)
    for n in range(5):
        due = 1.0 if n == 1 else None
        await database.write(jobs.add_run, replace(ENTRY, due_at=float(n), deliver="session:s", delivery_due=due), 2)
    assert [entry.due_at for entry in await database.read(jobs.runs_of, JOB.id)] == [4, 3, 1]
    assert len(await database.read(jobs.runs_of, other.id)) == 1


async def test_the_last_run_is_the_newest_that_was_not_skipped(database: Database) -> None:
    other = replace(JOB, id="b" * 12)
    await database.write(keep, JOB, other)
    for n, reason in enumerate((Reason.RAN, Reason.LATE, Reason.SKIPPED)):
        await database.write(jobs.add_run, replace(ENTRY, due_at=float(n), reason=reason), 10)
    last = await database.read(jobs.last_run, JOB.id)
    assert last is not None
    assert last.due_at == 1
    assert await database.read(jobs.last_runs, "alice") == {JOB.id: last}
    assert await database.read(jobs.last_run, other.id) is None
    assert await database.read(jobs.last_runs, "bob") == {}


async def test_only_what_has_ended_is_delivered(database: Database) -> None:
    def fill(conn: Connection) -> None:
        keep(conn)
        keep_run(conn, "run_1", "s")
        keep_run(conn, "run_2", "t")
        for run in ("run_1", "run_2", None):
            jobs.add_run(conn, replace(ENTRY, run_id=run, deliver="session:s", delivery_due=50.0), 10)
        jobs.add_run(conn, replace(ENTRY, deliver="session:s", delivery_due=70.0), 10)
        runs.finish(conn, "run_1", RunStatus.COMPLETED, 9.0, "out", "stop", Usage(), None, "run.completed", 3)

    await database.write(fill)
    found = await database.read(jobs.to_deliver, 60.0)
    assert [(job, entry.run_id) for job, entry in found] == [(JOB, "run_1"), (JOB, None)]
    assert await database.read(jobs.next_delivery_at, 60.0) == 70.0
    assert await database.read(jobs.next_delivery_at, 70.0) is None


async def test_a_deleted_job_takes_its_history_along_and_leaves_its_runs(database: Database) -> None:
    def fill(conn: Connection) -> None:
        keep(conn)
        keep_run(conn, "run_1", "s")
        jobs.add_run(conn, replace(ENTRY, run_id="run_1", delivery_due=1.0), 10)

    await database.write(fill)
    await database.write(jobs.delete, JOB.id, "alice")
    assert await database.read(jobs.runs_of, JOB.id) == []
    assert await database.read(jobs.to_deliver, 99.0) == []
    assert await database.read(runs.get, "run_1") is not None


async def test_a_session_keeps_the_title_that_it_has(database: Database) -> None:
    def fill(conn: Connection) -> None:
        keep_session(conn, "plain")
        keep_session(conn, "named", title="mine")
        jobs.name_session(conn, "plain", "news")
        jobs.name_session(conn, "named", "news")

    await database.write(fill)
    titles = [(await database.read(sessions.get, name)).title for name in ("plain", "named")]  # type: ignore[union-attr]
    assert titles == ["news", "mine"]


def test_two_processes_claim_one_due_time_once(tmp_path: Path) -> None:
    url = new_url(tmp_path / "state.db")
    one, two = Database.open_now(url), Database.open_now(url)
    try:
        one.write_now(keep)
        then = replace(JOB, next_due=300.0)
        assert [one.write_now(jobs.claim, JOB, then), two.write_now(jobs.claim, JOB, then)] == [True, False]
    finally:
        one.close_now()
        two.close_now()
