"""As an entry of the desktop's autostart folder: it starts when its user logs in at the screen (freedesktop.org:
Desktop Application Autostart Specification 0.5, Desktop Entry Specification 1.5).
"""

from __future__ import annotations

import re
from pathlib import Path

from hermes.home.autostart.entry import Method, Program


class Xdg(Method):
    kind = "xdg"

    def file(self, program: Program) -> Path:
        return self.config_home() / "autostart" / f"{program.name}.desktop"

    def text(self, program: Program) -> str:
        command = ["env", *_assignments(program), *program.background]
        return ENTRY.format(
            written_by=program.written_by,
            description=_escaped(program.description),
            command=_escaped(" ".join(_quoted(part) for part in command)),
        )

    def belongs(self, text: str, program: Program) -> bool:
        begin = " ".join(["env", *(_quoted(part) for part in _assignments(program, with_path=False))])
        return any(line.startswith(f"Exec={_escaped(begin)} ") for line in text.splitlines())

    def is_enabled(self, program: Program) -> bool:
        """A desktop's own settings switch an entry off by a line of it, and leave the file."""
        text = self.read(program)
        return text is not None and self.belongs(text, program) and _OFF.search(text) is None

    def is_there(self) -> bool:
        """Whether somebody may log in at a screen here."""
        names = ("XDG_CURRENT_DESKTOP", "DISPLAY", "WAYLAND_DISPLAY")
        return any(self.environ.get(name) for name in names) or (self.config_home() / "autostart").is_dir()


ENTRY = """\
# Written by `{written_by}`
[Desktop Entry]
Type=Application
Version=1.5
Name={description}
Exec={command}
Terminal=false
NoDisplay=true
X-GNOME-Autostart-enabled=true
"""

_OFF = re.compile(r"^(?:Hidden=true|X-GNOME-Autostart-enabled=false)\s*$", re.MULTILINE)
_RESERVED = re.compile(r"""[\s"'\\><~|&;$*?#()`]""")


def _assignments(program: Program, *, with_path: bool = True) -> list[str]:
    told = {**program.homes, **({"PATH": program.path} if with_path and program.path else {})}
    return [f"{name}={value}" for name, value in told.items()]


def _quoted(argument: str) -> str:
    """Of the key Exec: an argument with a reserved character stands in double quotes; % begins a field code."""
    argument = argument.replace("%", "%%")
    if not argument or _RESERVED.search(argument):
        return '"' + re.sub(r'(["`$\\])', r"\\\1", argument) + '"'
    return argument


def _escaped(value: str) -> str:
    """Of any string: what the file's own reading undoes before that of Exec."""
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")
