"""What a rule is made of, and the small words that rules are written in."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from hermes.agent.command import UNKNOWN, Command
from hermes.agent.places import Ground


class Level(StrEnum):
    ALLOWED = "allowed"
    DANGEROUS = "dangerous"
    BLOCKED = "blocked"


Matches = Callable[[Command, Ground], bool]
Scope = Callable[[Command, Ground], str]


def exact(command: Command, ground: Ground) -> str:
    """This command with these arguments and no other."""
    return f"`{' '.join(command.words)}`"


def program(command: Command, ground: Ground) -> str:
    """The program and its subcommand: `git push`, `apt-get install`."""
    words = command.subcommand(*VALUE_OPTIONS.get(command.name, ()))
    return " ".join((command.name, *words[:1]))


def host(command: Command, ground: Ground) -> str:
    """The program and the other machine."""
    for word in command.operands:
        if (found := re.match(r"(?:[a-z]+://)?(?:[^/@\s]+@)?([\w.-]+)", word)) is not None:
            return f"{command.name} {found[1]}"
    return exact(command, ground)


@dataclass(frozen=True, slots=True)
class Rule:
    """`description` completes "this …" for the person who is asked. `spared` are near misses that must pass this rule.

    `scope` names what `session` and `always` allow: by default this very command.
    """

    id: str
    level: Level
    description: str
    matches: Matches
    examples: tuple[str, ...]
    spared: tuple[str, ...] = ()
    scope: Scope = exact


VALUE_OPTIONS: dict[str, tuple[str, ...]] = {
    "git": ("-C", "-c", "--git-dir", "--work-tree", "--namespace", "--exec-path", "--config-env"),
    "docker": ("-H", "--host", "--context", "-c", "-l", "--config"),
    "podman": ("-H", "--url", "--connection", "-c", "--root"),
    "kubectl": ("-n", "--namespace", "--context", "--kubeconfig", "-s", "--server", "--cluster", "--user"),
    "helm": ("-n", "--namespace", "--kube-context", "--kubeconfig"),
    "npm": ("--prefix", "-C", "-w", "--workspace"),
    "apt": ("-o", "-c", "-t"),
    "apt-get": ("-o", "-c", "-t"),
    "systemctl": ("-H", "-M", "-t", "-p", "--host", "--machine", "--type"),
    "hermes": (
        *("-p", "--profile", "-q", "--query", "-r", "--resume", "--session"),
        *("-m", "--model", "-t", "--toolsets", "--max-steps"),
    ),
    "aws": ("--profile", "--region", "--output", "--endpoint-url"),
    "gcloud": ("--project", "--account", "--configuration"),
    "terraform": (),
}
"""Options of a program that stand before its subcommand and take a value."""


def runs(*patterns: str) -> Matches:
    """The program's name and arguments match one of these from the start."""
    compiled = [re.compile(pattern, re.DOTALL) for pattern in patterns]
    return lambda command, ground: any(pattern.match(command.line) for pattern in compiled)


def tool(name: str, *patterns: str) -> Matches:
    """The program is `name`, and what follows its global options matches one of these from the start."""
    named = re.compile(name)
    compiled = [re.compile(pattern, re.DOTALL) for pattern in patterns]

    def matches(command: Command, ground: Ground) -> bool:
        if named.fullmatch(command.name) is None:
            return False
        rest = " ".join(command.subcommand(*VALUE_OPTIONS.get(command.name, ())))
        return any(pattern.match(rest) for pattern in compiled)

    return matches


def any_of(*conditions: Matches) -> Matches:
    return lambda command, ground: any(condition(command, ground) for condition in conditions)


def is_known(word: str) -> bool:
    return UNKNOWN not in word
