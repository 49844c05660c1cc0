"""A home that somebody wants for himself, to rename or delete it, while the default profile's gateway has it open.

Whoever wants it holds a lock; the gateway looks for it, closes the home when nothing goes on there, and says so in its
pid file otherwise (`GatewayProcess.is_busy`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from hermes.core.errors import Conflict, NotFound
from hermes.home.files import DIRECTORY_MODE, open_private
from hermes.home.locks import try_lock
from hermes.home.paths import Home

FILE_NAME = "wanted.lock"


@contextmanager
def wanted(home: Home) -> Iterator[None]:
    """Nobody opens it meanwhile. Raises Conflict `profile_busy` when somebody else wants it already, NotFound when he
    has taken it away just now.
    """
    file = home.run_dir / FILE_NAME
    try:
        home.run_dir.mkdir(mode=DIRECTORY_MODE, exist_ok=True)  # and nothing above it, which may be gone
        handle = open_private(file, os.O_RDWR | os.O_CREAT)
    except FileNotFoundError as error:
        raise _gone(home) from error
    try:
        if not try_lock(handle, is_patient=True):
            raise Conflict(f"profile {home.name} is being renamed or deleted already", code="profile_busy")
        if not file.exists() or not os.path.samestat(file.stat(), os.fstat(handle)):
            raise _gone(home)
        yield
    finally:
        os.close(handle)


def is_wanted(home: Home) -> bool:
    """Costs one failed `open` where nobody ever wanted it."""
    try:
        handle = os.open(home.run_dir / FILE_NAME, os.O_RDWR)
    except OSError:
        return False
    try:
        return not try_lock(handle)
    finally:
        os.close(handle)


def _gone(home: Home) -> NotFound:
    return NotFound(f"no profile {home.name!r} any more", code="profile_not_found")
