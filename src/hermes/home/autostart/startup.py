"""As a command file of Windows' Startup folder: it starts when its user logs in."""

from __future__ import annotations

from pathlib import Path, PureWindowsPath

from hermes.home.autostart.entry import Method, Program

FOLDER = ("Microsoft", "Windows", "Start Menu", "Programs", "Startup")


class Startup(Method):
    kind = "windows-startup"

    def file(self, program: Program) -> Path:
        told = self.environ.get("APPDATA")
        roaming = Path(told) if told else self.user_home() / "AppData" / "Roaming"
        return roaming.joinpath(*FOLDER) / f"{program.name}.cmd"

    def text(self, program: Program) -> str:
        """The second line makes the rest be read as UTF-8, whatever the machine's code page is."""
        told = {**program.homes, **({"PATH": program.path} if program.path else {})}
        lines = [
            "@echo off",
            "chcp 65001 >nul",
            f"rem Written by {program.written_by}",
            *(_assignment(name, value) for name, value in told.items()),
            'start "" /b ' + " ".join(_quoted(part) for part in _without_window(program.background)),
        ]
        return "\r\n".join(lines) + "\r\n"

    def belongs(self, text: str, program: Program) -> bool:
        return {_assignment(name, value) for name, value in program.homes.items()} <= set(text.splitlines())


def _assignment(name: str, value: str) -> str:
    return f'set "{name}={_percent(value)}"'


def _quoted(argument: str) -> str:
    """A file's name on Windows holds no quotes."""
    return f'"{_percent(argument)}"'


def _percent(text: str) -> str:
    return text.replace("%", "%%")


def _without_window(command: tuple[str, ...]) -> tuple[str, ...]:
    """python.exe would show a console window for as long as it runs."""
    program = PureWindowsPath(command[0])
    if program.name.lower() != "python.exe":
        return command
    return (str(program.with_name("pythonw.exe")), *command[1:])
