"""Which places on a machine are no ordinary places to write: the data behind the rules about files."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path

from hermes.agent.command import UNKNOWN, Command
from hermes.toolsets.paths import home_parts, secret_reason

ROOTS = (
    *("/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib32", "/lib64", "/media", "/mnt", "/opt", "/proc"),
    *("/root", "/run", "/sbin", "/srv", "/sys", "/usr", "/usr/bin", "/usr/include", "/usr/lib", "/usr/lib64"),
    *("/usr/local", "/usr/local/bin", "/usr/sbin", "/usr/share", "/var", "/var/lib", "/var/log"),
    *("/Applications", "/Library", "/System", "/Users", "/private", "/private/etc", "/private/var"),
)
"""Directories without which a machine does not work: nothing deletes them or changes all of what is in them."""

SYSTEM = ("/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/run", "/sbin", "/sys", "/usr", "/var")
HARMLESS_DEVICES = re.compile(r"/dev/(?:null|zero|full|random|urandom|stdin|stdout|stderr|tty|fd(?:/.*)?|shm(?:/.*)?)")
BLOCK_DEVICES = re.compile(
    r"/dev/(?:sd[a-z]|hd[a-z]|vd[a-z]|xvd[a-z]|nvme\d|mmcblk\d|disk\d|rdisk\d|md\d|dm-\d|loop\d|mapper/|disk/).*"
)
KERNEL_MEMORY = re.compile(r"/dev/(?:mem|kmem|port)|/proc/(?:sysrq-trigger|kcore|kmem)")
PASSWORD_FILES = re.compile(r"(?:/private)?/etc/(?:passwd|g?shadow|group|sudoers|master\.passwd)(?:-|\.d(?:/.*)?)?")
SHELL_STARTUP = re.compile(
    r"\.(?:bashrc|bash_profile|bash_login|bash_logout|bash_aliases|profile|login|zshrc|zshenv|zprofile|zlogin|zlogout|kshrc|"
    r"cshrc|tcshrc|inputrc|xinitrc|xprofile|xsessionrc|config/fish/.*|gitconfig|config/git/.*|vimrc|npmrc|pip/.*|"
    r"config/pip/.*|condarc|pythonrc|envrc|direnvrc)"
)
STARTED_BY_ITSELF = re.compile(
    r"/etc/(?:cron[^/]*|anacrontab|systemd|init\.d|rc[^/]*|profile[^/]*|bash[^/]*|zsh[^/]*|ld\.so[^/]*)(?:/.*)?|/var/spool/(?:cron|at)(?:/.*)?|"
    r"/(?:usr/)?lib/systemd(?:/.*)?|.*/\.config/(?:systemd|autostart)(?:/.*)?|.*/Library/Launch(?:Agents|Daemons)(?:/.*)?"
)
GIT_HOOKS = re.compile(r".*/\.git/(?:hooks/.*|config)")
SSH_FILES = re.compile(r".*/\.ssh(?:/.*)?")

OWN_BLOCKED = re.compile(
    r"config\.ya?ml|\.env(?:\..*)?|state\.db.*|auth.*|run/gateway\.pid|run/terminal/[^/]+/(?:shell(?:/.*)?|[^/]*\.sh)"
)
"""In HERMES_HOME: what decides who may do what. Not to be written by the agent in any mode."""


@dataclass(frozen=True, slots=True)
class Ground:
    """Where an action happens. `user_home` is the person's, `hermes_home` the agent's."""

    workdir: Path
    hermes_home: Path | None = None
    user_home: Path = field(default_factory=Path.home)
    links: tuple[tuple[str, str], ...] = ()
    """Links that the same text makes: the link, and where it leads."""
    own_parts: dict[str, str | None] = field(default_factory=dict, repr=False, compare=False)
    """What `own_part` found: commands of one text name the same places, and each is looked at by many rules."""

    @property
    def variables(self) -> dict[str, str]:
        known = {"HOME": str(self.user_home), "PWD": str(self.workdir)}
        if self.hermes_home is not None:
            known["HERMES_HOME"] = str(self.hermes_home)
        return known

    @property
    def hermes_homes(self) -> list[Path]:
        return [home for home in (self.hermes_home, self.user_home / ".hermes") if home is not None]

    def places(self, word: str, directory: str | None = None) -> list[str]:
        """The absolute paths that a word of a command may mean: as written, and behind links. None for unknown text."""
        if "\0" in word:  # stands for <(…)
            return []
        text = self._expand_tilde(word)
        if not text.startswith("/"):
            start = str(self.workdir) if directory is None else self._expand_tilde(directory)
            if start.startswith(UNKNOWN):
                return []
            if not start.startswith("/"):
                start = str(self.workdir / start)
            text = f"{start}/{text}"
        if text.startswith(UNKNOWN):
            return []
        lexical = os.path.normpath(re.sub(r"^//+", "/", text))
        found = [lexical]
        found += [target + lexical[len(link) :] for link, target in self.links if _is_at(lexical, link)]
        if not _is_pattern(lexical):
            real = os.path.realpath(lexical)
            if real != lexical:
                found.append(real)
        return found

    def _expand_tilde(self, word: str) -> str:
        if word == "~" or word.startswith("~/"):
            return str(self.user_home) + word[1:]
        if (name := re.match(r"~([\w.-]+)", word)) is not None:
            home = os.path.expanduser(name[0])  # noqa: PTH111 - Path's raises for a name that nobody has
            return (f"/home/{name[1]}" if home == name[0] else home) + word[name.end() :]
        return word

    def trees(self, word: str, directory: str | None = None) -> list[str]:
        """The directories whose whole content a word stands for: `/usr`, `/usr/`, `/usr/*`, `/usr/{*,.*}`."""
        return [_WHOLE.sub("", place) or "/" for place in self.places(word, directory)]

    def is_root(self, word: str, directory: str | None = None) -> bool:
        """Whether a word means a directory that must stay: the system's, the person's home, the agent's."""
        kept = {*ROOTS, str(self.user_home), *map(str, self.hermes_homes)}
        kept.update(str(parent) for parent in self.user_home.parents)
        kept.update(os.path.realpath(path) for path in (self.user_home, *self.hermes_homes))
        return any(tree in kept or _matches_root(tree) for tree in self.trees(word, directory))

    def is_inside(self, place: str) -> bool:
        """In the working directory, or below the person's home or a directory for temporary files."""
        workspace = [] if str(self.workdir) in ROOTS else [str(self.workdir), os.path.realpath(self.workdir)]
        temporary = ["/tmp", "/var/tmp", "/private/tmp", "/dev/shm", tempfile.gettempdir()]  # noqa: S108 - read, not used
        roots = [*workspace, str(self.user_home), os.path.realpath(self.user_home), *temporary]
        return any(place == root or place.startswith(root.rstrip("/") + "/") for root in roots if root != "/")

    def own_part(self, place: str) -> str | None:
        """Where in HERMES_HOME a place is, None outside of it."""
        if place not in self.own_parts:
            found = (home_parts(Path(place), home) for home in self.hermes_homes)
            self.own_parts[place] = next((inside for inside in found if inside is not None), None)
        return self.own_parts[place]

    def secret(self, place: str) -> str | None:
        return secret_reason(Path(place), self.hermes_home)

    def may_be_secret(self, place: str) -> bool:
        """Whether a pattern, or a path with something unknown in it, may mean a file that holds a secret."""
        pattern = re.sub(rf"\{UNKNOWN}(?:\w+|[!#*@?$-]|\([^)]*\))", "*", place)
        if not _is_pattern(pattern):
            return self.secret(place) is not None
        return any(_fits_parts(pattern, sample) for sample in self._samples)

    def own_secret_pattern(self, place: str) -> bool:
        """Whether a pattern means one of the agent's own secrets, and little else."""
        if not _is_pattern(place) or UNKNOWN in place:
            return False
        own = [f"{home}/{name}" for home in self.hermes_homes for name in (".env", "state.db")]
        return any(_fits_parts(place, sample) for sample in own)

    def holds_home(self, word: str, directory: str | None = None) -> bool:
        """Whether a word names the home with all that is in it, or more."""
        homes = [str(self.user_home), *map(str, self.hermes_homes)]
        return any(_is_at(home, tree) for tree in self.trees(word, directory) for home in homes)

    def holds_keys(self, word: str, directory: str | None = None) -> bool:
        """Whether a word names a directory of keys."""
        keys = [f"{self.user_home}/{name}" for name in SECRET_DIRECTORIES]
        return any(_is_at(tree, directory) for tree in self.trees(word, directory) for directory in keys)

    @property
    def _samples(self) -> list[str]:
        """A path for each kind of secret that a pattern may be written for."""
        in_home = [f"{self.user_home}/{name}" for name in SECRET_SAMPLES]
        own = [f"{home}/{name}" for home in self.hermes_homes for name in (".env", "state.db", "auth.json")]
        return [*in_home, *own, "/etc/shadow", "/etc/gshadow", "/etc/sudoers", "/proc/1/environ", "/proc/self/environ"]


SECRET_DIRECTORIES = (
    *(".ssh", ".gnupg", ".aws", ".azure", ".config/gcloud", ".config/gh", ".kube", ".docker", ".local/share/keyrings"),
    *("Library/Keychains", ".password-store", ".mozilla/firefox", ".config/google-chrome"),
)
SECRET_SAMPLES = (
    *(".ssh/id_rsa", ".ssh/id_ed25519", ".ssh/id_ecdsa", ".netrc", ".pgpass", ".git-credentials", ".pypirc"),
    *(".aws/credentials", ".azure/msal_token_cache.json", ".kube/config", ".docker/config.json"),
    *(".config/gh/hosts.yml", ".config/gcloud/credentials.db", ".gnupg/secring.gpg"),
)


def _is_at(place: str, root: str) -> bool:
    return place == root or place.startswith(root.rstrip("/") + "/")


def _fits_parts(pattern: str, path: str) -> bool:
    """As a shell matches: part by part, and a dot at the start only where the pattern says so."""
    ours, theirs = pattern.split("/"), path.split("/")
    return len(ours) == len(theirs) and all(
        fnmatchcase(b, a) and not (b.startswith(".") and a[:1] in "*?[") for a, b in zip(ours, theirs, strict=True)
    )


def _is_pattern(text: str) -> bool:
    return any(c in text for c in "*?[")


def _matches_root(tree: str) -> bool:
    """`/e??` or `/[a-z]*` may mean /etc."""
    return _is_pattern(tree) and any(root != "/" and fnmatchcase(root, tree) for root in ROOTS)


_WHOLE = re.compile(r"(?:/(?:\*+|\.\*|\.\[[^\]]*\]\*|\.\?\?\*|\.))+$")

_ALL_WRITTEN = frozenset(
    (
        *("tee", "touch", "truncate", "shred", "rm", "rmdir", "unlink", "chmod", "chown", "chgrp", "mkdir", "mkfifo"),
        *("setfacl", "chattr", "split"),
    )
)
_LAST_WRITTEN = frozenset(["cp", "mv", "install", "ln", "rsync", "scp"])


def written(command: Command) -> Iterator[str]:
    """The words of a command that name what it writes, changes or deletes."""
    for redirect in command.redirects:
        if redirect.operator in (">", ">>", ">|", "&>", "&>>", "<>") and redirect.target:
            yield redirect.target
    name, operands = command.name, command.operands
    if name in _ALL_WRITTEN:
        yield from operands[1:] if name in ("chmod", "chown", "chgrp") else operands
    elif name in _LAST_WRITTEN:
        target = command.value_of("-t", "--target-directory")
        if target is not None:
            yield target
        elif len(operands) > 1:
            yield operands[-1]
        if name == "mv":
            yield from operands[:-1]
    elif name in ("ed", "ex", "sponge", "patch"):
        yield from operands[:1]
    elif name == "yq":
        yield from operands if command.has("i", "inplace") else ()
    elif name == "ddrescue":
        yield from operands[1:2]
    elif name in ("dd", "dcfldd", "dc3dd"):
        yield from (word[3:] for word in command.arguments if word.startswith("of="))
    elif name in ("sed", "gsed", "perl", "ruby") and (command.has("i") or command.has("in-place")):
        has_script = command.value_of("-e", "--expression", "-f", "--file") is not None
        yield from operands if has_script else operands[1:]
    elif name in ("curl", "wget"):
        files = ("-o", "--output", "--output-dir") if name == "curl" else ("-O", "-P", *_WGET_WRITES)
        yield from (v for v in (command.value_of(option) for option in files) if v and v != "-")
    elif name in ("tar", "gtar", "bsdtar") and (command.has("x", "extract", "get") or _is_old_style(command, "x")):
        yield command.value_of("-C", "--directory") or "."
        if command.has("P", "absolute-names") or _is_old_style(command, "P"):
            yield "/"
    elif name == "ssh-keygen" and not _only_shows_key(command):
        yield from (v for v in (command.value_of("-f"),) if v)
    elif name == "find":
        yield from (after for word, after in pairwise(command.arguments) if word in _FIND_WRITES)
    if name in ("sed", "gsed"):
        for script in sed_scripts(command):
            yield from _SED_WRITES.findall(script)
    elif name in ("awk", "gawk", "mawk"):
        if command.value_of("-i") == "inplace":
            yield from operands[2:]
        yield from _AWK_WRITES.findall(" ".join(command.arguments))
    elif name == "unzip" and not command.has("l", "t", "p", "v", "Z"):
        yield command.value_of("-d") or "."


def _only_shows_key(command: Command) -> bool:
    options = {word for word in command.arguments if word.startswith("-")}
    return bool(options & {"-l", "-lf", "-lv", "-y", "-B"}) and options <= {"-l", "-lf", "-lv", "-y", "-B", "-v", "-f"}


_FIND_WRITES = ("-fprint", "-fprintf", "-fprint0", "-fls")
_WGET_WRITES = ("--output-document", "--directory-prefix", "-o", "--output-file", "-a", "--append-output")
_SED_WRITES = re.compile(r"(?:^|[;{}\n/!$\d]|[|,#][a-z0-9]*)\s*w\s+([^\s;}]+)")
_AWK_WRITES = re.compile(r">>?\s*\"([^\"]+)\"")


def _is_old_style(command: Command, letter: str) -> bool:
    """`tar xf` without a dash."""
    return bool(command.arguments) and command.arguments[0].isalpha() and letter in command.arguments[0]


def sed_scripts(command: Command) -> list[str]:
    scripts = [
        command.arguments[at + 1] if word in ("-e", "--expression") else word.partition("=")[2]
        for at, word in enumerate(command.arguments)
        if (word in ("-e", "--expression") and at + 1 < len(command.arguments)) or word.startswith("--expression=")
    ]
    return scripts or command.operands[:1]
