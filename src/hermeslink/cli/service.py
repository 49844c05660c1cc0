"""`hermeslink start`, `stop` and `restart`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hermeslink.cli.context import N_, _, call_of, new_app

if TYPE_CHECKING:
    from hermes.home.background import Started, Stopped

start = new_app(N_("Start Link, in the background or in the foreground."))
stop = new_app(N_("Stop it."))
restart = new_app(N_("Stop it and start it again."))


@start.command(
    help=N_("Start Link in the background, and return when it answers. What it prints goes to logs/link.out.")
)
def _start(
    ctx: typer.Context,
    foreground: Annotated[
        bool, typer.Option("--foreground", "-f", help=N_("Run here, until Ctrl+C or SIGTERM."))
    ] = False,
) -> None:
    call = call_of(ctx)
    if foreground:
        from hermeslink.service.serve import run

        run(call.home(), call.environ)
        return
    from hermeslink.service import background

    started = background.start(call.home(), call.environ)
    if started.was_running:
        print(_("It runs already: {url} (pid {pid})").format(url=started.process.url, pid=started.process.pid))
        return
    tell_started(started)


@stop.command(help=N_("Stop it. Open streams end, and devices come back by themselves when it runs again."))
def _stop(ctx: typer.Context) -> None:
    from hermeslink.service import background

    stopped = background.stop(call_of(ctx).home())
    if stopped is None:
        print(_("It does not run."))
    else:
        _tell_stopped(stopped)


@restart.command(help=N_("Stop it and start it again. With wrong settings it is not stopped."))
def _restart(ctx: typer.Context) -> None:
    from hermeslink.service import background

    call = call_of(ctx)
    stopped, started = background.restart(call.home(), call.environ)
    if stopped is not None:
        _tell_stopped(stopped)
    tell_started(started)


def tell_started(started: Started) -> None:
    print(started.output, end="")
    print(
        _("In the background (pid {pid}). Its log: hermeslink logs -f   Stop: hermeslink stop").format(
            pid=started.process.pid
        ),
        flush=True,
    )


def _tell_stopped(stopped: Stopped) -> None:
    print(_("Stopped (pid {pid}) after {seconds} s.").format(pid=stopped.process.pid, seconds=f"{stopped.seconds:.1f}"))
