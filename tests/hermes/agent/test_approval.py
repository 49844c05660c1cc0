from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes.agent.approval import Allowances, Gate, shown
from hermes.core.errors import ConfigError, ToolFailed
from hermes.core.ports import Action, ActionKind, ApprovalAnswer, ApprovalQuestion
from hermes.core.redact import Redactor
from hermes.core.run import Ask

WORKDIR = Path.home() / "project"


@dataclass
class FakeDesk:
    """Answers each question with the next answer; keeps the questions."""

    answers: list[ApprovalAnswer] = field(default_factory=list)
    questions: list[ApprovalQuestion] = field(default_factory=list)

    async def ask(self, question: ApprovalQuestion) -> ApprovalAnswer:
        self.questions.append(question)
        return self.answers.pop(0)


def user(choice: str, reason: str | None = None) -> ApprovalAnswer:
    return ApprovalAnswer(choice, "user", "phone", reason)


def command(text: str) -> Action:
    return Action(ActionKind.COMMAND, text, workdir=WORKDIR)


async def nothing_written(pattern: str) -> None:
    return None


def gate(
    *answers: ApprovalAnswer,
    mode: str = "manual",
    allowances: Allowances | None = None,
    deny: tuple[str, ...] = (),
    allow_always: Callable[[str], Awaitable[None]] | None = nothing_written,
) -> tuple[Gate, FakeDesk]:
    desk = FakeDesk(list(answers))
    home = Path.home() / ".hermes"
    return Gate(desk, mode=mode, allowances=allowances, deny=deny, home=home, allow_always=allow_always), desk


async def check(gate: Gate, action: Action, *, ask: Ask = Ask.WAIT, session: str = "s1") -> ApprovalAnswer | None:
    return await gate.check(
        tool="terminal", tool_call_id="call_1", action=action, run_id="run_1", session_id=session, ask=ask
    )


async def test_a_harmless_command_asks_nobody() -> None:
    manual, desk = gate()

    assert await check(manual, command("ls")) is None
    assert desk.questions == []


async def test_a_dangerous_command_is_asked_about_with_all_that_a_person_needs() -> None:
    manual, desk = gate(user("once"))

    answer = await check(manual, command("git push --force"))

    assert answer == user("once")
    (question,) = desk.questions
    assert question.command == "git push --force"
    assert question.description == (
        "This throws away work, rewrites history or changes where git gets its programs from."
    )
    assert question.pattern == "git-loses-work: git push"
    assert question.choices == ("once", "session", "always", "deny")
    assert question.allow_permanent
    assert (question.run_id, question.session_id, question.tool_call_id) == ("run_1", "s1", "call_1")


async def test_once_counts_once() -> None:
    manual, desk = gate(user("once"), user("once"))

    await check(manual, command("git push --force"))
    await check(manual, command("git push --force"))

    assert len(desk.questions) == 2


async def test_session_counts_for_the_pattern_in_this_session_only() -> None:
    allowances = Allowances()
    first, desk = gate(user("session"), allowances=allowances)
    await check(first, command("git push --force"))

    later, later_desk = gate(user("deny"), user("deny"), allowances=allowances)
    assert await check(later, command("git push -f origin main")) is None
    with pytest.raises(ToolFailed):
        await check(later, command("git reset --hard"))
    with pytest.raises(ToolFailed):
        await check(later, command("git push --force"), session="s2")

    assert (len(desk.questions), len(later_desk.questions)) == (1, 2)


async def test_a_forgotten_session_is_asked_again() -> None:
    allowances = Allowances()
    manual, desk = gate(user("session"), user("once"), allowances=allowances)
    await check(manual, command("sudo ls"))

    allowances.forget("s1")
    await check(manual, command("sudo ls"))

    assert len(desk.questions) == 2


async def test_always_is_written_to_the_allow_list_and_counts_everywhere() -> None:
    written: list[str] = []

    async def keep(pattern: str) -> None:
        written.append(pattern)

    allowances = Allowances()
    manual, desk = gate(user("always"), allowances=allowances, allow_always=keep)
    await check(manual, command("sudo rm -rf build"))

    assert await check(manual, command("sudo rm -rf build"), session="s2") is None
    assert written == [f"recursive-delete: rm in {WORKDIR}", "becomes-root: sudo rm"] or len(written) == 2
    assert len(desk.questions) == 1


async def test_what_was_allowed_for_the_session_elsewhere_is_not_asked_again() -> None:
    asked: list[str] = []

    async def allowed_before(session_id: str) -> set[str]:
        asked.append(session_id)
        return {question.pattern for question in desk.questions}

    desk = FakeDesk([user("once"), user("once"), user("deny")])
    manual = Gate(desk, allowed_before=allowed_before)
    both, half, other = command("sudo ls && kill 42"), command("kill 42"), command("kill 43")
    for action in (both, both, half, half):
        await check(manual, action)
    with pytest.raises(ToolFailed):
        await check(manual, other)
    assert [question.command for question in desk.questions] == ["sudo ls && kill 42", "kill 42", "kill 43"]
    assert asked == ["s1"] * 5


@pytest.mark.parametrize("problem", [ConfigError("edit it by hand"), PermissionError("read-only")])
async def test_an_always_that_cannot_be_written_is_a_yes_all_the_same(
    problem: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(pattern: str) -> None:
        raise problem

    manual, desk = gate(user("always"), allow_always=fail)
    answer = await check(manual, command("rm -rf build"))
    assert answer is not None
    assert answer.choice == "always"
    assert await check(manual, command("rm -rf build"), session="s2") is None
    assert len(desk.questions) == 1
    assert f"allowed until the restart, not for always: {problem}" in caplog.text


@pytest.mark.parametrize(
    ("entry", "text", "passes"),
    [
        ("git-loses-work: git push", "git push --force", True),
        ("git-loses-work: git push", "git reset --hard", False),
        ("git-loses-work", "git reset --hard", True),
        ("git-loses-work: git *", "git reset --hard", True),
        ("ends-processes: `kill 42`", "kill 42", True),
        ("ends-processes: `kill 42`", "kill 420", False),
        ("recursive-delete: `rm -rf /tmp/*`", "rm -rf /tmp/x", False),
        ("*", "rm -rf /", False),
        ("delete-root", "rm -rf /", False),
    ],
)
async def test_the_allow_list_covers_what_it_says(entry: str, text: str, passes: bool) -> None:
    manual, _ = gate(user("deny"), allowances=Allowances({entry}))

    if passes:
        assert await check(manual, command(text)) is None
    else:
        with pytest.raises(ToolFailed):
            await check(manual, command(text))


async def test_half_of_a_command_being_allowed_is_not_enough() -> None:
    manual, desk = gate(user("once"), allowances=Allowances({"becomes-root"}))

    await check(manual, command("sudo ls && kill 42"))

    assert len(desk.questions) == 1


async def test_without_a_place_to_write_always_is_not_offered() -> None:
    manual, desk = gate(user("once"), allow_always=None)

    await check(manual, command("sudo ls"))

    assert desk.questions[0].choices == ("once", "session", "deny")
    assert not desk.questions[0].allow_permanent


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (user("deny"), "Not run: the user said no."),
        (user("deny", "use trash-put"), "Not run: the user said no. Reason: use trash-put"),
        (ApprovalAnswer("deny", "timeout"), "Not run: nobody answered in time, which counts as a no."),
        (ApprovalAnswer("deny", "policy", None, "the run was stopped"), "Not run: the run was stopped."),
    ],
)
async def test_the_model_is_told_why_it_was_denied(answer: ApprovalAnswer, words: str) -> None:
    manual, _ = gate(answer)

    with pytest.raises(ToolFailed) as denied:
        await check(manual, command("sudo ls"))

    assert denied.value.message.startswith(words)


async def test_where_nobody_can_answer_it_is_denied_at_once() -> None:
    manual, desk = gate()

    with pytest.raises(ToolFailed, match="needs a person's approval, and nobody can be asked here") as denied:
        await check(manual, command("sudo ls"), ask=Ask.DENY)

    assert denied.value.code == "approval_denied_by_policy"
    assert desk.questions == []


async def test_where_the_owner_said_so_beforehand_it_is_approved() -> None:
    manual, desk = gate()

    answer = await check(manual, command("sudo ls"), ask=Ask.APPROVE)

    assert answer is not None
    assert (answer.choice, answer.outcome) == ("once", "policy")
    assert desk.questions == []


@pytest.mark.parametrize("mode", ["manual", "smart", "off"])
@pytest.mark.parametrize("ask", list(Ask))
@pytest.mark.parametrize("text", ["rm -rf /", "cat ~/.hermes/.env", "hermes config set approvals.mode off"])
async def test_nothing_lifts_what_is_hard_blocked(mode: str, ask: Ask, text: str) -> None:
    allowances = Allowances({"delete-root", "own-secrets", "own-gate", "recursive-delete", "*"})
    any_gate, desk = gate(user("always"), mode=mode, allowances=allowances)

    with pytest.raises(ToolFailed, match="blocks it in every mode") as blocked:
        await check(any_gate, command(text), ask=ask)

    assert blocked.value.code == "approval_blocked"
    assert desk.questions == []


async def test_mode_off_asks_nobody() -> None:
    off, desk = gate(mode="off")

    assert await check(off, command("sudo rm -rf build")) is None
    assert desk.questions == []


async def test_an_unknown_mode_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match=r"approvals\.mode must be one of manual, smart, off, not 'yolo'"):
        gate(mode="yolo")


@pytest.mark.parametrize("mode", ["manual", "off"])
@pytest.mark.parametrize(
    "text",
    ["npm publish", "npm  publish", "n''pm publish", "cd x && npm publish", "bash -c 'npm publish'", "ｎpm publish"],
)
async def test_the_deny_list_wins_however_the_command_is_written(mode: str, text: str) -> None:
    any_gate, desk = gate(user("once"), mode=mode, deny=("npm publish*",), allowances=Allowances({"publishes"}))

    with pytest.raises(ToolFailed, match=r"the owner's deny list names it \(npm publish\*\)"):
        await check(any_gate, command(text), ask=Ask.APPROVE)

    assert desk.questions == []


async def test_the_deny_list_names_harmless_commands_and_files_too() -> None:
    off, _ = gate(mode="off", deny=("ls *", "*/secret/*"))

    with pytest.raises(ToolFailed):
        await check(off, command("ls -la"))
    with pytest.raises(ToolFailed):
        await check(off, Action(ActionKind.READ, "read it", (WORKDIR / "secret" / "a",), WORKDIR))
    assert await check(off, command("pwd")) is None


async def test_writing_a_startup_file_asks_and_writing_in_the_project_does_not() -> None:
    manual, desk = gate(user("deny"))

    assert await check(manual, Action(ActionKind.WRITE, "write a", (WORKDIR / "a",), WORKDIR)) is None
    with pytest.raises(ToolFailed):
        await check(manual, Action(ActionKind.WRITE, "write .bashrc", (Path.home() / ".bashrc",), WORKDIR))

    assert desk.questions[0].pattern == f"shell-startup: {Path.home()}/.bashrc"


async def test_what_a_person_sees_is_the_real_text() -> None:
    manual, desk = gate(user("deny"))

    with pytest.raises(ToolFailed):
        await check(manual, command("sudo echo \u202etxt.exe\u202c \x1b[2K\x08\u200b\r; ls"))

    assert desk.questions[0].command == "sudo echo \\u202etxt.exe\\u202c \\x1b[2K\\x08\\u200b\\x0d; ls"


async def test_a_secret_in_a_command_reaches_neither_the_person_nor_the_allow_list() -> None:
    written: list[str] = []

    async def keep(pattern: str) -> None:
        written.append(pattern)

    desk = FakeDesk([user("always")])
    manual = Gate(desk, allow_always=keep, hide=Redactor(["correct-horse"]))
    await check(manual, command("kill correct-horse"))

    assert await check(manual, command("kill correct-horse")) is None
    assert "correct-horse" not in repr(desk.questions) + repr(written)


@given(st.text())
def test_nothing_invisible_is_shown(text: str) -> None:
    assert all(c in "\n\t" or c.isprintable() for c in shown(text))


def test_ordinary_text_is_shown_as_it_is() -> None:
    assert shown("grep -n 'größe' 日本語.txt\n\tcafé 😀") == "grep -n 'größe' 日本語.txt\n\tcafé 😀"


def test_a_long_command_is_shown_in_part() -> None:
    assert shown("x" * 5000).endswith("xxx… (1,000 more characters)")
