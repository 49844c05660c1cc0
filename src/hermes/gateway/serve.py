"""The process: one home, one engine, one listener; signals, drain, exit.

`hermes gateway` calls `run`. Order of a start: settings and key are checked, the home is locked, the socket is bound,
and then everything else comes up while /health answers already. With the API switched off there is no socket: the
gateway runs jobs and nothing else (spec: api-server section 10).
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn

from hermes.core.clock import SystemClock
from hermes.core.errors import ConfigError, HermesError
from hermes.core.redact import Redactor
from hermes.gateway.background import MODEL_LINE, check_start, made_home, reachable
from hermes.gateway.housekeeping import keep_house
from hermes.gateway.port import other_address
from hermes.home.locks import GatewayLock, GatewayProcess, lock_gateway
from hermes.home.logs import configure_logging
from hermes.home.own_process import hide_secrets
from hermes.home.paths import Home, create_home
from hermes.home.settings import Settings, load_settings, secret_values
from hermes.http.server import Server, loop_factory

if TYPE_CHECKING:
    from hermes.api.profiles import ProfileListener
    from hermes.app import Engine

log = logging.getLogger(__name__)

EXIT_SECONDS = 1.5
"""What is left for closing connections and the store once the runs have ended: drain_timeout and this fit in 12 s."""


def run(home: Home, environ: Mapping[str, str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT. Raises ConfigError (exit 2) for what the owner has to change first."""
    environ = dict(os.environ if environ is None else environ)
    clock = SystemClock()
    is_new = create_home(home)
    settings = load_settings(home, environ)
    hide_secrets(settings, environ)
    for warning in check_start(home, settings):
        print(f"warning: {warning}", file=sys.stderr, flush=True)  # noqa: T201 a person starts it
    if is_new:
        _say(made_home(home).rstrip())
    lock = lock_gateway(home.pid_file, now=clock.now(), name=home.name if home.is_profile else "")
    listener: socket.socket | None = None
    try:
        redactor = Redactor(secret_values(settings, {**environ, **settings.environ}))
        configure_logging(home, settings.logging.level, redactor=redactor)
        listener = _listen(home, settings) if settings.api_server.enabled else None
        runner = asyncio.Runner(loop_factory=loop_factory())
        with runner:
            runner.run(_serve(home, settings, environ, listener, lock))
    except (HermesError, OSError):
        raise
    except Exception:  # through the log, which keeps it and takes secrets out of it, and not raw to the screen
        log.exception("the gateway crashed")
        raise SystemExit(1) from None
    finally:
        if listener is not None:
            listener.close()
        lock.release()


def _listen(home: Home, settings: Settings) -> socket.socket:
    host, port = settings.api_server.host, settings.api_server.port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1024)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error.strerror or error}. Take another address with: "
            f"{home.command} config set {other_address(error, host, port)}"
        ) from error
    listener.setblocking(False)
    return listener


def address_of(listener: socket.socket) -> str:
    """`http://127.0.0.1:8642`, with the host and port that were really bound."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _greet(home: Home, settings: Settings, listener: socket.socket | None, environ: Mapping[str, str]) -> None:
    if listener is None:
        _say(
            "The API server is off (API_SERVER_ENABLED is not true): this gateway runs jobs only. "
            f"Switch it on with: {home.command} config set API_SERVER_ENABLED true"
        )
        return
    address = address_of(listener)
    _say(
        f"[API Server] API server listening on {address}\nAsk it something:\n"
        f"  curl -sS {reachable(address)}/v1/chat/completions -H 'Content-Type: application/json' "
        f'-H "Authorization: Bearer {_key_in_shell(home, settings, environ)}" '
        """-d '{"messages": [{"role": "user", "content": "Which files are in this folder?"}]}'"""
    )


def _key_in_shell(home: Home, settings: Settings, environ: Mapping[str, str]) -> str:
    """Shell text that gives the key without showing it: a terminal's scroll-back is no place for a secret."""
    if environ.get("API_SERVER_KEY", "").strip():
        return "$API_SERVER_KEY"
    key = settings.api_server.key or ""
    with suppress(OSError):
        if f"API_SERVER_KEY={key}" in home.env_file.read_text("utf-8").splitlines():
            return f"$(sed -n s/^API_SERVER_KEY=//p '{home.env_file}')"
    command = Path(sys.argv[0]).resolve() if sys.argv and sys.argv[0].endswith("hermes") else "hermes"
    profile = f" -p {home.name}" if home.is_profile else ""
    return f"$({command}{profile} config get API_SERVER_KEY --reveal)"


async def _serve(
    home: Home, settings: Settings, environ: Mapping[str, str], listener: socket.socket | None, lock: GatewayLock
) -> None:
    from hermes.app import open_engine
    from hermes.runs.node import Identity

    signals = _Signals()
    address = address_of(listener) if listener is not None else None
    identity = Identity("gateway", str(home.path), address, home.run_dir / "node.id")
    async with open_engine(
        settings, home=home, environ=environ, identity=identity, progress=_Progress(), is_live=True
    ) as engine:
        api = _Api(home, engine, settings, environ, listener) if listener is not None else None
        _greet(home, settings, listener, environ)  # not before: without its database it does not serve
        await _recover(engine)  # before anything can start a run: it could not be told from one left open
        async with asyncio.TaskGroup() as group:
            if api is not None:
                api.start(group)
            chores = [group.create_task(chore) for chore in (_make_ready(engine), *_chores(engine))]
            lock.announce(GatewayProcess(os.getpid(), engine.clock.now(), address, is_ready=True))
            gc.collect()
            gc.freeze()  # what the start made stays: pauses fall from 126 to 35 ms (DESIGN decision 2)
            gc.set_threshold(20_000, 50, 50)
            await signals.first.wait()
            engine.runner.is_leaving = True
            await engine.live.look()
            if api is not None:
                await api.announce_stop(engine.settings.api_server.drain_delay, signals)
            await _drain(engine, api, engine.settings.api_server.drain_timeout, signals)
            for chore in chores:
                chore.cancel()
            if api is not None:
                await api.stop()
    log.info("stopped")


def _chores(engine: Engine) -> list[Coroutine[Any, Any, None]]:
    """What a home's gateway does beside answering."""
    return [keep_house(engine), engine.jobs.run_forever(), engine.callbacks.run_forever()]


async def _drain(engine: Engine, api: _Api | None, seconds: float, signals: _Signals) -> None:
    """Open runs get their time, those of other profiles too. A second Ctrl+C takes it away from them."""

    async def drain(seconds: float) -> None:
        profiles = [api.profiles.drain(seconds)] if api is not None and api.profiles is not None else []
        await asyncio.gather(engine.runner.drain(seconds), *profiles)

    log.info("stopping: %d open runs get %g s", engine.runner.active, seconds)
    draining = asyncio.ensure_future(drain(seconds))
    impatient = asyncio.ensure_future(signals.second.wait())
    await asyncio.wait((draining, impatient), return_when=asyncio.FIRST_COMPLETED)
    impatient.cancel()
    if not draining.done():
        await drain(0.0)
    await draining


class _Signals:
    """SIGTERM and SIGINT, counted."""

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            with suppress(NotImplementedError):  # Windows: Ctrl+C arrives as KeyboardInterrupt
                loop.add_signal_handler(number, self._heard)

    def _heard(self) -> None:
        (self.second if self.first.is_set() else self.first).set()


class _Api:
    """The HTTP side of the process. While runs drain it goes on answering; `stop` ends the streams, then itself."""

    def __init__(
        self, home: Home, engine: Engine, settings: Settings, environ: Mapping[str, str], listener: socket.socket
    ) -> None:
        from hermes.app import build_api

        self._services, self._app = build_api(engine, bound_host=settings.api_server.host, environ=environ)
        self._root = home if settings.api_server.profiles and not home.is_profile else None
        self._environ = environ
        self._listener = listener
        self._server: Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self.profiles: ProfileListener | None = None

    def start(self, group: asyncio.TaskGroup) -> None:
        from hermes.api.serving import serve_options

        if self._root is not None:
            self.profiles = self._with_profiles(self._root, group)
        self._server = Server(uvicorn.Config(self.profiles or self._app, **serve_options()))
        self._serving = group.create_task(self._server.serve([self._listener]))

    def _with_profiles(self, root: Home, group: asyncio.TaskGroup) -> ProfileListener:
        from hermes.api.profiles import ProfileListener
        from hermes.gateway.profiles import ProfileHomes

        address = reachable(address_of(self._listener))
        homes = ProfileHomes(root, self._environ, self._services, address, _chores)
        return ProfileListener(self._app, homes, group)

    async def announce_stop(self, delay_seconds: float, signals: _Signals) -> None:
        """/health tells load balancers to send nothing new; what they send until they have noticed is still taken."""
        self._services.stop.is_announced = True
        if delay_seconds:
            log.info("stopping: /health says so, and for %g s requests are still taken", delay_seconds)
            with suppress(TimeoutError):
                await asyncio.wait_for(signals.second.wait(), delay_seconds)

    async def stop(self) -> None:
        from hermes.api.access_log import AccessFile

        assert self._serving is not None
        assert self._server is not None
        self._services.stop.set()
        closing = asyncio.ensure_future(self.profiles.close()) if self.profiles is not None else None
        self._server.should_exit = True
        await asyncio.wait({self._serving}, timeout=EXIT_SECONDS)
        self._server.force_exit = True
        await asyncio.wait({self._serving})
        if closing is not None:
            await closing
        if isinstance(self._services.access, AccessFile):
            self._services.access.close()


async def _recover(engine: Engine) -> None:
    """Runs that an earlier process left open go on, or are told as interrupted."""
    try:
        left = await engine.runner.recover()
    except HermesError as error:
        log.error("runs of the last start could not be resumed: %s", error.message)
        return
    if left.resumed:
        _say(f"Resumed {left.resumed} runs of the last start.")
    if left.interrupted:
        log.warning("%d runs were interrupted by the last stop", left.interrupted)


async def _make_ready(engine: Engine) -> None:
    """What broken uploads left is removed; then the model is made ready, so that the first answer is quick."""
    try:
        await engine.files.sweep()
    except HermesError as error:
        log.error("what was left of broken uploads could not be removed: %s", error.message)
    await engine.models.start()
    choice = engine.models.choice
    if choice is None:  # `start` has said what to do, in the log
        _say(f"{MODEL_LINE}none yet; see: {engine.home.command if engine.home else 'hermes'} model")
        return
    name = choice.model if choice.model == choice.provider else f"{choice.model} of {choice.provider}"
    _say(f"{MODEL_LINE}{name} ({choice.why})")
    if choice.source == "embedded":
        _say("It is small and often wrong; connect a better one: docs/models.md, `hermes model`")
    try:
        await engine.warm()
    except HermesError as error:
        log.error("the model is not ready: %s", error.message)
        return
    if choice.source == "embedded":
        _say("The built-in model is ready.")


class _Progress:
    """One line of what takes long, rewritten on a terminal, every tenth of it elsewhere."""

    def __init__(self) -> None:
        self._last: tuple[str, int] = ("", -1)

    def __call__(self, what: str, done: int, total: int) -> None:
        is_terminal = sys.stdout.isatty()
        percent = 100 * done // total if total else 100
        step = (what, percent if is_terminal else percent // 10 * 10)
        if step == self._last:
            return
        self._last = step
        if is_terminal:
            print(f"\r{what}: {percent:3d} %", end="\n" if percent >= 100 else "", flush=True)  # noqa: T201
        else:
            _say(f"{what}: {step[1]} %")


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 a person reads the standard output of the gateway
