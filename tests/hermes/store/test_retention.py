"""What is purged is gone, and nothing else is."""

from __future__ import annotations

from hermes.core.event import KeptEvent, MessageDelta, RunCompleted, RunEvent, RunStarted
from hermes.core.job import Job, JobRun, Reason
from hermes.core.message import Message
from hermes.core.run import RunStatus, Usage
from hermes.store import audit, callbacks, events, idempotency, jobs, responses, runs, search, sessions
from hermes.store.database import Connection, Database
from hermes.store.invariants import check
from hermes.store.retention import DAY_SECONDS, Purged, Rules, due, purge
from hermes.store.session_list import Listing, list_sessions
from tests.support.store import keep_run, keep_session

NOW = 100 * DAY_SECONDS
OLD = NOW - 31 * DAY_SECONDS
YOUNG = NOW - 29 * DAY_SECONDS


async def test_stateless_sessions_go_after_their_days_and_no_others(database: Database) -> None:
    await database.write(keep_session, "a")

    def fill(conn: Connection) -> None:
        keep_session(conn, "old stateless", is_stateless=True, last_active=OLD)
        keep_session(conn, "young stateless", is_stateless=True, last_active=YOUNG)
        keep_session(conn, "old", last_active=OLD)

    await database.write(fill)
    assert await purge(database, NOW, stateless_days=30) == Purged(sessions=1, idempotency_keys=0)
    left = await database.read(lambda conn: list_sessions(conn, "alice", Listing(include_stateless=True)))
    assert [session.id for session in left] == ["young stateless", "old", "a"]


async def test_a_session_with_an_open_run_stays(database: Database) -> None:
    def fill(conn: Connection) -> None:
        for name in ("open", "ended"):
            keep_session(conn, name, is_stateless=True, last_active=OLD)
            keep_run(conn, f"run of {name}", name)
        runs.set_status(conn, "run of ended", RunStatus.FAILED, OLD)

    await database.write(fill)
    assert (await purge(database, NOW)).sessions == 1
    assert await database.read(runs.get, "run of open") is not None
    assert await database.read(runs.get, "run of ended") is None


async def test_more_than_one_batch_is_purged(database: Database) -> None:
    def fill(conn: Connection) -> None:
        for number in range(450):
            keep_session(conn, str(number), is_stateless=True, last_active=OLD)

    await database.write(fill)
    assert (await purge(database, NOW)).sessions == 450


async def test_expired_idempotency_keys_go_and_fresh_ones_stay(database: Database) -> None:
    def fill(conn: Connection) -> None:
        keep_run(conn)
        idempotency.claim(conn, "alice", "expired", "f", "r", NOW - DAY_SECONDS)
        idempotency.claim(conn, "alice", "fresh", "f", "r", NOW - 1)

    await database.write(fill)
    assert await purge(database, NOW) == Purged(sessions=0, idempotency_keys=1)
    assert await database.write(idempotency.claim, "alice", "fresh", "f", "r2", NOW) == idempotency.Claim("r", "f")


def run_with_events(conn: Connection, run_id: str, finished_at: float | None) -> None:
    """Three events; `finished_at` None: it goes on."""
    keep_run(conn, run_id, f"session of {run_id}")
    happened: list[RunEvent] = [RunStarted("s", "m"), MessageDelta("a"), RunCompleted("a", {})]
    told = happened if finished_at is not None else happened[:2]
    events.append(conn, run_id, [KeptEvent(seq, 1.0, event) for seq, event in enumerate(told, 1)])
    if finished_at is not None:
        runs.finish(
            conn, run_id, RunStatus.COMPLETED, finished_at, "a", "stop", Usage(), None, "run.completed", len(told)
        )


async def numbers(database: Database, run_id: str) -> list[int]:
    return [one.seq for one in await database.read(events.after, run_id)]


async def test_without_a_rule_nothing_goes_however_old_it_is(database: Database) -> None:
    def fill(conn: Connection) -> None:
        keep_session(conn, "old", last_active=OLD)
        run_with_events(conn, "r", OLD)
        audit.record(conn, OLD, "cli", "key.added", "bot")

    await database.write(fill)
    assert await purge(database, NOW) == Purged(0, 0)
    assert await numbers(database, "r") == [1, 2, 3]


async def test_sessions_go_after_their_days_but_for_those_in_use(database: Database) -> None:
    def fill(conn: Connection) -> None:
        for name, active in (("old", OLD), ("young", YOUNG), ("written to by a job", OLD), ("read", OLD)):
            keep_session(conn, name, last_active=active)
        for name in ("at work", "to be told", "to be delivered", "of a chain"):
            keep_session(conn, name, last_active=OLD)
            keep_run(conn, f"run {name}", name)
            if name != "at work":
                runs.set_status(conn, f"run {name}", RunStatus.FAILED, OLD)
        callbacks.insert(conn, "c", "run to be told", "http://example/", OLD)
        a_job(conn, "j", deliver="session:written to by a job")
        a_job_run(conn, "j", OLD, run_id="run to be delivered", delivery_due=1.0)
        responses.keep_chain(conn, "read", "alice", YOUNG)
        responses.keep_chain(conn, "of a chain", "alice", OLD)

    await database.write(fill)
    rules = Rules(sessions_days=30)
    assert await database.read(due, rules, NOW) == {"sessions_days": 2}
    assert (await purge(database, NOW, rules=rules)).old_sessions == 2
    left = await database.read(lambda conn: list_sessions(conn, "alice", Listing(limit=50)))
    assert {session.id for session in left} == {
        "young",
        "written to by a job",
        "read",
        "at work",
        "to be told",
        "to be delivered",
    }
    assert await database.read(due, rules, NOW) == {"sessions_days": 0}


async def test_what_is_deleted_is_no_longer_found_by_a_search(database: Database) -> None:
    def fill(conn: Connection) -> None:
        keep_session(conn, "old")
        sessions.add_messages(conn, "old", None, [Message("user", "swordfish")], OLD)
        search.catch_up(conn)

    await database.write(fill)
    await purge(database, NOW, rules=Rules(sessions_days=30))
    assert not await database.read(search.has_orphans)


async def test_chains_that_are_purged_are_no_longer_found_by_a_search(database: Database) -> None:
    def fill(conn: Connection) -> None:
        for name in ("older", "newer"):
            keep_session(conn, name, source="responses")
            responses.keep_chain(conn, name, "alice", OLD)
            sessions.add_messages(conn, name, None, [Message("user", "swordfish")], OLD)
        search.catch_up(conn)

    await database.write(fill)
    assert (await purge(database, NOW, keep_chains=1)).response_chains == 1
    assert not await database.read(search.has_orphans)


async def test_of_the_events_of_old_runs_the_last_stays_and_open_runs_keep_all(database: Database) -> None:
    def fill(conn: Connection) -> None:
        run_with_events(conn, "old", OLD)
        run_with_events(conn, "young", YOUNG)
        run_with_events(conn, "open", None)
        run_with_events(conn, "of a response", OLD)
        responses.keep_chain(conn, "session of of a response", "alice", OLD)
        responses.add(
            conn,
            responses.KeptResponse(
                id="resp",
                run_id="of a response",
                session_id="session of of a response",
                owner="alice",
                created_at=OLD,
                request={},
            ),
        )

    await database.write(fill)
    rules = Rules(events_days=30)
    assert await database.read(due, rules, NOW) == {"events_days": 1}
    assert (await purge(database, NOW, rules=rules)).event_lists == 1
    assert await numbers(database, "old") == [3]
    for untouched, seqs in (("young", [1, 2, 3]), ("open", [1, 2]), ("of a response", [1, 2, 3])):
        assert await numbers(database, untouched) == seqs
    run = await database.read(runs.get, "old")
    assert run is not None
    assert (run.output, run.last_seq, run.last_event) == ("a", 3, "run.completed")
    assert await database.read(check) == []
    assert (await purge(database, NOW, rules=rules)).event_lists == 0


async def test_a_later_purge_with_more_days_forgets_nothing_of_what_was_removed(database: Database) -> None:
    await database.write(run_with_events, "old", OLD)
    await purge(database, NOW, rules=Rules(events_days=30))
    await database.write(run_with_events, "older", OLD - 60 * DAY_SECONDS)
    await purge(database, NOW, rules=Rules(events_days=60))
    assert await database.read(check) == []


async def test_many_lists_of_events_go_in_small_writes(database: Database) -> None:
    def fill(conn: Connection) -> None:
        for number in range(50):
            run_with_events(conn, f"r{number:02}", OLD)

    await database.write(fill)
    before = sum(database.tally.write.counts)
    assert (await purge(database, NOW, rules=Rules(events_days=30))).event_lists == 50
    assert sum(database.tally.write.counts) - before >= 3  # of 20 at most


async def test_old_entries_of_the_audit_log_and_of_jobs_go(database: Database) -> None:
    def fill(conn: Connection) -> None:
        for at in (OLD, YOUNG):
            audit.record(conn, at, "cli", "key.added", f"at {at}")
        keep_run(conn, "open")
        for job_id in ("j1", "j2"):
            a_job(conn, job_id)
        a_job_run(conn, "j1", OLD)
        a_job_run(conn, "j1", OLD, run_id="open")
        a_job_run(conn, "j1", OLD, delivery_due=1.0)
        a_job_run(conn, "j1", YOUNG)
        a_job_run(conn, "j2", OLD)
        a_job_run(conn, "j2", OLD)

    await database.write(fill)
    rules = Rules(audit_days=30, job_runs_days=30)
    assert await database.read(due, rules, NOW) == {"audit_days": 1, "job_runs_days": 2}
    purged = await purge(database, NOW, rules=rules)
    assert (purged.audit_entries, purged.job_runs) == (1, 2)
    assert [entry.at for entry in await database.read(audit.newest)] == [YOUNG]
    assert [one.fired_at for one in await database.read(jobs.runs_of, "j1")] == [YOUNG, OLD, OLD]
    assert [one.fired_at for one in await database.read(jobs.runs_of, "j2")] == [OLD]


def a_job(conn: Connection, job_id: str, deliver: str = "local") -> None:
    job = Job(
        id=job_id,
        owner="owner",
        name="j",
        schedule="1h",
        timezone="UTC",
        anchor=0.0,
        prompt="p",
        deliver=deliver,
        created_at=1.0,
        updated_at=1.0,
        next_due=NOW,
    )
    jobs.insert(conn, job)


def a_job_run(
    conn: Connection, job_id: str, fired_at: float, *, run_id: str | None = None, delivery_due: float | None = None
) -> None:
    entry = JobRun(
        id=0,
        job_id=job_id,
        due_at=fired_at,
        fired_at=fired_at,
        reason=Reason.RAN,
        run_id=run_id,
        delivery_due=delivery_due,
    )
    jobs.add_run(conn, entry, keep=100)
