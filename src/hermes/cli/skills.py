"""`hermes skills`: written ways to do something, which the agent reads when one fits."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hermes.cli.context import Call, call_of, new_app, plain, table
from hermes.core.errors import ConfigError, HermesError

if TYPE_CHECKING:
    from hermes.home.skills import Skill, Skills

app = new_app("List, show, install and switch skills: written ways to do something.")

Name = Annotated[str, typer.Argument(help="As `hermes skills list` shows it.")]


@app.command("list")
def list_all(ctx: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False) -> None:
    """List the skills of this home and the built-in ones."""
    found = _skills(call_of(ctx)).all()
    if as_json:
        print(json.dumps([_facts(skill) for skill in found], indent=2, ensure_ascii=False))
        return
    rows = [(plain(skill.full_name), _state(skill), plain(skill.description)) for skill in found]
    print(table([("name", "state", "description"), *rows]))


@app.command()
def show(ctx: typer.Context, name: Name) -> None:
    """Print a skill's text and the files beside it."""
    from hermes.home.skill_files import other_files

    skill = _skills(call_of(ctx)).find(name)
    print(plain(f"# {skill.full_name} ({_state(skill)}), {skill.folder}"))
    for path in other_files(skill):
        print(plain(f"# with {path}"))
    print(plain(skill.file.read_text("utf-8", errors="replace")), end="")


@app.command()
def install(
    ctx: typer.Context,
    path: Annotated[Path, typer.Argument(help="A folder with a SKILL.md.")],
    category: Annotated[str | None, typer.Option("--category", metavar="NAME", help="The folder above it.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="In the place of one of this name.")] = False,
    trust: Annotated[
        bool, typer.Option("--trust", help="Also where its text looks like orders to go around you: read it first.")
    ] = False,
) -> None:
    """Copy a skill into this home. Nothing of it runs until the agent does what it says."""
    from hermes.home.paths import create_home
    from hermes.home.skill_files import install, other_files

    home = call_of(ctx).home()
    create_home(home)
    skill = install(_skills(call_of(ctx)), path.expanduser(), category=category, replaces=replace, trusts=trust)
    print(f"Installed {skill.full_name} in {skill.folder}.")
    scripts = [path for path in other_files(skill) if path.startswith("scripts/")]
    if scripts:
        print(plain(f"It has scripts; read them before the agent runs them: {', '.join(scripts)}"))


@app.command()
def enable(ctx: typer.Context, name: Name) -> None:
    """Tell the agent of a skill again."""
    _switch(call_of(ctx), name, is_on=True)


@app.command()
def disable(ctx: typer.Context, name: Name) -> None:
    """Do not tell the agent of a skill. Its files stay."""
    _switch(call_of(ctx), name, is_on=False)


@app.command()
def remove(
    ctx: typer.Context, name: Name, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False
) -> None:
    """Delete a skill of this home with all its files."""
    from hermes.home import skill_files

    skills = _skills(call_of(ctx))
    skill = skills.find(name)
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigError("this deletes for good, and there is nobody to ask: add --yes")
        if input(f"Delete {skill.folder}? [y/N] ").strip().lower() not in ("y", "yes"):
            raise HermesError("nothing was deleted", code="not_confirmed")
    skill_files.remove(skills, skill)
    print(f"Removed {skill.full_name}.")


def _switch(call: Call, name: str, *, is_on: bool) -> None:
    from hermes.home.paths import create_home
    from hermes.home.skills import switch_skill

    home = call.home()
    create_home(home)
    skill = _skills(call).find(name)
    switch_skill(home.config_file, skill.name, is_on=is_on)
    print(f"{skill.full_name} is {'enabled' if is_on else 'disabled'}. Sessions that begin from now on are told.")


def _skills(call: Call) -> Skills:
    from hermes.home.skills import Skills

    home = call.home()
    return Skills(home.skills_dir, home.config_file)


def _state(skill: Skill) -> str:
    return ", ".join(("on" if skill.is_enabled else "off", *(("built in",) if skill.is_builtin else ())))


def _facts(skill: Skill) -> dict[str, Any]:
    return {
        "name": skill.name,
        "category": skill.category,
        "description": skill.description,
        "enabled": skill.is_enabled,
        "builtin": skill.is_builtin,
        "path": str(skill.folder),
    }
