"""What is true of a database as a whole: whose it is, and what all its nodes must have alike."""

from __future__ import annotations

import hashlib
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, bindparam

from hermes.core.errors import ConfigError, StoreUnavailable

from . import turns
from .schema import facts
from .statement import InsertInto, Statement

PROFILE = "profile"
SECRET, DIGEST = "callback_secret", "callback_secret_sha256"


def check_profile(conn: Connection, name: str, command: str) -> None:
    """Raises ConfigError where the database is another profile's. `command`: how this one is called."""
    kept = get(conn, PROFILE)
    if kept not in (None, name):
        raise ConfigError(
            f"the database of database.url has the data of the profile {kept!r}, and this is {name!r}. Give this one a "
            f"database of its own: {command} config set database.url postgresql://…, and unset HERMES_DATABASE_URL, "
            "which speaks for every profile. If it was renamed: docs/database.md"
        )


def belongs_to(conn: Connection, name: str) -> str:
    """Whose profile's it is: `name`, unless another was here first."""
    return keep_first(conn, PROFILE, name)


def keep_first(conn: Connection, name: str, value: str) -> str:
    """The kept value: `value`, unless there was one already. Of several at once one wins, and all get its value."""
    _KEEP.run(conn, {"name": name, "value": value})
    kept = get(conn, name)
    assert kept is not None
    return kept


def signing_secret(conn: Connection, own: str | None, made: str) -> str:
    """What webhooks are signed with. `own` is what this node's settings say, and is not kept here but for its SHA-256;
    without one it is what another node made for all, or `made`.

    Raises StoreUnavailable where the others have one in their settings and this node has none.
    """
    turns.wait_for(conn, SECRET)
    if own is not None:
        digest = hashlib.sha256(own.encode()).hexdigest()
        if get(conn, DIGEST) != digest:
            put(conn, DIGEST, digest)
            _FORGET.run(conn, {"name": SECRET})
        return own
    kept = get(conn, SECRET)
    if kept is not None:
        return kept
    if get(conn, DIGEST) is not None:
        raise StoreUnavailable(
            "other nodes sign webhooks with a secret of their settings, and this one has none: give it the same with "
            "hermes config set API_SERVER_CALLBACK_SECRET, and restart it"
        )
    put(conn, SECRET, made)
    put(conn, DIGEST, hashlib.sha256(made.encode()).hexdigest())
    return made


def get(conn: Connection, name: str) -> str | None:
    row = _GET.first(conn, {"name": name})
    return None if row is None else str(row[0])


def put(conn: Connection, name: str, value: str) -> None:
    """In the place of what was kept."""
    _PUT.run(conn, {"name": name, "value": value})


def _keep(insert: InsertInto) -> Any:
    return insert(facts).values(name=bindparam("name"), value=bindparam("value")).on_conflict_do_nothing()


def _put(insert: InsertInto) -> Any:
    row = insert(facts).values(name=bindparam("name"), value=bindparam("value"))
    return row.on_conflict_do_update(index_elements=["name"], set_={"value": row.excluded.value})


_KEEP = Statement(_keep)
_PUT = Statement(_put)
_FORGET = Statement(sa.delete(facts).where(facts.c.name == bindparam("name")))
_GET = Statement(sa.select(facts.c.value).where(facts.c.name == bindparam("name")))
