"""What the agent never runs, whatever the mode and whoever allows it: damage that nothing undoes, and its own gate."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from hermes.agent.command import Command
from hermes.agent.places import BLOCK_DEVICES, KERNEL_MEMORY, PASSWORD_FILES, Ground, written
from hermes.agent.rule import VALUE_OPTIONS, Level, Matches, Rule, any_of, runs, tool


def _writes(pattern: re.Pattern[str]) -> Matches:
    def matches(command: Command, ground: Ground) -> bool:
        return any(
            pattern.fullmatch(place) for word in written(command) for place in ground.places(word, command.directory)
        )

    return matches


def _deletes_root(command: Command, ground: Ground) -> bool:
    if command.name == "rm":
        if "xargs" in command.through and _lists_root(command.piped_from, ground):
            return True
        return command.has("r", "R", "recursive") and _touches_root(command.operands, command, ground)
    if command.name == "find":
        starts = _find_starts(command)
        deletes = "-delete" in command.words or any(
            command.words[at + 1 : at + 2] and command.words[at + 1].rsplit("/", 1)[-1] in ("rm", "shred", "unlink")
            for at, word in enumerate(command.words)
            if word in ("-exec", "-execdir", "-ok", "-okdir")
        )
        return deletes and not _narrows(command) and _touches_root(starts or ["."], command, ground)
    if command.name == "rsync":
        return any(word.startswith("--del") for word in command.words) and _touches_root(
            command.operands[-1:], command, ground
        )
    return False


def _lists_root(before: Sequence[Command], ground: Ground) -> bool:
    """Whether what is piped on are the files of the system: `find / | xargs rm`."""
    for command in before:
        if command.name == "find" and not _narrows(command) and _touches_root(_find_starts(command), command, ground):
            return True
        if command.name in ("ls", "printf") and _touches_root(command.operands, command, ground):
            return True
    return False


def _narrows(command: Command) -> bool:
    """Whether it finds less than all that is there."""
    for option, value in pairwise((*command.words, "")):
        if option in ("-path", "-regex", "-newer", "-mtime", "-mmin", "-size", "-maxdepth", "-user"):
            return not (option == "-maxdepth" and value != "0")
        if option in ("-name", "-iname") and value.strip("*"):
            return True
    return False


def _find_starts(command: Command) -> list[str]:
    starts = []
    for word in command.arguments:
        if word.startswith(("-", "(", "!")) and word not in ("-H", "-L", "-P"):
            break
        starts.append(word)
    return [word for word in starts if not word.startswith("-")]


def _touches_root(words: list[str], command: Command, ground: Ground) -> bool:
    return any(ground.is_root(word, command.directory) for word in words)


def _moves_root(command: Command, ground: Ground) -> bool:
    return command.name == "mv" and _touches_root(command.operands[:-1], command, ground)


def _opens_root(command: Command, ground: Ground) -> bool:
    if command.name not in ("chmod", "chown", "chgrp", "setfacl", "chattr"):
        return False
    return command.has("R", "recursive") and _touches_root(command.operands[1:], command, ground)


def _destroys_device(command: Command, ground: Ground) -> bool:
    if _writes(BLOCK_DEVICES)(command, ground):
        return True
    if command.name in ("blkdiscard", "sgdisk", "hdparm", "nvme", "badblocks", "wipefs", "cryptsetup"):
        words = " ".join(command.arguments)
        destroys = re.search(
            r"(?:^| )(?:-a|--all|-Z|--zap-all|--security-erase\S*|format|sanitize|-w|luksFormat|luksErase)(?: |$)",
            words,
        )
        return (destroys is not None or command.name == "blkdiscard") and bool(re.search(r"/dev/\w", words))
    return False


def _ends_everything(command: Command, ground: Ground) -> bool:
    if command.name == "killall5":
        return True
    if command.name == "kill":
        return (
            bool(re.search(r"(?:^| )(?:-1|1|-- -1)$", " ".join(command.arguments)))
            and command.arguments != ("-1",)
            and (len(command.arguments) > 1 or command.arguments == ("1",))
        )
    if command.name in ("pkill", "killall"):
        return any(re.fullmatch(r"\.[*+]?|\^|\^?\.\*\$?|-u(?:root|0)|", word) for word in command.arguments[-1:])
    return False


def _opens_own_secrets(command: Command, ground: Ground) -> bool:
    """Any word of any command that names the home's keys or its conversations."""
    if command.name in ("ls", "stat", "test", "[", "[[", "file", "wc", "du", "echo", "printf"):
        return False
    reads = _reads_trees(command) or (command.name == "ln" and len(command.operands) > 1)
    if reads and any(_is_own_home(word, command, ground) for word in command.operands):
        return True
    words = [*command.arguments, *(redirect.target for redirect in command.redirects)]
    words += [part for word in words for part in re.split(r"[=:@?&'\"(),\s]", word) if "/" in part and part != word]
    if command.name == "git" and any(_is_own_home(word, command, ground) for word in words):
        return True
    for word in words:
        if len(word) > 4096 or "\n" in word:
            continue
        for place in ground.places(word, command.directory):
            inside = ground.own_part(place)
            if (inside is not None and ground.secret(place) is not None) or ground.own_secret_pattern(place):
                return True
            if (
                "*" in place
                and inside is not None
                and re.fullmatch(r"(?:\.?\*|\.e[n*?]*[v*?]*|\.env\*|state\.?\*.*)", inside)
            ):
                return True
    return False


def _reads_trees(command: Command) -> bool:
    if command.name in ("tar", "bsdtar", "zip", "7z", "rsync", "rg", "ag", "ack", "cpio", "pax"):
        return True
    if command.name in ("grep", "egrep", "fgrep", "cp", "scp", "diff"):
        return command.has("r", "R", "a", "recursive", "archive")
    return "find" in command.through or "xargs" in command.through


def _is_own_home(word: str, command: Command, ground: Ground) -> bool:
    return any(ground.own_part(tree) == "" for tree in ground.trees(word, command.directory))


def _changes_own_gate(command: Command, ground: Ground) -> bool:
    if command.name in ("hermes", "hermes-agent"):
        rest = " ".join(command.subcommand(*VALUE_OPTIONS["hermes"]))
        return bool(
            re.match(
                r"config (?:set|unset|edit) ['\"]?(?:approvals\b|command_allowlist|API_SERVER_KEY|HERMES_APPROVAL)"
                r"|keys\b(?! list)|runs (?:approve|deny|answer)\b|config show .*--(?:reveal|secrets)"
                r"|mcp serve\b(?!.* --(?:read-only|no-approvals|help)\b)|acp\b(?!.* --(?:check|help)\b)",
                rest,
                re.IGNORECASE,
            )
        )
    if re.search(r"/(?:v1/)?runs/.{1,400}/approvals?\b", command.line, re.DOTALL) or re.search(
        r"/approvals?/[^/\s]+/(?:respond|resolve|answer)", command.line
    ):
        return (
            command.is_code or bool(_SENDS.match(command.name)) or command.name.startswith(("python", "node", "perl"))
        )
    return any(
        (inside := ground.own_part(place)) is not None and re.fullmatch(r"config\.ya?ml", inside)
        for word in written(command)
        for place in ground.places(word, command.directory)
    )


_SENDS = re.compile(r"curl|wget|https?|httpie|xh|nc|ncat|socat|openssl|telnet|aria2c|lwp-request|GET|POST|fetch")

FORK_BOMB = re.compile(
    r"(?<![\w:.])([\w:.]{1,100})\(\)\{[^}]*(?<![\w:.])\1[|&]+\1(?![\w:.])|(?:while(?:true|:)|for\(\(;;\)\));do[^;]*\$0&"
)
"""On the text without white space: a function that calls itself twice in a pipe or in the background."""


def is_fork_bomb(text: str) -> bool:
    squeezed = "".join(text.split())
    return FORK_BOMB.search(squeezed) is not None


def _perl_fork_bomb(command: Command, ground: Ground) -> bool:
    text = " ".join(command.arguments)
    return command.name.startswith(("perl", "python", "ruby")) and bool(
        re.search(
            r"fork\s+while\s+(?:fork|1|true)|while\s+(?:1|True|true)\s*:\s*os\.fork\(\)|loop\s*\{\s*fork\s*\}", text
        )
    )


B = Level.BLOCKED

HARD_BLOCKED: tuple[Rule, ...] = (
    Rule(
        "delete-root",
        B,
        "deletes the system, the whole home directory or the agent's own home",
        _deletes_root,
        (
            "rm -rf /",
            "rm -rf /*",
            "rm -fr ~",
            "rm -r --no-preserve-root /",
            "cd / && rm -rf *",
            "find / -delete",
            "rm -rf /usr/",
        ),
        ("rm -rf ./build", "find . -name '*.pyc' -delete", "rm -rf /tmp/scratch", "rm /tmp/x"),
    ),
    Rule(
        "move-root",
        B,
        "moves the system or the whole home directory away",
        _moves_root,
        ("mv / /tmp/x", "mv ~ /dev/null", "mv /etc /tmp/etc"),
        ("mv a.txt b.txt", "mv ~/a.txt ~/b.txt"),
    ),
    Rule(
        "open-root",
        B,
        "changes the rights or owner of the whole system or home",
        _opens_root,
        ("chmod -R 777 /", "chown -R nobody /etc", "chmod --recursive a+rwx ~"),
        ("chmod -R u+w ./build", "chmod +x run.sh"),
    ),
    Rule(
        "make-filesystem",
        B,
        "formats a disk",
        runs(
            r"mkfs(?:\.\w+)?(?: |$)",
            r"mke2fs ",
            r"mkswap /dev/",
            r"newfs",
            r"diskutil (?:erase|zero|secureErase)",
            r"format [a-zA-Z]:",
        ),
        ("mkfs.ext4 /dev/sda1", "mkfs -t xfs /dev/nvme0n1", "diskutil eraseDisk JHFS+ x disk0"),
        ("man mkfs", "ls /sbin/mkfs"),
    ),
    Rule(
        "overwrite-device",
        B,
        "writes to a disk past its file system",
        _destroys_device,
        (
            "dd if=/dev/zero of=/dev/sda",
            "cat image > /dev/nvme0n1",
            "wipefs -a /dev/sda",
            "shred /dev/sdb",
            "cp x /dev/sda",
        ),
        ("dd if=/dev/zero of=./disk.img count=1", "cat x > /dev/null", "lsblk /dev/sda"),
    ),
    Rule(
        "kernel-memory",
        B,
        "writes to the kernel's memory or its emergency keys",
        _writes(KERNEL_MEMORY),
        ("echo c > /proc/sysrq-trigger", "dd if=x of=/dev/mem"),
        ("cat /proc/meminfo",),
    ),
    Rule(
        "fork-bomb",
        B,
        "starts processes without end",
        _perl_fork_bomb,
        (":(){ :|:& };:", "bomb() { bomb | bomb & }; bomb", "perl -e 'fork while fork'"),
        ("f() { echo hi; }; f",),
    ),
    Rule(
        "power",
        B,
        "stops or restarts the machine",
        any_of(
            runs(r"(?:shutdown|reboot|halt|poweroff|kexec)(?: |$)", r"(?:init|telinit) [06](?: |$)"),
            runs(r"(?:dbus-send|busctl|gdbus) .*\b(?:PowerOff|Reboot|Halt|Suspend|Hibernate)\b"),
            tool("systemctl|loginctl", r"(?:poweroff|reboot|halt|kexec|suspend|hibernate|rescue|emergency)(?: |$)"),
        ),
        ("shutdown -h now", "sudo reboot", "systemctl poweroff", "init 0"),
        ("git log --grep reboot", "systemctl status nginx"),
    ),
    Rule(
        "end-everything",
        B,
        "ends every process, or the first one",
        _ends_everything,
        ("kill -9 -1", "kill 1", "killall5", "pkill -9 ."),
        ("kill -0 1234", "kill %1"),
    ),
    Rule(
        "password-files",
        B,
        "changes the system's accounts or who may become root",
        _writes(PASSWORD_FILES),
        ("echo x >> /etc/passwd", "tee /etc/sudoers.d/me", "cp shadow /etc/shadow", "sed -i s/x/y/ /etc/passwd"),
        ("cat /etc/passwd", "grep root /etc/group"),
    ),
    Rule(
        "own-secrets",
        B,
        "opens the agent's own keys or everybody's conversations",
        _opens_own_secrets,
        (
            "cat ~/.hermes/.env",
            "cp ~/.hermes/.env /tmp/x",
            "sqlite3 ~/.hermes/state.db .dump",
            "base64 < ~/.hermes/.env",
        ),
        ("ls -la ~/.hermes", "cat .env.example"),
    ),
    Rule(
        "own-gate",
        B,
        "changes what the agent may do, or answers its own questions",
        _changes_own_gate,
        (
            "hermes config set approvals.mode off",
            "hermes -p alice config set command_allowlist '[\"*\"]'",
            "curl -X POST http://127.0.0.1:8642/v1/runs/run_1/approval -d choice=always",
            "hermes mcp serve",
            "sed -i 's/manual/off/' ~/.hermes/config.yaml",
        ),
        ("hermes config show", "hermes acp --check", "curl localhost:8642/health", "grep -rn /v1/runs/x/approval docs"),
    ),
)
"""No mode, no allow-list and no answer lifts these."""
