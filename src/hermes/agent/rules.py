"""Judges an action: allowed, dangerous (somebody is asked) or blocked (nothing lifts it).

The rules are data: `blocked_rules`, `dangerous_rules`, `outward_rules`, `file_rules`; docs/reference/approvals.md
shows them all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from hermes.agent.blocked_rules import HARD_BLOCKED, is_fork_bomb
from hermes.agent.command import Command, Reading, fold
from hermes.agent.dangerous_rules import INWARD
from hermes.agent.file_rules import READ_RULES, WRITE_RULES, FileRule, file_rule
from hermes.agent.home_rules import is_harmless, runs_code
from hermes.agent.outward_rules import OUTWARD, REMOTE_CODE, runs_downloaded
from hermes.agent.places import Ground, written
from hermes.agent.rule import Level, Rule
from hermes.agent.shell import read
from hermes.core.ports import Action, ActionKind

__all__ = [
    "DANGEROUS",
    "HARD_BLOCKED",
    "READ_RULES",
    "WRITE_RULES",
    "FileRule",
    "Ground",
    "Level",
    "Rule",
    "Verdict",
    "classify",
]

DANGEROUS = (*INWARD, *OUTWARD)
"""What asks in the mode manual. Whatever no rule names is allowed."""

MCP_CALL = "mcp-call"
JOB = "job"
"""The rule that asks before a tool of an MCP server runs; `mcp_servers.NAME.trust` says which need no question."""

LONGEST_READ = 100_000
"""Commands of more characters are not read, and ask."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule that matched. `pattern` is what `session` and `always` would allow."""

    rule: str
    level: Level
    description: str
    pattern: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """`rule`, `description` and `pattern` join those of all findings of the level; empty when allowed.

    `patterns` are the single patterns: each must be allowed for the action to pass without a question.
    `commands` are the single commands in plain words, for the deny list.
    """

    level: Level
    rule: str = ""
    description: str = ""
    pattern: str = ""
    patterns: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()


def classify(action: Action, *, home: Path | None = None) -> Verdict:
    """What the rules say of an action. `home` is HERMES_HOME. Reads the disk only to follow links."""
    ground = Ground(action.workdir or Path.cwd(), home)
    if action.kind is ActionKind.COMMAND:
        texts = dict.fromkeys((action.text, fold(action.text)))
        return max((_judge_text(text, ground) for text in texts), key=_severity)
    if action.kind is ActionKind.SERVICE:
        return _verdict(list(_judge_service(action.text)), [action.text])
    if action.kind is ActionKind.CALL:
        return _judge_call(action)
    if action.kind is ActionKind.JOB:
        found = Finding(JOB, Level.DANGEROUS, "changes what runs by itself, with nobody there", f"{JOB}: {action.text}")
        return _verdict([found], [action.text])
    rules = READ_RULES if action.kind is ActionKind.READ else WRITE_RULES
    findings = [found for path in action.paths for found in _judge_place(rules, str(path), ground)]
    return _verdict(findings, [str(path) for path in action.paths])


def _judge_call(action: Action) -> Verdict:
    """What another program's tool does is not known here; the deny list goes by its name."""
    tool = action.text.partition(" ")[0]
    if action.is_trusted:
        return Verdict(Level.ALLOWED, commands=(tool,))
    found = Finding(
        MCP_CALL,
        Level.DANGEROUS,
        "calls a tool of an MCP server that is not trusted (setting mcp_servers.NAME.trust)",
        f"{MCP_CALL}: {tool}",
    )
    return _verdict([found], [tool])


def _judge_text(text: str, ground: Ground) -> Verdict:
    if len(text) > LONGEST_READ:
        return _verdict([Finding("unreadable", Level.DANGEROUS, "is too long to be read", "unreadable: too long")], [])
    findings: list[Finding] = []
    if is_fork_bomb(text):
        findings.append(_finding(next(rule for rule in HARD_BLOCKED if rule.id == "fork-bomb"), "fork bomb"))
    reading = read(text, ground.variables)
    if reading.problem is not None:
        findings += _judge_unreadable(text, reading.problem, ground)
    for command in reading.commands:
        findings += _judge_command(command, ground)
        if links := _links(command, ground):
            ground = replace(ground, links=(*ground.links, *links))
    findings += [
        Finding(
            REMOTE_CODE.id,
            REMOTE_CODE.level,
            REMOTE_CODE.description,
            f"{REMOTE_CODE.id}: `{source}`, `{command.line}`",
        )
        for command, source in runs_downloaded(reading.commands, ground)
    ]
    if reading.hidden and not any(finding.rule in ("remote-code", "unknown-code") for finding in findings):
        findings.append(_hidden(reading))
    return _verdict(findings, [" ".join(command.words) for command in reading.commands])


def _links(command: Command, ground: Ground) -> list[tuple[str, str]]:
    """Links that a command makes, for what later ones of the text do through them."""
    if command.name != "ln" or len(command.operands) != 2:
        return []
    targets, links = (ground.places(word, command.directory) for word in command.operands)
    return [(link, target) for target in targets for link in links]


def _judge_unreadable(text: str, problem: str, ground: Ground) -> Iterator[Finding]:
    """A shell would refuse it as well; what its lines would do on their own is judged all the same."""
    yield Finding("unreadable", Level.DANGEROUS, f"is no complete command: {problem}", f"unreadable: `{text}`")
    for line in text.replace("'", "").replace('"', "").replace("`", "").splitlines():
        for command in read(line, ground.variables).commands:
            yield from _judge_command(command, ground)


def _judge_command(command: Command, ground: Ground) -> Iterator[Finding]:
    for rule in HARD_BLOCKED:
        if rule.matches(command, ground):
            yield _finding(rule, rule.scope(command, ground))
    for rule in DANGEROUS:
        if rule.matches(command, ground):
            yield _finding(rule, rule.scope(command, ground))
    for word in written(command):
        for place in ground.places(word, command.directory):
            yield from _judge_place(WRITE_RULES, place, ground)


def _judge_service(text: str) -> Iterator[Finding]:
    """Of a home (`home_rules`)."""
    if runs_code(text):
        does = "runs commands or code on the machine of Home Assistant"
        yield Finding("home-code", Level.BLOCKED, does, f"home-code: `{text}`")
    elif not is_harmless(text):
        yield Finding("home-service", Level.DANGEROUS, "switches something in the home", f"home-service: {text}")


def _judge_place(rules: tuple[FileRule, ...], place: str, ground: Ground) -> Iterator[Finding]:
    rule = file_rule(rules, place, ground)
    if rule is not None:
        yield Finding(rule.id, rule.level, rule.description, f"{rule.id}: {place}")


def _finding(rule: Rule, scope: str) -> Finding:
    return Finding(rule.id, rule.level, rule.description, f"{rule.id}: {scope}")


def _hidden(reading: Reading) -> Finding:
    what = reading.hidden[0]
    return Finding(
        "unknown-code", Level.DANGEROUS, f"runs what is only known while it runs: {what}", f"unknown-code: {what}"
    )


def _verdict(findings: Iterable[Finding], commands: list[str]) -> Verdict:
    found = list(dict.fromkeys(findings))
    for level in (Level.BLOCKED, Level.DANGEROUS):
        of_level = [finding for finding in found if finding.level is level]
        if of_level:
            patterns = tuple(dict.fromkeys(finding.pattern for finding in of_level))
            return Verdict(
                level,
                ", ".join(dict.fromkeys(finding.rule for finding in of_level)),
                "; ".join(dict.fromkeys(finding.description for finding in of_level)),
                " + ".join(patterns),
                patterns,
                tuple(commands),
            )
    return Verdict(Level.ALLOWED, commands=tuple(commands))


def _severity(verdict: Verdict) -> int:
    return [Level.ALLOWED, Level.DANGEROUS, Level.BLOCKED].index(verdict.level)
