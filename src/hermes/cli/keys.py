"""`hermes keys`: who may call the API, what each key may do and spend, and who changed what."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hermes.cli.context import Call, call_of, new_app, open_store, table
from hermes.core.errors import ConfigError, HermesError, InvalidInput

if TYPE_CHECKING:
    from hermes.core.key import Key
    from hermes.home.paths import Home
    from hermes.store.database import Database

app = new_app("Make, list, rotate and revoke API keys. A change holds for the next request; nothing is restarted.")

ACTOR = "cli"

Profile = Annotated[
    str | None, typer.Option("--profile", "-p", metavar="NAME", help="The profile whose API the key opens.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON.")]


@app.command()
def add(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="What you call it: letters, digits, ., _ and -.")],
    scope: Annotated[
        str, typer.Option(help="read, chat (read and everything that runs the agent) or admin (all); commas between.")
    ] = "chat",
    budget_usd: Annotated[float | None, typer.Option(help="What its runs may cost together. None: no limit.")] = None,
    tool_items: Annotated[
        str | None, typer.Option(help="function_call or mcp_call: responses.tool_items for this key.")
    ] = None,
    profile: Profile = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and show it, this once."""
    from hermes.core.ids import new_id
    from hermes.core.key import Key, checked_name, new_secret, parse_scopes
    from hermes.store import keys as key_store

    if tool_items not in (None, "function_call", "mcp_call"):
        raise InvalidInput(f"--tool-items is function_call or mcp_call, not {tool_items!r}", param="tool_items")
    if budget_usd is not None and not 0 <= budget_usd < 1e9:
        raise InvalidInput("--budget-usd is a number of dollars, 0 or more", param="budget_usd")
    key = Key(
        id=new_id("key"),
        name=checked_name(name),
        scopes=parse_scopes(scope),
        created_at=time.time(),
        tool_items=tool_items,
        budget_usd=budget_usd,
    )
    secret = new_secret()
    with _store(ctx, profile) as (_, database):
        database.write_now(key_store.add, key, _digest(secret), ACTOR, durable=True)
    _show_once(key, secret, as_json=as_json)


@app.command("list")
def list_keys(ctx: typer.Context, profile: Profile = None, as_json: AsJson = False) -> None:
    """List the named keys: what each may do, has spent, and when it was last used."""
    from hermes.store import keys as key_store

    with _store(ctx, profile) as (home, database):
        found = database.read_now(key_store.list_keys)
    if as_json:
        print(json.dumps([_facts(key) for key in found], indent=2))
        return
    if not found:
        print(f"No named keys; only the owner's API_SERVER_KEY. Make one with: {home.command} keys add NAME")
        return
    rows = [("name", "scope", "spent / budget (USD)", "made", "last used", "state", "id")]
    for key in found:
        budget = "no limit" if key.budget_usd is None else f"{key.budget_usd:g}"
        rows.append(
            (
                key.name,
                _scope_words(key),
                f"{key.spent_usd:.4f} / {budget}",
                _day(key.created_at),
                _day(key.last_used_at, "never"),
                _state(key),
                key.id,
            )
        )
    print(table(rows))


@app.command()
def revoke(ctx: typer.Context, name: str, profile: Profile = None) -> None:
    """End a key. Its next request is refused, its open streams end, its jobs are paused."""
    from hermes.core.key import OWNER
    from hermes.store import keys as key_store

    if name == OWNER:
        raise InvalidInput("the owner's key cannot be revoked, only replaced: hermes keys rotate owner", param="name")
    with _store(ctx, profile) as (_, database):
        key, paused = database.write_now(key_store.revoke, name, time.time(), ACTOR, durable=True)
    jobs = f", and {paused} of its jobs are paused" if paused else ""
    print(f"Revoked {key.name}: it opens nothing any more{jobs}. Runs it started go on to their end.")


@app.command()
def rotate(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="A key's name, or owner for API_SERVER_KEY.")],
    profile: Profile = None,
    as_json: AsJson = False,
) -> None:
    """Give a key a new value, shown this once. What it made stays its own; the value before opens nothing any more."""
    from hermes.core.key import OWNER, new_secret
    from hermes.store import keys as key_store

    if name == OWNER:
        _rotate_owner(ctx, profile, as_json=as_json)
        return
    secret = new_secret()
    with _store(ctx, profile) as (_, database):
        key = database.write_now(key_store.rotate, name, _digest(secret), time.time(), ACTOR, durable=True)
    _show_once(key, secret, as_json=as_json)


@app.command("audit")
def show_audit(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many entries, the newest last.")] = 50,
    profile: Profile = None,
    as_json: AsJson = False,
) -> None:
    """Show who changed keys and profiles, and what was allowed for always."""
    from hermes.store import audit

    with _store(ctx, profile) as (_, database):
        entries = database.read_now(audit.newest, limit)
    if as_json:
        told = [
            {"id": one.id, "at": one.at, "actor": one.actor, "action": one.action, "subject": one.subject}
            | {"detail": dict(one.detail)}
            for one in entries
        ]
        print(json.dumps(told, indent=2))
        return
    rows = [("when", "who", "what", "of", "more")]
    rows += [
        (_minute(one.at), one.actor, one.action, one.subject, json.dumps(dict(one.detail)) if one.detail else "")
        for one in entries
    ]
    print(table(rows) if entries else "Nothing was changed yet.")


def _rotate_owner(ctx: typer.Context, profile: str | None, *, as_json: bool) -> None:
    from hermes.core.key import OWNER
    from hermes.home.env import set_env
    from hermes.store import audit

    call = call_of(ctx)
    home = _home(call, profile)
    if call.environ.get("API_SERVER_KEY", "").strip():
        raise ConfigError(
            "API_SERVER_KEY is set in the environment, which beats .env: a new value in .env would open nothing. "
            "Change it where it is set, and restart the gateway."
        )
    if not home.exists():
        raise ConfigError(f"there is no home in {home.path} yet; it is made with: {home.command} gateway")
    secret = secrets.token_hex(32)
    set_env(home.env_file, "API_SERVER_KEY", secret)
    with _store(ctx, profile) as (_, database):
        database.write_now(audit.record, time.time(), ACTOR, "key.rotated", OWNER, durable=True)
    if as_json:
        print(json.dumps({"name": OWNER, "key": secret}))
    else:
        print(f"The owner's key is new; it is in {home.env_file}:")
        print(secret)
    _check_running_gateway(call, home)


def _check_running_gateway(call: Call, home: Home) -> None:
    """A gateway whose own environment has the key cannot follow, and this is the one place to notice."""
    from hermes.cli.gateway_client import GatewayRefused, gateway_client

    client = gateway_client(home, call.environ)
    if client is None:
        return
    try:
        client.get("/v1/models")
    except GatewayRefused as error:
        if error.status != 401:
            return
        raise HermesError(
            "the gateway that runs does not take the new key: its API_SERVER_KEY comes from the environment it was "
            "started with. Change it there, and restart the gateway.",
            code="key_not_applied",
        ) from error
    except HermesError:
        return


@contextmanager
def _store(ctx: typer.Context, profile: str | None) -> Iterator[tuple[Home, Database]]:
    call = call_of(ctx)
    home = _home(call, profile)
    with open_store(call, home) as database:
        yield home, database


def _home(call: Call, profile: str | None) -> Home:
    return (call if profile is None else replace(call, profile=profile)).home()


def _digest(secret: str) -> str:
    from hashlib import sha256

    return sha256(secret.encode()).hexdigest()


def _show_once(key: Key, secret: str, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({**_facts(key), "key": secret}))
        return
    print(f"The key {key.name} ({_scope_words(key)}). It is shown this once; nobody can read it again:")
    print(secret)


def _facts(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "scopes": sorted(key.scopes),
        "budget_usd": key.budget_usd,
        "spent_usd": key.spent_usd,
        "tool_items": key.tool_items,
        "created_at": key.created_at,
        "last_used_at": key.last_used_at,
        "revoked_at": key.revoked_at,
    }


def _scope_words(key: Key) -> str:
    from hermes.core.key import INCLUDES

    whole = next((scope for scope, includes in INCLUDES.items() if includes == key.scopes), None)
    return str(whole) if whole is not None else ",".join(sorted(key.scopes))


def _state(key: Key) -> str:
    if key.revoked_at is not None:
        return f"revoked {_day(key.revoked_at)}"
    if key.left_usd is not None and key.left_usd <= 0:
        return "budget spent"
    return "in force"


def _day(when: float | None, otherwise: str = "") -> str:
    return otherwise if when is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(when))


def _minute(when: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when))
