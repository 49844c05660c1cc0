"""Skills are made, changed, installed and removed here, in the home only: built-in ones stay as they came.

Names are checked, paths never leave the skill's folder, links are not followed, and a folder is put in place whole.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from hermes.core.errors import Conflict, InvalidInput, NotFound
from hermes.core.injection import suspicion
from hermes.home.backups import keep_backup, write_with_backup
from hermes.home.files import make_private_directory, write_private
from hermes.home.locks import edit_lock
from hermes.home.skills import FILE_NAME, MOST_DESCRIPTION, MOST_NAME, Skill, Skills, front_matter

NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
FOLDERS = ("references", "templates", "scripts", "assets")
TEXTS = (".md", ".txt")
MOST_FILES = 200
MOST_BYTES = 10 << 20
MOST_CHARACTERS = 100_000


def create(skills: Skills, name: str, content: str, category: str | None = None) -> Path:
    """Gives the new SKILL.md. Raises InvalidInput, Conflict `skill_exists`."""
    root = _root(skills)
    check_name(name)
    check_content(name, content)
    folder = _place(root, name, category)
    with _lock(skills):
        if any(skill.name == name and not skill.is_builtin for skill in skills.all()):
            raise Conflict(f"the skill {name!r} is there already; edit it", code="skill_exists")
        _check_free(root, folder)
        make_private_directory(folder)
        write_private(folder / FILE_NAME, content)
    return folder / FILE_NAME


def write(skills: Skills, skill: Skill, content: str) -> None:
    """Another SKILL.md in the place of the old one."""
    _check_own(skill)
    check_content(skill.name, content)
    with _lock(skills):
        write_with_backup(_home(skills), skill.file, content)


def patch(skills: Skills, skill: Skill, old: str, new: str) -> None:
    """`old`, which stands in SKILL.md once, becomes `new`. Raises InvalidInput, OSError."""
    _check_own(skill)
    with _lock(skills):
        try:
            text = skill.file.read_bytes().decode("utf-8")
        except UnicodeDecodeError:
            raise InvalidInput(f"{skill.file} is not UTF-8 text; write it anew (edit)") from None
        count = text.count(old) if old else 0
        if count != 1:
            raise InvalidInput(f"old_string stands in it {count} times; it has to be once", param="old_string")
        content = text.replace(old, new)
        check_content(skill.name, content)
        write_with_backup(_home(skills), skill.file, content)


def write_file(skills: Skills, skill: Skill, path: str, content: str) -> Path:
    """A file beside SKILL.md, in one of FOLDERS."""
    _check_own(skill)
    _check_text(content)
    file = inside(skill, path)
    if file.relative_to(Path(os.path.realpath(skill.folder))).parts[0] not in FOLDERS:
        raise InvalidInput(f"file_path begins with one of {', '.join(FOLDERS)}", param="file_path")
    with _lock(skills):
        make_private_directory(file.parent)
        write_with_backup(_home(skills), file, content)
    return file


def remove_file(skills: Skills, skill: Skill, path: str) -> None:
    _check_own(skill)
    file = inside(skill, path)
    if file.name == FILE_NAME or not file.is_file():
        raise NotFound(f"the skill {skill.name} has no file {path[:200]!r} to remove", code="skill_file_not_found")
    with _lock(skills):
        keep_backup(_home(skills), file)
        file.unlink()


def remove(skills: Skills, skill: Skill) -> None:
    """With all its files."""
    _check_own(skill)
    with _lock(skills):
        shutil.rmtree(skill.folder)


def install(
    skills: Skills, source: Path, *, category: str | None = None, replaces: bool = False, trusts: bool = False
) -> Skill:
    """Copies a folder with a SKILL.md, or that file, into the home. Nothing of it runs.

    `trusts`: what looks like an order to go around the person is taken too. Raises InvalidInput for what is no skill,
    Conflict `skill_exists`.
    """
    root = _root(skills)
    folder = source.parent if source.name == FILE_NAME else source
    file = folder / FILE_NAME
    if not file.is_file() or file.is_symlink():  # links are not copied
        raise InvalidInput(f"{source} is no skill: it has no {FILE_NAME}", param="path")
    files = list(_files_of(folder))
    if sum(path.stat().st_size for path in files) > MOST_BYTES or len(files) > MOST_FILES:
        raise InvalidInput(
            f"{source} is too large: at most {MOST_FILES} files and {MOST_BYTES >> 20} MiB", param="path"
        )
    try:
        content = file.read_bytes().decode("utf-8")
        name = check_name(front_matter(content).get("name", folder.resolve().name))
    except (UnicodeDecodeError, ValueError) as error:
        raise InvalidInput(f"{file}: {error}", param="path") from error
    check_content(name, content, trusts=trusts)
    if not trusts:
        _check_others(path for path in files if path != file)
    make_private_directory(root)
    target = _place(root, name, category)
    with _lock(skills):
        old = [skill for skill in skills.all() if skill.name == name and not skill.is_builtin]
        if old and not replaces:
            raise Conflict(f"the skill {name!r} is there already ({old[0].folder})", code="skill_exists")
        if old and not category:
            target = old[0].folder
        if target not in [skill.folder for skill in old]:
            _check_free(root, target)
        _put(root, folder, files, target)
        for skill in old:
            if skill.folder != target:
                shutil.rmtree(skill.folder)
    return skills.find(name, among=[skill for skill in skills.all() if not skill.is_builtin])


def inside(skill: Skill, path: str) -> Path:
    """A file of the skill. Raises InvalidInput for a path that leaves its folder."""
    root = Path(os.path.realpath(skill.folder))
    if "\0" in path or not path.strip():
        raise InvalidInput("file_path names no file", param="file_path")
    found = Path(os.path.realpath(root / path))
    if found == root or not found.is_relative_to(root):
        raise InvalidInput(f"{path[:200]!r} leaves the folder of the skill", param="file_path")
    return found


def read_text(file: Path) -> str:
    """Raises InvalidInput for what is no ordinary file of a bearable size, UnicodeDecodeError, OSError."""
    found = file.stat()
    if not stat.S_ISREG(found.st_mode):
        raise InvalidInput(f"{file} is no ordinary file", param="file_path")
    if found.st_size > MOST_BYTES:
        raise InvalidInput(f"{file} is larger than {MOST_BYTES >> 20} MiB", param="file_path")
    return file.read_bytes().decode("utf-8")


def other_files(skill: Skill) -> list[str]:
    """What lies beside SKILL.md, as paths in the skill's folder."""
    root = Path(os.path.realpath(skill.folder))
    found = (path.relative_to(root).as_posix() for path in _files_of(root))
    return sorted(path for path in found if path != FILE_NAME)


def check_name(name: str | None, param: str = "name") -> str:
    if name is None or not NAME.fullmatch(name) or len(name) > MOST_NAME:
        raise InvalidInput(
            f"{param} is made of a-z, 0-9 and single hyphens, at most {MOST_NAME}: not {str(name)[:80]!r}", param=param
        )
    return name


def check_content(name: str, content: str, *, trusts: bool = False) -> None:
    """A whole SKILL.md: front matter with this name and a description, then the text."""
    _check_text(content, trusts=trusts)
    try:
        matter = front_matter(content)
    except ValueError as error:
        raise InvalidInput(f"content: {error}", param="content") from error
    if matter.get("name", name) != name:
        raise InvalidInput(f"content: the name in its front matter is {matter['name'][:80]!r}", param="content")
    if not 0 < len(matter.get("description", "")) <= MOST_DESCRIPTION or "name" not in matter:
        raise InvalidInput(
            f"content: its front matter needs a name and a description of at most {MOST_DESCRIPTION} characters",
            param="content",
        )


def _check_text(content: str, *, trusts: bool = False) -> None:
    if len(content) > MOST_CHARACTERS:
        raise InvalidInput(f"content has {len(content):,} characters; at most {MOST_CHARACTERS:,}", param="content")
    reason = suspicion(content.replace("\r", "\n"))
    if reason is not None and not trusts:
        raise InvalidInput(f"content is refused: it {reason}", code="skill_content_refused", param="content")


def _check_others(files: Iterable[Path]) -> None:
    """What the agent is sent to read. A script is no text for it, and asked about when it runs."""
    for path in files:
        if path.suffix.lower() in TEXTS:
            reason = suspicion(path.read_bytes().decode("utf-8", "replace").replace("\r", "\n"))
            if reason is not None:
                raise InvalidInput(f"{path} is refused: it {reason}", code="skill_content_refused", param="path")


def _check_own(skill: Skill) -> None:
    if skill.is_builtin:
        raise InvalidInput(
            f"the skill {skill.name} is built in; disable it, or make one of the same name", code="skill_builtin"
        )


def _place(root: Path, name: str, category: str | None) -> Path:
    return root / check_name(category, "category") / name if category else root / name


def _check_free(root: Path, folder: Path) -> None:
    """What is there may be a category with skills of its own, or one that is just being written."""
    if folder.exists() or folder.is_symlink():
        raise Conflict(f"{folder} is there already; move it away, or give another category", code="skill_exists")
    if folder.parent != root and (folder.parent / FILE_NAME).exists():
        raise Conflict(f"{folder.parent} is a skill itself, no category", code="skill_exists")


def _lock(skills: Skills) -> AbstractContextManager[None]:
    """The home's, also where skills/ is a link to somewhere else."""
    return edit_lock(skills.directory or _root(skills))


def _home(skills: Skills) -> Path:
    return (skills.directory or _root(skills)).parent


def _root(skills: Skills) -> Path:
    if skills.directory is None:
        raise InvalidInput("there is no home to keep skills in", code="skill_no_home")
    return Path(os.path.realpath(skills.directory))


def _files_of(folder: Path) -> Iterator[Path]:
    """Ordinary files; hidden ones and links are left out."""
    for directory, names, files in os.walk(folder):
        names[:] = sorted(
            name for name in names if not name.startswith(".") and not (Path(directory) / name).is_symlink()
        )
        for name in sorted(files):
            path = Path(directory) / name
            if not name.startswith(".") and path.is_file() and not path.is_symlink():
                yield path


def _put(root: Path, folder: Path, files: list[Path], target: Path) -> None:
    make_private_directory(target.parent)
    with tempfile.TemporaryDirectory(prefix=".install-", dir=root) as made:
        copy = Path(made) / target.name
        copy.mkdir(0o700)
        for path in files:
            to = copy / path.relative_to(folder)
            to.parent.mkdir(0o700, parents=True, exist_ok=True)
            shutil.copyfile(path, to)
            to.chmod(0o700 if os.access(path, os.X_OK) else 0o600)
        old = Path(made) / "old"
        if target.exists():
            target.rename(old)
        try:
            copy.rename(target)
        except OSError:
            if old.exists():
                old.rename(target)
            raise
