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


@pytest.mark.parametrize(
    "environ", [{"HERMESLINK_LANG": "zh-CN"}, {"LANG": "zh_CN.UTF-8"}, {"LC_ALL": "zh_CN.UTF-8", "LANG": "en_US"}]
)
def test_it_speaks_the_language_of_the_terminal_or_of_its_variable(hermeslink, environ):
    hermeslink.environ |= environ
    assert "配对" in hermeslink("--help").out
    assert "没有运行" in hermeslink("stop").out


def test_the_setting_beats_the_terminal_and_english_is_what_else_there_is(hermeslink):
    hermeslink.environ["LANG"] = "zh_CN.UTF-8"
    assert hermeslink("config", "set", "language", "en").code == 0
    assert "It does not run." in hermeslink("stop").out
    hermeslink.environ["LANG"] = "fr_FR.UTF-8"
    hermeslink("config", "set", "language", "auto")
    assert "It does not run." in hermeslink("stop").out


def test_a_file_that_cannot_be_read_stops_the_command_that_needs_it(hermeslink):
    hermeslink.home.config_file.write_text("{")
    assert hermeslink("version").code == 0
    done = hermeslink("status")
    assert done.code == 2
    assert "config.json is no JSON" in done.err
