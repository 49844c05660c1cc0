"""Programs that run what one of their arguments says, and those that no table names and that run their last words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from hermes.agent.command import Command
from hermes.agent.places import sed_scripts

_PROGRAMS = (
    r"rm|dd|shred|mkfs[.\w]*|wipefs|sh|bash|dash|zsh|ksh|python[\d.]*|perl|ruby|node|sudo|doas|su|chmod|chown|kill|"
    r"pkill|killall|mv|cp|ln|tee|cat|curl|wget|nc|ncat|socat|ssh|scp|systemctl|service|reboot|shutdown|poweroff|halt|"
    r"crontab|hermes|dropdb|docker|find|xargs|eval|exec|source|env|nohup"
)
_BEGINS = re.compile(rf"(?:^|(?<![\w./~$-]))((?:/[\w./-]*/)?(?:{_PROGRAMS})\s+\S.*)", re.DOTALL)
"""Where in an argument a command may begin."""

RUN_ARGUMENTS = frozenset(
    {
        *("vi", "vim", "nvim", "view", "ex", "ed", "emacs", "emacsclient", "less", "more", "man", "gdb", "lldb"),
        *("tar", "gtar", "bsdtar", "star", "zip", "rsync", "scp", "sftp", "ssh", "git", "tcpdump", "entr", "script"),
        *("make", "gmake", "bmake", "npx", "npm", "pnpm", "yarn", "bunx", "tmux", "screen", "hyperfine", "parallel"),
        *("expect", "tclsh", "xterm", "konsole", "gnome-terminal", "alacritty", "kitty", "ip", "perf", "logrotate"),
        *("fzf", "direnv", "sort", "split", "ncat", "socat", "openssl", "wget", "ffmpeg", "dpkg", "rpm", "apt-get"),
    }
)
_ONLY_WITH = {
    "git": re.compile(
        r"^-c$|^--(?:exec|upload-pack|receive-pack|extcmd|open-files-in-pager)\b|^-[xOu]|^foreach$|^ext::|-filter\b"
    ),
    "sort": re.compile("--compress-program"),
    "split": re.compile("--filter"),
    "wget": re.compile("--use-askpass"),
    "apt-get": re.compile("^-o"),
    "dpkg": re.compile("--pre-invoke|--post-invoke"),
    "ip": re.compile("^exec$"),
}
"""Where most arguments are no commands: it must match the argument or the one before."""
_SHELL_ESCAPE = re.compile(r"^\s*(?:\\!|!|\.shell\b|\.system\b|system\b|:!|shell\b)\s*(.+)", re.DOTALL)
_ESCAPES = frozenset(
    {"sqlite3", "psql", "mysql", "mariadb", "gdb", "lldb", "ftp", "sftp", "mail", "ed", "ex", "less", "duckdb", "vim"}
)
"""Programs with a command of their own for a shell."""

_SED_RUNS = re.compile(r"(?:^|[;{}\n!$\d/])\s*e\s+([^\n]+)")
_SED_EVALUATES = re.compile(r"s([/|,#!@])(?:(?!\1).){0,500}\1((?:\\.|(?!\1).){0,500})\1[gpiIm0-9]{0,9}e")
"""The command `e`, and the flag of `s` that runs what came out."""

NO_WRAPPERS = frozenset(
    {
        *("echo", "printf", "grep", "egrep", "fgrep", "zgrep", "rg", "ag", "ack", "man", "which", "whereis", "type"),
        *("whatis", "apropos", "pgrep", "pkill", "killall", "ls", "stat", "file", "alias", "hash", "complete", "tldr"),
        *("git", "hg", "svn", "gh", "glab", "docker", "podman", "nerdctl", "docker-compose", "kubectl", "oc", "helm"),
        *("lxc", "incus", "vagrant", "multipass", "ssh", "mosh", "adb", "heroku", "fly", "flyctl", "aws", "gsutil"),
        *("gcloud", "az", "rclone", "mc", "npm", "pnpm", "yarn", "bun", "pip", "pip3", "uv", "poetry", "pdm", "cargo"),
        *("brew", "apt", "apt-get", "dnf", "yum", "apk", "pacman", "snap", "flatpak", "dpkg", "rpm", "hermes", "test"),
        *("[", "[[", "cat", "head", "tail", "wc", "sed", "awk", "jq", "tr", "cut", "touch", "mkdir", "ln", "cp", "mv"),
        *("rm", "chmod", "chown", "tar", "zip", "unzip", "curl", "wget", "sort", "uniq", "diff", "read", "export"),
        *("make", "find", "kill", "set", "shift", "unset", "trap", "let", "declare", "local", "source", ".", "eval"),
    }
)
"""Their words are names and texts; what they run, other rules know."""
_BEHIND = re.compile(r"rm|dd|shred|mkfs[.\w]*|wipefs|(?:ba|da|z|k)?sh|sudo|doas|chmod|chown|reboot|shutdown|poweroff")

_GIT_RUNS = re.compile(r"^git (?:.* )?(?:bisect run|submodule (?:\S+ )*?foreach(?: --recursive)?)(?= )")

RUN_VARIABLES = frozenset(
    {
        *("GIT_SSH_COMMAND", "GIT_PAGER", "GIT_EDITOR", "GIT_SEQUENCE_EDITOR", "GIT_EXTERNAL_DIFF", "GIT_ASKPASS"),
        *("GIT_PROXY_COMMAND", "SSH_ASKPASS", "PAGER", "MANPAGER", "EDITOR", "VISUAL", "BROWSER", "PROMPT_COMMAND"),
        *("PS4", "LESSOPEN", "LESSCLOSE", "FCEDIT", "MAKEFLAGS", "RSYNC_RSH", "CVS_RSH", "TAR_OPTIONS"),
    }
)
"""Variables that hold a command."""
PRELOADS = frozenset({"LD_PRELOAD", "LD_AUDIT", "DYLD_INSERT_LIBRARIES", "PERL5OPT", "RUBYOPT"})
"""Variables that put code into every program."""


def texts_of_variable(name: str, value: str) -> list[str]:
    """The command in a variable. That git talks over ssh is no news."""
    value = value.removeprefix("ssh ") if name == "GIT_SSH_COMMAND" else value
    return [value, *(found[1] for found in [_BEGINS.search(value)] if found is not None)]


def texts_of_arguments(command: Command, fed: str | None) -> Iterator[str]:
    """Commands in the arguments of a program that may run them, or in what it is fed."""
    name = re.sub(r"\d+$", "", command.name)
    words = [*command.arguments, *([fed] if fed else [])]
    if command.name in _ESCAPES or name in _ESCAPES:
        for word in words:
            for line in word.split("\n"):
                if (found := _SHELL_ESCAPE.match(line.lstrip("+:"))) is not None:
                    yield found[1]
    if name in ("sed", "gsed"):
        for script in sed_scripts(command):
            yield from _SED_RUNS.findall(script)
            yield from (found[1].replace("\\", "") for found in _SED_EVALUATES.findall(script))
    if name not in RUN_ARGUMENTS:
        return
    condition = _ONLY_WITH.get(name)
    if condition is not None:
        words = [word for before, word in pairwise(("", *words)) if condition.search(word) or condition.search(before)]
    for word in words:
        for text in dict.fromkeys((word, re.sub(r"^-[A-Za-z]", "", word))):
            if (found := _BEGINS.search(text)) is not None:
                yield from dict.fromkeys((found[1], found[1].rstrip("\"')")))


def last_words(command: Command) -> tuple[str, ...] | None:
    """`prog … rm -rf x`: what a wrapper that no table names would run."""
    words = command.words
    if command.name == "git" and (found := _GIT_RUNS.search(" ".join(words[:20])[:1_000])) is not None:
        return words[len(found[0].split()) :]
    if not words or command.name in NO_WRAPPERS or command.is_code:
        return None
    for at in range(1, len(words) - 1):
        if _BEHIND.fullmatch(words[at].rsplit("/", 1)[-1]) and words[at + 1].startswith(("-", "/", "~")):
            return words[at:]
    return None


def module_words(command: Command) -> tuple[str, ...] | None:
    """`python -m NAME …` as the command NAME."""
    module = command.value_of("-m")
    if module is None or not command.name.startswith(("python", "pypy")):
        return None
    at = next(number for number, word in enumerate(command.arguments) if word.startswith("-m"))
    rest = command.arguments[at + (2 if command.arguments[at] == "-m" else 1) :]
    return (module.partition(".")[0] if module.startswith("hermes") else module, *rest)
