"""Reads a shell command the way a shell would, so that rules see `rm -rf /` however it was written.

Quotes, `$'\\x72m'`, backslashes, `${IFS}`, constant variables, brace lists, here-documents, pipes, lists, subshells
and wrappers (`wrappers.py`) are seen through. It is no sandbox: text that is made only while it runs cannot be read
here; such commands are reported as `hidden`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from hermes.agent.command import UNKNOWN, Command, Reading, Redirect, Unreadable
from hermes.agent.shell_text import EXPANDED, PLAIN, QUOTED, Char, Cursor, alternatives, as_chars, changed, is_one_pair
from hermes.agent.wrappers import CODE, CONSTANT_FILE, PROSE, SHELLS, ansi_c, assigned, constant_output, unwrap

MAX_DEPTH = 12
MAX_COMMANDS = 3_000
MAX_WORDS = 1_000
"""Of one command. What is longer asks; reading it would take seconds."""

WELL_KNOWN = ("rm", "dd", "mkfs", "mkfs.ext4", "shred", "sh", "bash", "sudo", "chmod", "chown", "kill", "mv", "find")
"""Programs that a pattern such as `/bin/r?` may stand for."""

_BEFORE = {"if", "then", "else", "elif", "while", "until", "do", "!", "{", "time", "coproc", "fi", "done", "esac", "}"}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_REDIRECT = re.compile(r"\d*(<<<|<<-|<<|<>|<&|>>|>&|>\||&>>|&>|<|>)(?!\()")


def read(text: str, variables: Mapping[str, str] | None = None) -> Reading:
    """All commands that a text would run, in order. `variables` are known values, such as HOME."""
    reading = Reading()
    known = {"IFS": " \t\n", **(variables or {})}
    try:
        _Reader(text, variables=known, reading=reading).commands()
    except Unreadable as problem:
        reading.problem = str(problem)
    return reading


@dataclass(slots=True)
class _Document:
    """A here-document that was begun on this line; its text follows the line."""

    redirects: list[Redirect]
    index: int
    delimiter: str
    strips_tabs: bool
    is_literal: bool


@dataclass(slots=True)
class _Reader(Cursor):
    variables: dict[str, str] = field(kw_only=True)
    reading: Reading = field(kw_only=True)
    depth: int = 0
    through: tuple[str, ...] = ()
    directory: list[str | None] = field(default_factory=lambda: [None])
    documents: list[_Document] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)

    def commands(self) -> None:
        """Read to the end of the text."""
        if self.depth > MAX_DEPTH or len(self.reading.commands) > MAX_COMMANDS:
            self.reading.hidden.append("too much of it, or nested too deeply")
            return
        pipeline: list[Command] = []
        words: list[list[Char]] = []
        redirects: list[Redirect] = []
        while True:
            if len(self.reading.commands) > MAX_COMMANDS:
                self.reading.hidden.append("too much of it")
                return
            self.blanks()
            if self.peek(2) == "((" and (arithmetic := self._arithmetic()) is not None:
                self._inside_quotes(arithmetic)
                self._read_if_it_is(arithmetic)  # to a plain sh these are two subshells
                continue
            operator = self.operator()
            if operator or not self.peek():
                if operator == "\n":
                    self._documents()
                command = self._command(words, redirects, tuple(pipeline))
                words, redirects = [], []
                if operator in ("|", "|&"):
                    pipeline += [command] if command is not None else []
                elif operator != "(":
                    pipeline = []
                if not operator:
                    return
            elif (found := _REDIRECT.match(self.text, self.at)) is not None:
                self.at = found.end()
                self._redirect(found[1], redirects)
            else:
                words.append(self._word())

    # -- words

    def _word(self) -> list[Char]:
        chars: list[Char] = []
        while c := self.peek():
            if self.peek(2) in ("<(", ">("):
                is_fed = self.peek() == ">"
                self.at += 2
                chars += as_chars(self._process(self.balanced("(", ")"), is_fed), QUOTED)
                continue
            if c == "[" and (subscript := self._subscript(chars)) is not None:
                self._inside_quotes(subscript)
                chars += as_chars(f"[{subscript}]", PLAIN)
                continue
            if c in " \t\n;&|()<>":
                if c != "(" or chars[-1:] != [("=", PLAIN)]:
                    break
                self.at += 1  # an array
                chars += as_chars(self.balanced("(", ")"), EXPANDED)
                continue
            self.at += 1
            if c == "'":
                chars += as_chars(self.single_quoted(), QUOTED)
            elif c == '"':
                chars += self._double_quoted()
            elif c == "\\":
                chars += as_chars("" if self.peek() == "\n" else self.peek(), QUOTED)
                self.at += 1
            elif c == "$":
                chars += self._dollar(EXPANDED)
            elif c == "`":
                chars += self._substitute(self._backticks(), EXPANDED)
            else:
                chars.append((c, PLAIN))
        return chars

    def _double_quoted(self) -> list[Char]:
        chars: list[Char] = [("", QUOTED)]
        while (c := self.peek()) != '"':
            if not c:
                raise Unreadable("a double quote is never closed")
            self.at += 1
            if c == "\\":
                follows = self.peek()
                self.at += 1
                kept = "" if follows == "\n" else follows if follows in '"$`\\' else "\\" + follows
                chars += as_chars(kept, QUOTED)
            elif c == "$":
                chars += self._dollar(QUOTED)
            elif c == "`":
                chars += self._substitute(self._backticks(), QUOTED)
            else:
                chars.append((c, QUOTED))
        self.at += 1
        return chars

    def _dollar(self, kind: int) -> list[Char]:
        c = self.peek()
        if c == "'" and kind == EXPANDED:
            self.at += 1
            return as_chars(ansi_c(self.until("'", "a quote")), QUOTED)
        if c == '"' and kind == EXPANDED:
            self.at += 1
            return self._double_quoted()
        if c == "(":
            self.at += 1
            inner = self.balanced("(", ")")
            if is_one_pair(inner):  # arithmetic
                self._inside_quotes(inner)
                return as_chars(f"{UNKNOWN}({inner})", QUOTED)
            return self._substitute(inner, kind)
        if c == "{":
            self.at += 1
            inner = self.balanced("{", "}")
            return as_chars(self._parameter(inner), EXPANDED if inner.endswith("[@]") else kind)
        if (name := _NAME.match(self.text, self.at)) is not None:
            self.at = name.end()
            return as_chars(self.variables.get(name[0], UNKNOWN + name[0]), kind)
        if c and c in "@*#?$!-0123456789":
            self.at += 1
            return as_chars(self.variables.get(c, UNKNOWN + c), kind)
        return [("$", PLAIN)]

    def _backticks(self) -> str:
        return re.sub(r"\\([`$\\])", r"\1", self.until("`", "a backtick"))

    # -- expansions

    def _parameter(self, inner: str) -> str:
        """`${…}`: its value where it is known, its default where it is not, else its name behind UNKNOWN."""
        bare = inner.lstrip("!#")
        name = _NAME.match(bare)
        if name is None:
            return self.variables.get(inner, UNKNOWN + inner)
        rest = bare[name.end() :]
        value = self.variables.get(name[0])
        if inner.startswith("!") and value is not None:
            value = self.variables.get(value)
        if rest.startswith((":-", ":=", "-", "=")):
            return value if value else self._expand(rest.lstrip(":")[1:])
        if rest.startswith((":+", "+")):
            return self._expand(rest.lstrip(":")[1:])
        if value is None or (rest and rest[:1] not in ":/#%^,["):
            return UNKNOWN + name[0]
        if (cut := re.fullmatch(r":\s*(-?\d+)\s*(?::\s*(\d+))?", rest)) is not None:
            part = value[int(cut[1]) :]
            return part if cut[2] is None else part[: int(cut[2])]
        new = changed(value, rest)
        return UNKNOWN + name[0] if new is None else new

    def _expand(self, text: str) -> str:
        child = self._child(text)
        parts = []
        while child.peek():
            before = child.at
            parts += [c for c, _ in child._word()]
            if child.at == before:  # a blank or an operator is only text here
                parts.append(child.peek())
                child.at += 1
        return "".join(parts)

    def _arithmetic(self) -> str | None:
        """The inside of `((…))`, taken; None where the brackets are those of two subshells."""
        start = self.at
        self.at += 1
        inner = self.balanced("(", ")")
        if is_one_pair(inner):
            return inner[1:-1]
        self.at = start
        return None

    def _subscript(self, chars: list[Char]) -> str | None:
        """The inside of `name[…]=`, taken. A `<<` in there begins no here-document."""
        name = "".join(c for c, kind in chars if kind == PLAIN)
        if len(name) != len(chars) or not _NAME.fullmatch(name):
            return None
        start = self.at
        self.at += 1
        try:
            inner = self.balanced("[", "]")
        except Unreadable:
            inner = ""
        if inner and self.peek() in ("=", "+"):
            return inner
        self.at = start
        return None

    def _substitute(self, text: str, kind: int) -> list[Char]:
        """`$(…)`: what it prints where that is a constant; what it runs is read in any case."""
        output = self._output(text)
        return as_chars(f"{UNKNOWN}({text.strip()})", QUOTED) if output is None else as_chars(output.rstrip("\n"), kind)

    def _process(self, text: str, is_fed: bool) -> str:
        """`<(…)`: stands for a file that holds the output of what is read here. What feeds `>(…)` nobody knows."""
        first = len(self.reading.commands)
        output = self._output(text)
        if is_fed:
            fed = (one for one in self.reading.commands[first:] if one.name in SHELLS or one.name in CODE)
            self.reading.hidden += [f"what is fed to {one.name}" for one in fed if not one.operands]
        return f"{UNKNOWN}<({text.strip()})" if output is None else CONSTANT_FILE + output

    def _output(self, text: str) -> str | None:
        first = len(self.reading.commands)
        self._child(text).commands()
        made = self.reading.commands[first:]
        return constant_output(made[-1:]) if made else None

    def _child(self, text: str, through: str | None = None) -> _Reader:
        wrappers = self.through if through is None else (*self.through, through)
        return _Reader(
            text,
            variables=self.variables,
            reading=self.reading,
            depth=self.depth + 1,
            through=wrappers,
            directory=self.directory,
            files=self.files,
        )

    # -- redirections

    def _redirect(self, operator: str, redirects: list[Redirect]) -> None:
        self.blanks()
        if operator in ("<<", "<<-"):
            source = self.raw_word()  # a variable in it is no variable
            is_literal = any(c in source for c in "'\"\\")
            delimiter = re.sub(r"\\(.)|['\"]", r"\1", source, flags=re.DOTALL)
            redirects.append(Redirect("<<", ""))
            document = _Document(redirects, len(redirects) - 1, delimiter, operator == "<<-", is_literal)
            self.documents.append(document)
            end = self.text.find("\n", self.at)
            if end >= 0:  # its text is needed with its command, which may end before the line does
                body, _, is_ended = self._document(document, self._past_others(end + 1))
                if not is_ended:  # what follows may be commands after all
                    self._read_if_it_is(body)
                redirects[-1] = Redirect("<<", body if is_literal else self._inside_quotes(body))
            return
        fields = self._fields(self._word())
        redirects.append(Redirect(operator, fields[0] if fields else ""))

    def _read_if_it_is(self, text: str) -> None:
        hidden = list(self.reading.hidden)
        with contextlib.suppress(Unreadable):
            self._child(text).commands()
        self.reading.hidden[:] = hidden

    def _past_others(self, start: int) -> int:
        for document in self.documents[:-1]:
            _, start, _ = self._document(document, start)
        return start

    def _document(self, document: _Document, start: int) -> tuple[str, int, bool]:
        """The text of a here-document that begins at `start`, where it ends, and whether it does."""
        lines: list[str] = []
        while start < len(self.text):
            end = self.text.find("\n", start)
            end = len(self.text) if end < 0 else end
            line = self.text[start:end]
            start = end + 1
            if (line.lstrip("\t") if document.strips_tabs else line) == document.delimiter:
                return "\n".join(lines), min(start, len(self.text)), True
            lines.append(line)
        return "\n".join(lines), len(self.text), False

    def _documents(self) -> None:
        """Past the here-documents of the line that ended."""
        for document in self.documents:
            _, self.at, _ = self._document(document, self.at)
        self.documents.clear()

    def _inside_quotes(self, text: str) -> str:
        """A text in which only `$` and backticks mean something: a here-document, arithmetic."""
        return "".join(c for c, _ in self._child(text.replace('"', '\\"') + '"')._double_quoted())

    # -- commands

    def _fields(self, chars: list[Char]) -> list[str]:
        """The words that a shell makes of one: brace lists, then splitting of what was expanded."""
        separators = self.variables["IFS"]
        result = []
        for alternative in alternatives(chars):
            current: str | None = None
            for c, kind in alternative:
                if kind == EXPANDED and c and c in separators:
                    if current is not None:
                        result.append(current)
                    current = None
                else:
                    current = (current or "") + c
            if current is not None:
                result.append(current)
        return result

    def _command(
        self, raw: list[list[Char]], redirects: list[Redirect], pipeline: tuple[Command, ...]
    ) -> Command | None:
        """One simple command, its assignments taken, handed to the reading together with what it runs in turn."""
        raw = list(raw)
        while raw and all(kind == PLAIN for _, kind in raw[0]) and "".join(c for c, _ in raw[0]) in _BEFORE:
            raw.pop(0)
        while raw and (name := _assigned(raw[0])) is not None:
            plus, value = _value(raw.pop(0), name)
            assigned(name, value, self._read_text, self.reading.hidden.append)
            self.variables[name] = (self.variables.get(name, "") if plus else "") + value
        words = [field for chars in raw for field in self._fields(chars)]
        if len(words) > MAX_WORDS:
            self.reading.hidden.append("too many words")
            words = words[:MAX_WORDS]
        if words and words[0] in ("for", "select") and len(words) > 1:
            self.variables[words[1]] = " ".join(words[3:])
            return None
        if words and words[0] == "case":
            return None
        if words and words[0] == "function":
            words = words[3:] if words[2:3] == ["{"] else words[2:]
        if not words and not redirects:
            return None
        if raw and any(c in "*?[" and kind == PLAIN for c, kind in raw[0]):
            words[0] = _well_known(words[0])
        self._remember(words)
        command = Command(tuple(words), tuple(redirects), pipeline, self.through, self.directory[0])
        if words and UNKNOWN in words[0] and not words[0].startswith(("./", "../")):
            self.reading.hidden.append(words[0][:200])
        for inner in unwrap(command, self._read_text, self.reading.hidden.append):
            self.reading.commands.append(inner)
            self._run_written(inner)
        self._keep_written(command)
        return command

    def _keep_written(self, command: Command) -> None:
        """The text of a file that is written here, for when it is run further on."""
        targets = [one.target for one in command.redirects if one.operator in (">", ">>", ">|")]
        targets += command.operands if command.name == "tee" else []
        text = constant_output([command]) if targets else None
        if text is not None:
            self.files.update((target.removeprefix("./"), text) for target in targets)

    def _run_written(self, command: Command) -> None:
        is_shell = command.name in SHELLS or command.name in ("source", ".")
        word = next(iter(command.operands), "") if is_shell else command.words[0] if command.words else ""
        text = self.files.pop(word.removeprefix("./"), None)
        if text is not None:
            self._read_text(text, PROSE)
            self.files[word.removeprefix("./")] = text

    def _read_text(self, text: str, through: str) -> None:
        try:
            self._child(text, through).commands()
        except Unreadable:
            if through not in _MAY_BE_PROSE:
                raise

    def _remember(self, words: list[str]) -> None:
        """What a command changes for those after it: the directory, constant variables."""
        if not words:
            return
        if words[0] in ("cd", "pushd"):
            target = next((word for word in words[1:] if not word.startswith("-")), "~")
            before = self.directory[0]
            is_absolute = target.startswith(("/", "~", UNKNOWN))
            self.directory[0] = target if is_absolute or before is None else f"{before}/{target}"
        elif words[0] in ("export", "declare", "local", "readonly", "typeset"):
            for word in words[1:]:
                name, separator, value = word.partition("=")
                if separator and _NAME.fullmatch(name):
                    assigned(name, value, self._read_text, self.reading.hidden.append)
                    self.variables[name] = value


_MAY_BE_PROSE = {
    PROSE,
    "trap",
    "alias",
    "parallel",
    "python",
    "perl",
    "ruby",
    "node",
    "nodejs",
    "awk",
    "gawk",
    "mawk",
    "php",
    "lua",
}


def _assigned(chars: list[Char]) -> str | None:
    """The variable's name where a word is an assignment."""
    plain = ""
    for c, kind in chars:
        if kind != PLAIN:
            return None
        if c == "=":
            name = plain.removesuffix("+")
            name = name.partition("[")[0]
            return name if _NAME.fullmatch(name) else None
        plain += c
    return None


def _value(chars: list[Char], name: str) -> tuple[bool, str]:
    text = "".join(c for c, _ in chars)
    left, _, value = text.partition("=")
    return left.endswith("+"), value


def _well_known(word: str) -> str:
    """The program that a pattern may stand for, the word itself where none does."""
    base = word.rsplit("/", 1)[-1]
    return next((program for program in WELL_KNOWN if fnmatchcase(program, base)), word)
