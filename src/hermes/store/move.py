"""A home's data goes to another database, whole or not at all; what it leaves stays as it is."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from hermes.core.errors import Conflict, InvalidInput, NotFound, StoreUnavailable
from hermes.home.files import give_name, open_private

from . import search
from .backup import new_part, remove_part, sync_file
from .connecting import reading, shown
from .database import Database, parse_url
from .transfer import Copied, Told, transfer
from .upkeep import check_unused, schema_of, upgrade


@dataclass(frozen=True, slots=True)
class Moved:
    place: str
    copied: Copied
    indexed: int


def move(url: str, to: str, *, also: Callable[[Connection], object] | None = None, told: Told | None = None) -> Moved:
    """Everything into an empty PostgreSQL or a new SQLite file, with open runs and what waits to be sent: the next
    gateway goes on with it there. Nobody may use either meanwhile. `also` is done in the target's transaction.

    Raises InvalidInput, Conflict `database_not_empty`, `file_exists` or `database_in_use`, NotFound
    `database_not_found`, HermesError `transfer_failed`, StoreUnavailable; then the target is as it was.
    """
    source, target = parse_url(url), parse_url(to)
    if source == target:
        raise InvalidInput(f"the data is in {shown(to)} already", param="to")
    if schema_of(url) is None:
        raise NotFound(f"there is nothing of ours in {shown(url)} yet", code="database_not_found")
    upgrade(url)
    if target.get_backend_name() == "sqlite":
        return _into_file(url, Path(target.database or ""), also, told)
    schema_of(to)  # the password and the like, before a minute's work
    check_unused(to)
    return _into(url, to, also, told)


def _into_file(url: str, path: Path, also: Callable[[Connection], object] | None, told: Told | None) -> Moved:
    if not path.is_absolute():  # the gateway would look for it from where it is started
        raise InvalidInput(f"{str(path)!r} is no absolute path: write sqlite:////path/state.db", param="to")
    if path.exists():
        raise Conflict(f"{path} exists already: name a new file", code="file_exists")
    part = new_part(path)
    try:
        os.close(open_private(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        moved = _into(url, f"sqlite:///{part}", also, told)
        check_unused(f"sqlite:///{part}")
        sync_file(part)
        give_name(part, path)
    except FileExistsError:
        raise Conflict(f"{path} exists already: name a new file", code="file_exists") from None
    except OSError as error:
        raise StoreUnavailable(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        remove_part(part)
    return Moved(str(path), moved.copied, moved.indexed)


def _into(url: str, to: str, also: Callable[[Connection], object] | None, told: Told | None) -> Moved:
    target = Database.open_now(to)
    try:
        with reading(url) as rows:
            try:
                copied = transfer(rows, target, also=also, told=told)
            except Conflict as error:
                if error.code == "database_not_empty":
                    raise Conflict(f"{shown(to)} is not empty: name an empty database", code=error.code) from error
                raise
        indexed = 0
        while count := target.write_now(search.catch_up):
            indexed += count
    finally:
        target.close_now()
    return Moved(shown(to), copied, indexed)
