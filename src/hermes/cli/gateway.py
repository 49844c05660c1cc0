"""`hermes gateway`: the server, in the foreground, in the background, or as a systemd unit."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Annotated

import typer

from hermes.cli.context import Call, call_of, new_app

if TYPE_CHECKING:
    from hermes.home.background import Stopped
    from hermes.home.locks import GatewayProcess
    from hermes.home.paths import Home

app = new_app("Run, start, stop and install the server.")
app.info.no_args_is_help = False


@app.callback(invoke_without_command=True)
def gateway(ctx: typer.Context) -> None:
    """Run, start, stop and install the server. Without a command: run it in the foreground.

    The first start in an empty home makes the home, with a random API key.
    """
    if ctx.invoked_subcommand is None:
        _run(call_of(ctx))


@app.command()
def run(ctx: typer.Context) -> None:
    """Run the server in the foreground, until Ctrl+C or SIGTERM."""
    _run(call_of(ctx))


@app.command()
def start(ctx: typer.Context) -> None:
    """Start it in the background, and return when it answers. What it prints goes to logs/gateway.out."""
    from hermes.gateway import background
    from hermes.home.locks import running_gateway
    from hermes.home.paths import create_home

    call = call_of(ctx)
    home = call.home()
    if create_home(home):
        print(background.made_home(home), end="", flush=True)
    running = running_gateway(home.pid_file)
    if running is None and _has_unit(call, home):
        _start_unit(call, home)
        return
    started = background.start(home, call.environ)
    if started.was_running:
        print(f"It runs already: {_where(started.process)}")
        return
    print(started.output, end="")
    _tell_background(home, started.process)


@app.command()
def stop(ctx: typer.Context) -> None:
    """Stop it. Open runs get `api_server.drain_timeout`, then they are told as interrupted."""
    from hermes.gateway import background, service

    call = call_of(ctx)
    home = call.home()
    _tell_open_runs(call, home)
    stopped = background.stop(home, call.environ)
    if _has_unit(call, home):
        service.stop(home, call.environ)
    if stopped is None:
        print("It does not run.")
    else:
        _tell_stopped(stopped)


@app.command()
def restart(ctx: typer.Context) -> None:
    """Stop it as `stop` does, and start it again on the same port. With wrong settings it is not stopped."""
    from hermes.gateway import background
    from hermes.home.settings import load_settings

    call = call_of(ctx)
    home = call.home()
    _tell_open_runs(call, home)
    if _has_unit(call, home):
        background.check_start(home, load_settings(home, call.environ))
        was_running = background.stop(home, call.environ)
        if was_running is not None:
            _tell_stopped(was_running)
        _start_unit(call, home)
        return
    stopped, started = background.restart(home, call.environ)
    if stopped is not None:
        _tell_stopped(stopped)
    print(started.output, end="")
    _tell_background(home, started.process)


@app.command()
def status(ctx: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False) -> None:
    """Show whether it runs and where. Exit code 1 when it does not."""
    from hermes.gateway import service
    from hermes.gateway.background import answers
    from hermes.home.locks import running_gateway

    call = call_of(ctx)
    home = call.home()
    process = running_gateway(home.pid_file)
    unit = service.entry(home, call.environ)
    answering = process is not None and process.url is not None and answers(process.url)
    if as_json:
        facts = {
            "running": process is not None,
            "answers": answering,
            "pid": process and process.pid,
            "url": process and process.url,
            "started_at": process and process.started_at,
            "unit": unit and str(unit),
        }
        print(json.dumps(facts))
    elif process is None:
        print(f"It does not run. Start it with: {home.command} gateway start")
    else:
        silent = process.url is not None and not answering
        print(f"It runs: {_where(process)}" + (", and does not answer" if silent else ""))
    if unit is not None and not as_json:
        print(f"Installed as {unit}")
    if process is None:
        raise typer.Exit(1)


@app.command()
def install(
    ctx: typer.Context,
    show: Annotated[bool, typer.Option("--print", help="Print what is written, and change nothing.")] = False,
) -> None:
    """Have it started with the machine, and start it now: by systemd as a unit of this user, at the login to a desktop,
    as a launch agent (macOS), from the Startup folder (Windows)."""
    from hermes.gateway import background, service
    from hermes.gateway.background import made_home
    from hermes.home.locks import running_gateway
    from hermes.home.paths import create_home

    call = call_of(ctx)
    home = call.home()
    if show:
        print(service.entry_text(home, call.environ), end="")
        return
    if create_home(home):
        print(made_home(home), end="")
    installed = service.install(home, call.environ)
    unit = service.unit_name(home)
    print(f"Wrote {installed.file}")
    _tell_left_out(call, home)
    if installed.kind != "systemd":
        print("It starts when you log in.")
        if running_gateway(home.pid_file) is None:
            started = background.start(home, call.environ)
            print(started.output, end="")
            _tell_background(home, started.process)
        return
    if installed.why is not None:
        print(f"systemd of this user does not answer here ({installed.why}). In a login session of yours:")
        print(f"  systemctl --user daemon-reload && systemctl --user enable --now {unit}")
    elif running_gateway(home.pid_file) is not None:
        print(f"It runs already, outside of systemd; hand it over with: {home.command} gateway restart")
    else:
        _start_unit(call, home)
    if installed.needs_linger:
        print("To have it run while you are not logged in, too: loginctl enable-linger")


@app.command()
def uninstall(ctx: typer.Context) -> None:
    """Have it started with the machine no more. What systemd runs is stopped. The home stays."""
    from hermes.gateway import service

    call = call_of(ctx)
    removed = service.uninstall(call.home(), call.environ)
    print("\n".join(f"Removed {file}" for file in removed) or "It was not installed.")


def _run(call: Call) -> None:
    home = call.home()
    from hermes.gateway.serve import run as serve

    serve(home, call.environ)


def _has_unit(call: Call, home: Home) -> bool:
    from hermes.gateway import service

    return service.is_installed(home, call.environ) and service.is_reachable(call.environ)


def _start_unit(call: Call, home: Home) -> None:
    """Says where it listens, as soon as it does."""
    from hermes.core.errors import HermesError
    from hermes.gateway import service
    from hermes.home.background import START_SECONDS
    from hermes.home.locks import running_gateway

    service.start(home, call.environ)
    unit = service.unit_name(home)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        process = running_gateway(home.pid_file)
        if process is not None and process.is_ready:
            if process.url is not None:
                print(f"[API Server] API server listening on {process.url}")
            print(f"Running as {unit} (pid {process.pid}); its log: {home.command} logs -f")
            return
        time.sleep(0.1)
    raise HermesError(f"{unit} was started and is not ready; see: journalctl --user -u {unit}")


def _tell_open_runs(call: Call, home: Home) -> None:
    """Best effort: a gateway that does not answer is stopped all the same."""
    from hermes.cli.gateway_client import gateway_client
    from hermes.core.errors import HermesError
    from hermes.home.settings import load_settings

    client = gateway_client(home, call.environ)
    try:
        active = client.get("/health/detailed")["active_agents"] if client is not None else 0
    except (HermesError, KeyError, TypeError):
        return
    if active:
        seconds = load_settings(home, call.environ, is_lenient=True).api_server.drain_timeout
        runs = "1 run is" if active == 1 else f"{active} runs are"
        print(f"{runs} open, and may go on for {seconds:g} s.", flush=True)


def _tell_stopped(stopped: Stopped) -> None:
    print(f"Stopped (pid {stopped.process.pid}) after {stopped.seconds:.1f} s.")


def _tell_background(home: Home, process: GatewayProcess) -> None:
    print(f"In the background (pid {process.pid}). Its log: {home.command} logs -f   Stop: {home.command} gateway stop")


def _tell_left_out(call: Call, home: Home) -> None:
    """A unit has another environment than this shell."""
    from hermes.home.names import env_names
    from hermes.home.settings import load_settings

    sources = load_settings(home, call.environ, is_lenient=True).sources
    names = [upper for upper, dotted in env_names().items() if sources.get(dotted) == "environment"]
    if names:
        print(
            f"Set in this shell only, so the unit does not have it: {', '.join(sorted(names))}; "
            f"keep it with: {home.command} config set NAME VALUE"
        )


def _where(process: GatewayProcess) -> str:
    minutes = max(0, int(time.time() - process.started_at)) // 60
    up = f"for {minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"for {minutes} min"
    return f"pid {process.pid}, {process.url or 'jobs only, its API is off'}, {up}"
