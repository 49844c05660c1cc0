"""One command of a shell text, as rules look at it."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field

UNKNOWN = "$"
"""Stands before what is only known while a command runs: `$NAME`, `$(…)`."""


class Unreadable(ValueError):
    """The text is no complete command: a quote or a bracket is never closed."""


@dataclass(frozen=True, slots=True)
class Redirect:
    """`operator` is `>`, `>>`, `<`, `<<` (then `target` is the text of the here-document), …"""

    operator: str
    target: str


@dataclass(frozen=True, slots=True)
class Command:
    """One simple command. `words` are unquoted and expanded as far as is known; the first is the program.

    `through` names the wrappers around it (sudo, xargs, …), `piped_from` what is to its left in the pipeline.
    `directory` is where it runs as far as the text says, None for where the shell starts.
    `is_code`: it was found in a program of another language, such as the text of `python -c`.
    """

    words: tuple[str, ...]
    redirects: tuple[Redirect, ...] = ()
    piped_from: tuple[Command, ...] = ()
    through: tuple[str, ...] = ()
    directory: str | None = None
    is_code: bool = False

    @property
    def name(self) -> str:
        """The program without its directory."""
        return self.words[0].rsplit("/", 1)[-1] if self.words else ""

    @property
    def arguments(self) -> tuple[str, ...]:
        return self.words[1:]

    @property
    def line(self) -> str:
        """Name and arguments with single spaces: what most rules look at."""
        return " ".join((self.name, *self.arguments))

    @property
    def operands(self) -> list[str]:
        """The arguments that are no options."""
        found, past = [], False
        for word in self.arguments:
            if past or not word.startswith("-") or word == "-":
                found.append(word)
            elif word == "--":
                past = True
        return found

    @property
    def input_text(self) -> str | None:
        """What a here-document or here-string feeds it."""
        return next((redirect.target for redirect in self.redirects if redirect.operator in ("<<", "<<<")), None)

    def has(self, *names: str) -> bool:
        """Whether one of these options is given: `r` in `-rf`, `recursive` in `--recursive` or a shortened `--rec`."""
        for word in self.arguments:
            if word == "--":
                return False
            if word.startswith("--"):
                given = word[2:].split("=", 1)[0]
                if any(len(name) > 1 and name.startswith(given) for name in names):
                    return True
            elif word.startswith("-") and any(len(name) == 1 and name in word[1:] for name in names):
                return True
        return False

    def value_of(self, *options: str) -> str | None:
        """The value of an option: `-o FILE`, `-oFILE`, `--output FILE`, `--output=FILE`."""
        for at, word in enumerate(self.arguments):
            for option in options:
                if word == option:
                    return self.arguments[at + 1] if at + 1 < len(self.arguments) else ""
                if option.startswith("--") and word.startswith(option + "="):
                    return word[len(option) + 1 :]
                if not option.startswith("--") and len(word) > 2 and word.startswith(option):
                    return word[2:]
        return None

    def subcommand(self, *options_with_value: str) -> list[str]:
        """The arguments from the first that is no option on: `push --force` of `git -C DIR push --force`."""
        arguments = list(self.arguments)
        while arguments and arguments[0].startswith("-"):
            option = arguments.pop(0)
            if option in options_with_value and arguments:
                arguments.pop(0)
        return arguments


@dataclass(slots=True)
class Reading:
    """What a text would run, in order. `hidden`: parts of it that are only known while it runs.

    `problem`: why it could not be read to its end; then `commands` are those before that.
    """

    commands: list[Command] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    problem: str | None = None


def fold(text: str) -> str:
    """Text as an eye takes it: full-width and look-alike letters as ASCII, invisible characters gone."""
    if text.isascii():
        return text
    text = unicodedata.normalize("NFKC", text).translate(_LOOK_ALIKES)
    return "".join(c for c in text if unicodedata.category(c) not in ("Cf", "Mn", "Me"))


_LOOK_ALIKES = str.maketrans(
    "аеорсухіјѕԁһӏԛԝмктвнАВЕКМНОРСТУХІЈЅοανικρτυχγωΑΒΕΖΗΙΚΜΝΟΡΤΥΧɡıⅼ∕⁄╱⧸∖⧵‐‑‒–—−‘’“”\u2028\u2029\u0085",
    "aeopcyxijsdhlqwmktbhABEKMHOPCTYXIJSoavikptuxywABEZHIKMNOPTYXgil////\\\\------''\"\"\n\n\n",
)
"""Cyrillic, Greek and typographic characters → the ASCII ones they are taken for."""
