"""What every command has in common: help, exit codes, the language."""

import pytest

from hermes import __version__
from hermeslink.cli.main import COMMANDS

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")


def test_help_names_every_command(hermeslink):
    done = hermeslink("--help")
    assert done.code == 0
    assert all(f"  {name} " in done.out for name in COMMANDS)


@pytest.mark.parametrize("name", list(COMMANDS))
def test_each_command_says_what_it_does(hermeslink, name):
    done = hermeslink(name, "--help")
    assert (done.code, done.err) == (0, "")
    assert f"hermeslink {name}" in done.out


def test_the_version_is_the_products(hermeslink):
    assert hermeslink("version").out == hermeslink("--version").out == f"hermeslink {__version__}\n"


def test_a_command_that_is_not_there_is_exit_2(hermeslink):
    assert hermeslink("pear").code == 2


def test_a_file_that_cannot_be_read_stops_the_command_that_needs_it(hermeslink):
    hermeslink.home.config_file.write_text("{")
    assert hermeslink("version").code == 0
    done = hermeslink("status")
    assert done.code == 2
    assert "config.json is no JSON" in done.err
