"""The one gate that every tool call passes: rules, lists, allowances, and the question to a person.

Order: what is hard-blocked and what the owner's deny list names is refused, whatever the mode. Then what needs no
question passes. Then what was allowed before, for always or for this session. Then somebody is asked, where there is
somebody (spec: api-server section 3): in the mode smart a model first, which allows, denies, or leaves it to a person.
"""

from __future__ import annotations

import asyncio
import logging
import unicodedata
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from hermes.agent.command import fold
from hermes.agent.judge import ALLOW, ASK, DENY, Case, Judge
from hermes.agent.rules import Level, Verdict, classify
from hermes.core.errors import ConfigError, HermesError, ToolFailed
from hermes.core.event import ApprovalResponded
from hermes.core.ids import new_id
from hermes.core.ports import Account, Action, ActionKind, ApprovalAnswer, ApprovalDesk, ApprovalQuestion
from hermes.core.run import Ask

log = logging.getLogger(__name__)

MODES = ("manual", "smart", "off")
SMART = "smart"
"""Who answered, in the events of a run, where a model did."""
LONGEST_SHOWN = 4_000
"""Characters of a command that a question shows; the rest is counted."""

SHORT = 4_000
"""Characters of a command that is read in a few milliseconds. A longer one, a script in a here-document, may take a
second and is read beside everything else."""

AllowAlways = Callable[[str], Awaitable[None]]
AllowedBefore = Callable[[str], Awaitable[Collection[str]]]


@dataclass(slots=True)
class Allowances:
    """What was allowed before; one for a home, shared by all its gates.

    `always` is the allow-list of the settings, added to when a person says `always`.
    """

    always: set[str] = field(default_factory=set)
    sessions: dict[str, set[str]] = field(default_factory=dict)

    def covers(self, session_id: str, patterns: Iterable[str]) -> bool:
        return all(self._has(session_id, pattern) for pattern in patterns)

    def forget(self, session_id: str) -> None:
        self.sessions.pop(session_id, None)

    def _has(self, session_id: str, pattern: str) -> bool:
        if pattern in self.sessions.get(session_id, ()) or pattern in self.always:
            return True
        # a hand-written entry may name a rule alone, or end in * for everything that begins so
        return any(
            entry == pattern.partition(":")[0] or (entry.endswith("*") and pattern.startswith(entry[:-1]))
            for entry in self.always
            if "`" not in entry
        )


@dataclass(frozen=True, slots=True)
class Policy:
    """What the settings say. `deny` are globs over commands and paths. `judge` is for the mode smart.

    Raises ConfigError for a mode that there is not.
    """

    mode: str = "manual"
    deny: tuple[str, ...] = ()
    judge: Judge | None = None

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            known = ", ".join(MODES)
            raise ConfigError(f"approvals.mode must be one of {known}, not {self.mode!r}", param="approvals.mode")


class Gate:
    """The gate of one run. `allow_always` writes a pattern into the allow-list of the home; `allowed_before` gives the
    patterns of questions that were answered for a session, perhaps on another node; `hide` redacts secrets, which must
    reach neither that list nor the events.

    `policy` gives what the settings say at each action, where they may change; else `mode`, `deny` and `judge` hold.
    `judge` is asked first in the mode smart, until it or a person has said no: whoever leads the agent on will try
    again, so only a person answers for the rest of the run.
    """

    def __init__(
        self,
        desk: ApprovalDesk,
        *,
        mode: str = "manual",
        allowances: Allowances | None = None,
        deny: Iterable[str] = (),
        home: Path | None = None,
        allow_always: AllowAlways | None = None,
        allowed_before: AllowedBefore | None = None,
        hide: Callable[[str], str] = str,
        judge: Judge | None = None,
        policy: Callable[[], Awaitable[Policy]] | None = None,
    ) -> None:
        self._desk = desk
        self._policy = Policy(mode, tuple(deny), judge)
        self._policy_now = policy
        self._allowances = allowances if allowances is not None else Allowances()
        self._home = home
        self._allow_always = allow_always
        self._allowed_before = allowed_before
        self._hide = hide
        self._was_denied = False

    async def check(
        self,
        *,
        tool: str,
        tool_call_id: str,
        action: Action,
        run_id: str,
        session_id: str,
        ask: Ask = Ask.WAIT,
        account: Account | None = None,
    ) -> ApprovalAnswer | None:
        """None when nobody had to be asked, else the answer that allowed it. Raises ToolFailed with the reason."""
        if self._policy_now is not None:
            self._policy = await self._policy_now()
        if len(action.text) <= SHORT:
            verdict = classify(action, home=self._home)
        else:
            verdict = await asyncio.to_thread(classify, action, home=self._home)
        self._refuse(action, verdict)
        if verdict.level is Level.ALLOWED or self._policy.mode == "off":
            return None
        patterns = tuple(self._hide(pattern) for pattern in verdict.patterns)
        if self._allowances.covers(session_id, patterns) or await self._was_allowed(session_id, patterns):
            return None
        if ask is Ask.APPROVE:
            return ApprovalAnswer("once", "policy", None, "approvals.cron_mode is approve")
        if ask is Ask.DENY:
            raise ToolFailed(
                f"Not run: this {verdict.description} ({verdict.rule}), which needs a person's approval, and nobody "
                "can be asked here. Find another way, or say what you would have done.",
                code="approval_denied_by_policy",
            )
        judged = await self._judged(action, verdict, account)
        if judged is not None:
            return judged
        answer = await self._desk.ask(
            ApprovalQuestion(
                id=new_id("appr"),
                run_id=run_id,
                session_id=session_id,
                tool=tool,
                tool_call_id=tool_call_id,
                command=shown(self._hide(action.text)),
                description=sentence(self._hide(verdict.description)),
                pattern=_joined(patterns),
                allow_permanent=self._allow_always is not None,
                choices=("once", "session", "always", "deny") if self._allow_always else ("once", "session", "deny"),
            )
        )
        return await self._take(answer, patterns, session_id)

    async def _judged(self, action: Action, verdict: Verdict, account: Account | None) -> ApprovalAnswer | None:
        """The answer of the model that judges; None where a person has to. Raises ToolFailed where it says no."""
        if self._policy.mode != SMART or account is None or self._was_denied:
            return None
        case = Case(
            action.kind.value,
            self._hide(action.text),
            tuple(verdict.rule.split(", ")),
            self._hide(verdict.description),
            str(action.workdir or ""),
        )
        ruling = await (self._policy.judge or Judge()).rule(case, account)
        log.info("approvals.mode smart: %s for %s: %s", ruling.choice, verdict.rule, self._hide(ruling.reason))
        if ruling.choice == ASK:
            return None
        choice = "once" if ruling.choice == ALLOW else "deny"
        await account.happened(ApprovalResponded(new_id("appr"), choice, SMART, "policy"))
        if ruling.choice == DENY:
            self._was_denied = True
            raise ToolFailed(
                f"Not run: the model that judges commands (approvals.mode smart) said no. "
                f"Reason: {self._hide(ruling.reason) or 'none was given'} "
                "Do not run it in another form; find another way or ask what to do.",
                code="approval_denied_by_policy",
            )
        return ApprovalAnswer(choice, "policy", SMART, ruling.reason)

    async def _was_allowed(self, session_id: str, patterns: tuple[str, ...]) -> bool:
        if self._allowed_before is None:
            return False
        allowed = await self._allowed_before(session_id)
        return _joined(patterns) in allowed or all(_joined([pattern]) in allowed for pattern in patterns)

    def _refuse(self, action: Action, verdict: Verdict) -> None:
        denied = self._denied_by(action, verdict)
        if denied is not None:
            raise ToolFailed(
                f"Not run: the owner's deny list names it ({denied}). Do not try to get around it; find another way.",
                code="approval_denied_by_policy",
            )
        if verdict.level is Level.BLOCKED:
            raise ToolFailed(
                f"Not run: this {verdict.description}. The rule {verdict.rule} blocks it in every mode, and no "
                "approval lifts it. Do not try to get around it.",
                code="approval_blocked",
            )

    def _denied_by(self, action: Action, verdict: Verdict) -> str | None:
        texts = [action.text, fold(action.text), *verdict.commands, *map(str, action.paths)]
        if action.kind is ActionKind.COMMAND:
            texts += [" ".join(text.split()) for text in texts[:2]]
        return next(
            (glob for glob in self._policy.deny if any(fnmatchcase(text.strip(), glob) for text in texts)), None
        )

    async def _take(self, answer: ApprovalAnswer, patterns: tuple[str, ...], session_id: str) -> ApprovalAnswer:
        because = f" Reason: {shown(answer.reason)}" if answer.reason and answer.outcome == "user" else ""
        if answer.choice == "deny":
            self._was_denied = True
            if answer.outcome == "timeout":
                why = "nobody answered in time, which counts as a no"
            elif answer.outcome == "policy":
                why = answer.reason or "the owner's settings deny it"
            else:
                why = "the user said no"
            raise ToolFailed(
                f"Not run: {why}.{because} Do not run it in another form; find another way or ask what to do.",
                code="approval_denied",
            )
        if answer.choice in ("session", "always"):
            self._allowances.sessions.setdefault(session_id, set()).update(patterns)
        if answer.choice == "always" and self._allow_always is not None:
            self._allowances.always.update(patterns)
            for pattern in patterns:
                await self._write_down(pattern, self._allow_always)
        return answer

    async def _write_down(self, pattern: str, allow_always: AllowAlways) -> None:
        """A list that cannot be written (a read-only config.yaml, a full disk) takes back no yes."""
        try:
            await allow_always(pattern)
        except (HermesError, OSError) as error:
            log.warning("%s is allowed until the restart, not for always: %s", pattern, error)


def _joined(patterns: Iterable[str]) -> str:
    """As a question has it."""
    return shown(" + ".join(patterns))


def sentence(description: str) -> str:
    return f"This {description}."


def shown(text: str) -> str:
    """Text for a person to judge: what is invisible or turns the reading direction is written out as an escape."""
    escaped = "".join(_escape(c) for c in text)
    if len(escaped) <= LONGEST_SHOWN:
        return escaped
    return f"{escaped[:LONGEST_SHOWN]}… ({len(escaped) - LONGEST_SHOWN:,} more characters)"


def _escape(c: str) -> str:
    if c in "\n\t" or c.isprintable():
        return c if unicodedata.category(c) not in ("Cf", "Mn", "Me") or c.isascii() else _code(c)
    return _code(c)


def _code(c: str) -> str:
    number = ord(c)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
