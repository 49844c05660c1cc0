"""Names of commands, global options, errors."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys

import pytest

from hermes import __version__
from hermes.cli.main import COMMANDS
from hermes.core.errors import ConfigError
from hermes.home.paths import Home, create_home
from tests.support.cli import Hermes


def test_help_names_every_command_and_imports_none(hermes: Hermes) -> None:
    done = hermes("--help")
    assert done.code == 0
    for name, (_, text) in COMMANDS.items():
        assert f"  {name.ljust(max(map(len, COMMANDS)))}  {text}" in done.out
    code = "import sys; from hermes.cli.main import main\n"
    code += "try: main(['--help'])\nfinally: print(*sys.modules, file=sys.stderr)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr.split()
    heavy = {"pydantic", "ruamel.yaml", "rich", "asyncio", "aiohttp", "sqlalchemy", "starlette", "uvicorn"}
    assert not heavy & set(loaded)
    ours = {".".join(name.split(".")[:2]) for name in loaded if name.startswith("hermes.")}
    assert ours == {"hermes.cli", "hermes.core"}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(hermes: Hermes, name: str) -> None:
    importlib.import_module(COMMANDS[name][0])
    if name == "models":
        assert "scripted" in hermes(name, "--help").out
    done = hermes(name, "--help")
    assert done.code == 0
    assert done.out.startswith(f"Usage: hermes {name}")


@pytest.mark.parametrize("arguments", [("nope",), ("config", "nope"), ("--nope",), ("config", "get"), ("gateway", "x")])
def test_a_command_that_does_not_exist_exits_2_without_a_traceback(hermes: Hermes, arguments: tuple[str, ...]) -> None:
    done = hermes(*arguments)
    assert done.code == 2
    assert "Error: " in done.err
    assert "Traceback" not in done.err


def test_the_version_is_shown_in_two_ways(hermes: Hermes) -> None:
    assert hermes("--version").out == f"hermes {__version__}\n"
    assert hermes("version").out.startswith(f"hermes {__version__} (Python 3.")


def test_an_unknown_profile_exits_2_with_the_command_that_makes_it(hermes: Hermes) -> None:
    for command in (("config", "show"), ("gateway",), ("model",)):
        done = hermes("-p", "bob", *command)
        assert done.code == 2
        assert done.err.startswith("hermes: no profile 'bob'")
        assert done.err.endswith("hermes profile create bob\n")


@pytest.mark.parametrize("name", ["..", "../x", "a/b", "", "Alice"])
def test_a_profile_is_a_name_and_never_a_path(hermes: Hermes, name: str) -> None:
    done = hermes("-p", name, "config", "set", "model.default", "x")
    assert done.code == 2
    assert "cannot be a profile's name" in done.err
    assert not hermes.home.path.exists()


def test_a_profile_can_be_named_in_two_ways(hermes: Hermes) -> None:
    hermes("profile", "create", "alice")
    for option in (("-p", "alice"), ("--profile", "alice"), ("--profile=alice",), ("-palice",)):
        assert hermes(*option, "config", "path").out == f"{hermes.home.path}/profiles/alice/config.yaml\n"


def test_with_HERMES_DEBUG_an_error_shows_where_it_comes_from(hermes: Hermes) -> None:  # noqa: N802
    hermes.environ["HERMES_DEBUG"] = "1"
    with pytest.raises(ConfigError):
        hermes("-p", "bob", "config", "show")


def test_a_home_that_cannot_be_made_is_an_error_in_one_line(hermes: Hermes) -> None:
    hermes.home.path.write_text("a file")
    done = hermes("config", "set", "model.default", "x")
    assert done.code == 1
    (line,) = done.err.splitlines()
    assert str(hermes.home.path) in line


@pytest.mark.skipif(os.name == "nt", reason="a pipe of a shell")
def test_a_reader_that_goes_away_is_no_error(hermes: Hermes) -> None:
    create_home(hermes.home)
    environ = {"PATH": os.environ["PATH"], "HERMES_HOME": str(hermes.home.path)}
    command = f"{sys.executable} -m hermes config show --all | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], env=environ, capture_output=True, text=True, check=False
    )
    assert done.stdout == f"# {hermes.home.path}\n"
    assert done.stderr == ""


def test_output_has_no_colour_in_a_pipe(hermes: Hermes) -> None:
    hermes("profile", "create", "alice")
    for arguments in (("--help",), ("config", "show"), ("profile", "list"), ("nope",)):
        done = hermes(*arguments)
        assert "\x1b" not in done.out + done.err


def test_a_home_named_by_the_environment_may_be_a_profile(hermes: Hermes) -> None:
    hermes("profile", "create", "alice")
    hermes.home = Home(hermes.home.path / "profiles" / "alice", "alice")
    assert hermes("config", "path").out == f"{hermes.home.config_file}\n"
    assert hermes("-p", "default", "config", "path").out == f"{hermes.home.root / 'config.yaml'}\n"
