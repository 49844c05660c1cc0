"""Where log records go: JSON lines in logs/gateway.log, and what a person should see on stderr. One sink redacts both.

Code logs through the standard library: `logging.getLogger(__name__).info("run ended", extra={"status": …})`. What is
true of a whole request is bound once: `with log_context(request_id=…):`. Why not structlog: docs/adr/0012.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import IO, Any, Protocol

from hermes.core.redact import Redactor
from hermes.home.disk import refusal
from hermes.home.files import ends_within_a_line, make_private_directory, open_private
from hermes.home.log_repeats import Repeats

LOG_NAME = "gateway.log"
MAX_BYTES = 10 << 20
BACKUPS = 3

_CONTEXT: ContextVar[Mapping[str, Any]] = ContextVar("log_context", default={})  # noqa: B039 — never changed
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class KeepsLogs(Protocol):
    """A home, of the agent or of another program."""

    @property
    def logs_dir(self) -> Path: ...


def configure_logging(
    home: KeepsLogs | None, level: str = "info", *, redactor: Redactor | None = None, name: str = LOG_NAME
) -> None:
    """Replaces whatever logging was set up. Without a home nothing is written to disk. `name` is the file in logs/.

    The file gets `level` and above; stderr only warnings and above, or everything with `debug`.
    """
    redact = redactor or Redactor()
    root = logging.getLogger()
    for handler in root.handlers[:]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level.upper())
    screen = logging.StreamHandler(sys.stderr)
    screen.setLevel(logging.DEBUG if level == "debug" else logging.WARNING)
    screen.setFormatter(LineFormatter(redact))
    root.addHandler(screen)
    if home is not None:
        make_private_directory(home.logs_dir)
        file = PrivateRotatingFile(home.logs_dir / name)
        file.setFormatter(JsonFormatter(redact))
        root.addHandler(file)
    if level != "debug":
        for handler in root.handlers:
            handler.addFilter(Repeats())


def hide_in_logs(values: Iterable[str]) -> None:
    """Secrets that came up after `configure_logging`."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, JsonFormatter | LineFormatter):
            handler.formatter.redact.add(values)


@contextmanager
def log_context(**fields: Any) -> Iterator[None]:
    """Every record made inside, also in tasks started inside, carries the fields."""
    token = _CONTEXT.set({**_CONTEXT.get(), **fields})
    try:
        yield
    finally:
        _CONTEXT.reset(token)


def record_fields(record: logging.LogRecord) -> dict[str, Any]:
    """What was bound and what was handed over as `extra`."""
    extra = {key: value for key, value in vars(record).items() if key not in _OWN}
    return {**_CONTEXT.get(), **extra}


class JsonFormatter(logging.Formatter):
    """`{"time", "level", "logger", "message", …fields, "exception"?}`, time in UTC."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self.redact = redactor

    def format(self, record: logging.LogRecord) -> str:
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{when}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **record_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(self.redact.value(line), ensure_ascii=False, default=lambda value: self.redact(str(value)))


class LineFormatter(logging.Formatter):
    """`14:03:09 warning hermes.api: message  key=value`, in one line: a message cannot forge another."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self.redact = redactor

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        fields = "".join(f"  {key}={value}" for key, value in record_fields(record).items())
        line = f"{clock} {record.levelname.lower()} {record.name}: {_printable(record.getMessage() + fields)}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return self.redact(line)


class PrivateRotatingFile(logging.handlers.RotatingFileHandler):
    """Readable by the owner alone. A disk that takes nothing is said once on stderr, and the gateway goes on."""

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES, backups: int = BACKUPS) -> None:
        super().__init__(path, maxBytes=max_bytes, backupCount=backups, encoding="utf-8", delay=True)
        self._is_failing = False
        self._has_failed = False

    def emit(self, record: logging.LogRecord) -> None:
        self._is_failing = False
        super().emit(record)
        if self._has_failed and not self._is_failing:
            self._has_failed = False
            sys.stderr.write(f"{self.baseFilename} is written again{os.linesep}")

    def _open(self) -> IO[Any]:  # type: ignore[override]
        opener: Callable[[str, int], int] = open_private
        path, mode = self.baseFilename, self.mode
        file = open(path, mode, encoding=self.encoding, errors="backslashreplace", opener=opener)  # noqa: SIM115 logging closes it
        if ends_within_a_line(Path(path)):
            file.write("\n")
        return file

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 — logging's name
        self._is_failing = True
        stream, self.stream = self.stream, None  # logging opens it anew where it is None
        with suppress(OSError):  # what it still holds of the line is not to come out, torn, before a later one
            if stream is not None:
                stream.close()
        if not self._has_failed:
            self._has_failed = True
            error = sys.exc_info()[1]
            why = refusal(error, Path(self.baseFilename)) if isinstance(error, OSError) else str(error)
            sys.stderr.write(f"the log cannot be written: {why}{os.linesep}")


def _printable(text: str) -> str:
    return (
        text
        if text.isprintable()
        else "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    )
