"""The skills of a home: `skills/[category/]NAME/SKILL.md`, each with a front matter that names and describes it.

Beside SKILL.md a skill may have references/, templates/ and scripts/ (the Agent Skills format). Some come with the
program; one of the home with the same name takes its place. `home/skill_files.py` changes them.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from hermes.core.errors import ConfigError, Conflict, NotFound

log = logging.getLogger(__name__)

FILE_NAME = "SKILL.md"
BUILTIN = Path(__file__).parent / "builtin_skills"
HEAD_BYTES = 16 * 1024
"""How much of a file is read for its front matter."""
MOST_SKILLS = 1000
MOST_NAME = 64
MOST_DESCRIPTION = 1024


@dataclass(frozen=True, slots=True)
class Skill:
    """`category` is the folder above it, None where it lies in skills/ itself. The agent is told of enabled ones."""

    name: str
    description: str
    category: str | None
    file: Path
    is_builtin: bool = False
    is_enabled: bool = True

    @property
    def folder(self) -> Path:
        return self.file.parent

    @property
    def full_name(self) -> str:
        return f"{self.category}/{self.name}" if self.category else self.name


class Skills:
    """The skills of one home with the built-in ones, read again when their files change. Blocking.

    `config_file` says in `skills.disabled` which of them the agent is not told of.
    """

    def __init__(self, directory: Path | None, config_file: Path | None = None, builtin: Path | None = BUILTIN) -> None:
        self.directory = directory
        self._config_file = config_file
        self._builtin = builtin
        self._known: dict[Path, tuple[tuple[int, int], Skill | None]] = {}
        self._disabled: tuple[object, frozenset[str]] = (None, frozenset())

    def all(self) -> list[Skill]:
        """By category and name."""
        own = [] if self.directory is None else list_skills(self.directory, self._read)
        names = {skill.name for skill in own}
        with_program = [] if self._builtin is None else list_skills(self._builtin, self._read)
        found = [*own, *(replace(one, is_builtin=True) for one in with_program if one.name not in names)]
        off = self._off()
        return sorted((replace(one, is_enabled=one.name not in off) for one in found), key=_order)

    @property
    def switches(self) -> object:
        """Differs when another skill was switched on or off, or another setting was changed."""
        return None if self._config_file is None else _stamp(self._config_file)

    def enabled(self) -> list[Skill]:
        return [skill for skill in self.all() if skill.is_enabled]

    def find(self, name: str, *, among: Sequence[Skill] | None = None) -> Skill:
        """By name, or `category/name` where two have it. Raises NotFound `skill_not_found`, Conflict
        `skill_ambiguous`."""
        there = self.all() if among is None else among
        found = [skill for skill in there if name in (skill.name, skill.full_name)]
        whole = [skill for skill in found if name == skill.full_name]
        if len(found) == 1 or len(whole) == 1:
            return (whole or found)[0]
        if found:
            names = ", ".join(skill.full_name for skill in found)
            raise Conflict(f"several skills are called {name!r}: {names}", code="skill_ambiguous")
        near = get_close_matches(name, [skill.name for skill in there], n=3)
        hint = f"did you mean {', '.join(near)}?" if near else f"there are {len(there)}"
        raise NotFound(f"no skill {name[:80]!r}; {hint}", code="skill_not_found")

    def _off(self) -> frozenset[str]:
        if self._config_file is None:
            return frozenset()
        stamp = _stamp(self._config_file)
        if stamp != self._disabled[0]:
            self._disabled = (stamp, disabled_skills(self._config_file))
        return self._disabled[1]

    def _read(self, file: Path, root: Path) -> Skill | None:
        stamp = _stamp(file)
        known = self._known.get(file)
        if stamp is None or known is None or known[0] != stamp:
            skill = read_skill(file, root)
            if stamp is None:
                return skill
            known = (stamp, skill)
            self._known[file] = known
        return known[1]


def disabled_skills(config_file: Path) -> frozenset[str]:
    """What `skills.disabled` names; nothing where the file cannot be read, which is told elsewhere."""
    from hermes.home.config_file import read_config  # ruamel.yaml

    try:
        section = read_config(config_file).get("skills")
    except ConfigError:
        return frozenset()
    names = section.get("disabled") if isinstance(section, dict) else None
    if isinstance(names, str):
        names = [name.strip() for name in names.split(",")]
    return frozenset(str(name) for name in names) if isinstance(names, list) else frozenset()


def switch_skill(config_file: Path, name: str, *, is_on: bool) -> None:
    """Whether the agent is told of the skills of that name. Raises ConfigError for a file that cannot be changed."""
    from hermes.home.config_file import change_config

    def change(now: Any) -> Any:
        listed = now if isinstance(now, list) else [part.strip() for part in str(now or "").split(",") if part.strip()]
        others = [each for each in listed if each != name]
        return others if is_on else [*others, name]

    change_config(config_file, ["skills", "disabled"], change)


def list_skills(directory: Path, read: Callable[[Path, Path], Skill | None] | None = None) -> list[Skill]:
    """By category and name. What cannot be read or has no proper front matter is left out and logged; a link that
    leads out of the directory counts as not there."""
    root = Path(os.path.realpath(directory))
    read = read or read_skill
    found = [skill for skill in (read(file, root) for file in _files(root)) if skill is not None]
    return sorted(found, key=_order)


def _files(root: Path) -> Iterator[Path]:
    """At most `MOST_SKILLS`: a folder with more is something else."""
    count = 0
    for first in _folders(root, root):
        folders = [first] if (first / FILE_NAME).is_file() else _folders(first, root)
        for folder in folders:
            file = folder / FILE_NAME
            if not file.is_file():
                continue
            if count == MOST_SKILLS:
                log.warning("%s holds more than %d skills; the others are left out", root, MOST_SKILLS)
                return
            count += 1
            yield file


def _folders(directory: Path, root: Path) -> list[Path]:
    """`directory` is in the root, and free of links where it is not one itself."""
    try:
        with os.scandir(directory) as entries:
            names = sorted(entry.name for entry in entries if entry.name[0] != "." and _is_folder(entry, root))
    except OSError:
        return []
    return [directory / name for name in names]


def _is_folder(entry: os.DirEntry[str], root: Path) -> bool:
    return entry.is_dir() and (not entry.is_symlink() or _is_inside(Path(entry.path), root))


def _is_inside(path: Path, root: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(root)


def read_skill(file: Path, root: Path) -> Skill | None:
    """None, with a line in the log, for what is no skill."""
    if not _is_inside(file, root):
        log.warning("skill left out: %s leads out of %s", file, root)
        return None
    try:
        with file.open("rb") as opened:
            head = opened.read(HEAD_BYTES).decode("utf-8", "replace")
        matter = front_matter(head)
        name, description = matter["name"], matter["description"]
    except (OSError, ValueError, KeyError, RecursionError) as error:
        what = f"its front matter has no {error}" if isinstance(error, KeyError) else str(error)
        log.warning("skill left out: %s: %s", file, what)
        return None
    category = None if file.parent.parent == root else _one_line(file.parent.parent.name)
    return Skill(_one_line(name)[:MOST_NAME], _one_line(description)[:MOST_DESCRIPTION], category, file)


def front_matter(text: str) -> dict[str, str]:
    """The texts between the two `---` lines. Raises ValueError where there is no such thing."""
    begin, _, rest = text.lstrip("\ufeff").partition("\n")
    matter, end, _ = rest.partition("\n---")
    if begin.strip() != "---" or not end:
        raise ValueError("it does not begin with a front matter between two lines of ---")
    plain = [_PLAIN_LINE.fullmatch(line) for line in matter.splitlines() if line.strip()]
    if all(plain):  # most are, and a first turn need not wait for ruamel.yaml
        told = {found[1]: found[2].strip() for found in plain if found}
        if len(told) == len(plain) and not _OTHER_KINDS.intersection(value.lower() for value in told.values()):
            return told
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        read = YAML(typ="safe", pure=True).load(matter)
    except YAMLError as error:
        raise ValueError(f"its front matter is no YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(read, dict):
        raise ValueError("its front matter is no mapping")
    return {str(key): value for key, value in read.items() if isinstance(value, str) and value.strip()}


_PLAIN_LINE = re.compile(r"([A-Za-z][\w-]*): +([A-Za-z](?:(?!:(?:\s|$)|\s#)[^\t])*)")
"""A key and text that YAML reads as it stands: it begins with a letter, with no `: ` and no comment in it."""
_OTHER_KINDS = frozenset(("true", "false", "yes", "no", "on", "off", "null", "y", "n"))


def _order(skill: Skill) -> tuple[str, str]:
    return skill.category or "", skill.name


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _one_line(text: str) -> str:
    return " ".join(text.split())
