"""config.yaml: read by ruamel.yaml, changed in place.

A change replaces the characters of one value and leaves every other byte alone, comments and layout included; a
round trip through a tree of values loses the comment behind a list. What was written is read again before it counts.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

from hermes.core.errors import ConfigError, ConfigUnreadable
from hermes.home.files import settings_text
from hermes.home.locks import edit_lock


class ConfigDraft:
    """config.yaml as it will be: changed value by value, written once. Whoever writes it holds the `edit_lock`.

    Raises `ConfigUnreadable` for what is no such file, `ConfigError` for what cannot be changed in place.
    """

    def __init__(self, path: Path, text: str | None = None) -> None:
        """`text`: begin with this one, whatever the file says."""
        self._path = path
        self._before = self.text = settings_text(path) if text is None else text
        self.values: dict[str, Any] = _values(self.text, path)

    def get(self, keys: Sequence[str]) -> Any:
        """None where there is no value."""
        value: Any = self.values
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def set(self, keys: Sequence[str], value: Any) -> None:
        """Puts one value under `keys`, making the sections that are missing."""
        wanted = deepcopy(self.values)
        _put(wanted, keys, value, self._path)
        self._become(keys, wanted)

    def unset(self, keys: Sequence[str]) -> bool:
        """Removes one value, and the sections it leaves empty. False when it was not there."""
        wanted = deepcopy(self.values)
        dropped = _drop(wanted, list(keys))
        if dropped:
            self._become(dropped, wanted)
        return bool(dropped)

    def write(self) -> None:
        """Whole, or not at all, with a backup of what was there; a text that is as it was is left alone."""
        from hermes.home.backups import write_with_backup  # which reads the settings, and they read this file

        if self.text != self._before:
            write_with_backup(self._path.parent, self._path, self.text)
            self._before = self.text

    def _become(self, keys: Sequence[str], wanted: dict[str, Any]) -> None:
        """The first text that says what is wanted. None does where anchors or several documents are in the way."""
        for text in _edits(self.text, keys, wanted):
            with suppress(ConfigError):
                if _values(text, self._path) == wanted:
                    self.text, self.values = text, wanted
                    return
        raise ConfigError(f"{self._path} cannot be changed without risk to its other lines; edit it by hand")


def read_config(path: Path) -> dict[str, Any]:
    """The file as plain values; {} when there is none. Raises `ConfigUnreadable` with the line that cannot be read."""
    return _values(settings_text(path), path)


def set_config(path: Path, keys: Sequence[str], value: Any) -> None:
    """Writes one value under `keys`, making the sections that are missing. Whole or not at all."""
    with edit_lock(path):
        draft = ConfigDraft(path)
        draft.set(keys, value)
        draft.write()


def add_to_config_list(path: Path, key: str, item: str) -> None:
    """Appends to a list at the top of the file, once. Two at the same time both get in."""
    change_config(path, [key], lambda items: items if item in (items or []) else [*(items or []), item])


def change_config(path: Path, keys: Sequence[str], change: Callable[[Any], Any]) -> None:
    """`change` gets the value as it is now, None where there is none, and gives the new one. Nobody writes between."""
    with edit_lock(path):
        draft = ConfigDraft(path)
        now = draft.get(keys)
        value = change(now)
        if value != now:
            draft.set(keys, value)
            draft.write()


def unset_config(path: Path, keys: Sequence[str]) -> bool:
    """Removes one value, and the sections it leaves empty. False when it was not there."""
    with edit_lock(path):
        draft = ConfigDraft(path)
        found = draft.unset(keys)
        draft.write()
    return found


def _values(text: str, path: Path) -> dict[str, Any]:
    if all(not line.strip() or line.lstrip().startswith("#") for line in text.splitlines()):
        return {}  # the file as it was made: the parser need not be imported
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        values = YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        line = mark.line + 1 if mark is not None else None
        place = f", line {line}" if line is not None else ""
        raise ConfigUnreadable(f"{path}{place}: {exc.problem or exc.context or 'not YAML'}", path.name, line) from exc
    except (YAMLError, ValueError) as exc:
        raise ConfigUnreadable(f"{path}: {exc}", path.name) from exc
    except RecursionError as exc:
        raise ConfigUnreadable(f"{path}: brackets stand inside each other too deeply", path.name) from exc
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigUnreadable(f"{path}: expected names with values, such as `toolsets: [file]`", path.name)
    try:
        return {key: _apart(value) for key, value in values.items()}
    except RecursionError as exc:
        raise ConfigUnreadable(f"{path}: a value stands inside itself", path.name) from exc


def _apart(value: Any) -> Any:
    """What an anchor shares becomes a value of each: changing one must not change the other."""
    if isinstance(value, dict):
        return {key: _apart(inner) for key, inner in value.items()}
    return [_apart(inner) for inner in value] if isinstance(value, list) else value


def _put(values: dict[str, Any], keys: Sequence[str], value: Any, path: Path) -> None:
    for index, key in enumerate(keys[:-1]):
        inner = values.get(key)
        if inner is None:
            inner = values[key] = {}
        elif not isinstance(inner, dict):
            raise ConfigError(f"{path}: {'.'.join(keys[: index + 1])} has a value, so nothing can stand below it")
        values = inner
    values[keys[-1]] = value


def _drop(values: dict[str, Any], keys: list[str]) -> list[str]:
    """Takes the value away, and what it leaves empty; what was taken away in the end, [] when it was not there."""
    holders: list[dict[str, Any]] = [values]
    for key in keys[:-1]:
        inner = holders[-1].get(key)
        if not isinstance(inner, dict):
            return []
        holders.append(inner)
    if keys[-1] not in holders[-1]:
        return []
    while len(keys) > 1 and len(holders[-1]) == 1:
        holders.pop()
        keys.pop()
    del holders[-1][keys[-1]]
    return keys


def _edits(text: str, keys: Sequence[str], wanted: dict[str, Any]) -> Iterator[str]:
    """Texts in which `keys` has its value of `wanted`, the nicest first."""
    newline = "\r\n" if "\r\n" in text else "\n"
    text = text.replace("\r\n", "\n")
    if text and not text.endswith("\n"):
        text += "\n"
    for edited in _edited(text, keys, wanted):
        yield edited.replace("\n", newline)


def _edited(text: str, keys: Sequence[str], wanted: dict[str, Any]) -> Iterator[str]:
    node = _compose(text)
    value: Any = wanted
    if node is None or (_is_empty(node) and not node.flow_style):
        yield from _added_at_top(text, keys[0], wanted[keys[0]])
        return
    for depth, key in enumerate(keys):
        entry = next(((name, inner) for name, inner in node.value if name.value == key), None)
        is_kept = key in value
        value = value.get(key)
        if entry is None:
            if depth == 0:
                yield from _added_at_top(text, key, value)
            yield _added_last(text, node, key, value)
            return
        if not is_kept:
            yield _removed(text, *entry)
            return
        if depth == len(keys) - 1 or _is_empty(entry[1]) or entry[1].flow_style:
            yield _replaced(text, *entry, value)
            return
        node = entry[1]


def _compose(text: str) -> Any:
    from ruamel.yaml import YAML

    node: Any = YAML(typ="safe", pure=True).compose(io.StringIO(text))
    return node


def _is_empty(node: Any) -> bool:
    """Not a mapping with something in it: nothing can be added below, only in its place."""
    return node.id != "mapping" or not node.value


def _added_at_top(text: str, key: str, value: Any) -> Iterator[str]:
    """Below the comment that shows the section, else at the end."""
    entry = dumped({key: value})
    lines = text.splitlines(keepends=True)
    shown = re.compile(rf"#\s*{re.escape(key)}:")
    for number, line in enumerate(lines):
        if shown.match(line):
            while number < len(lines) and lines[number].startswith("#"):
                number += 1
            yield "".join([*lines[:number], entry, *lines[number:]])
    yield f"{text}{entry}"


def _added_last(text: str, mapping: Any, key: str, value: Any) -> str:
    end = _line_end(text, _end(text, mapping))
    return text[:end] + _indented(dumped({key: value}), mapping.value[0][0].start_mark.column) + text[end:]


def _removed(text: str, key: Any, value: Any) -> str:
    end = _line_end(text, _entry_end(text, key, value))
    return text[: _line_start(text, key)] + text[end:]


def _replaced(text: str, key: Any, node: Any, value: Any) -> str:
    """One entry written anew; comments behind its name, above its first line and behind its last line stay."""
    if node.id == "sequence" and not node.flow_style and isinstance(value, list):
        longer = _lengthened(text, node, value)
        if longer is not None:
            return longer
    end = _entry_end(text, key, node)
    line_end = _line_end(text, end)
    tail = text[end : line_end - 1]
    colon = text.index(":", key.end_mark.index) + 1
    head, middle = "", ""
    is_below = node.start_mark.index < end and "\n" in text[colon : node.start_mark.index]
    if is_below:
        head, _, middle = text[colon : _line_start(text, node)].partition("\n")
    first, _, block = _indented(dumped({key.value: value}), key.start_mark.column).partition("\n")
    if is_below and not block:
        tail = f"\n{' ' * (key.start_mark.column + 2)}{tail.strip()}" if tail.strip() else ""
    elif not is_below:
        head, tail = tail, ""
    parts = [first + head.rstrip(), middle.rstrip("\n"), block.rstrip("\n")]
    entry = "\n".join(part for part in parts if part)
    return text[: _line_start(text, key)] + entry + tail + "\n" + text[line_end:]


def _lengthened(text: str, node: Any, value: list[Any]) -> str | None:
    """Items put behind the ones that are there, which keep their comments; None when more is to be done."""
    from ruamel.yaml import YAML

    column: int = node.start_mark.column
    items = " " * column + text[node.start_mark.index : _end(text, node)]
    old = YAML(typ="safe", pure=True).load(items)
    if not old or len(value) <= len(old) or value[: len(old)] != old:
        return None
    end = _line_end(text, _end(text, node))
    _, _, added = dumped({"x": value[len(old) :]}).partition("\n")
    return text[:end] + _indented(added, column - 2) + text[end:]


def _end(text: str, node: Any) -> int:
    """Behind the last character of the value. The parser puts the end of a block behind the comments that follow."""
    if node.id == "scalar":
        index: int = node.end_mark.index
        return len(text[:index].rstrip()) if node.style in ("|", ">") else index
    if node.flow_style or not node.value:
        return int(node.end_mark.index)
    last = node.value[-1]
    if node.id == "mapping":
        return _entry_end(text, *last)
    return _end(text, last)


def _entry_end(text: str, key: Any, value: Any) -> int:
    """Of nothing the parser says that it stands where the next thing does."""
    if value.start_mark.index == value.end_mark.index:
        return text.index(":", key.end_mark.index) + 1
    return max(_end(text, value), int(key.end_mark.index))


def _line_start(text: str, node: Any) -> int:
    return text.rfind("\n", 0, node.start_mark.index) + 1


def _line_end(text: str, index: int) -> int:
    """Behind the line break; every text here ends with one."""
    return text.index("\n", index) + 1


def dumped(values: dict[str, Any]) -> str:
    """As text of such a file."""
    from ruamel.yaml import YAML

    yaml: Any = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 100_000
    yaml.sort_base_mapping_type_on_output = False
    out = io.StringIO()
    yaml.dump(values, out)
    return out.getvalue()


def _indented(text: str, columns: int) -> str:
    """Moved to the right; to the left for a negative number."""
    lines = text.splitlines(keepends=True)
    return "".join(" " * columns + line if columns >= 0 else line[-columns:] for line in lines)
