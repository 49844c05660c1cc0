"""The home's .env file: dotenv grammar, read by python-dotenv, written one line at a time.

Values are as written: `$NAME` is not replaced. An empty value counts as unset. Nothing of it goes into `os.environ`,
so that no child process gets a secret by accident.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

from hermes.core.errors import InvalidInput
from hermes.home.files import settings_text, write_private
from hermes.home.locks import edit_lock

if TYPE_CHECKING:
    from dotenv.parser import Binding

ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BARE_VALUE = re.compile(r"[A-Za-z0-9_./:@%+,=*?~-]+")
_UNQUOTED = re.compile(r"=[^\S\r\n]*[^'\"\r\n]*?(?P<comment>[^\S\r\n]+#[^\r\n]*)?\s*\Z")
_QUOTED = re.compile(
    r"=[^\S\r\n]*(?:'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\")(?P<comment>[^\S\r\n]*#[^\r\n]*)?\s*\Z", re.S
)


def read_env(path: Path) -> dict[str, str]:
    """Name → value; {} when there is no file. Raises `ConfigUnreadable` when it is not text."""
    return {binding.key: binding.value for binding in _bindings(settings_text(path)) if binding.key and binding.value}


def env_problems(path: Path) -> list[str]:
    """The lines that cannot be read, one sentence each; their text may be a secret and is not shown."""
    return [
        f"{path.name}: line {_line(binding)} cannot be read; write NAME=value, and put a value with spaces in quotes"
        for binding in _bindings(settings_text(path))
        if binding.error
    ]


class EnvDraft:
    """.env as it will be: changed line by line, written once. Whoever writes it holds the `edit_lock`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found = self._before = self._text = settings_text(path)

    def get(self, name: str) -> str | None:
        return _values(self._text).get(name) or None

    @property
    def values(self) -> dict[str, str]:
        return {name: value for name, value in _values(self._text).items() if value}

    def set(self, name: str, value: str) -> None:
        """Raises `InvalidInput` for what cannot be a name or cannot be written as a value."""
        text = _with_line(self._text, name, f"{_checked(name)}={_quoted(value)}")
        if _values(text).get(name) != value:
            raise InvalidInput(f"the value of {name} cannot be written to {self._path}", param=name)
        self._text = text

    def unset(self, name: str) -> bool:
        """Removes every line that sets it. False when there was none."""
        bindings = _bindings(self._text)
        kept = [binding for binding in bindings if binding.key != name]
        self._text = "".join(binding.original.string for binding in kept)
        return len(kept) < len(bindings)

    def write(self) -> None:
        """Whole, or not at all; a text that is as it was is left alone."""
        if self._text != self._before:
            write_private(self._path, self._text)
            self._before = self._text

    def take_back(self) -> None:
        """What was there before it was written, where what belongs to it could not be written."""
        self._text = self._found
        self.write()


def set_env(path: Path, name: str, value: str) -> None:
    """Writes one line, whole or not at all; other lines and comments stay as they are.

    Raises `InvalidInput` for what cannot be a name or cannot be written as a value.
    """
    with edit_lock(path):
        draft = EnvDraft(path)
        draft.set(name, value)
        draft.write()


def unset_env(path: Path, name: str) -> bool:
    """Removes every line that sets `name`. False when there was none."""
    with edit_lock(path):
        draft = EnvDraft(path)
        found = draft.unset(name)
        draft.write()
    return found


def _bindings(text: str) -> list[Binding]:
    if not text:
        return []
    from dotenv.parser import parse_stream

    return list(parse_stream(io.StringIO(text)))


def _values(text: str) -> dict[str, str]:
    return {binding.key: binding.value or "" for binding in _bindings(text) if binding.key}


def _line(binding: Binding) -> int:
    """A binding starts with the blank lines before it."""
    string = binding.original.string
    return binding.original.line + string[: len(string) - len(string.lstrip())].count("\n")


def _checked(name: str) -> str:
    if ENV_NAME.fullmatch(name) is None:
        raise InvalidInput(f"{name!r} cannot be a name in .env: use letters, digits and _", param="name")
    return name


def _quoted(value: str) -> str:
    if "\0" in value or not value:
        raise InvalidInput("an empty value is the same as none: use config unset", param="value")
    if _BARE_VALUE.fullmatch(value):
        return value
    if "\r" in value or value != value.encode("utf-8", "replace").decode():
        raise InvalidInput("a value cannot hold a carriage return or half a character", param="value")
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _with_line(text: str, name: str, line: str) -> str:
    """In place of the last line that sets it (the one that counts), else below the comment that shows it, else last."""
    pieces: list[str] = []
    place: int | None = None
    hint: int | None = None
    shown = re.compile(rf"\s*#\s*(?:export\s+)?{re.escape(name)}=")
    for binding in _bindings(text):
        string = binding.original.string
        if binding.key == name:
            lead = string[: len(string) - len(string.lstrip())]
            export = "export " if re.match(r"\s*export\s", string) else ""
            if place is not None:
                pieces[place] = ""
            place = len(pieces)
            pieces.append(f"{lead}{export}{line}{_comment(string)}\n")
        else:
            pieces.append(string)
            if shown.match(string):
                hint = len(pieces)
    if place is None:
        if pieces and pieces[-1] and not pieces[-1].endswith("\n"):
            pieces[-1] += "\n"
        pieces.insert(len(pieces) if hint is None else hint, line + "\n")
    return "".join(pieces)


def _comment(string: str) -> str:
    match = _QUOTED.search(string) or _UNQUOTED.search(string)
    return (match["comment"] or "").rstrip() if match else ""
