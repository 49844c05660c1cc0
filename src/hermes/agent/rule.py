"""What a rule is made of, and the small words that rules are written in."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from hermes.agent.command import UNKNOWN, Command
from hermes.agent.places import Ground


class Level(StrEnum):
    ALLOWED = "allowed"
    DANGEROUS = "dangerous"
    BLOCKED = "blocked"


Matches = Callable[[Command, Ground], bool]
Scope = Callable[[Command, Ground], str]


def exact(command: Command, ground: Ground) -> str:
    """This command with these arguments and no other. What xargs adds to them is what is piped into it."""
    fed = [before.line for before in command.piped_from] if "xargs" in command.through else []
    return f"`{' | '.join((*fed, ' '.join(command.words)))}`"


def program(command: Command, ground: Ground) -> str:
    """The program and its subcommand: `git push`, `apt-get install`."""
    words = command.subcommand(*VALUE_OPTIONS.get(command.name, ()))
    return " ".join((command.name, *words[:1]))


def host(command: Command, ground: Ground) -> str:
    """The program and the other machine, where its words name one and no way around it; else this very command."""
    words = " ".join(command.arguments)
    if command.name in _LOGS_IN:
        rest = command.subcommand(*_LOGIN_VALUES)
        named = [re.fullmatch(r"(?:[\w.-]+@)?([\w.-]+)", rest[0])] if rest and not _LOGIN_DETOUR.search(words) else []
    elif command.name in ("scp", "rsync", "sshfs"):
        far = [word for word in command.operands if ":" in word.partition("/")[0]]
        named = [re.match(r"(?:[\w.-]+@)?([\w.-]+):(?!:)", word) for word in far]
        named = [] if re.search(r"(?:^| )-(?:\w*[eoJFS]|-rsh)", words) else named
    else:
        urls = [word for word in command.arguments if "://" in word]
        named = [re.match(r"\w+://(?:[^/@\s\\?#]*@)?([\w.-]+)(?::\d+)?(?:[/?#]|$)", word) for word in urls]
        valued = _CURL_VALUES if command.name == "curl" else frozenset()
        loose = [word for before, word in pairwise(("", *command.arguments)) if before not in valued]
        named = [] if any("://" not in word and not word.startswith("-") for word in loose) else named
        named = [] if _DETOUR.search(words) else named
    machines = {found[1] if found is not None else "" for found in named}
    return f"{command.name} {machines.pop()}" if len(machines) == 1 and "" not in machines else exact(command, ground)


_CURL_VALUES = frozenset(
    (
        *("-H", "--header", "-d", "--data", "--data-binary", "--data-raw", "--data-urlencode", "-F", "--form", "-T"),
        *("--upload-file", "-o", "--output", "-X", "--request", "-u", "--user", "-A", "--user-agent", "-m"),
        *("--max-time", "-w", "--write-out"),
    )
)
"""Options of curl with a value that names no machine."""
_LOGS_IN = ("ssh", "sftp", "mosh", "telnet", "ftp", "ssh-copy-id", "lftp")
_LOGIN_VALUES = ("-B", "-b", "-c", "-D", "-e", "-I", "-i", "-L", "-l", "-m", "-P", "-p", "-R", "-W", "-w")
_LOGIN_DETOUR = re.compile(r"(?:^| )-\w*[FJOoS]")
_DETOUR = re.compile(r"(?:^| )(?:-\w*[xK]|--(?:\w*proxy|preproxy|socks|connect-to|resolve|config|next|doh)|-:)")


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
