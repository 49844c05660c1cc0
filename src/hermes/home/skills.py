"""The skills of a home: `skills/[category/]NAME/SKILL.md`, each with a front matter that names and describes it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

FILE_NAME = "SKILL.md"
HEAD_BYTES = 16 * 1024
"""How much of a file is read for its front matter."""
MOST_SKILLS = 1000
MOST_NAME = 64
MOST_DESCRIPTION = 1024


@dataclass(frozen=True, slots=True)
class Skill:
    """`category` is the folder above it, None where it lies in skills/ itself."""

    name: str
    description: str
    category: str | None
    file: Path


def list_skills(directory: Path) -> list[Skill]:
    """By category and name. What cannot be read or has no proper front matter is left out and logged; a link that
    leads out of the directory counts as not there."""
    root = Path(os.path.realpath(directory))
    found = [skill for skill in (_read(file, root) for file in _files(root)) if skill is not None]
    return sorted(found, key=lambda skill: (skill.category or "", skill.name))


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
    try:
        entries = sorted(directory.iterdir())
    except OSError:
        return []
    return [entry for entry in entries if not entry.name.startswith(".") and _is_inside(entry, root) and entry.is_dir()]


def _is_inside(path: Path, root: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(root)


def _read(file: Path, root: Path) -> Skill | None:
    if not _is_inside(file, root):
        log.warning("skill left out: %s leads out of %s", file, root)
        return None
    try:
        with file.open("rb") as opened:
            head = opened.read(HEAD_BYTES).decode("utf-8", "replace")
        matter = _front_matter(head)
        name, description = matter["name"], matter["description"]
    except (OSError, ValueError, KeyError, RecursionError) as error:
        what = f"its front matter has no {error}" if isinstance(error, KeyError) else str(error)
        log.warning("skill left out: %s: %s", file, what)
        return None
    category = None if file.parent.parent == root else file.parent.parent.name
    return Skill(_one_line(name)[:MOST_NAME], _one_line(description)[:MOST_DESCRIPTION], category, file)


def _front_matter(text: str) -> dict[str, str]:
    """The texts between the two `---` lines. Raises ValueError where there is no such thing."""
    begin, _, rest = text.lstrip("\ufeff").partition("\n")
    matter, end, _ = rest.partition("\n---")
    if begin.strip() != "---" or not end:
        raise ValueError("it does not begin with a front matter between two lines of ---")
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        read = YAML(typ="safe", pure=True).load(matter)
    except YAMLError as error:
        raise ValueError(f"its front matter is no YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(read, dict):
        raise ValueError("its front matter is no mapping")
    return {str(key): value for key, value in read.items() if isinstance(value, str) and value.strip()}


def _one_line(text: str) -> str:
    return " ".join(text.split())
