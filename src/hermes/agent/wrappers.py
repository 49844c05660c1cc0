"""Programs that run other programs, and what a pipeline of constants prints."""

from __future__ import annotations

import base64
import binascii
import codecs
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from hermes.agent.code import acts_in_code, commands_in_code, hidden_in_code, joined_strings
from hermes.agent.command import Command
from hermes.agent.runners import (
    PRELOADS,
    RUN_VARIABLES,
    last_words,
    module_words,
    texts_of_arguments,
    texts_of_variable,
)

SHELLS = frozenset(
    {"sh", "bash", "dash", "zsh", "ksh", "mksh", "ash", "fish", "rbash", "csh", "tcsh", "nu", "elvish", "xonsh", "pwsh"}
)
CODE = {
    "python": ("-c",),
    "pypy": ("-c",),
    "perl": ("-e", "-E"),
    "ruby": ("-e",),
    "node": ("-e", "--eval", "-p", "--print"),
    "nodejs": ("-e", "--eval", "-p"),
    "deno": ("eval",),
    "bun": ("-e",),
    "php": ("-r",),
    "lua": ("-e",),
    "osascript": ("-e",),
    "emacs": ("--eval", "-eval", "--execute"),
    "awk": (),
    "gawk": (),
    "mawk": (),
}
"""Interpreters → the options that take a program as text; awk takes it as its first operand."""


@dataclass(frozen=True, slots=True)
class Wrapper:
    """How a wrapper's own words end: options that take a value, and how many operands are its own."""

    options: frozenset[str] = frozenset()
    operands: int = 0
    takes_assignments: bool = False


def _options(text: str) -> frozenset[str]:
    return frozenset(text.split())


WRAPPERS: dict[str, Wrapper] = {
    "sudo": Wrapper(_options("-u -g -h -p -C -r -t -T -U -D -R --user --group --host --prompt --chdir"), 0, True),
    "doas": Wrapper(_options("-u -C")),
    "pkexec": Wrapper(_options("--user")),
    "env": Wrapper(_options("-u --unset -C --chdir"), 0, True),
    "command": Wrapper(),
    "builtin": Wrapper(),
    "exec": Wrapper(_options("-a")),
    "nice": Wrapper(_options("-n --adjustment")),
    "ionice": Wrapper(_options("-c -n -p -P --class --classdata")),
    "chrt": Wrapper(_options("-T -P -D"), 1),
    "taskset": Wrapper(frozenset(), 1),
    "timeout": Wrapper(_options("-s -k --signal --kill-after"), 1),
    "nohup": Wrapper(),
    "setsid": Wrapper(),
    "stdbuf": Wrapper(_options("-i -o -e --input --output --error")),
    "time": Wrapper(_options("-f -o --format --output")),
    "strace": Wrapper(_options("-o -e -p -s -u -E -O -S -P")),
    "ltrace": Wrapper(_options("-o -e -p -s -u -n")),
    "xargs": Wrapper(_options("-n -I -i -P -L -l -d -s -a -E --max-args --replace --max-procs --delimiter --arg-file")),
    "parallel": Wrapper(_options("-j --jobs -n -N -S --sshlogin -a")),
    "watch": Wrapper(_options("-n --interval")),
    "busybox": Wrapper(),
    "toybox": Wrapper(),
    "chroot": Wrapper(_options("--userspec --groups"), 1),
    "unshare": Wrapper(_options("-S -G -R -w --root --wd")),
    "nsenter": Wrapper(_options("-t -S -G --target")),
    "setpriv": Wrapper(_options("--reuid --regid --pdeathsig --groups")),
    "prlimit": Wrapper(),
    "flock": Wrapper(_options("-w -E --timeout"), 1),
    "systemd-run": Wrapper(_options("-u -p -M -H --unit --property --uid --gid --slice")),
    "systemd-inhibit": Wrapper(),
    "caffeinate": Wrapper(_options("-t -w")),
    "firejail": Wrapper(),
    "bwrap": Wrapper(_options("--bind --ro-bind --dev --proc --tmpfs --chdir --setenv")),
    "runuser": Wrapper(_options("-u -g -G --user")),
    "gosu": Wrapper(frozenset(), 1),
    "catchsegv": Wrapper(),
    "chpst": Wrapper(_options("-u -U -e -/ -n -m -d -o -p -f -c -r -t")),
    "runcon": Wrapper(_options("-u -r -t -l"), 1),
    "setarch": Wrapper(frozenset(), 1),
    "faketime": Wrapper(_options("-f"), 1),
    "numactl": Wrapper(),
    "torsocks": Wrapper(),
    "fakeroot": Wrapper(),
    "proot": Wrapper(_options("-r -b -w -q -R -S")),
    "unbuffer": Wrapper(),
    "dbus-run-session": Wrapper(),
    "valgrind": Wrapper(),
    "then": Wrapper(),
}

ReadText = Callable[[str, str], None]
"""Reads a nested text: (text, the wrapper's name)."""


def unwrap(command: Command, read_text: ReadText, hide: Callable[[str], None]) -> Iterator[Command]:
    """The command itself, then what it runs in turn."""
    yield command
    if command.name == "exec" and any(one.target.startswith((CONSTANT_FILE, "$<(")) for one in command.redirects):
        hide("what a shell is fed")
    name = re.sub(r"(?<=[a-z])[\d.]+$", "", command.name)
    if name in SHELLS:
        _shell(command, read_text, hide)
    elif name == "eval":
        text = " ".join(command.arguments)
        _text(text, "eval", read_text, hide)
    elif name in ("su", "runuser", "script", "flock") and (given := command.value_of("-c", "--command")) is not None:
        _text(given, name, read_text, hide)
    elif name == "env" and (split := command.value_of("-S", "--split-string")) is not None:
        read_text(" ".join((split, *command.operands)), name)
    elif name in ("trap", "alias"):
        for operand in command.operands[:1] if name == "trap" else command.operands:
            read_text(operand if name == "trap" else operand.partition("=")[2], name)
    elif name in CODE:
        yield from _program(command, name, read_text, hide)
    elif name == "find":
        yield from _find(command, read_text, hide)
    elif name in ("source", ".") and command.operands:
        file = command.operands[0]
        if file.startswith(CONSTANT_FILE):
            read_text(file.removeprefix(CONSTANT_FILE), name)
    elif name in WRAPPERS and not (name == "command" and command.has("v", "V")):
        yield from _wrapped(command, WRAPPERS[name], read_text, hide)
    else:
        for text in texts_of_arguments(command, _input(command)):
            read_text(text, PROSE)
        if (words := last_words(command)) is not None:
            yield from unwrap(replace(command, words=words, through=(*command.through, name)), read_text, hide)


def assigned(name: str, value: str, read_text: ReadText, hide: Callable[[str], None]) -> None:
    """What a variable does that is set for a command."""
    if name in RUN_VARIABLES:
        for text in texts_of_variable(name, value):
            read_text(text, PROSE)
    elif name in PRELOADS and value:
        hide(f"{name}={value}")


def _program(command: Command, name: str, read_text: ReadText, hide: Callable[[str], None]) -> Iterator[Command]:
    """The commands in a program's text, and what it does to files as commands."""
    if (words := module_words(command)) is not None:
        yield from unwrap(replace(command, words=words), read_text, hide)
        return
    for text in _code(command, CODE[name]):
        for nested in commands_in_code(text):
            read_text(nested, name)
        for words in acts_in_code(text):
            yield Command(words, through=(*command.through, name), directory=command.directory, is_code=True)
        if (joined := joined_strings(text)) != text:
            yield replace(command, words=(command.words[0], joined), is_code=True)
        if (hidden := hidden_in_code(text)) is not None:
            hide(hidden)


PROSE = "argument"
"""Through what a text is read that may be no command at all."""

CONSTANT_FILE = "\0constant:"
"""Begins the word that stands for `<(…)` whose output is known; the output follows."""


def _wrapped(command: Command, wrapper: Wrapper, read_text: ReadText, hide: Callable[[str], None]) -> Iterator[Command]:
    words = list(command.arguments)
    while words and words[0].startswith("-") and (len(words[0]) > 1 or command.name == "env"):
        option = words.pop(0)
        if option == "--":
            break
        if option in wrapper.options and words:
            words.pop(0)
    while wrapper.takes_assignments and words and re.match(r"[A-Za-z_]\w*=", words[0]):
        variable, _, value = words.pop(0).partition("=")
        assigned(variable, value, read_text, hide)
    words = words[wrapper.operands :]
    if not words:
        if command.name == "parallel" and command.piped_from:
            hide("what is piped into parallel")
        return
    if ":::" in words and command.name == "parallel":
        at = words.index(":::")
        for value in words[at + 1 :] or [""]:
            read_text(" ".join((*words[:at], value)), command.name)
        return
    if command.name in ("watch", "parallel") and len(words) == 1:
        read_text(words[0], command.name)
        return
    if command.name == "xargs" and (piped := _input(command)) is not None:
        placeholder = command.value_of("-I", "--replace") or "{}"
        values = piped.split()
        words = [part for word in words for part in (values if word == placeholder else [word])]
        words += [] if command.has("I") else values
    inner = replace(command, words=tuple(words), through=(*command.through, command.name))
    yield from unwrap(inner, read_text, hide)


def _shell(command: Command, read_text: ReadText, hide: Callable[[str], None]) -> None:
    """`bash -c TEXT`, `bash <<< TEXT`, `… | bash`."""
    words = list(command.arguments)
    while words and words[0][:1] in ("-", "+") and len(words[0]) > 1:
        option = words.pop(0)
        if option in ("-o", "+o", "-O", "+O", "--rcfile", "--init-file"):
            words = words[1:]
        elif re.fullmatch(r"-[A-Za-z]*c[A-Za-z]*", option):
            while words and words[0].startswith(("-", "+")):
                words.pop(0)
            if words:
                text = words[0].replace('"$@"', " ".join(map(shlex.quote, words[2:])))
                for number, word in enumerate(words[1:]):
                    text = re.sub(rf"\$({number}|\{{{number}\}})(?!\d)", lambda _, word=word: word, text)  # type: ignore[misc]
                _text(text.replace("$@", " ".join(words[2:])), command.name, read_text, hide)
            return
    if words and words[0] != "-" and not words[0].startswith(("/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")):
        if words[0].startswith(CONSTANT_FILE):
            read_text(words[0].removeprefix(CONSTANT_FILE), command.name)
        elif words[0].startswith("$<("):
            hide(words[0])
        return
    piped = _input(command)
    if piped is not None:
        _text(piped, command.name, read_text, hide)
    elif command.piped_from or any(redirect.target.startswith("$<(") for redirect in command.redirects):
        hide(f"what is piped into {command.name}")


def _text(text: str, name: str, read_text: ReadText, hide: Callable[[str], None]) -> None:
    """A text that is run: read it, and say so where it begins with what cannot be known."""
    if re.match(r"\s*\$[({<]?", text) and not re.match(r"\s*\$\w+=", text):
        hide(text.strip()[:200])
    read_text(text, name)


def _find(command: Command, read_text: ReadText, hide: Callable[[str], None]) -> Iterator[Command]:
    """The commands of -exec and its like; `{}` becomes where the search starts."""
    words = command.arguments
    starts = []
    for word in words:
        if word.startswith(("-", "(", "!")):
            break
        starts.append(word)
    for at, word in enumerate(words):
        if word not in ("-exec", "-execdir", "-ok", "-okdir"):
            continue
        inner: list[str] = []
        for part in words[at + 1 :]:
            if part in (";", "+"):
                break
            inner += starts if part == "{}" and starts else [part]
        if inner:
            yield from unwrap(replace(command, words=tuple(inner), through=(*command.through, "find")), read_text, hide)


def _code(command: Command, options: tuple[str, ...]) -> Iterator[str]:
    if not options and command.operands:
        yield command.operands[0]
    for at, word in enumerate(command.arguments[:-1]):
        if word in options or any(re.fullmatch(rf"-[A-Za-z]*{re.escape(option[1:])}", word) for option in options):
            yield command.arguments[at + 1]
    is_stdin = options and not [word for word in command.arguments if word != "-" and not word.startswith("-u")]
    piped = _input(command) if is_stdin else command.input_text
    if piped is not None:
        yield piped


def constant_output(commands: tuple[Command, ...] | list[Command]) -> str | None:
    """What a pipeline prints, where that can be told: echo and printf, here-documents, decoders. None otherwise."""
    if not commands:
        return None
    command = commands[-1]
    before = command.piped_from or tuple(commands[:-1])
    if command.name == "echo":
        return _echo(command)
    if command.name == "printf":
        return _printf(command)
    text = command.input_text if command.input_text is not None else constant_output(before)
    if text is None:
        return None
    if command.name in ("cat", "tee") and not (command.operands and command.name == "cat"):
        return text
    try:
        if command.name in ("base64", "gbase64", "openssl") and command.has("d", "D", "decode"):
            return base64.b64decode(re.sub(r"\s", "", text) + "==").decode("utf-8", "replace")
        if command.name == "base32" and command.has("d", "decode"):
            return base64.b32decode(re.sub(r"\s", "", text)).decode("utf-8", "replace")
        if command.name == "xxd" and command.has("r"):
            return bytes.fromhex(re.sub(r"\s", "", text)).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return None
    if command.name == "rev":
        return "\n".join(line[::-1] for line in text.split("\n"))
    if command.name == "tr" and len(command.operands) == 2:
        source, target = (_range(operand) for operand in command.operands)
        return text.translate({ord(a): (target + target[-1:] * len(source))[i] for i, a in enumerate(source) if target})
    return None


def _input(command: Command) -> str | None:
    """What a command reads, where that can be told."""
    for redirect in command.redirects:
        if redirect.operator == "<" and redirect.target.startswith(CONSTANT_FILE):
            return redirect.target.removeprefix(CONSTANT_FILE)
    return command.input_text if command.input_text is not None else constant_output(command.piped_from)


def ansi_c(text: str) -> str:
    """The text of `$'…'`, and of `echo -e`."""

    def one(match: re.Match[str]) -> str:
        escape = match[1]
        if escape[0] in "xuU":
            return chr(min(int(escape[1:], 16), 0x10FFFF))
        if escape[0] in "01234567":
            return chr(int(escape, 8) & 0xFF)
        if escape[0] == "c":
            return chr(ord(escape[1]) & 0x1F)
        return (
            codecs.decode("\\" + escape, "unicode_escape") if escape in "abfnrtv\\'\"" else _OTHER.get(escape, match[0])
        )

    pattern = r"\\(x[0-9A-Fa-f]{1,2}|u[0-9A-Fa-f]{1,4}|U[0-9A-Fa-f]{1,8}|[0-7]{1,3}|c.|.)"
    return re.sub(pattern, one, text, flags=re.DOTALL)


_OTHER = {"e": "\x1b", "E": "\x1b", "?": "?"}


def _echo(command: Command) -> str:
    words = list(command.arguments)
    decodes = False
    while words and re.fullmatch(r"-[neE]+", words[0]):
        decodes = decodes or "e" in words[0]
        words.pop(0)
    text = " ".join(words)
    return ansi_c(re.sub(r"\\0([0-7])", r"\\\1", text)) if decodes else text


def _printf(command: Command) -> str:
    words = [word for word in command.arguments if word != "--"]
    if not words:
        return ""
    pattern, values = ansi_c(words[0]), words[1:]
    conversions = re.findall(r"%[-+ #0-9.]*[sbqdc]", pattern)
    if not conversions:
        return pattern.replace("%%", "%")
    output = ""
    while True:
        filled = pattern
        for conversion in conversions:
            value = values.pop(0) if values else ""
            filled = filled.replace(conversion, ansi_c(value) if conversion.endswith("b") else value, 1)
        output += filled
        if not values:
            return output


def _range(text: str) -> str:
    def one(match: re.Match[str]) -> str:
        return "".join(map(chr, range(ord(match[1]), ord(match[2]) + 1)))

    return re.sub(r"(.)-(.)", one, text)
