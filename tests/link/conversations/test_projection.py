"""What an API server's events of a run change in a conversation."""

from __future__ import annotations

from typing import Any

from hermeslink.conversations.projection import (
    MOST_IN_ONE,
    Answered,
    Asked,
    Began,
    Ended,
    Finished,
    Noted,
    Questioned,
    Replied,
    Rewound,
    Said,
    ended,
    project,
)
from hermeslink.core.run import Progress, RunStatus
from hermeslink.hermes.events import RemoteEvent


def events(*told: tuple[str, dict[str, Any]], start: int = 1) -> list[RemoteEvent]:
    return [RemoteEvent(start + i, kind, data) for i, (kind, data) in enumerate(told)]


def said(*pieces: str) -> list[tuple[str, dict[str, Any]]]:
    return [("message.delta", {"delta": piece}) for piece in pieces]


STARTED = ("run.started", {"session_id": "s", "model": "openai:tiny"})
TOOL = ("tool.started", {"tool": "terminal", "tool_call_id": "c1", "preview": "ls", "args": {"command": "ls"}})
TOOL_DONE = (
    "tool.completed",
    {"tool": "terminal", "tool_call_id": "c1", "duration": 0.1, "error": None, "preview": "a"},
)


def test_what_comes_together_is_one_delta_and_each_delta_has_the_next_number() -> None:
    progress, changes = project(Progress(), events(STARTED, *said("Hel", "lo")))
    assert changes == [Said("text", "Hello", 0)]
    progress, changes = project(progress, events(*said(" you"), start=4))
    assert changes == [Said("text", " you", 1)]
    assert (progress.text_length, progress.model, progress.is_said) == (9, "openai:tiny", True)


def test_thoughts_and_text_are_told_apart() -> None:
    told = events(("reasoning.delta", {"delta": "hm"}), *said("Yes"), ("reasoning.available", {"text": "hm"}))
    _, changes = project(Progress(), told)
    assert changes == [Said("reasoning", "hm", 0), Said("text", "Yes", 1)]


def test_thoughts_that_come_whole_are_told_once() -> None:
    _, changes = project(Progress(), events(*said("Yes"), ("reasoning.available", {"text": "hm"})))
    assert changes == [Said("text", "Yes", 0), Said("reasoning", "hm", 1)]


def test_what_is_said_behind_a_tool_stands_apart() -> None:
    _, changes = project(Progress(), events(STARTED, *said("Let me see."), TOOL, TOOL_DONE, *said("Two ", "files.")))
    assert [change.piece for change in changes if isinstance(change, Said)] == ["Let me see.", "\n\nTwo files."]


def test_the_cut_of_the_batches_changes_nothing_but_the_size_of_the_deltas() -> None:
    told = events(
        STARTED, *said("Let", " me see."), ("reasoning.delta", {"delta": "a"}), TOOL, TOOL_DONE,
        ("reasoning.delta", {"delta": "b"}), *said("Two", " files."), ("run.completed", {"output": "Two files."}),
    )  # fmt: skip
    whole_progress, whole = project(Progress(), told)
    for size in (1, 2, 3, 5):
        progress, changes = Progress(), []
        for at in range(0, len(told), size):
            progress, more = project(progress, told[at : at + size])
            changes += more
        assert _texts(changes) == _texts(whole)
        assert [c for c in changes if not isinstance(c, Said)] == [c for c in whole if not isinstance(c, Said)]
        assert [c.index for c in changes if isinstance(c, Said)] == list(range(progress.index))
        assert (progress.text_length, progress.reasoning_length) == (
            whole_progress.text_length,
            whole_progress.reasoning_length,
        )


def test_a_long_text_that_is_caught_up_with_comes_in_pieces() -> None:
    _, changes = project(Progress(), events(*said(*["x" * 1000] * 40)))
    assert all(isinstance(change, Said) and len(change.piece) <= MOST_IN_ONE for change in changes)
    assert _texts(changes) == ("x" * 40_000, "")


def test_a_tool_that_failed_says_so() -> None:
    failed = ("tool.completed", {"tool": "terminal", "tool_call_id": "c1", "error": "no such file", "timestamp": 5.0})
    _, changes = project(Progress(), events(TOOL, failed))
    begun, finished = changes
    assert isinstance(begun, Began) and begun.payload["args"] == {"command": "ls"}
    shown = {"tool": "terminal", "tool_call_id": "c1", "error": "no such file"}
    assert finished == Finished("tool_1", "tool", "failed", shown, 5.0)


def test_calls_of_one_name_are_told_apart() -> None:
    progress, changes = project(Progress(), events(TOOL, TOOL_DONE, TOOL))
    assert [change.id for change in changes if isinstance(change, Began | Finished)] == ["tool_1", "tool_1", "tool_3"]
    assert progress.open_calls == {"c1": "tool_3"}


def test_a_sub_agent_is_shown_like_a_tool() -> None:
    begun, finished = project(
        Progress(),
        events(
            ("subagent.start", {"subagent_id": "run_2", "tool_call_id": "c1", "index": 0, "goal": "count"}),
            ("subagent.complete", {"subagent_id": "run_2", "status": "completed", "duration": 2.0, "summary": "3"}),
        ),
    )[1]
    assert isinstance(begun, Began) and (begun.id, begun.payload["label"]) == ("subagent_1", "count")
    assert isinstance(finished, Finished) and (finished.id, finished.payload["preview"]) == ("subagent_1", "3")


def test_a_question_and_its_answer() -> None:
    question = {
        "approval_id": "a1",
        "tool": "terminal",
        "command": "rm -r x",
        "description": "deletes",
        "expires_at": 9,
    }
    told = events(
        ("approval.request", {**question, "choices": ["once", "deny"]}),
        ("approval.responded", {"approval_id": "a1", "choice": "deny", "by": None, "outcome": "timeout"}),
    )
    details = {"tool": "terminal", "command": "rm -r x", "reason": "deletes", "choices": ["once", "deny"]}
    assert project(Progress(), told)[1] == [Asked("a1", details, 9.0), Answered("a1", "deny", "timeout")]


def test_what_the_model_wants_to_know_and_the_answer() -> None:
    asked = {"clarify_id": "c1", "tool_call_id": "t1", "question": "Which?", "choices": ["a", 1], "expires_at": 9}
    told = events(
        ("clarify.request", asked),
        ("clarify.responded", {"clarify_id": "c1", "answer": "b", "by": "owner", "outcome": "user"}),
        ("clarify.responded", {"clarify_id": "c2", "answer": None, "by": None, "outcome": "timeout"}),
    )
    assert project(Progress(), told)[1] == [
        Questioned("c1", {"question": "Which?", "choices": ["a"]}, 9.0),
        Replied("c1", "b", "user"),
        Replied("c2", None, "timeout"),
    ]


def test_a_warning_is_noted() -> None:
    _, changes = project(Progress(), events(("run.warning", {"message": "model is not used"})))
    assert changes == [Noted("note_1", "warning", {"message": "model is not used"}, None)]


class TestAnAnswerThatIsGivenAnew:
    def test_loses_what_was_said_behind_the_last_step(self) -> None:
        told = events(STARTED, *said("Look:"), TOOL, TOOL_DONE, *said("Two fi"))
        resumed = ("run.resumed", {"reason": "restart", "void_after": 4})
        progress, changes = project(Progress(), [*told, *events(resumed, *said("Three"), start=6)])
        assert changes[-2:] == [Rewound(5, 0), Said("text", "\n\nThree", 2)]
        assert progress.text_length == len("Look:\n\nThree")

    def test_keeps_an_answer_that_was_whole(self) -> None:
        told = events(STARTED, *said("All"), ("run.resumed", {"void_after": 2}))
        assert project(Progress(), told)[1] == [Said("text", "All", 0)]

    def test_loses_it_each_time(self) -> None:
        told = events(STARTED, *said("On"), ("run.resumed", {"void_after": 1}), *said("One"))
        again = events(("run.resumed", {"void_after": 3}), *said("Once"), start=5)
        _, changes = project(Progress(), [*told, *again])
        assert changes == [
            Said("text", "On", 0), Rewound(0, 0), Said("text", "One", 1), Rewound(0, 0), Said("text", "Once", 2),
        ]  # fmt: skip

    def test_is_not_kept_by_a_warning_about_it(self) -> None:
        told = events(STARTED, *said("On"), ("run.warning", {"message": "x"}), ("run.resumed", {"void_after": 1}))
        assert project(Progress(), told)[1][-1] == Rewound(0, 0)


class TestTheEnd:
    def test_is_the_last_that_counts(self) -> None:
        done = ("run.completed", {"output": "Yes", "usage": {"input_tokens": 3, "output_tokens": 1}, "model": "m"})
        _, changes = project(Progress(), events(*said("Yes"), done, *said("more")))
        assert changes[1:] == [Ended(RunStatus.COMPLETED, "Yes", {"input_tokens": 3, "output_tokens": 1}, "m")]

    def test_of_a_failed_run_has_its_reason(self) -> None:
        error = {"message": "The model failed.", "code": "upstream_error", "type": "upstream_error", "status": 502}
        _, changes = project(Progress(), events(("run.failed", {"error": error})))
        told = {"code": "upstream_error", "message": "The model failed."}
        assert changes == [Ended(RunStatus.FAILED, error=told)]

    def test_of_an_interrupted_run_is_a_failure_that_says_why(self) -> None:
        (end,) = project(Progress(), events(("run.interrupted", {"reason": "restart"})))[1]
        assert isinstance(end, Ended) and end.status is RunStatus.FAILED
        assert end.error is not None and end.error["code"] == "run_interrupted" and "restart" in end.error["message"]

    def test_of_a_run_that_never_began_leaves_nothing_said(self) -> None:
        progress, changes = project(Progress(), events(("run.cancelled", {"reason": "stopped"})))
        assert changes == [Ended(RunStatus.CANCELLED)]
        assert not progress.is_said

    def test_can_be_read_off_the_run_itself(self) -> None:
        run = {"run_id": "r", "status": "completed", "output": "Yes", "usage": {"input_tokens": 3}, "model": "m"}
        assert ended(run) == Ended(RunStatus.COMPLETED, "Yes", {"input_tokens": 3}, "m")
        assert ended({"status": "running"}) is None


def test_an_event_of_nobody_knows_what_changes_nothing() -> None:
    strange = events(
        ("run.sang", {"song": 1}), ("message.delta", {"delta": None}), ("run.resumed", {"void_after": "x"})
    )
    assert project(Progress(), strange)[1] == []


def _texts(changes: list[Any]) -> tuple[str, str]:
    parts = [change for change in changes if isinstance(change, Said)]
    return (
        "".join(part.piece for part in parts if part.kind == "text"),
        "".join(part.piece for part in parts if part.kind == "reasoning"),
    )
