"""Whether a database file is whole: asked from outside, without opening it for writing or changing its schema."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

MOST_TOLD = 5


@dataclass(frozen=True, slots=True)
class Integrity:
    """`problems` as SQLite words them, none when the file is whole. `newest`: when the last session was active, unix
    seconds; None where that cannot be read or there is none."""

    problems: tuple[str, ...]
    newest: float | None = None


def examine(path: Path) -> Integrity:
    """Reads the whole file. It may be in use meanwhile; where it is not, no file is made beside it."""
    is_in_use = path.with_name(f"{path.name}-wal").exists()
    how = "mode=ro" if is_in_use else "mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, timeout=5)) as conn:
            rows = conn.execute(f"PRAGMA quick_check({MOST_TOLD})").fetchall()
            problems = tuple(str(row[0]) for row in rows if row[0] != "ok")
            return Integrity(problems, None if problems else _newest(conn))
    except sqlite3.Error as error:
        return Integrity((str(error),))


def _newest(conn: sqlite3.Connection) -> float | None:
    try:
        row = conn.execute("SELECT max(last_active) FROM sessions").fetchone()
    except sqlite3.OperationalError:  # of another version, or empty
        return None
    return float(row[0]) if row and row[0] is not None else None
