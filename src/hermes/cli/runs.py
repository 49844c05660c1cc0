"""`hermes runs`: look at runs, watch one, answer its questions, end it.

What has happened is read from the store; what goes on is the running gateway's to tell.
"""

from __future__ import annotations

import json
import sys
import urllib.parse
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hermes.cli.context import Call, call_of, new_app, open_store, plain, table
from hermes.cli.render import PlainView, one_line, question_text
from hermes.core.errors import ConfigError, HermesError, InvalidInput, NotFound

if TYPE_CHECKING:
    from hermes.cli.gateway_client import GatewayClient
    from hermes.core.run import Run

app = new_app("List, watch, approve and stop runs.")

OWNER = "owner"
PAGE = 500
ANSWERS = {"y": "once", "yes": "once", "s": "session", "a": "always", "n": "deny", "no": "deny"}
CHOICES = ("once", "session", "always", "deny")

RunId = Annotated[str, typer.Argument(help="Its id: run_…")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON.")]


@app.command("list")
def list_runs(
    ctx: typer.Context,
    session: Annotated[str | None, typer.Option(help="Only those of this session.")] = None,
    status: Annotated[str | None, typer.Option(help="Only those: running, waiting_for_approval, failed, …")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the runs, the newest first."""
    from hermes.core.run import RunStatus
    from hermes.runs.run_object import run_object
    from hermes.store import runs as run_store

    if status is not None and status not in set(RunStatus):
        raise InvalidInput(f"--status is one of {', '.join(RunStatus)}, not {status!r}", param="status")
    statuses = () if status is None else (RunStatus(status),)
    call = call_of(ctx)
    with open_store(call, call.home()) as database:
        found = database.read_now(
            lambda conn: run_store.list_runs(conn, OWNER, session_id=session, statuses=statuses, limit=limit)
        )
    if as_json:
        print(json.dumps([run_object(run) for run in found], indent=2, ensure_ascii=False))
    elif not found:
        print("No runs here.")
    else:
        rows = [
            (run.id, run.status.value, _time(run.created_at), run.source, run.session_id, one_line(_outcome(run)))
            for run in found
        ]
        print(table([("id", "status", "started", "source", "session", "output or error"), *rows]))


@app.command()
def show(ctx: typer.Context, run_id: RunId, as_json: AsJson = False) -> None:
    """Show a run: its status, what it said and used, and what it asks."""
    run = _look(call_of(ctx), run_id)
    if as_json:
        print(json.dumps(run, indent=2, ensure_ascii=False))
        return
    usage = run["usage"]
    cost = "" if usage["cost_usd"] is None else f", {usage['cost_usd']:.4f} USD"
    facts = [
        ("run", run["run_id"]),
        ("session", run["session_id"]),
        ("status", run["status"]),
        ("model", run["model"]),
        ("started", _time(run["started_at"]) if run["started_at"] else ""),
        ("finished", _time(run["finished_at"]) if run["finished_at"] else ""),
        ("tokens", f"{usage['input_tokens']} in, {usage['output_tokens']} out, {usage['api_calls']} model calls{cost}"),
        ("error", plain((run["error"] or {}).get("message", ""))),
    ]
    print(table([(name, value) for name, value in facts if value]))
    for question in run["approvals"]:
        print(f"\n{question_text(question)}\nAnswer with: hermes runs approve {run_id}")
    if run["output"]:
        print(f"\n{plain(run['output'])}")


@app.command()
def watch(
    ctx: typer.Context,
    run_id: RunId,
    after: Annotated[int, typer.Option(min=0, help="Only what comes behind this event.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Write each event as a line of JSON.")] = False,
) -> None:
    """Follow a run to its end, from its beginning; Ctrl+C stops the watching, not the run.

    Exit code 0: it completed; 1: it ended otherwise.
    """
    view = PlainView()
    last: Mapping[str, Any] = {}
    for last in _events(call_of(ctx), run_id, after):
        text = json.dumps(last, ensure_ascii=False) + "\n" if as_json else view.show(last)
        sys.stdout.write(text)
        sys.stdout.flush()
    match last.get("event"):
        case "run.completed":
            return
        case "run.failed" | "run.cancelled" | "run.interrupted":
            raise typer.Exit(1)
    if last and "error" in last:
        raise HermesError(f"the gateway stopped telling: {plain(str(last['error'].get('message', '')))}")
    raise HermesError(
        f"run {run_id} has not ended, and the gateway that could go on with it does not run: hermes gateway start"
    )


@app.command()
def stop(ctx: typer.Context, run_id: RunId) -> None:
    """End a run: its model call and its tools."""
    from hermes.cli.gateway_client import need_gateway

    call = call_of(ctx)
    need_gateway(call.home(), call.environ).post(f"{_path(run_id)}/stop")
    print(f"Stopping {run_id}; what it said so far is kept.")


@app.command()
def approve(
    ctx: typer.Context,
    run_id: RunId,
    choice: Annotated[str | None, typer.Argument(help=f"{', '.join(CHOICES)}; you are asked without it.")] = None,
    approval_id: Annotated[str | None, typer.Option("--approval-id", help="Which question; else the oldest.")] = None,
    all_pending: Annotated[bool, typer.Option("--all", help="Every question that waits now.")] = False,
    reason: Annotated[str | None, typer.Option(help="Told to the model with a denial.")] = None,
) -> None:
    """Answer what a run asks about a dangerous call: once, for the session, always, or deny."""
    from hermes.cli.gateway_client import need_gateway

    if choice is not None and choice not in CHOICES:
        raise InvalidInput(f"the choice is one of {', '.join(CHOICES)}, not {choice!r}", param="choice")
    call = call_of(ctx)
    client = need_gateway(call.home(), call.environ)
    if choice is not None:
        answer = {"choice": choice, "approval_id": approval_id, "all": all_pending, "reason": reason}
        _answer(client, run_id, {name: value for name, value in answer.items() if value})
        return
    if not sys.stdin.isatty():
        raise ConfigError(f"there is nobody to ask: add one of {', '.join(CHOICES)}")
    waiting = [one for one in client.get(_path(run_id))["approvals"] if approval_id in (None, one["approval_id"])]
    if not waiting:
        raise HermesError(f"run {run_id} asks nothing now", code="approval_not_pending")
    for question in waiting:
        chosen = _ask(question)
        body = {"choice": chosen, "approval_id": question["approval_id"]}
        _answer(client, run_id, body | ({"reason": reason} if reason else {}))


@app.command()
def answer(
    ctx: typer.Context,
    run_id: RunId,
    text: Annotated[str, typer.Argument(help="What you say.")],
    clarify_id: Annotated[str | None, typer.Option("--clarify-id", help="Which question; else the oldest.")] = None,
) -> None:
    """Answer what the model of a run asks."""
    from hermes.cli.gateway_client import need_gateway

    call = call_of(ctx)
    body = {"answer": text, "clarify_id": clarify_id}
    need_gateway(call.home(), call.environ).post(f"{_path(run_id)}/clarify", body)
    print(f"Told {run_id}.")


def _look(call: Call, run_id: str) -> dict[str, Any]:
    """The run as GET /v1/runs/{id} tells it: from the gateway, which knows what it asks, else from the store."""
    from hermes.cli.gateway_client import gateway_client
    from hermes.runs.run_object import run_object
    from hermes.store import runs as run_store

    home = call.home()
    client = gateway_client(home, call.environ)
    if client is not None:
        found: dict[str, Any] = client.get(_path(run_id))
        return found
    with open_store(call, home) as database:
        run = database.read_now(run_store.get, run_id)
    return run_object(_owned(run, run_id))


def _events(call: Call, run_id: str, after: int) -> Iterator[Mapping[str, Any]]:
    """Live from the gateway, or what the store has of it."""
    from hermes.cli.gateway_client import gateway_client
    from hermes.core.event import event_data
    from hermes.store import events as event_store
    from hermes.store import runs as run_store

    home = call.home()
    client = gateway_client(home, call.environ)
    if client is not None:
        yield from client.events(f"{_path(run_id)}/events", {"after": after})
        return
    with open_store(call, home) as database:
        _owned(database.read_now(run_store.get, run_id), run_id)
        while rows := database.read_now(event_store.after, run_id, after, PAGE):
            for kept in rows:
                about = {"event": kept.event.name, "run_id": run_id, "seq": kept.seq, "timestamp": kept.timestamp}
                yield about | event_data(kept.event)
            after = rows[-1].seq


def _owned(run: Run | None, run_id: str) -> Run:
    if run is None or run.owner != OWNER:
        raise NotFound(f"no run {run_id!r}; list them with: hermes runs list", code="run_not_found")
    return run


def _answer(client: GatewayClient, run_id: str, body: Mapping[str, Any]) -> None:
    told = client.post(f"{_path(run_id)}/approval", body)
    count = told["resolved"]
    print(f"{told['choice']}: {count} question{'' if count == 1 else 's'} answered.")


def _ask(question: Mapping[str, Any]) -> str:
    """What the person at the terminal says."""
    print(question_text(question))
    may_allow_always = "always" in question["choices"]
    words = "[y]es, once · for this [s]ession · " + ("[a]lways · " if may_allow_always else "") + "[n]o: "
    while True:
        said = input(words).strip().lower()
        chosen = said if said in CHOICES else ANSWERS.get(said)
        if chosen is not None and chosen in question["choices"]:
            return chosen


def _path(run_id: str) -> str:
    return f"/v1/runs/{urllib.parse.quote(run_id, safe='')}"


def _outcome(run: Run) -> str:
    return run.output or (str(run.error.get("message", "")) if run.error else "")


def _time(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")
