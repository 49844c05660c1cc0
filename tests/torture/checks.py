"""What must be true afterwards. Each function gives what is not, as (what, run id)."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from hermes.agent.history import LOST
from tests.torture.cluster import Node
from tests.torture.facts import Facts, Row
from tests.torture.ledger import Kind, Ledger, Turn
from tests.torture.mind import Asked, Mind, usage_of
from tests.torture.plan import TOKEN, line

Wrong = tuple[str, str | None]

CALL = re.compile(r"call_(?P<token>.+)_(?P<step>\d+)_(?P<number>\d+)_(?P<attempt>\d+)")
ANSWER = re.compile(r"(?P<token>[a-z0-9-]+)\.(?P<step>\d+) attempt (?P<attempt>\d+):")
STOP_SECONDS = 1.0
THAW_SECONDS = 5.0
"""What a node had in hand when it was frozen may reach the model so long after it is awake."""


@dataclass
class Evidence:
    facts: Facts
    ledger: Ledger
    mind: Mind
    nodes: Sequence[Node]


def every_run_has_ended_well(e: Evidence) -> Iterator[Wrong]:
    """Nothing may end a durable run but its model, its user, or the line that was too long for a chat."""
    stopped = {turn.run_id for turn in e.ledger.turns if turn.is_stopped or turn.may_be_stopped}
    for run in e.facts.runs.values():
        status, run_id = run["status"], run["id"]
        if run["finished_at"] is None:
            yield f"it is still {status}", run_id
        elif run["is_durable"] and status == "interrupted":
            yield "a durable run was interrupted", run_id
        elif run["is_durable"] and status == "cancelled" and run_id not in stopped:
            yield "it was cancelled, and nobody stopped it", run_id
        elif status == "failed" and "rate_limit_exceeded" not in (run["error"] or ""):
            yield f"it failed: {run['error']}", run_id


def what_was_acknowledged_is_there_once(e: Evidence) -> Iterator[Wrong]:
    for turn in e.ledger.turns:
        rows = e.facts.said[turn.token]
        runs = {row["run_id"] for row in rows} | turn.run_ids
        if len(runs) > 1:
            yield f"{turn.kind} {turn.token} became {len(runs)} runs: {sorted(runs)}", turn.run_id
        if len(rows) > 1:
            yield f"{turn.kind} {turn.token} is there {len(rows)} times", turn.run_id
        if turn.is_acknowledged and not turn.is_deleted and not rows and not _never_began(e, turn):
            yield f"{turn.kind} {turn.token} was acknowledged and is not there", turn.run_id
        if rows and turn.session_id is not None and turn.is_acknowledged and rows[0]["session_id"] != turn.session_id:
            yield f"{turn.token} is in {rows[0]['session_id']} and not in {turn.session_id}", turn.run_id


def _never_began(e: Evidence, turn: Turn) -> bool:
    """Stopped while it waited in line, or refused since the line did not move."""
    run = e.facts.runs.get(turn.run_id or "")
    return run is not None and run["started_at"] is None and run["status"] in ("cancelled", "failed")


def what_was_deleted_is_gone(e: Evidence) -> Iterator[Wrong]:
    there = {row["id"] for row in e.facts.tables["sessions"]}
    for session_id in e.ledger.deleted_sessions & there:
        yield f"the session {session_id} was deleted and is there", None


def what_was_told_is_what_is_kept(e: Evidence) -> Iterator[Wrong]:
    for turn in e.ledger.turns:
        run = e.facts.runs.get(turn.run_id or "")
        if run is None:
            continue
        for answer in turn.answers:
            if answer != run["output"]:
                yield f"{turn.token} was answered {answer!r}, and kept is {run['output']!r}", turn.run_id
        if len(turn.bodies) > 1:
            yield f"{turn.token} was answered in {len(turn.bodies)} ways under one key: {turn.bodies}", turn.run_id


def an_output_is_one_whole_answer(e: Evidence) -> Iterator[Wrong]:
    """The text of a completed run is what the model said at one time it was asked, to the last letter."""
    texts: dict[tuple[str, int], set[str]] = defaultdict(set)
    for asked in e.mind.asked:
        texts[asked.token, asked.step].add(asked.text)
    for run in e.facts.runs.values():
        for row in e.facts.messages_of[run["id"]]:
            if row["role"] != "assistant" or not (run["status"] == "completed" or row["tool_calls"]):
                continue
            found = ANSWER.match(row["content"])
            if found is None or row["content"] not in texts[found["token"], int(found["step"])]:
                yield f"the model never said {row['content']!r}", run["id"]
        if run["status"] == "completed":
            last = [row for row in e.facts.messages_of[run["id"]] if row["role"] == "assistant"][-1:]
            if not last or last[0]["content"] != run["output"]:
                yield f"its output is {run['output']!r}, and its last message {last}", run["id"]


def each_step_has_one_answer(e: Evidence) -> Iterator[Wrong]:
    """Whole, or as far as it was said."""
    for run_id, rows in e.facts.messages_of.items():
        answers = [ANSWER.match(row["content"]) for row in rows if row["role"] == "assistant"]
        for step, count in Counter(found["step"] for found in answers if found is not None).items():
            if count > 1:
                yield f"step {step} has {count} answers", run_id


def steers_that_were_accepted_were_heard(e: Evidence) -> Iterator[Wrong]:
    for turn in e.ledger.turns:
        run = e.facts.runs.get(turn.run_id or "")
        for text, is_accepted in turn.steers.items():
            count = len(e.facts.steers[text])
            if count > 1:
                yield f"the steer {text!r} was heard {count} times", turn.run_id
            if is_accepted and not count and run is not None and run["status"] == "completed":
                yield f"the steer {text!r} was accepted and not heard", turn.run_id


def answers_to_questions_hold(e: Evidence) -> Iterator[Wrong]:
    for turn in e.ledger.turns:
        told = [json.loads(row["data"]) for row in e.facts.events_of[turn.run_id or ""] if "responded" in row["name"]]
        for approval_id, choice in turn.choices.items():
            kept = [(one["choice"], one["outcome"]) for one in told if one["approval_id"] == approval_id]
            if kept != [(choice, "user")]:
                yield f"{choice} to {approval_id} was acknowledged, and its events say {kept}", turn.run_id
    for row in e.facts.tables["approvals"]:
        run = e.facts.runs.get(row["run_id"])
        if row["resolved_at"] is None and run is not None and run["status"] == "completed":
            yield f"the question {row['id']} has no answer", row["run_id"]


def a_stop_that_was_acknowledged_stopped(e: Evidence) -> Iterator[Wrong]:
    """Or came when the last answer was whole already: then that is its end, at once."""
    stopped = {which: at for at, kind, which in e.ledger.acknowledgements if kind == "stop"}
    for run_id, at in stopped.items():
        run = e.facts.runs.get(run_id)
        if run is None or run["status"] == "cancelled":
            continue
        if run["status"] != "completed" or run["finished_at"] is None or run["finished_at"] > at + STOP_SECONDS:
            yield f"its stop was acknowledged at {at:.3f}, and it is {run['status']}", run_id


def no_tool_ran_twice(e: Evidence) -> Iterator[Wrong]:
    """A result that says that a command ran means one line of it; one without a result may have ran or not."""
    kept = {call for run_id in e.facts.runs for call in e.facts.calls_of(run_id)}
    known = {_line_of(call): call for call in kept}
    deleted = {turn.token for turn in e.ledger.turns if turn.is_deleted}
    for written, count in (e.facts.ran | e.facts.ended).items():
        token = written.rsplit(".", 2)[0]
        if count > 1:
            yield f"the command of {written} ran {count} times", _run_of(e, token)
        if written not in known and token not in deleted:
            yield f"the command of {written} ran, and no kept answer of the model asked for it", _run_of(e, token)
    for run_id in e.facts.runs:
        yield from _tools_of(e, run_id)


def _tools_of(e: Evidence, run_id: str) -> Iterator[Wrong]:
    rows = e.facts.messages_of[run_id]
    results = {row["tool_call_id"]: row for row in rows if row["role"] == "tool"}
    called = e.facts.calls_of(run_id)
    steps = Counter(_line_of(call) for call in called)
    for written, count in steps.items():
        if count > 1:
            yield f"the call {written} is kept {count} times", run_id
    counted = Counter(row["tool_call_id"] for row in rows if row["role"] == "tool")
    for call, count in counted.items():
        if count > 1 or call not in called:
            yield f"the call {call} has {count} results", run_id
    is_complete = e.facts.runs[run_id]["status"] == "completed"
    for name in ("tool.started", "tool.completed"):
        told = Counter(
            json.loads(row["data"])["tool_call_id"] for row in e.facts.events_of[run_id] if row["name"] == name
        )
        for call in called:
            if told[call] > 1 or (is_complete and told[call] != 1):
                yield f"{name} of {call} was told {told[call]} times", run_id
    plan = _plan_words(rows)
    for call in called:
        result = results.get(call)
        if result is None:
            if is_complete:
                yield f"the call {call} of a completed run has no result", run_id
            continue
        yield from _result(e, run_id, call, result["content"], plan)


def _result(e: Evidence, run_id: str, call: str, content: str, plan: Sequence[str]) -> Iterator[Wrong]:
    found = CALL.fullmatch(call)
    assert found is not None, call
    word = plan[int(found["step"])]
    written, is_command = _line_of(call), word not in ("write", "read")
    if content == LOST and not is_command:
        yield f"the idempotent call {call} was given up", run_id
    if not is_command or content == LOST:
        return
    if content.startswith("Not run: "):
        if e.facts.ran[written] or word != "ask":
            yield f"the call {call} was told as not run ({content}), and {e.facts.ran[written]} times it did", run_id
    elif e.facts.ran[written] != 1 or (word == "nap" and e.facts.ended[written] != 1):
        yield f"the call {call} has a result ({content[:200]!r}), and ran {e.facts.ran[written]} times", run_id


def no_finished_answer_was_asked_for_again(e: Evidence) -> Iterator[Wrong]:
    """Behind a kept answer the model is not asked for that step: not by the run that has it, and not by a node that
    had lost the run, but for what it had in hand when it was frozen."""
    asked: dict[tuple[str, int], list[Asked]] = defaultdict(list)
    for one in e.mind.asked:
        asked[one.token, one.step].append(one)
    for run_id in e.facts.runs:
        for row in e.facts.messages_of[run_id]:
            found = ANSWER.match(row["content"]) if row["role"] == "assistant" else None
            if found is None:
                continue
            kept = int(found["attempt"])
            of_step = asked[found["token"], int(found["step"])]
            if not any(one.attempt == kept and one.text == row["content"] for one in of_step):
                continue  # what was said until the run was ended
            for later in of_step:
                if later.attempt > kept and not _was_frozen(e, later):
                    yield f"{found[0]} was kept, and {later.node} asked again at {later.at:.3f}", run_id


def _was_frozen(e: Evidence, asked: Asked) -> bool:
    node = next(node for node in e.nodes if node.name == asked.node)
    return any(until - 0.5 <= asked.at <= until + THAW_SECONDS for _, until in node.frozen)


def the_model_heard_what_the_session_says(e: Evidence) -> Iterator[Wrong]:
    """Of each turn in a session it was shown all turns before it, in order, and none behind it."""
    order: dict[str, list[str]] = defaultdict(list)
    for row in e.facts.tables["messages"]:
        if row["role"] == "user" and (found := TOKEN.search(row["content"])):
            order[row["session_id"]].append(found[1])
    stateless = {row["id"] for row in e.facts.tables["sessions"] if row["is_stateless"]}
    place = {token: rows[0]["session_id"] for token, rows in e.facts.said.items() if rows}
    for asked in e.mind.asked:
        session_id = place.get(asked.token)
        if session_id is None or session_id in stateless:
            continue
        turns = order[session_id]
        expected = tuple(turns[: turns.index(asked.token) + 1])
        if asked.said != expected:
            yield (
                (
                    f"for {asked.token}.{asked.step} {asked.node} showed {asked.said[-4:]} of {len(asked.said)} turns, "
                    f"and {session_id} has {expected[-4:]} of {len(expected)}"
                ),
                _run_of(e, asked.token),
            )


def a_session_has_one_run_at_a_time(e: Evidence) -> Iterator[Wrong]:
    """The model is not asked for one before the other has ended, and the messages of a run stand together."""
    first = {asked.token: asked.at for asked in reversed(e.mind.asked)}
    of_session: dict[str, list[Row]] = defaultdict(list)
    for run in e.facts.runs.values():
        if run["started_at"] is not None and run["finished_at"] is not None:
            of_session[run["session_id"]].append(run)
    for session_id, runs in of_session.items():
        runs.sort(key=lambda run: run["started_at"])
        for before, run in itertools.pairwise(runs):
            asked_at = first.get(e.facts.token_of(run["id"]) or "")
            if asked_at is not None and asked_at < before["finished_at"]:
                yield f"it began in {session_id} before {before['id']} had ended", run["id"]
    closed: set[str] = set()
    last: dict[str, str] = {}
    for row in e.facts.tables["messages"]:
        if row["run_id"] is None:
            continue
        if last.get(row["session_id"], row["run_id"]) != row["run_id"]:
            closed.add(last[row["session_id"]])
        last[row["session_id"]] = row["run_id"]
        if row["run_id"] in closed:
            yield f"its messages in {row['session_id']} do not stand together", row["run_id"]


def usage_is_right(e: Evidence) -> Iterator[Wrong]:
    """A completed run's is that of its kept answers, once each; a session's is that of its runs."""
    totals: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for run in e.facts.runs.values():
        kept = [ANSWER.match(row["content"]) for row in e.facts.messages_of[run["id"]] if row["role"] == "assistant"]
        steps = [usage_of(int(found["step"])) for found in kept if found is not None]
        used = [run["input_tokens"], run["output_tokens"], run["api_calls"]]
        expected = [sum(one[0] for one in steps), sum(one[1] for one in steps), len(steps)]
        if run["status"] == "completed" and used != expected:
            yield f"its usage is {used}, and that of its answers {expected}", run["id"]
        if any(one > most for one, most in zip(used, expected, strict=True)):
            yield f"its usage is {used}, and that of its answers only {expected}", run["id"]
        whole = sum(row["tool_calls"] is not None for row in e.facts.messages_of[run["id"]])
        if run["api_calls"] < whole:
            yield f"it has {whole} whole answers with tool calls, and counted {run['api_calls']}", run["id"]
        totals[run["session_id"]] = [a + b for a, b in zip(totals[run["session_id"]], used, strict=True)]
    for row in e.facts.tables["sessions"]:
        used = [row["input_tokens"], row["output_tokens"], row["api_calls"]]
        if used != totals[row["id"]]:
            runs = [run["id"] for run in e.facts.runs.values() if run["session_id"] == row["id"]]
            yield f"the usage of {row['id']} is {used}, and that of its runs {totals[row['id']]}: {runs}", runs[-1]


def due_jobs_fired_once(e: Evidence) -> Iterator[Wrong]:
    entries: dict[str, list[Row]] = defaultdict(list)
    for row in e.facts.tables["job_runs"]:
        entries[row["job_id"]].append(row)
    for job in e.ledger.jobs:
        due = [row for row in entries[job.job_id] if not row["is_manual"]]
        if len(due) != (1 if job.is_due else 0):
            told = [(row["due_at"], row["reason"], row["run_id"]) for row in due]
            yield f"the job {job.job_id} of {job.token} fired {len(due)} times: {told}", None
        for row in due:
            if row["run_id"] is None or row["reason"] not in ("ran", "late"):
                yield f"the job {job.job_id} was due, and {row['reason']}: {row['detail']}", row["run_id"]
        by_hand = {row["run_id"] for row in entries[job.job_id] if row["is_manual"] and row["reason"] != "failed"}
        if not job.by_hand <= by_hand or len(by_hand) > 1:
            yield f"the job {job.job_id} ran by hand as {by_hand}, and {job.by_hand} was told", None
        yield from _delivery(e, [*due], job.session_id)


def _delivery(e: Evidence, entries: Sequence[Row], session_id: str | None) -> Iterator[Wrong]:
    if session_id is None:
        return
    for row in entries:
        told = [
            one
            for one in e.facts.tables["messages"]
            if one["session_id"] == session_id and one["run_id"] is None and f"run {row['run_id']}]" in one["content"]
        ]
        if len(told) != 1 or row["delivered_at"] is None:
            yield f"its output is {len(told)} times in {session_id}, delivered at {row['delivered_at']}", row["run_id"]


def nothing_is_left_over(e: Evidence) -> Iterator[Wrong]:
    for table in ("steers", "started_calls"):
        for row in e.facts.tables[table]:
            run = e.facts.runs.get(row["run_id"])
            if run is not None and run["status"] == "completed":
                yield f"{table} still has {row}", row["run_id"]
    for row in e.facts.tables["idempotency"]:
        if row["run_id"] not in e.facts.runs and not _is_deleted(e, row["key"]):
            yield f"the key {row['key']} names the run {row['run_id']}, which is not there", None
    for turn in e.ledger.turns:
        titles = {row["id"]: row["title"] for row in e.facts.tables["sessions"]}
        if turn.kind is Kind.SESSION_CHAT and turn.is_acknowledged and turn.session_id not in titles:
            yield f"the session {turn.session_id} of {turn.token} is not there", turn.run_id
            return


def _is_deleted(e: Evidence, key: str) -> bool:
    return any(turn.is_deleted for turn in e.ledger.turns if turn.token == key)


CHECKS: Sequence[Callable[[Evidence], Iterator[Wrong]]] = (
    every_run_has_ended_well,
    what_was_acknowledged_is_there_once,
    what_was_deleted_is_gone,
    what_was_told_is_what_is_kept,
    an_output_is_one_whole_answer,
    each_step_has_one_answer,
    steers_that_were_accepted_were_heard,
    answers_to_questions_hold,
    a_stop_that_was_acknowledged_stopped,
    no_tool_ran_twice,
    no_finished_answer_was_asked_for_again,
    the_model_heard_what_the_session_says,
    a_session_has_one_run_at_a_time,
    usage_is_right,
    due_jobs_fired_once,
    nothing_is_left_over,
)


def _line_of(call: str) -> str:
    found = CALL.fullmatch(call)
    assert found is not None, call
    return line(found["token"], int(found["step"]), int(found["number"]))


def _plan_words(rows: Sequence[Row]) -> list[str]:
    for row in rows:
        if row["role"] == "user" and TOKEN.search(row["content"]):
            return TOKEN.sub("", row["content"]).split()
    return []


def _run_of(e: Evidence, token: str) -> str | None:
    rows = e.facts.said[token]
    return rows[0]["run_id"] if rows else None
