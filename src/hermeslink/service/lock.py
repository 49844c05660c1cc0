"""One process for a home: whoever holds the lock is it, and says in the file where it listens."""

from __future__ import annotations

from hermes.core.errors import Conflict
from hermes.home.locks import GatewayLock, GatewayProcess, last_gateway, lock_gateway, running_gateway
from hermeslink.home import LinkHome

Process = GatewayProcess
"""`url` is how this machine calls it, None until it listens."""


def take(home: LinkHome, *, now: float) -> GatewayLock:
    """Raises Conflict (`link_running`) when this home's Link runs already."""
    try:
        return lock_gateway(home.pid_file, now=now)
    except Conflict as error:
        other = running(home)
        where = f" at {other.url}" if other and other.url else ""
        who = f" (pid {other.pid})" if other else ""
        raise Conflict(
            f"Link runs already{where}{who}; stop it with: hermeslink stop, or give this one a home of its own "
            "(HERMESLINK_HOME) and another port",
            code="link_running",
        ) from error


def running(home: LinkHome) -> Process | None:
    """A pid that a killed one left behind does not count."""
    return running_gateway(home.pid_file)


def last(home: LinkHome) -> Process | None:
    """What the last one said of itself, whether it lives or was killed. Touches no lock."""
    return last_gateway(home.pid_file)
