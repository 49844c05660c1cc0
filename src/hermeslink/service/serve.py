"""The process: one home, one listener; signals, the end of streams, exit.

Order of a start: settings are checked, the home is locked, the socket is bound, then what Link keeps is opened, and
then it answers.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import signal
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from hermes.core.clock import SystemClock
from hermes.core.errors import ConfigError, HermesError
from hermes.core.redact import Redactor, is_secret_name
from hermes.home.locks import GatewayLock
from hermes.home.logs import configure_logging
from hermes.home.own_process import blank
from hermes.http.server import Server, loop_factory
from hermeslink.api.serving import serve_options
from hermeslink.home import LinkHome, hermes_root
from hermeslink.service import lock
from hermeslink.settings import LinkSettings, load_settings
from hermeslink.system.logs import secrets_of

if TYPE_CHECKING:
    from hermeslink.app import Link

log = logging.getLogger(__name__)

EXIT_SECONDS = 1.5
"""What requests may take to end once the streams were told to."""
LISTENING = "[Hermes Link] listening on "
"""How it begins the line that says where."""


def run(home: LinkHome, environ: Mapping[str, str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT. Raises ConfigError (exit 2) for what has to be changed first."""
    environ = dict(os.environ if environ is None else environ)
    settings = load_settings(home, environ)
    root = hermes_root(environ)
    blank({name for name in environ if is_secret_name(name)})
    home.make()
    held = lock.take(home, now=SystemClock().now())
    listener: socket.socket | None = None
    try:
        configure_logging(
            home, settings.log_level, redactor=Redactor(secrets_of(root, environ)), name=home.log_file.name
        )
        listener = _listen(settings)
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(_serve(home, root, settings, environ, listener, held))
    except (HermesError, OSError):
        raise
    except Exception:  # through the log, which keeps it and takes secrets out of it, and not raw to the screen
        log.exception("Link crashed")
        raise SystemExit(1) from None
    finally:
        if listener is not None:
            listener.close()
        held.release()


def _listen(settings: LinkSettings) -> socket.socket:
    host, port = settings.listen_host, settings.port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if host == "::":
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(address)
        listener.listen(1024)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error.strerror or error}. Take another port with: hermeslink config "
            f"set port {port + 1 if port < 65_535 else 0}, or another address with: hermeslink config set listen-host "
            "127.0.0.1"
        ) from error
    listener.setblocking(False)
    return listener


async def _serve(
    home: LinkHome,
    root: Path,
    settings: LinkSettings,
    environ: Mapping[str, str],
    listener: socket.socket,
    held: GatewayLock,
) -> None:
    from hermeslink.api.app import create_app
    from hermeslink.app import open_link
    from hermeslink.system.announce import announce

    stop = _stop_signal()
    async with open_link(home, root, environ=environ, settings=settings) as link:
        link.network.port = listener.getsockname()[1]
        server = Server(uvicorn.Config(create_app(link), **serve_options()))
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(server.serve([listener]))
            announcing = group.create_task(announce(link.network, lambda: link.identity.link_id, link.clock))
            _greet(link, settings, listener)
            held.announce(lock.Process(os.getpid(), link.clock.now(), link.network.local_url(), is_ready=True))
            waiting = asyncio.ensure_future(stop.wait())
            await asyncio.wait((waiting, serving), return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            announcing.cancel()
            link.stopping.set()
            server.should_exit = True
            await asyncio.wait({serving}, timeout=EXIT_SECONDS)
            server.force_exit = True
    log.info("stopped")


def _stop_signal() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(NotImplementedError):  # Windows: Ctrl+C arrives as KeyboardInterrupt
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def _greet(link: Link, settings: LinkSettings, listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    where = f"[{host}]" if ipaddress.ip_address(host).version == 6 else host
    _say(f"{LISTENING}http://{where}:{port}")
    for url in link.network.preferred_urls():
        _say(f"  {url}")
    _say("Pair a device with: hermeslink pair")
    log.info("listening on %s:%d", host, port)


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 a person reads the standard output of the process
