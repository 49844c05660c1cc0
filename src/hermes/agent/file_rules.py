"""The rules about files: what `write_file`, `patch` and commands that write may change, and what nothing may read."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from hermes.agent.places import (
    BLOCK_DEVICES,
    GIT_HOOKS,
    HARMLESS_DEVICES,
    KERNEL_MEMORY,
    OWN_BLOCKED,
    PASSWORD_FILES,
    SHELL_STARTUP,
    SSH_FILES,
    STARTED_BY_ITSELF,
    SYSTEM,
    Ground,
)
from hermes.agent.rule import Level


@dataclass(frozen=True, slots=True)
class FileRule:
    """`matches` gets an absolute path without links. `examples` and `spared` are paths; ~ is the home."""

    id: str
    level: Level
    description: str
    matches: Callable[[str, Ground], bool]
    examples: tuple[str, ...]
    spared: tuple[str, ...] = ()


def _fits(*patterns: re.Pattern[str]) -> Callable[[str, Ground], bool]:
    return lambda place, ground: any(pattern.fullmatch(place) for pattern in patterns)


def _in_home(pattern: re.Pattern[str]) -> Callable[[str, Ground], bool]:
    def matches(place: str, ground: Ground) -> bool:
        home = str(ground.user_home).rstrip("/") + "/"
        return place.startswith(home) and pattern.fullmatch(place[len(home) :]) is not None

    return matches


def _own(place: str, ground: Ground) -> bool:
    """In HERMES_HOME, but not in what it keeps for work: the working directory, outputs of tools."""
    inside = ground.own_part(place)
    workdir = str(ground.workdir)
    in_workspace = place.startswith(workdir + "/") and ground.own_part(workdir) not in (None, "")
    return inside is not None and not in_workspace and not inside.startswith(("workspace/", "run/terminal/", "tmp/"))


def _system(place: str, ground: Ground) -> bool:
    if HARMLESS_DEVICES.fullmatch(place) or ground.is_inside(place):
        return False
    return any(place == root or place.startswith(root + "/") for root in SYSTEM)


WRITE_RULES: tuple[FileRule, ...] = (
    FileRule(
        "own-gate",
        Level.BLOCKED,
        "changes the agent's keys, its settings, its conversations or what its shells start from",
        lambda place, ground: (part := ground.own_part(place)) is not None and OWN_BLOCKED.fullmatch(part) is not None,
        (
            *("~/.hermes/.env", "~/.hermes/config.yaml", "~/.hermes/state.db", "~/.hermes/profiles/alice/.env"),
            "~/.hermes/run/terminal/0a1b/shell/environment",
        ),
        ("~/project/.env", "~/project/config.yaml", "~/.hermes/run/terminal/0a1b/proc_1.log"),
    ),
    FileRule(
        "password-files",
        Level.BLOCKED,
        "changes the system's accounts or who may become root",
        _fits(PASSWORD_FILES),
        ("/etc/passwd", "/etc/shadow", "/etc/sudoers.d/me"),
        ("/etc/hosts",),
    ),
    FileRule(
        "overwrite-device",
        Level.BLOCKED,
        "writes to a disk or to the kernel's memory",
        _fits(BLOCK_DEVICES, KERNEL_MEMORY),
        ("/dev/sda", "/dev/nvme0n1p1", "/dev/mem", "/proc/sysrq-trigger"),
        ("/dev/null", "/dev/stdout"),
    ),
    FileRule(
        "own-files",
        Level.DANGEROUS,
        "changes what the agent is told at every start: its character, memory, skills or jobs",
        _own,
        ("~/.hermes/SOUL.md", "~/.hermes/memories/MEMORY.md", "~/.hermes/skills/x/SKILL.md"),
        ("~/notes/SOUL.md",),
    ),
    FileRule(
        "shell-startup",
        Level.DANGEROUS,
        "changes what runs at every login or every call of a program",
        _in_home(SHELL_STARTUP),
        ("~/.bashrc", "~/.zshrc", "~/.profile", "~/.gitconfig", "~/.config/fish/config.fish"),
        ("~/project/.bashrc_example", "~/project/.gitconfig"),
    ),
    FileRule(
        "ssh-files",
        Level.DANGEROUS,
        "changes who can log in, or where this machine logs in",
        _fits(SSH_FILES),
        ("~/.ssh/authorized_keys", "~/.ssh/config"),
        ("~/ssh/config",),
    ),
    FileRule(
        "starts-by-itself",
        Level.DANGEROUS,
        "leaves something that starts by itself",
        _fits(STARTED_BY_ITSELF),
        (
            "/etc/cron.d/x",
            "/etc/systemd/system/x.service",
            "~/.config/systemd/user/x.service",
            "~/.config/autostart/x.desktop",
        ),
        ("~/project/systemd/x.service",),
    ),
    FileRule(
        "git-hooks",
        Level.DANGEROUS,
        "changes what git runs",
        _fits(GIT_HOOKS),
        ("~/project/.git/hooks/pre-commit", "~/project/.git/config"),
        ("~/project/.github/workflows/ci.yml", "~/project/.gitignore"),
    ),
    FileRule(
        "system-files",
        Level.DANGEROUS,
        "changes files of the system",
        _system,
        ("/etc/hosts", "/usr/local/bin/x", "/boot/grub/grub.cfg", "/var/lib/x"),
        ("/dev/null", "/tmp/x", "/var/tmp/x"),  # noqa: S108
    ),
    FileRule(
        "outside",
        Level.DANGEROUS,
        "writes outside of the working directory and the home directory",
        lambda place, ground: not ground.is_inside(place) and HARMLESS_DEVICES.fullmatch(place) is None,
        ("/opt/app/x", "/srv/www/index.html", "/x"),
        ("~/project/a.txt", "/tmp/a.txt", "~/Documents/a.txt"),  # noqa: S108
    ),
)
"""In this order; the first that matches a path counts."""

READ_RULES: tuple[FileRule, ...] = (
    FileRule(
        "own-secrets",
        Level.BLOCKED,
        "opens keys, passwords or everybody's conversations",
        lambda place, ground: ground.secret(place) is not None,
        ("~/.hermes/.env", "~/.hermes/state.db", "~/.ssh/id_rsa", "/etc/shadow", "/proc/self/environ"),
        ("~/.ssh/id_rsa.pub", "~/project/.env", "/etc/passwd"),
    ),
)
"""For the file tools. Commands that name such a file are asked about (reads-secrets) or blocked (own-secrets)."""


def file_rule(rules: tuple[FileRule, ...], place: str, ground: Ground) -> FileRule | None:
    return next((rule for rule in rules if rule.matches(place, ground)), None)
