"""`hermes doctor`: what is wrong or unsafe, and the command that mends it."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from hermes.cli.context import call_of, new_app

if TYPE_CHECKING:
    from hermes.doctor import Finding
    from hermes.doctor.backends import Place

app = new_app("Find what is wrong or unsafe, and say how to mend it.")
app.info.no_args_is_help = False


@app.callback(invoke_without_command=True)
def doctor(
    ctx: typer.Context,
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask the language model anything.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Find what is wrong or unsafe, and say how to mend it. Exit code 1 when something is; notes do not count.

    It changes nothing. The language model gets one short question, with its key, as a run would send it.
    """
    from hermes.doctor import diagnose

    call = call_of(ctx)
    diagnosis = diagnose(call.home(), call.environ, now=time.time(), asks_model=not offline)
    wrong = sum(finding.is_wrong for finding in diagnosis.findings)
    if as_json:
        told = {
            "ok": wrong == 0,
            "findings": [asdict(finding) for finding in diagnosis.findings],
            "backends": {place.name: place.problem or "works" for place in diagnosis.places},
        }
        print(json.dumps(told))
    else:
        for finding in diagnosis.findings:
            print(_text(finding))
        if diagnosis.places:
            print(f"Commands can run: {', '.join(_place(place) for place in diagnosis.places)}.")
        examined = ", ".join(diagnosis.examined)
        print(f"{wrong} to mend." if wrong else f"Nothing is wrong. Examined: {examined}.")
    if wrong:
        raise typer.Exit(1)


def _place(place: Place) -> str:
    return f"not {place.name} ({place.problem})" if place.problem else place.name


def _text(finding: Finding) -> str:
    mend = f"\n  {finding.mend}" if finding.mend else ""
    return f"{finding.severity.value}: {finding.text} [{finding.name}]{mend}"
