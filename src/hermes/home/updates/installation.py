"""How this program was installed, and how the same installer brings a newer version of it.

What is installed is always the package `hermes-server`; which version is newest is the index's to say, as the installer
is configured to ask it. Nothing of either comes from whoever asks for the update (spec: security, update channel).
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from hermes.core.errors import HermesError

PACKAGE = "hermes-server"
LONGEST_VERSION = 64
VERSION = re.compile(
    r"(\d{1,9}(?:\.\d{1,9}){0,5})(?:(a|b|rc)(\d{1,9}))?(?:\.post(\d{1,9}))?(?:\.dev(\d{1,9}))?", re.ASCII
)
UV_RECEIPT = "uv-receipt.toml"
PIPX_RECEIPT = "pipx_metadata.json"


class Kind(StrEnum):
    PIP = "pip"
    UV_PIP = "uv pip"
    UV_TOOL = "uv tool"
    PIPX = "pipx"
    CHECKOUT = "checkout"
    FILE = "file"


class UpdateRefused(HermesError):
    """What is not done, with the reason and the way out."""

    code = "update_refused"


@dataclass(frozen=True, slots=True)
class Command:
    """An argument list, for no shell. `stdin` is what it reads."""

    arguments: tuple[str, ...]
    stdin: str | None = None


@dataclass(frozen=True, slots=True)
class Release:
    """`notes_url`: where the package says that it tells what is new."""

    version: str
    notes_url: str | None = None


@dataclass(frozen=True, slots=True)
class Installation:
    """`place`: the directory of a checkout, the address of a file. `extras`: those whose packages are all there.
    `has_pip`: it is in the environment."""

    kind: Kind
    python: str
    place: str = ""
    extras: tuple[str, ...] = ()
    has_pip: bool = True

    def ask(self, find: Callable[[str], str | None] = shutil.which, *, version: str | None = None) -> Command:
        """What asks the index for the newest version, or whether it has `version`. Raises UpdateRefused where no
        installer can."""
        wanted = PACKAGE if version is None else f"{PACKAGE}=={checked(version)}"
        match self.kind:
            case Kind.PIP | Kind.PIPX if self.has_pip:
                return Command((self.python, "-m", "pip", *PIP_ASKS, wanted))
            case Kind.UV_TOOL | Kind.UV_PIP | Kind.PIP | Kind.PIPX:  # pipx may have uv do its work
                options = ("--no-deps", "--no-header", "--no-annotate", "--quiet", "--python", self.python)
                return Command((_tool("uv", find), "pip", "compile", *options, "-"), f"{wanted}\n")
            case _:
                raise UpdateRefused(self.way_out)

    def update(self, version: str, find: Callable[[str], str | None] = shutil.which) -> Command:
        """What brings `version`, which `newest` gave. Raises UpdateRefused as `ask` does."""
        checked(version)
        match self.kind:
            case Kind.UV_TOOL:  # both keep what was asked for at the installation, such as extras
                return Command((_tool("uv", find), "tool", "upgrade", PACKAGE))
            case Kind.PIPX:
                return Command((_tool("pipx", find), "upgrade", PACKAGE))
            case Kind.PIP if self.has_pip:
                return Command((self.python, "-m", "pip", "install", "--upgrade", self._wanted(version)))
            case Kind.PIP | Kind.UV_PIP:
                return Command((_tool("uv", find), "pip", "install", "--python", self.python, self._wanted(version)))
            case _:
                raise UpdateRefused(self.way_out)

    def exactly(self, version: str, find: Callable[[str], str | None] = shutil.which) -> Command:
        """What brings this version, newer or older, and pins nothing: the next update goes on to the newest. Raises
        UpdateRefused as `ask` does."""
        checked(version)
        match self.kind:
            case Kind.UV_TOOL | Kind.UV_PIP:
                return Command((_tool("uv", find), "pip", "install", "--python", self.python, self._wanted(version)))
            case Kind.PIPX:
                return Command((_tool("pipx", find), "runpip", PACKAGE, "install", self._wanted(version)))
            case _:
                return self.update(version, find)

    def newest(self, answer: str) -> Release | None:
        """The version in what the command of `ask` wrote; None when it has none. Raises UpdateRefused for an
        answer that is none, or a version that is no version."""
        if not answer.lstrip().startswith(("{", "[")):  # uv's; pip's is JSON
            found = [line.strip() for line in answer.splitlines() if line.strip() and not line.startswith("#")]
            name, _, version = found[0].partition("==") if len(found) == 1 else ("", "", answer)
            if _plain_name(name) != PACKAGE:
                raise UpdateRefused(f"the installer did not say which version there is: {_shown(answer)}")
            return Release(checked(version))
        try:
            listed: list[dict[str, Any]] = [one["metadata"] for one in json.loads(answer)["install"]]
            found_here = [(one["version"], one) for one in listed if _plain_name(str(one["name"])) == PACKAGE]
        except (ValueError, KeyError, TypeError):
            raise UpdateRefused(f"the installer did not say which version there is: {_shown(answer)}") from None
        return Release(checked(found_here[0][0]), _notes_url(found_here[0][1])) if found_here else None

    def by_hand(self, version: str | None = None) -> str:
        """The command for a person who knows where it is installed: it names no path of this machine."""
        wanted = PACKAGE if version is None else self._wanted(version)
        match self.kind:
            case Kind.UV_TOOL:
                return f"uv tool upgrade {PACKAGE}" if version is None else f"uv tool install --force {wanted}"
            case Kind.PIPX:
                return f"pipx upgrade {PACKAGE}" if version is None else f"pipx install --force {wanted}"
            case Kind.UV_PIP:
                return f"uv pip install --upgrade {wanted}"
            case Kind.CHECKOUT:
                return "git pull"
            case _:
                return f"python -m pip install --upgrade {wanted}"

    @property
    def why_not(self) -> str | None:
        """Why no index is asked, without a path; None where one is."""
        if self.kind is Kind.CHECKOUT:
            return "this runs from a checkout: its owner brings it up to date with git pull, and restarts it"
        if self.kind is Kind.FILE:
            return "this was installed from a file or an address, not from an index: a newer one comes from there"
        return None

    @property
    def way_out(self) -> str:
        if self.kind is Kind.CHECKOUT:
            return f"this is a checkout; bring it up to date with: git -C {self.place} pull"
        return f"this was installed from {self.place}, not from an index; install the newer one from there"

    def _wanted(self, version: str) -> str:
        extras = f"[{','.join(self.extras)}]" if self.extras else ""
        return f"{PACKAGE}{extras}=={version}"


PIP_ASKS = (
    "install",
    "--dry-run",
    "--ignore-installed",  # else what is installed is the answer where no index gives one
    "--no-deps",
    "--quiet",
    "--disable-pip-version-check",
    "--no-input",
    "--retries",
    "1",
    "--timeout",
    "10",
    "--report",
    "-",
)


def checked(version: object) -> str:
    """It becomes an argument of a command. Raises UpdateRefused for what is no version."""
    if not isinstance(version, str) or len(version) > LONGEST_VERSION or VERSION.fullmatch(version) is None:
        raise UpdateRefused(f"the index calls something a version that is none, so nothing is done: {_shown(version)}")
    return version


def is_newer(version: str, than: str) -> bool:
    return _order(version) > _order(than)


def this_installation(prefix: Path | None = None, distribution: metadata.Distribution | None = None) -> Installation:
    """Of the interpreter that runs."""
    prefix = prefix or Path(sys.prefix)
    if distribution is None:
        try:
            distribution = metadata.distribution(PACKAGE)
        except metadata.PackageNotFoundError:
            return Installation(Kind.CHECKOUT, sys.executable, str(Path(__file__).resolve().parents[4]))
    origin = _origin(distribution)
    if origin is not None:
        return Installation(origin[0], sys.executable, origin[1])
    if (prefix / UV_RECEIPT).is_file():
        kind = Kind.UV_TOOL
    elif (prefix / PIPX_RECEIPT).is_file():
        kind = Kind.PIPX
    else:
        kind = Kind.UV_PIP if (distribution.read_text("INSTALLER") or "").strip() == "uv" else Kind.PIP
    has_pip = importlib.util.find_spec("pip") is not None
    return Installation(kind, sys.executable, extras=_extras(distribution), has_pip=has_pip)


def _origin(distribution: metadata.Distribution) -> tuple[Kind, str] | None:
    """Where it came from, unless that was an index."""
    text = distribution.read_text("direct_url.json")
    if text is None:
        return None
    try:
        said = json.loads(text)
        url, is_directory = str(said["url"]), "dir_info" in said
    except (ValueError, KeyError, TypeError):
        return None
    if is_directory and url.startswith("file://"):
        return Kind.CHECKOUT, unquote(urlsplit(url).path)
    where = urlsplit(url)
    return Kind.FILE, where._replace(netloc=where.netloc.rpartition("@")[2]).geturl()


def _extras(distribution: metadata.Distribution) -> tuple[str, ...]:
    """An update keeps them: what is pinned for `local` belongs to one version."""
    needed: dict[str, list[str]] = {}
    for line in distribution.requires or ():
        requirement, _, marker = line.partition(";")
        name = re.match(r"[A-Za-z0-9._-]+", requirement.strip())
        extra = re.search(r"""extra\s*==\s*['"]([a-z0-9-]+)['"]""", marker)
        if name is not None and extra is not None:
            needed.setdefault(extra[1], []).append(name[0])
    return tuple(extra for extra, names in needed.items() if all(_is_there(name) for name in names))


def _is_there(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _notes_url(listed: Mapping[str, Any]) -> str | None:
    """Of the metadata's lines `Label, URL`."""
    lines = listed.get("project_url")
    for line in lines if isinstance(lines, list) else []:
        label, _, url = str(line).partition(",")
        url = url.strip()
        if re.search(r"release|change|history|news", label, re.I) and re.fullmatch(r"https://[!-~]{1,500}", url):
            return url
    return None


def _tool(name: str, find: Callable[[str], str | None]) -> str:
    path = find(name)
    if path is None:
        raise UpdateRefused(f"this needs {name}, which is not on the PATH; upgrade {PACKAGE} as you installed it")
    return path


def _order(version: str) -> tuple[list[int], tuple[int, int], int, int]:
    found = VERSION.fullmatch(version)
    if found is None:  # of a build of one's own, such as 1.0+mine
        return [], (-1, 0), -1, 0
    release = [int(part) for part in found[1].split(".")]
    while release and release[-1] == 0:
        release.pop()
    if found[2] is not None:
        before = ("a", "b", "rc").index(found[2]), int(found[3])
    else:
        before = (-1 if found[5] is not None and found[4] is None else 3), 0
    dev = int(found[5]) if found[5] is not None else 10**9
    return release, before, int(found[4] or -1), dev


def _plain_name(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _shown(text: object) -> str:
    return ascii(str(text)[:200])
