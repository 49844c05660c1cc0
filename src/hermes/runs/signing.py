"""What webhooks are signed with, whichever node sends one (docs/adr/0099)."""

from __future__ import annotations

import logging
from contextlib import suppress

from hermes.core.errors import ConfigError
from hermes.home.callback_secret import NAME, callback_secret, new_secret, own_secret
from hermes.home.env import set_env
from hermes.home.paths import Home
from hermes.store import facts
from hermes.store.database import Database

log = logging.getLogger(__name__)


def signing_secret(database: Database, home: Home | None, configured: str | None) -> str:
    """For a thread: it waits for the database and the disk. Raises StoreUnavailable, ConfigError, OSError."""
    if not database.is_shared:
        return callback_secret(home, configured)
    own = own_secret(home, configured)
    before = database.read_now(facts.get, facts.DIGEST) if own is not None else None
    secret = database.write_now(facts.signing_secret, own, new_secret(), durable=True)
    if own is None and home is not None:
        with suppress(OSError, ConfigError):  # there `hermes config get` shows it; it is kept all the same
            set_env(home.env_file, NAME, secret)
    elif before is not None and before != database.read_now(facts.get, facts.DIGEST):
        log.warning(
            "%s is another than a node of this database signed with before: give every node the same one, or receivers "
            "refuse what the others send",
            NAME,
        )
    return secret
