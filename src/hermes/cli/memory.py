"""`hermes memory`: what the agent remembers, and whom it works for."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hermes.cli.context import Call, call_of, new_app, open_store, plain
from hermes.core.errors import ConfigError, HermesError, NotFound

if TYPE_CHECKING:
    from hermes.home.memory import Memories, Memory, Target

app = new_app("Show, edit and forget what the agent remembers.")


class Which(StrEnum):
    MEMORY = "memory"
    USER = "user"
    ALL = "all"


SessionKey = Annotated[
    str | None, typer.Option("--session-key", metavar="TEXT", help="Of the visitor with this X-Hermes-Session-Key.")
]
KeyName = Annotated[str | None, typer.Option("--key", metavar="NAME", help="Of whoever has this API key.")]


@app.command()
def show(
    ctx: typer.Context,
    which: Annotated[Which, typer.Argument(help="memory (its notes), user (who you are), or all.")] = Which.ALL,
    session_key: SessionKey = None,
    key: KeyName = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Show the entries, how full each file is, and what of it the model is not shown."""
    from hermes.core.injection import suspicion

    memories = _memories(call_of(ctx), session_key, key)
    files = [memories.read(target) for target in _targets(which)]
    if as_json:
        print(json.dumps([_facts(file) for file in files], indent=2, ensure_ascii=False))
        return
    for file in files:
        print(f"{file.target.file_name}  {file.usage if file.limit else 'switched off'}  {file.path}")
        if file.problem:
            print(f"  problem: {file.problem}")
        if not file.entries:
            print("  nothing")
        for number, entry in enumerate(file.entries, 1):
            print(f"  {number}. " + plain(entry).replace("\n", "\n     "))
            reason = suspicion(entry)
            if reason is not None:
                print(f"     not shown to the model: it {reason}")


@app.command()
def edit(
    ctx: typer.Context,
    which: Annotated[Which, typer.Argument(help="memory or user.")],
    session_key: SessionKey = None,
    key: KeyName = None,
    source: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="Take the text from a file; - is stdin.")
    ] = None,
) -> None:
    """Open one file in $VISUAL or $EDITOR. Lines with a single § part the entries."""
    from hermes.core.injection import suspicion
    from hermes.home.memory import Target, render

    if which is Which.ALL:
        raise ConfigError("edit one file: hermes memory edit memory, or user")
    call = call_of(ctx)
    memories, target = _memories(call, session_key, key), Target(which.value)
    before = memories.read(target)
    if before.problem:
        raise HermesError(before.problem)
    text = render(before.entries)
    with tempfile.TemporaryDirectory(prefix="hermes-memory-") as directory:
        copy = Path(directory) / target.file_name
        new = _read(source) if source is not None else _edited(copy, text, call.environ)
    if new == text:
        print("Nothing was changed.")
        return
    try:
        after = memories.replace_text(target, new, instead_of=before.entries)
    except HermesError as error:
        raise HermesError(f"{error.message}; {_keep(new, target)}", code=error.code) from error
    print(f"{target.file_name}: {len(after.entries)} entries, {after.usage}. Sessions that begin from now on are told.")
    if after.characters > after.limit:
        typer.echo("It is over its limit: the model is shown its beginning, and can add nothing.", err=True)
    for number, entry in enumerate(after.entries, 1):
        reason = suspicion(entry)
        if reason is not None:
            typer.echo(f"Entry {number} is not shown to the model: it {reason}.", err=True)


@app.command()
def reset(
    ctx: typer.Context,
    which: Annotated[Which, typer.Argument(help="memory, user or all.")],
    session_key: SessionKey = None,
    key: KeyName = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Forget everything in one file, or in both."""
    memories = _memories(call_of(ctx), session_key, key)
    targets = _targets(which)
    names = " and ".join(target.file_name for target in targets)
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigError("this forgets for good, and there is nobody to ask: add --yes")
        if input(f"Forget all of {names}? [y/N] ").strip().lower() not in ("y", "yes"):
            raise HermesError("nothing was forgotten", code="not_confirmed")
    forgotten = [target.file_name for target in targets if memories.reset(target)]
    print(f"Forgot {' and '.join(forgotten)}." if forgotten else f"There was nothing in {names}.")


def _memories(call: Call, session_key: str | None, key: str | None) -> Memories:
    from hermes.core.key import OWNER
    from hermes.home.memory import Memories, memory_limits
    from hermes.home.settings import load_settings

    home = call.home()
    settings = load_settings(home, call.environ, is_lenient=True)
    owner = OWNER if key is None else _key_id(call, key)
    return Memories(home.memories_dir, memory_limits(settings)).of(owner, session_key)


def _key_id(call: Call, name: str) -> str:
    """Of a key that was revoked, too: what was remembered for it is still there."""
    from hermes.store import keys

    with open_store(call, call.home()) as database:
        found = [each for each in database.read_now(keys.list_keys) if name in (each.name, each.id)]
    if not found:
        raise NotFound(f"no key {name!r}; list them with: {call.home().command} keys list")
    return max(found, key=lambda each: each.revoked_at is None).id


def _targets(which: Which) -> list[Target]:
    from hermes.home.memory import Target

    return list(Target) if which is Which.ALL else [Target(which.value)]


def _facts(file: Memory) -> dict[str, object]:
    return {
        "target": file.target,
        "path": str(file.path),
        "entries": list(file.entries),
        "characters": file.characters,
        "limit": file.limit,
        "percent": file.percent,
        "updated_at": file.updated_at,
        "problem": file.problem or None,
    }


def _read(source: Path) -> str:
    data = sys.stdin.buffer.read() if str(source) == "-" else source.expanduser().read_bytes()
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{source} is not UTF-8 text") from None


def _edited(copy: Path, text: str, environ: dict[str, str]) -> str:
    """What the editor leaves; the lock is not held meanwhile."""
    editor = environ.get("VISUAL", "").strip() or environ.get("EDITOR", "").strip() or "vi"
    copy.write_text(text, encoding="utf-8")
    try:
        ended = subprocess.run([*shlex.split(editor), str(copy)], env={**os.environ, **environ}, check=False)
    except (OSError, ValueError) as error:
        raise ConfigError(f"the editor {editor!r} does not start ({error}); set EDITOR, or use --from FILE") from None
    if ended.returncode:
        raise HermesError(f"{editor} ended with exit code {ended.returncode}; nothing was changed")
    return _read(copy)


def _keep(text: str, target: Target) -> str:
    """Where the text went that could not be written: an editor's work is not thrown away."""
    handle, name = tempfile.mkstemp(prefix="hermes-", suffix=f"-{target.file_name}")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    return f"your text is in {name}"
