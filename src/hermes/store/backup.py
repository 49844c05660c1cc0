"""A database as one file, made while gateways use it, and brought back (docs/adr/0092).

A backup is an SQLite file at the newest schema, whatever it is a backup of: one of a PostgreSQL can be restored into a
home, and the other way round. With the bytes of uploaded files in it, it is all that the database and they were.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy import Connection

from hermes.core.errors import Conflict, HermesError, NotFound, StoreCorrupt, StoreUnavailable
from hermes.core.event import KeptEvent, RunInterrupted
from hermes.core.run import Run, RunStatus
from hermes.home.files import give_name, link_or_copy, open_private, sync_directory

from . import events, facts, runs, sessions, snapshot
from .connecting import open_file, reading, shown
from .database import Database, parse_url
from .integrity import Finding, check_database, examine
from .problems import is_damage
from .requests import messages_of
from .schema import HEAD, keys, nodes
from .schema import facts as fact_rows
from .schema import runs as run_rows
from .transfer import Told, transfer
from .upkeep import check_unused, schema_of

BACKUP = "backup"
"""The fact that a database is a backup: when it was made, of what."""

Also = Callable[[Connection], object]
"""What is done with the copy before it is whole: bytes of uploaded files come in, or go out."""


@dataclass(frozen=True, slots=True)
class BackedUp:
    """`findings`: what is wrong with what was copied; the backup has it as well."""

    path: Path
    bytes: int
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Restored:
    """`made_at` and `of` are of the backup, None where it does not say: a copied state.db. `aside` is where the
    replaced database lies, None where there was none, or it is a PostgreSQL."""

    made_at: float | None = None
    of: str | None = None
    aside: Path | None = None
    interrupted: int = 0
    unsent: int = 0
    jobs: int = 0
    findings: tuple[Finding, ...] = field(default=())


def back_up(url: str, target: Path, *, now: float, also: Also | None = None, told: Told | None = None) -> BackedUp:
    """One moment of the database, in a new file that its owner alone can read, whole and on the disk.

    Raises Conflict `file_exists`, NotFound `database_not_found`, StoreUnavailable.
    """
    if target.exists():
        raise Conflict(f"{target} exists already, and a backup overwrites nothing", code="file_exists")
    found = schema_of(url)
    if found is None:
        raise NotFound(f"there is nothing of ours in {shown(url)} yet", code="database_not_found")
    _check_age(found, f"the database {shown(url)}")
    part = new_part(target)
    try:
        _copy_out(url, part, told)
        database = Database.open_now(f"sqlite:///{part}")  # of an older version: brought to this one's schema
        try:
            database.write_now(_label, now, shown(url), also)
        finally:
            database.close_now()
        check_unused(f"sqlite:///{part}")  # one file, without a log beside it
        findings = check_database(f"sqlite:///{part}").findings
        sync_file(part)
        give_name(part, target)
    except FileExistsError:
        raise Conflict(f"{target} exists already, and a backup overwrites nothing", code="file_exists") from None
    except OSError as error:
        raise StoreUnavailable(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        remove_part(part)
    return BackedUp(target, target.stat().st_size, findings)


def restore(
    url: str,
    source: Path,
    *,
    now: float,
    is_forced: bool = False,
    also: Also | None = None,
    told: Told | None = None,
    workplace: Path | None = None,
) -> Restored:
    """In the place of what is there; nobody else may use it meanwhile. `source` stays as it is.

    What was under way when the backup was made is told as ended, and nothing that waited is sent: it may have happened
    since. Who was shut out since stays out. `is_forced` takes a backup with findings, and empties a PostgreSQL. Then a
    copy of `source` lies in `workplace` for as long as it takes, beside it where that is unset.

    Raises NotFound for no such file, StoreCorrupt for a damaged or foreign one, HermesError `backup_has_findings`,
    Conflict `database_not_empty` (PostgreSQL) or `database_in_use`.
    """
    if not source.is_file():
        raise NotFound(f"there is no backup {source}", code="database_not_found")
    parsed = parse_url(url)
    target = Path(parsed.database or "") if parsed.get_backend_name() == "sqlite" else None
    is_damaged = target is not None and target.exists() and bool(examine(target).problems)
    if target is None or (target.exists() and not is_damaged):
        check_unused(url)
    part = new_part(target or (workplace or source.parent) / source.name)
    try:
        _copy_in(source, part)
        findings = _check_copy(part, source, is_forced)
        database = Database.open_now(f"sqlite:///{part}")
        try:
            done = database.write_now(_settle, now, _keys_of(url))
            if target is None:
                with reading(f"sqlite:///{part}") as rows:
                    _into_server(url, rows, is_forced, told)
            elif also is not None:
                database.write_now(also)
        finally:
            database.close_now()
        made_at, of, interrupted, unsent, due = done
        aside = None
        if target is not None:
            check_unused(f"sqlite:///{part}")
            sync_file(part)
            aside = _swap(part, target, is_damaged, now)
    finally:
        remove_part(part)
    return Restored(made_at, of, aside, interrupted, unsent, due, findings)


def new_part(path: Path) -> Path:
    """Where a file is written that is to be `path` once it is whole. What killed processes left there is removed."""
    _sweep(path.parent)
    return path.with_name(f".{path.name}.{uuid4().hex[:12]}{_PART}")


_PART = ".hermes.part"
_LEFT_SECONDS = 86_400.0
"""What nobody wrote to for so long is nobody's any more."""


def _sweep(directory: Path) -> None:
    with suppress(OSError):  # what is wrong with the place is told when it is written to
        for part in directory.glob(f".*{_PART}"):
            files = [part.with_name(part.name + end) for end in _ENDS]
            newest = max(file.stat().st_mtime for file in files if file.exists())
            if time.time() - newest > _LEFT_SECONDS:
                remove_part(part)


_ENDS = ("", "-wal", "-shm", "-journal")
"""What SQLite keeps beside a file."""


def sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def remove_part(part: Path) -> None:
    """With what SQLite keeps beside it."""
    for end in _ENDS:
        with suppress(OSError):  # what is wrong with its place was told
            part.with_name(part.name + end).unlink(missing_ok=True)


def _copy_out(url: str, part: Path, told: Told | None) -> None:
    os.close(open_private(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        snapshot.snapshot(Path(parsed.database or ""), part, with_keys=True)
        return
    target = Database.open_now(f"sqlite:///{part}")
    try:
        with reading(url) as source:
            transfer(source, target, told=told)
    finally:
        target.close_now()


def _label(conn: Connection, now: float, of: str, also: Also | None) -> None:
    facts.put(conn, BACKUP, json.dumps({"at": now, "of": of}))
    if also is not None:
        also(conn)


def _copy_in(source: Path, part: Path) -> None:
    """With what lies in its log; a trigger in it runs with none of our statements."""
    os.close(open_private(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    try:
        with closing(open_file(source)) as there, closing(sqlite3.connect(part)) as here:
            there.backup(here)
    except sqlite3.Error as error:
        if is_damage(error):
            raise StoreCorrupt(f"{source} is no backup, or a damaged one ({error})") from error
        raise snapshot.copy_problem(error, source, part) from error
    snapshot.check_foreign(part, str(source))


def _check_age(schema: str, what: str) -> None:
    if schema > HEAD:
        raise StoreUnavailable(
            f"this program is older than {what} (schema {schema}, known up to {HEAD}): install the newer "
            "hermes-server again"
        )


def _check_copy(part: Path, source: Path, is_forced: bool) -> tuple[Finding, ...]:
    schema = schema_of(f"sqlite:///{part}")
    if schema is None:
        raise StoreCorrupt(f"{source} is no backup: it is empty, or the database of another program; take another one")
    _check_age(schema, f"the backup {source}")
    Database.open_now(f"sqlite:///{part}").close_now()
    findings = check_database(f"sqlite:///{part}").findings
    if any(finding.name == "damaged" for finding in findings):
        raise StoreCorrupt(f"{source} is damaged: {findings[0].text}; take another backup")
    if findings and not is_forced:
        raise HermesError(
            f"{source} has {len(findings)} findings, the first: {findings[0].text}; --force takes it all the same",
            code="backup_has_findings",
        )
    return findings


def _settle(
    conn: Connection, now: float, known_keys: list[dict[str, object]]
) -> tuple[float | None, str | None, int, int, int]:
    """What the copy says of itself, and how many runs were ended, sendings stopped, jobs found due."""
    label = json.loads(facts.get(conn, BACKUP) or "{}")
    conn.execute(sa.delete(fact_rows).where(fact_rows.c.name.in_([BACKUP, facts.PROFILE])))
    conn.execute(sa.delete(nodes))
    open_runs = runs.open_runs(conn)
    for run in open_runs:
        _interrupt(conn, run, now)
    conn.execute(sa.update(run_rows).values(node=None))
    unsent = snapshot.stop_sending(conn)
    for key in known_keys:
        conn.execute(sa.update(keys).where(keys.c.id == key["id"]).values(key))
    return label.get("at"), label.get("of"), len(open_runs), unsent, snapshot.jobs_due(conn, now)


def _interrupt(conn: Connection, run: Run, now: float) -> None:
    if run.status is RunStatus.QUEUED:  # what it was asked is not in its session yet
        sessions.add_messages(conn, run.session_id, run.id, messages_of(run.request), now)
    final = RunInterrupted("the database was restored from a backup that was made while it ran")
    seq = run.last_seq + 1
    events.append(conn, run.id, [KeptEvent(seq, now, final)])
    runs.finish(conn, run.id, RunStatus.INTERRUPTED, now, run.output, None, run.usage, None, final.name, seq)


def _keys_of(url: str) -> list[dict[str, object]]:
    """Whoever was shut out since the backup stays out, and what was spent since stays spent. Nothing where the database
    that is replaced cannot be read."""
    columns = [keys.c[name] for name in ("id", "digest", "scopes", "budget_usd", "spent_usd", "revoked_at")]
    try:
        with reading(url) as conn:
            return [dict(row) for row in conn.execute(sa.select(*columns)).mappings()]
    except Exception:  # noqa: BLE001 damaged, empty, of another version, not there
        return []


def _into_server(url: str, source: Connection, is_forced: bool, told: Told | None) -> None:
    target = Database.open_now(url)
    try:
        transfer(source, target, replaces=is_forced, told=told)
    except Conflict as error:
        if error.code == "database_not_empty":
            raise Conflict(
                f"{shown(url)} is not empty: back it up (hermes db backup), then --force empties it and restores",
                code=error.code,
            ) from error
        raise
    finally:
        target.close_now()


def _swap(part: Path, target: Path, is_damaged: bool, now: float) -> Path | None:
    """At every moment one of the two is in its place."""
    if not target.exists():
        part.rename(target)
        sync_directory(target.parent)
        return None
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
    aside = target.with_name(f"{target.name}.before-restore-{stamp}-{uuid4().hex[:4]}")
    if not is_damaged:
        check_unused(f"sqlite:///{target}")  # its log is part of it from here on
    for end in ("-wal", "-shm", "-journal"):
        log = target.with_name(target.name + end)
        if log.exists():
            log.rename(aside.with_name(aside.name + end))
    link_or_copy(target, aside)
    part.replace(target)
    sync_directory(target.parent)
    return aside
