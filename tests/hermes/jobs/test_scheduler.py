"""When jobs fire: once for each due time, late, skipped, failed; over restarts, jumps of the clock and processes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from hermes.core import event as events
from hermes.core.errors import NoModel
from hermes.core.job import JobState, Reason
from hermes.core.message import Message
from hermes.core.model import Model
from hermes.core.run import Ask, Run, RunRequest, RunStatus
from hermes.jobs import definition
from hermes.jobs.scheduler import MOST_CAUGHT_UP, Scheduler
from hermes.runs.runner import RunnerSettings
from hermes.store import jobs as job_store
from hermes.store import runs as run_store
from hermes.store import sessions as session_store
from hermes.store.database import Database
from tests.support.clock import FakeClock
from tests.support.database import new_url
from tests.support.jobs import NOON, open_bench, talker, until
from tests.support.models import ScriptedModel, says

HOUR, DAY = 3600.0, 86_400.0


async def test_a_due_job_becomes_a_run_like_any_other() -> None:
    model = talker("It is done.")
    async with open_bench(model) as bench:
        job = await bench.make("every 1h", name="hourly report", model=None)
        await bench.at(HOUR - 1)
        assert await bench.told(job) == []
        await bench.at(HOUR)
        [entry] = await bench.history(job)
        assert entry.run_id is not None
        run = await bench.runner.get(entry.run_id, "owner")
        assert (run.source, run.status, run.output, run.is_durable) == (
            "cron",
            RunStatus.COMPLETED,
            "It is done.",
            True,
        )
        kept = [one.event async for one in bench.runner.follow(run.id)]
        assert [type(one) for one in kept] == [events.RunStarted, events.MessageDelta, events.RunCompleted]
        session = await bench.database.read(session_store.get, run.session_id)
        assert session is not None
        assert (session.source, session.title, session.owner) == ("cron", "hourly report", "owner")
        said = await bench.database.read(session_store.history, run.session_id)
        assert said == [Message("user", "Say it"), Message("assistant", "It is done.")]
        assert (entry.reason, entry.due_at, entry.output) == (Reason.RAN, NOON + HOUR, "It is done.")
        assert "nobody answers questions" in model.requests[0].messages[0].text


async def test_each_firing_has_a_session_of_its_own() -> None:
    async with open_bench() as bench:
        job = await bench.make("every 1h")
        await bench.at(HOUR)
        await bench.at(2 * HOUR)
        first, second = await bench.history(job)
        assert first.session_id != second.session_id


async def test_a_job_fires_again_while_its_last_run_still_runs() -> None:
    gate = asyncio.Event()
    model = ScriptedModel([[gate, *says("first")], says("second")])
    async with open_bench(model) as bench:
        job = await bench.make("every 1h")
        for times in (1, 2):
            bench.clock.advance(HOUR)
            await bench.jobs._scheduler.round()
            await model.asked(times)
        await until(lambda: bench.runner.active == 1)
        gate.set()
        await bench.runs_end()
        assert [entry.output for entry in await bench.history(job)] == ["first", "second"]
        assert await bench.told(job) == [("ran", 60), ("ran", 120)]


async def test_a_one_shot_fires_once_and_is_completed() -> None:
    async with open_bench() as bench:
        job = await bench.make("30m")
        await bench.at(DAY / 48)
        await bench.at(DAY)
        assert await bench.told(job) == [("ran", 30)]
        after = await bench.get(job)
        assert (after.state, after.next_due, after.fired) == (JobState.COMPLETED, None, 1)


async def test_repeat_says_how_often_it_fires() -> None:
    async with open_bench() as bench:
        job = await bench.make("every 1h", repeat=2)
        for hours in range(1, 6):
            await bench.at(hours * HOUR)
        assert await bench.told(job) == [("ran", 60), ("ran", 120)]
        assert (await bench.get(job)).state is JobState.COMPLETED


async def test_missed_times_are_one_late_run_unless_said_otherwise() -> None:
    async with open_bench() as bench:
        job = await bench.make("every 1h")
        await bench.at(5.5 * HOUR)
        [entry] = await bench.history(job)
        assert (entry.reason, entry.due_at) == (Reason.LATE, NOON + HOUR)
        assert entry.detail == "5 due times were missed; this run stands for all of them"
        await bench.at(6 * HOUR)
        assert await bench.told(job) == [("late", 60), ("ran", 360)]


async def test_up_to_a_minute_behind_its_time_is_not_late() -> None:
    async with open_bench() as bench:
        job = await bench.make("every 1h")
        await bench.at(HOUR + 60)
        await bench.at(2 * HOUR + 61)
        assert await bench.told(job) == [("ran", 60), ("late", 120)]


async def test_catch_up_all_runs_each_missed_time() -> None:
    async with open_bench() as bench:
        job = await bench.make("every 1h", catch_up="all")
        await bench.at(3.5 * HOUR)
        assert await bench.told(job) == [("late", 60), ("late", 120), ("late", 180)]
        assert (await bench.get(job)).next_due == NOON + 4 * HOUR


async def test_catch_up_all_is_bounded_and_says_what_it_left_out() -> None:
    async with open_bench() as bench:
        job = await bench.make("every 1h", catch_up="all")
        await bench.at(150.5 * HOUR)
        _, entries = await bench.jobs.history(job.id, "owner", limit=200)
        fired = [entry for entry in entries if entry.reason is Reason.LATE]
        skipped = [entry for entry in entries if entry.reason is Reason.SKIPPED]
        assert len(fired) == MOST_CAUGHT_UP - 1 or len(fired) == MOST_CAUGHT_UP  # the history keeps 100 entries
        assert fired[0].due_at == NOON + 150 * HOUR
        assert fired[-1].due_at >= NOON + 51 * HOUR
        assert all("more than 100 due times were missed" in (entry.detail or "") for entry in skipped)


async def test_catch_up_none_tells_what_was_missed_and_runs_nothing() -> None:
    async with open_bench() as bench:
        job = await bench.make("every 1h", catch_up="none")
        await bench.at(2.5 * HOUR)
        [entry] = await bench.history(job)
        assert (entry.reason, entry.run_id) == (Reason.SKIPPED, None)
        assert entry.detail == "2 due times were missed, and catch_up is none"
        await bench.at(3 * HOUR)
        assert await bench.told(job) == [("skipped", 60), ("ran", 180)]


async def test_a_one_shot_that_was_missed_with_catch_up_none_is_completed_without_a_run() -> None:
    async with open_bench() as bench:
        job = await bench.make("30m", catch_up="none")
        await bench.at(DAY)
        assert await bench.told(job) == [("skipped", 30)]
        after = await bench.get(job)
        assert (after.state, after.fired) == (JobState.COMPLETED, 0)


async def test_a_start_that_fails_is_in_the_history_and_the_schedule_goes_on(tmp_path: Path) -> None:
    async with open_bench() as bench:
        job = await bench.make("every 1h", workdir=str(tmp_path / "later"))
        await bench.at(HOUR)
        (tmp_path / "later").mkdir()
        await bench.at(2 * HOUR)
        failed, ran = await bench.history(job)
        assert (failed.reason, failed.run_id, failed.due_at) == (Reason.FAILED, None, NOON + HOUR)
        assert "is not a directory" in (failed.detail or "")
        assert (ran.reason, ran.output) == (Reason.RAN, "done")


async def test_no_model_is_a_failed_entry_with_the_way_out() -> None:
    async with open_bench() as bench:

        async def none(name: str | None) -> Model:
            raise NoModel("no language model is connected: hermes model")

        bench.runner._models = none
        job = await bench.make("30m")
        await bench.at(HOUR)
        [entry] = await bench.history(job)
        assert (entry.reason, entry.detail) == (Reason.FAILED, "no language model is connected: hermes model")
        assert (await bench.get(job)).state is JobState.COMPLETED


async def test_a_toolset_that_was_taken_away_is_a_failed_entry() -> None:
    async with open_bench() as bench:
        job = await bench.make("every 1h", enabled_toolsets=["file"])
        bench.jobs.take_up(ask=Ask.DENY, rules=definition.Rules(toolsets=("terminal",)), keep_runs=100)
        await bench.at(HOUR)
        [entry] = await bench.history(job)
        assert entry.reason is Reason.FAILED
        assert "there is no toolset 'file' that is enabled here; there are: terminal" in (entry.detail or "")


async def test_settings_are_looked_at_before_a_job_begins_which_no_request_came_before() -> None:
    async with open_bench() as bench:
        job = await bench.make("every 1h", enabled_toolsets=["file"])

        async def look() -> None:
            bench.jobs.take_up(ask=Ask.DENY, rules=definition.Rules(toolsets=("terminal",)), keep_runs=100)

        bench.jobs._launcher._look = look
        await bench.at(HOUR)
        [entry] = await bench.history(job)
        assert entry.reason is Reason.FAILED


async def test_a_full_line_makes_a_job_wait_and_not_fail() -> None:
    gate = asyncio.Event()
    model = ScriptedModel([[gate, *says("first")], says("second")])
    async with open_bench(model, settings=RunnerSettings(max_running=1, max_waiting=0)) as bench:
        first, second = await bench.make("30m"), await bench.make("30m")
        bench.clock.advance(HOUR / 2)
        await bench.jobs._scheduler.round()
        assert await bench.jobs._scheduler.round() > 0  # it does not spin
        assert [len(await bench.history(job)) for job in (first, second)] == [1, 0]
        gate.set()
        await bench.runs_end()
        await bench.settle()
        assert [await bench.told(job) for job in (first, second)] == [[("ran", 30)], [("ran", 30)]]


async def test_a_job_whose_schedule_cannot_be_read_any_more_is_paused_and_stops_no_other() -> None:
    async with open_bench() as bench:
        broken, good = await bench.make("30m"), await bench.make("30m")
        await bench.database.write(
            job_store.change, broken.id, "owner", lambda job: replace(job, timezone="Mars/Olympus")
        )
        await bench.at(HOUR)
        assert await bench.told(good) == [("late", 30)]
        job = await bench.database.read(job_store.owned, broken.id, "owner")
        assert (job.state, job.next_due) == (JobState.PAUSED, None)
        [entry] = await bench.database.read(job_store.runs_of, broken.id)
        assert entry.reason is Reason.FAILED
        assert "Mars/Olympus" in (entry.detail or "")


async def test_the_history_keeps_the_newest_entries() -> None:
    async with open_bench(keep_runs=3) as bench:
        job = await bench.make("every 1h")
        for hours in range(1, 6):
            await bench.at(hours * HOUR)
        assert await bench.told(job) == [("ran", 180), ("ran", 240), ("ran", 300)]


async def test_a_clock_that_is_put_back_fires_nothing_twice() -> None:
    async with open_bench() as bench:
        job = await bench.make("every 1h")
        await bench.at(HOUR)
        bench.clock.time = NOON + HOUR / 2
        await bench.settle()
        await bench.at(HOUR)
        assert await bench.told(job) == [("ran", 60)]
        await bench.at(2 * HOUR)
        assert await bench.told(job) == [("ran", 60), ("ran", 120)]


async def test_a_clock_that_jumps_ahead_fires_once() -> None:
    async with open_bench() as bench:
        job = await bench.make("every 1h")
        await bench.at(1000 * DAY)
        assert await bench.told(job) == [("late", 60)]
        assert (await bench.get(job)).next_due == NOON + 1000 * DAY + HOUR


async def test_a_job_fires_with_what_it_says_now() -> None:
    model = talker()
    async with open_bench(model) as bench:
        job = await bench.make("every 1h")
        await bench.jobs.change(job.id, "owner", {"prompt": "Say something else"})
        await bench.at(HOUR)
        assert model.requests[0].messages[-1].text == "Say something else"


async def test_a_change_between_reading_and_claiming_wins() -> None:
    async with open_bench() as bench:
        seen = await bench.make("every 1h")
        await bench.jobs.change(seen.id, "owner", {"prompt": "Say something else"})
        bench.clock.advance(HOUR)
        assert not await bench.jobs._scheduler._deal_with(seen)
        assert await bench.history(seen) == []
        await bench.settle()
        assert await bench.told(seen) == [("ran", 60)]


async def test_a_deleted_job_fires_no_more() -> None:
    async with open_bench() as bench:
        seen = await bench.make("every 1h")
        await bench.jobs.delete(seen.id, "owner")
        bench.clock.advance(HOUR)
        assert not await bench.jobs._scheduler._deal_with(seen)
        assert await bench.database.read(run_store.list_runs, "owner") == []


@pytest.mark.parametrize("ask", [Ask.DENY, Ask.APPROVE])
async def test_who_is_asked_is_what_the_owner_said_of_jobs(ask: Ask) -> None:
    """What the gate makes of it: tests/acceptance/test_jobs.py."""
    asked: list[RunRequest] = []
    async with open_bench(ask=ask) as bench:
        await bench.make("30m", model="scripted", enabled_toolsets=["file"], workdir="/")
        start = bench.runner.start

        async def noted(request: RunRequest) -> Run:
            asked.append(request)
            return await start(request)

        bench.runner.start = noted  # type: ignore[method-assign]
        await bench.at(HOUR)
    [request] = asked
    assert replace(request, instructions="", keep=()) == RunRequest(
        owner="owner",
        source="cron",
        messages=(Message("user", "Say it"),),
        model="scripted",
        toolsets=("file",),
        ask=ask,
        is_durable=True,
        may_wait_forever=True,
        workdir="/",
    )


async def test_a_job_is_told_to_read_its_skills_and_warned_where_it_cannot() -> None:
    model = ScriptedModel([says("done"), says("done")])
    async with open_bench(model) as bench:
        able = await bench.make("30m", skills=["daily-news"])
        unable = await bench.make("30m", skills=["daily-news"], enabled_toolsets=["file"])
        await bench.at(HOUR)
        told = [request.messages[0].text for request in model.requests]
        assert all(text.endswith("with skill_view and follow them: daily-news.") for text in told), told
        warned = []
        for job in (able, unable):
            [entry] = await bench.history(job)
            kept = [one.event async for one in bench.runner.follow(entry.run_id or "")]
            warned.append([one.message for one in kept if isinstance(one, events.Warned)])
        assert warned == [[], ["the job's toolsets are without 'skills', so it cannot read daily-news"]]


async def test_two_schedulers_on_one_database_fire_each_due_time_once(tmp_path: Path) -> None:
    """Two processes in all but name: each has its own database, runner and loop on the same file."""
    url = new_url(tmp_path / "state.db")
    clock = FakeClock(NOON)
    one, two = await Database.open(url), await Database.open(url)
    try:
        async with open_bench(database=one, clock=clock) as first, open_bench(database=two, clock=clock) as second:
            jobs = [await first.make("every 1h", name=f"job {n}") for n in range(10)]
            jobs += [await second.make("30m"), await second.make("every 1h", catch_up="all")]
            for hours in range(1, 6):
                clock.advance(HOUR if hours != 4 else 3 * HOUR)
                for _ in range(4):
                    await asyncio.gather(first.jobs._scheduler.round(), second.jobs._scheduler.round())
                await first.runs_end()
                await second.runs_end()
            ten = [await first.told(job) for job in jobs[:10]]
            assert ten == [[("ran", 60), ("ran", 120), ("ran", 180), ("late", 240), ("ran", 420)]] * 10
            assert await first.told(jobs[10]) == [("late", 30)]
            assert [due for _, due in await first.told(jobs[11])] == [60, 120, 180, 240, 300, 360, 420]
            runs = await one.read(run_store.list_runs, "owner")
            assert len({run.id for run in runs}) == len(runs) == 50  # and not one run too many
            total = await one.read(lambda conn: len(run_store.list_runs(conn, "owner", limit=1000)))
            assert total == 10 * 5 + 1 + 7
    finally:
        await one.close()
        await two.close()


async def test_a_job_that_another_process_made_is_noticed_within_seconds(tmp_path: Path) -> None:
    url = new_url(tmp_path / "state.db")
    mine, theirs = await Database.open(url), await Database.open(url)
    try:
        async with open_bench(database=mine) as bench:
            loop = asyncio.ensure_future(bench.jobs.run_forever())
            await until(lambda: bench.clock.sleepers >= 2)
            job = definition.new_job({"schedule": "1s", "prompt": "Say it"}, "owner", NOON, definition.Rules())
            await theirs.write(job_store.insert, job)
            bench.clock.advance(3)
            await until(lambda: theirs.read_now(job_store.runs_of, job.id))
            await until(lambda: bench.clock.sleepers >= 2)
            loop.cancel()
            await asyncio.wait((loop,))
            assert await bench.told(job) == [("ran", 1 / 60)]
    finally:
        await mine.close()
        await theirs.close()


async def test_the_loop_wakes_for_a_job_made_here_and_ends_when_it_is_cancelled() -> None:
    async with open_bench() as bench:
        loop = asyncio.ensure_future(bench.jobs.run_forever())
        await until(lambda: bench.clock.sleepers >= 2)
        job = await bench.make("2s")
        await until(lambda: bench.clock.sleepers >= 2)
        bench.clock.advance(2)
        await until(lambda: bench.database.read_now(job_store.runs_of, job.id))
        loop.cancel()
        await asyncio.wait((loop,))
        assert loop.cancelled()


async def test_the_loop_outlives_a_store_that_fails_and_does_not_spin() -> None:
    rounds = 0

    class Failing(Scheduler):
        async def round(self) -> float:
            nonlocal rounds
            rounds += 1
            raise OSError("the disk is gone")

    async with open_bench() as bench:
        clock = FakeClock(NOON)  # nobody else waits for it
        scheduler = Failing(bench.database, bench.jobs._launcher, clock, keep_runs=3)
        loop = asyncio.ensure_future(scheduler.run_forever())
        await clock.someone_sleeps()
        assert rounds == 1
        clock.advance(5)
        await until(lambda: rounds == 2)
        loop.cancel()
        await asyncio.wait((loop,))


async def test_a_draining_gateway_starts_nothing_and_its_next_start_is_late(tmp_path: Path) -> None:
    database = await Database.open(new_url(tmp_path / "state.db"))
    clock = FakeClock(NOON)
    try:
        async with open_bench(database=database, clock=clock) as bench:
            job = await bench.make("30m")
            bench.runner.is_draining = True
            clock.advance(HOUR / 2)
            assert await bench.jobs._scheduler.round() > 0
            assert await bench.history(job) == []
        async with open_bench(database=database, clock=clock) as bench:
            await bench.at(HOUR)
            assert await bench.told(job) == [("late", 30)]
    finally:
        await database.close()
