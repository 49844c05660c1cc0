"""What must be true of our data whenever nobody is in the middle of a transaction: after a kill, a power cut, a move.

Each rule is one query that finds what breaks it. `integrity.check_database` asks them of a home's database.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection, bindparam

from hermes.core.event import RunCancelled, RunCompleted, RunFailed, RunInterrupted
from hermes.core.job import JobState
from hermes.core.run import RunStatus

from .schema import approvals, events, facts, jobs, messages, response_chains, runs, sessions, started_calls
from .statement import Statement

EVENTS_REMOVED_BEFORE = "events_removed_before"
"""The fact that runs which ended before this time, in unix seconds, may have their last event alone (retention)."""

MOST_TOLD = 5
MOST_COUNTED = 1000


@dataclass(frozen=True, slots=True)
class Finding:
    """`name` is stable, for scripts. `ids` are the first of those it is about. `mend` says what to do."""

    name: str
    text: str
    mend: str
    ids: tuple[str, ...] = ()


def check(conn: Connection) -> list[Finding]:
    """What is broken, nothing when all is well. Reads the whole of `runs` and `events`; call it within one snapshot, at
    the newest schema."""
    return [*_check_runs(conn), *_check_rest(conn)]


@dataclass(frozen=True, slots=True)
class _Rule:
    """`text` goes behind a number of things; `broken` gives their ids."""

    name: str
    text: str
    mend: str
    broken: Statement


def _check_runs(conn: Connection) -> Iterator[Finding]:
    """All rules about a run and its events in one pass. Of each run the first broken rule is told."""
    found: dict[str, list[str]] = {}
    for name, run_id in _BROKEN_RUNS.all(conn, {"most": MOST_COUNTED}):
        found.setdefault(name, []).append(run_id)
    for name, ids in sorted(found.items()):
        text, mend = _RUN_RULES[name]
        yield _finding(name, text, mend, ids)


def _check_rest(conn: Connection) -> Iterator[Finding]:
    for rule in _RULES:
        ids = [str(row[0]) for row in rule.broken.all(conn, {"most": MOST_COUNTED})]
        if ids:
            yield _finding(rule.name, rule.text, rule.mend, ids)


def _finding(name: str, text: str, mend: str, ids: list[str]) -> Finding:
    count = f"{MOST_COUNTED} or more" if len(ids) >= MOST_COUNTED else str(len(ids))
    told = ", ".join(ids[:MOST_TOLD]) + (", …" if len(ids) > MOST_TOLD else "")
    return Finding(name, f"{count} {text}: {told}", mend, tuple(ids[:MOST_TOLD]))


_RESTORE = (
    "hermes db restore a backup; or delete the sessions of these runs (hermes runs show ID, hermes sessions delete)"
)
_RESTART = "start the gateway again: it ends or resumes what an earlier process left open"
_HARMLESS = "harmless; hermes db vacuum removes them"

_RUN_RULES = {
    "status_and_end_differ": ("runs whose status does not fit whether they have ended", _RESTORE),
    "event_gap": ("runs whose events are not numbered 1, 2, 3, … without a gap", _RESTORE),
    "event_behind_the_end": ("runs with more than one final event, or one that is not the last", _RESTORE),
    "open_with_final_event": ("runs that told their end and are still open", _RESTART),
    "no_final_event": ("ended runs whose last event does not tell that end", _RESTORE),
    "last_event_differs": ("ended runs whose last_seq or last_event is not that of their last event", _RESTORE),
}

_FINAL_STATUSES = [sa.literal(status.value) for status in RunStatus if status.is_final]
_FINAL_NAMES = [sa.literal(kind.name) for kind in (RunCompleted, RunFailed, RunCancelled, RunInterrupted)]

_listed = (
    sa.select(
        events.c.run_id,
        sa.func.min(events.c.seq).label("first"),
        sa.func.max(events.c.seq).label("last"),
        sa.func.count().label("number"),
        sa.func.sum(sa.case((events.c.name.in_(_FINAL_NAMES), 1), else_=0)).label("finals"),
    )
    .group_by(events.c.run_id)
    .subquery("listed")
)
_last_name = (
    sa.select(events.c.name).where(events.c.run_id == runs.c.id, events.c.seq == _listed.c.last).scalar_subquery()
)
_removed_before = (
    sa.select(sa.cast(facts.c.value, sa.Float)).where(facts.c.name == sa.literal(EVENTS_REMOVED_BEFORE))
).scalar_subquery()
_is_final = runs.c.status.in_(_FINAL_STATUSES)
_has_ended = runs.c.finished_at.is_not(None)
_is_excused = sa.and_(
    _listed.c.number == 1, _listed.c.finals == 1, runs.c.finished_at < sa.func.coalesce(_removed_before, 0.0)
)
_problem = sa.case(
    (_is_final != _has_ended, "status_and_end_differ"),
    (
        sa.and_(
            sa.or_(_listed.c.first != 1, _listed.c.last != _listed.c.number),
            sa.not_(sa.func.coalesce(_is_excused, sa.false())),
        ),
        "event_gap",
    ),
    (
        sa.or_(_listed.c.finals > 1, sa.and_(_listed.c.finals == 1, _last_name.not_in(_FINAL_NAMES))),
        "event_behind_the_end",
    ),
    (sa.and_(~_has_ended, _listed.c.finals == 1), "open_with_final_event"),
    (~_has_ended, None),
    (sa.func.coalesce(_last_name, "") != sa.literal("run.") + runs.c.status, "no_final_event"),
    (
        sa.or_(runs.c.last_seq != _listed.c.last, sa.func.coalesce(runs.c.last_event, "") != _last_name),
        "last_event_differs",
    ),
)
_judged = (
    sa.select(runs.c.id, _problem.label("problem"))
    .select_from(runs.outerjoin(_listed, _listed.c.run_id == runs.c.id))
    .subquery("judged")
)
_BROKEN_RUNS = Statement(
    sa.select(_judged.c.problem, _judged.c.id)
    .where(_judged.c.problem.is_not(None))
    .order_by(_judged.c.problem, _judged.c.id)
    .limit(bindparam("most"))
)


def _broken(query: sa.Select[tuple[str]]) -> Statement:
    return Statement(query.limit(bindparam("most")))


_of_ended_run = sa.exists().where(runs.c.finished_at.is_not(None))
_counted = sa.select(sa.func.count()).where(messages.c.session_id == sessions.c.id).scalar_subquery()
_RULES = (
    _Rule(
        "two_runs_at_once",
        "sessions with more than one run at work: a session has one at a time",
        _RESTART,
        _broken(
            sa.select(runs.c.session_id)
            .where(runs.c.finished_at.is_(None), runs.c.started_at.is_not(None))  # one in line may be stopping
            .group_by(runs.c.session_id)
            .having(sa.func.count() > 1)
        ),
    ),
    _Rule(
        "message_count_differs",
        "sessions whose message_count is not the number of their messages",
        "hermes db restore a backup, when messages are missing; the number itself is only shown",
        _broken(sa.select(sessions.c.id).where(sessions.c.message_count != _counted)),
    ),
    _Rule(
        "call_of_an_ended_run",
        "marks of tool calls under way, of runs that have ended",
        _HARMLESS,
        _broken(sa.select(started_calls.c.run_id).where(_of_ended_run.where(runs.c.id == started_calls.c.run_id))),
    ),
    _Rule(
        "approval_of_an_ended_run",
        "approvals that wait for an answer, of runs that have ended",
        _HARMLESS,
        _broken(
            sa.select(approvals.c.id).where(
                approvals.c.resolved_at.is_(None), _of_ended_run.where(runs.c.id == approvals.c.run_id)
            )
        ),
    ),
    _Rule(
        "chain_of_another_owner",
        "chains of responses whose owner is not that of their session",
        _RESTORE,
        _broken(
            sa.select(response_chains.c.session_id)
            .join(sessions, sessions.c.id == response_chains.c.session_id)
            .where(response_chains.c.owner != sessions.c.owner)
        ),
    ),
    _Rule(
        "job_never_due",
        "jobs that are scheduled and have no next time",
        "hermes cron pause and resume them: that finds the next time",
        _broken(
            sa.select(jobs.c.id).where(jobs.c.state == sa.literal(JobState.SCHEDULED.value), jobs.c.next_due.is_(None))
        ),
    ),
    _Rule(
        "job_due_and_not_scheduled",
        "jobs that are paused or completed and would fire all the same",
        "hermes cron pause them",
        _broken(
            sa.select(jobs.c.id).where(
                jobs.c.state != sa.literal(JobState.SCHEDULED.value), jobs.c.next_due.is_not(None)
            )
        ),
    ),
)
