"""Which file a tool call means, and whether tools may touch it at all.

A path is resolved once, symbolic links and `..` included; what is then opened is that resolved path, component by
component without following links (`disk`), so that a link put there in between is not followed.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from hermes.core.errors import ToolFailed

SECRET_FILES: dict[str, str] = {
    r"/etc/(?:g?shadow|sudoers|master\.passwd|krb5\.keytab)-?": "the system's password store",
    r"/etc/ssh/ssh_host_[^/]*key": "a host key",
    r"/proc/(?:self|thread-self|\d+)/(?:task/\d+/)?(?:environ|mem|auxv)": "the memory or environment of a process",
    r".*/\.ssh/(?!.*\.pub$)(?:id_[^/]*|identity|[^/]*_(?:rsa|dsa|ecdsa|ed25519)|[^/]*\.(?:pem|key))": "an SSH key",
    r".*/\.gnupg/(?:.*/)?(?:private-keys-v1\.d/.*|secring\.gpg|[^/]*\.key)": "a GnuPG key",
    r".*/\.(?:netrc|pgpass|git-credentials|pypirc|my\.cnf|vault-token)": "a password file",
    r".*/\.aws/(?:credentials|sso/cache/.*|cli/cache/.*)": "cloud credentials",
    r".*/\.azure/(?:accessTokens\.json|msal_token_cache\.[^/]*)": "cloud credentials",
    r".*/\.config/gcloud/(?:credentials\.db|access_tokens\.db|application_default.*)": "cloud credentials",
    r".*/\.config/gcloud/legacy_credentials/.*": "cloud credentials",
    r".*/\.kube/config": "cluster credentials",
    r".*/\.docker/config\.json": "registry credentials",
    r".*/\.config/(?:gh/hosts\.yml|hub)": "GitHub credentials",
    r".*/\.local/share/keyrings/.*": "a key ring",
    r".*/(?:Login Data|Cookies|key[34]\.db|logins\.json)": "a browser's passwords or cookies",
    r".*/Library/Keychains/.*": "a key chain",
}
"""Files that no tool reads, whoever asks: pattern of the resolved path → what it is."""

SECRET_IN_HOME: dict[str, str] = {
    r"\.env(?:\..*)?": "the keys of this agent",
    r"state\.db(?:-wal|-shm|-journal)?": "the conversations of everybody who uses this agent",
    r"auth(?:\.json|/.*)": "the keys of this agent",
    r"run/terminal/[^/]+/(?:shell/)?environment.*": "what a session exported",
    r"memories/visitors(?:/.*)?": "what is remembered of visitors",
}
"""The same inside HERMES_HOME and inside each profile."""

_SECRET = {re.compile(pattern): what for pattern, what in SECRET_FILES.items()}
_IN_HOME = {re.compile(pattern): what for pattern, what in SECRET_IN_HOME.items()}


def resolve(text: str, workdir: Path, *, what: str = "path") -> Path:
    """The absolute path that is meant, without links or `..`. Raises ToolFailed for text that names no path."""
    if not text.strip():
        raise ToolFailed(f"{what}: is empty.")
    if "\0" in text:
        raise ToolFailed(f"{what}: contains a NUL byte.")
    path = Path(text)
    if text == "~" or text.startswith("~/"):
        path = path.expanduser()
    try:
        return Path(os.path.realpath(workdir / path))
    except (OSError, ValueError) as error:
        raise ToolFailed(f"{what}: {text[:200]!r} is not a path this system can use ({error}).") from error


def within(path: Path, root: Path) -> bool:
    return path == root or root in path.parents


def home_parts(path: Path, home: Path) -> str | None:
    """Where in HERMES_HOME a path is, a profile's own home taken for the home; None outside it."""
    root = os.path.realpath(home)
    above, _, name = root.rpartition("/")
    if name and above.endswith("/profiles"):
        root = above.removesuffix("/profiles")
    text, start = str(path), root.rstrip("/") + "/"
    if text != root and not text.startswith(start):
        return None
    inside = text[len(start) :].split("/") if text != root else []
    if len(inside) >= 2 and inside[0] == "profiles":
        inside = inside[2:]
    return "/".join(inside)


def secret_reason(path: Path, home: Path | None) -> str | None:
    """What secret a resolved path holds, None for an ordinary file."""
    text = str(path)
    for pattern, what in _SECRET.items():
        if pattern.fullmatch(text):
            return what
    for place in {home, Path.home() / ".hermes"} - {None}:
        assert place is not None
        inside = home_parts(path, place)
        if inside is not None:
            for pattern, what in _IN_HOME.items():
                if pattern.fullmatch(inside):
                    return what
    return None


@dataclass(frozen=True, slots=True)
class Reach:
    """Where the file tools may go. `roots` empty: everywhere but secret files.

    `keeps_to_workspace`: where there are no roots, a run's working directory is one, and so is what is `shared`: then
    files are changed only where commands in a sandbox can change them.
    """

    home: Path | None = None
    roots: tuple[Path, ...] = ()
    keeps_to_workspace: bool = False
    shared: tuple[Path, ...] = ()

    def of(self, workspace: Path) -> Reach:
        """The same for a run with this working directory."""
        if not self.keeps_to_workspace or self.roots:
            return self
        return Reach(self.home, (workspace, *self.shared))

    def root_of(self, path: Path) -> Path:
        """The root that a resolved path is under. Raises ToolFailed outside of all."""
        if not self.roots:
            return Path(path.anchor)
        for root in self.roots:
            real = Path(os.path.realpath(root))
            if within(path, real):
                return real
        allowed = ", ".join(str(root) for root in self.roots)
        raise ToolFailed(
            f"{path} is outside of what the file tools may touch: {allowed} (settings file.roots and terminal.backend)."
        )

    def check(self, path: Path) -> None:
        """Raises ToolFailed for a secret file and outside of the roots."""
        self.root_of(path)
        reason = secret_reason(path, self.home)
        if reason is not None:
            raise ToolFailed(f"{path} is off limits for tools: it holds {reason}.")
