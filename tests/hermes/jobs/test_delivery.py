"""Where a job's output goes: at least once to a URL, once into a session, and what is seen of a failure."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hermes.core.errors import InvalidInput
from hermes.core.message import Message
from hermes.core.run import RunStatus
from hermes.runs.callbacks import WAITS_SECONDS
from hermes.runs.webhook import signature
from hermes.store import jobs as job_store
from hermes.store import sessions as session_store
from hermes.store.database import Database
from tests.support.clock import FakeClock
from tests.support.database import new_url
from tests.support.engine import ask
from tests.support.jobs import NOON, SECRET, Bench, open_bench, receiving, talker, until
from tests.support.models import ScriptedModel, says
from tests.support.store import keep_session

HALF_HOUR = 1800.0
HELLO = [Message("user", "hello"), Message("assistant", "hi")]


async def said(bench: Bench, session_id: str) -> list[Message]:
    return await bench.database.read(session_store.history, session_id)


async def test_local_output_is_kept_and_told_nobody() -> None:
    async with open_bench() as bench:
        job = await bench.make("30m")
        await bench.at(HALF_HOUR)
        [entry] = await bench.history(job)
        assert (entry.output, entry.delivery, entry.delivery_due) == ("done", "local", None)


async def test_a_webhook_gets_the_whole_output_signed() -> None:
    text = "long " * 1000
    async with receiving() as receiver, open_bench(talker(text)) as bench:
        job = await bench.make("30m", name="report", deliver=f"webhook:{receiver.url}")
        await bench.at(HALF_HOUR)
        [entry] = await bench.history(job)
        [(headers, body)] = receiver.got
        assert headers["x-hermes-signature"] == signature(SECRET.encode(), headers["x-hermes-timestamp"], body)
        assert headers["x-hermes-delivery"] == f"jobrun_{entry.id}"
        assert headers["x-hermes-event"] == "job.completed"
        assert receiver.bodies == [
            {
                "event": "job.completed",
                "job": {"id": job.id, "name": "report"},
                "run": {
                    "id": entry.id,
                    "job_id": job.id,
                    "reason": "ran",
                    "manual": False,
                    "detail": None,
                    "due_at": "2026-11-24T12:30:00+00:00",
                    "fired_at": "2026-11-24T12:30:00+00:00",
                    "finished_at": "2026-11-24T12:30:00+00:00",
                    "run_id": entry.run_id,
                    "session_id": entry.session_id,
                    "status": "completed",
                    "error": None,
                    "output": text,
                },
            }
        ]
        assert (entry.delivery, entry.delivery_attempts, entry.delivery_error) == ("delivered", 1, None)
        await bench.settle()
        assert len(receiver.got) == 1


async def test_a_receiver_that_fails_is_tried_again_later_with_the_same_delivery_id() -> None:
    async with receiving(503, 500, 200) as receiver, open_bench() as bench:
        job = await bench.make("30m", deliver=f"webhook:{receiver.url}")
        await bench.at(HALF_HOUR)
        [entry] = await bench.history(job)
        assert (entry.delivery, entry.delivery_attempts) == ("pending", 1)
        assert entry.delivery_error == "it answered 503"
        await bench.at(HALF_HOUR + 1)
        assert len(receiver.got) == 1
        await bench.at(HALF_HOUR + WAITS_SECONDS[0])
        await bench.at(HALF_HOUR + sum(WAITS_SECONDS[:2]))
        [entry] = await bench.history(job)
        assert (entry.delivery, entry.delivery_attempts, entry.delivery_error) == ("delivered", 3, None)
        assert {headers["x-hermes-delivery"] for headers, _ in receiver.got} == {f"jobrun_{entry.id}"}


async def test_a_receiver_that_never_takes_it_is_given_up_and_the_history_says_why() -> None:
    async with receiving(500) as receiver, open_bench() as bench:
        job = await bench.make("30m", deliver=f"webhook:{receiver.url}")
        await bench.at(HALF_HOUR)
        for n in range(len(WAITS_SECONDS) + 3):
            await bench.at(HALF_HOUR + sum(WAITS_SECONDS[: n + 1]) + n)
        [entry] = await bench.history(job)
        assert len(receiver.got) == len(WAITS_SECONDS) + 1
        assert (entry.delivery, entry.delivery_error) == ("failed", "it answered 500")
        assert (await bench.jobs.get(job.id, "owner"))[1] == entry


async def test_a_receiver_that_wants_no_more_is_told_no_more() -> None:
    async with receiving(410) as receiver, open_bench() as bench:
        job = await bench.make("30m", deliver=f"webhook:{receiver.url}")
        await bench.at(HALF_HOUR)
        assert [entry.delivery for entry in await bench.history(job)] == ["failed"]


async def test_a_delivery_survives_a_restart(tmp_path: Path) -> None:
    database = await Database.open(new_url(tmp_path / "state.db"))
    clock = FakeClock(NOON)
    try:
        async with receiving(503, 200) as receiver:
            async with open_bench(database=database, clock=clock) as bench:
                job = await bench.make("30m", deliver=f"webhook:{receiver.url}")
                await bench.at(HALF_HOUR)
            async with open_bench(database=database, clock=clock) as bench:
                await bench.at(HALF_HOUR + WAITS_SECONDS[0])
                assert [entry.delivery for entry in await bench.history(job)] == ["delivered"]
                assert len(receiver.got) == 2
    finally:
        await database.close()


async def test_a_process_that_died_while_it_told_is_followed_by_another_after_its_lease(tmp_path: Path) -> None:
    async with receiving() as receiver, open_bench() as bench:
        job = await bench.make("30m", deliver=f"webhook:{receiver.url}")
        bench.clock.advance(HALF_HOUR)
        await bench.jobs._scheduler.round()
        await bench.runs_end()
        [(_, entry)] = await bench.database.read(job_store.to_deliver, bench.clock.now())
        assert await bench.database.write(job_store.claim_delivery, entry, bench.clock.now() + 120)
        assert not await bench.database.write(job_store.claim_delivery, entry, bench.clock.now() + 120)
        await bench.settle()
        assert receiver.got == []
        await bench.at(HALF_HOUR + 120)
        assert [entry.delivery for entry in await bench.history(job)] == ["delivered"]
        assert len(receiver.got) == 1


async def test_two_processes_tell_a_receiver_once(tmp_path: Path) -> None:
    url = new_url(tmp_path / "state.db")
    clock = FakeClock(NOON)
    one, two = await Database.open(url), await Database.open(url)
    try:
        async with (
            receiving() as receiver,
            open_bench(database=one, clock=clock) as first,
            open_bench(database=two, clock=clock) as second,
        ):
            await first.make("30m", deliver=f"webhook:{receiver.url}")
            clock.advance(HALF_HOUR)
            await first.jobs._scheduler.round()
            await first.runs_end()
            receiver.gate.clear()
            telling = asyncio.ensure_future(first.jobs._deliveries.round())
            await until(lambda: receiver.got)
            await second.jobs._deliveries.round()  # while the other one still waits for its answer
            receiver.gate.set()
            await telling
            await second.jobs._deliveries.round()
            assert len(receiver.got) == 1
    finally:
        await one.close()
        await two.close()


async def test_a_failed_run_is_told_as_one() -> None:
    async with receiving() as receiver, open_bench(ScriptedModel([[RuntimeError("it broke")]])) as bench:
        job = await bench.make("30m", deliver=f"webhook:{receiver.url}")
        await bench.at(HALF_HOUR)
        [body] = receiver.bodies
        assert (body["event"], body["run"]["status"]) == ("job.failed", "failed")
        assert body["run"]["error"] == "The run failed inside the server; its log says why."
        assert [entry.status for entry in await bench.history(job)] == [RunStatus.FAILED]


async def test_a_start_that_failed_is_told_too_and_a_skipped_time_is_not() -> None:
    async with receiving() as receiver, open_bench() as bench:
        deliver = f"webhook:{receiver.url}"
        await bench.make("30m", deliver=deliver, workdir="/there/is/nothing")
        skipped = await bench.make("30m", deliver=deliver, catch_up="none")
        await bench.at(HALF_HOUR + 61)
        assert [body["event"] for body in receiver.bodies] == ["job.failed"]
        assert "is not a directory" in receiver.bodies[0]["run"]["error"]
        assert [(entry.reason, entry.delivery) for entry in await bench.history(skipped)] == [("skipped", "none")]


async def test_nothing_new_is_not_delivered() -> None:
    async with receiving() as receiver, open_bench(talker("[SILENT]")) as bench:
        job = await bench.make("30m", deliver=f"webhook:{receiver.url}")
        await bench.at(HALF_HOUR)
        assert receiver.got == []
        assert [(entry.delivery, entry.output) for entry in await bench.history(job)] == [("none", "[SILENT]")]


async def test_a_session_gets_the_output_once_as_said_by_the_assistant() -> None:
    async with open_bench(ScriptedModel([says("hi"), says("The news.")])) as bench:
        run = await bench.runner.start(ask("hello"))
        await bench.runs_end()
        job = await bench.make("30m", name="news", deliver=f"session:{run.session_id}")
        await bench.at(HALF_HOUR)
        await bench.settle()
        [entry] = await bench.history(job)
        note = f"[Output of the job 'news', run {entry.run_id}]\n\nThe news."
        assert await said(bench, run.session_id) == [*HELLO, Message("assistant", note)]
        assert (entry.delivery, entry.delivery_attempts) == ("delivered", 1)


async def test_a_session_in_the_middle_of_a_turn_gets_it_behind_the_turn() -> None:
    gate = asyncio.Event()
    model = ScriptedModel([[gate, *says("hi")], says("The news.")])
    async with open_bench(model) as bench:
        run = await bench.runner.start(ask("hello"))
        await model.asked()
        job = await bench.make("30m", name="news", deliver=f"session:{run.session_id}")
        bench.clock.advance(HALF_HOUR)
        await bench.jobs._scheduler.round()
        await until(lambda: bench.runner.active == 1)
        assert await bench.jobs._deliveries.round() > 0  # it does not spin
        assert [(entry.delivery, entry.delivery_attempts) for entry in await bench.history(job)] == [("pending", 0)]
        gate.set()
        await bench.runs_end()
        await bench.at(HALF_HOUR + 2)
        messages = await said(bench, run.session_id)
        assert messages[:2] == HELLO
        assert "The news." in messages[2].text


async def test_a_session_that_was_deleted_is_a_failure_in_the_history() -> None:
    async with open_bench() as bench:
        await bench.database.write(lambda conn: keep_session(conn, "mine", owner="owner"))
        job = await bench.make("30m", deliver="session:mine")
        await bench.database.write(session_store.delete, "mine")
        await bench.at(HALF_HOUR)
        [entry] = await bench.history(job)
        assert (entry.delivery, entry.delivery_error) == ("failed", "the session mine is not there any more")


@pytest.mark.parametrize(
    "deliver",
    [
        "session:theirs",
        "session:nobodys",
        "session:",
        "session:a b",
        "webhook:",
        "webhook:ftp://example.com/x",
        "webhook:http://example.com/x",
        "webhook:https://169.254.169.254/latest",
        "webhook:https://localhost/x",
        "telegram",
        "origin",
        "local:x",
    ],
)
async def test_what_cannot_be_delivered_to_is_refused_when_the_job_is_made(deliver: str) -> None:
    async with open_bench() as bench:
        await bench.database.write(lambda conn: keep_session(conn, "theirs", owner="key_1"))
        good = await bench.make()
        for attempt in (bench.make(deliver=deliver), bench.jobs.change(good.id, "owner", {"deliver": deliver})):
            with pytest.raises(InvalidInput) as refused:
                await attempt
            assert (refused.value.code, refused.value.param) == ("invalid_delivery", "deliver")
        assert [job.deliver for job, _ in await bench.jobs.all("owner")] == ["local"]


async def test_the_end_of_a_run_wakes_the_delivery() -> None:
    async with receiving() as receiver, open_bench() as bench:
        loop = asyncio.ensure_future(bench.jobs.run_forever())
        await until(lambda: bench.clock.sleepers >= 2)
        await bench.make("2s", deliver=f"webhook:{receiver.url}")
        await until(lambda: bench.clock.sleepers >= 2)
        bench.clock.advance(2)  # and then stands still
        await until(lambda: len(receiver.got) == 1)
        loop.cancel()
        await asyncio.wait((loop,))


async def test_the_end_of_a_run_of_no_job_wakes_nobody() -> None:
    async with open_bench() as bench:
        deliveries = bench.jobs._deliveries
        bench.runner.on_end(deliveries.ended)
        await bench.make("30m")
        await bench.runner.start(ask())
        bench.clock.advance(HALF_HOUR)
        await bench.jobs._scheduler.round()
        await bench.runs_end()
        assert not deliveries._wake.is_set(), "neither has anybody to be told"
        await bench.make("30m", deliver="webhook:http://127.0.0.1:9/")
        bench.clock.advance(HALF_HOUR)
        await bench.jobs._scheduler.round()
        await bench.runs_end()
        assert deliveries._wake.is_set()
