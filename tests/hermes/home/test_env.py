"""The .env file: read as dotenv, written a line at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes.core.errors import ConfigError, InvalidInput
from hermes.home.env import env_problems, read_env, set_env, unset_env


@pytest.fixture
def env(tmp_path: Path) -> Path:
    return tmp_path / ".env"


def test_a_missing_file_says_nothing(env: Path) -> None:
    assert read_env(env) == {}
    assert env_problems(env) == []


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=plain", "plain"),
        ("A = spaced", "spaced"),
        ("export A=exported", "exported"),
        ("A=value # a comment", "value"),
        ("A=val#ue", "val#ue"),
        ("A='single # quoted'", "single # quoted"),
        ('A="double # quoted" # comment', "double # quoted"),
        ('A="line\\nbreak"', "line\nbreak"),
        ("A='no\\nescape'", "no\\nescape"),
        ("A='two\nlines'", "two\nlines"),
        ("A=$HOME/${USER}", "$HOME/${USER}"),
        ("A=a=b=c", "a=b=c"),
        ("A=first\nA=last", "last"),
        ("\ufeffA=after a byte order mark", "after a byte order mark"),
        ("A=windows\r\nB=x\r\n", "windows"),
    ],
)
def test_the_dotenv_grammar_is_read(env: Path, line: str, value: str) -> None:
    env.write_bytes(line.encode())
    assert read_env(env)["A"] == value


@pytest.mark.parametrize("line", ["A=", "A=''", 'A=""', "A= # nothing", "A", "# A=1"])
def test_an_empty_value_is_unset(env: Path, line: str) -> None:
    env.write_text(line + "\nB=1\n")
    assert read_env(env) == {"B": "1"}


def test_a_line_that_cannot_be_read_is_named_by_number_and_not_shown(env: Path) -> None:
    env.write_text("A=1\n\nKEY='secret-without-end\nB=2\n")
    (problem,) = env_problems(env)
    assert problem.startswith(".env: line 3 cannot be read")
    assert "secret" not in problem
    assert read_env(env)["A"] == "1"


def test_what_is_not_text_is_a_config_error_that_names_the_file(env: Path) -> None:
    env.write_bytes(b"A=\xff\xfe\n")
    with pytest.raises(ConfigError, match=str(env)):
        read_env(env)


BEFORE = """\
# my keys

export OPENAI_API_KEY=old  # work account
# API_SERVER_PORT=8642
OTHER='two
lines'
"""


def test_a_changed_value_leaves_every_other_line_and_its_own_comment(env: Path) -> None:
    env.write_text(BEFORE)
    set_env(env, "OPENAI_API_KEY", "new")
    assert env.read_text() == BEFORE.replace("=old ", "=new ")


def test_a_new_value_goes_below_the_comment_that_shows_it(env: Path) -> None:
    env.write_text(BEFORE)
    set_env(env, "API_SERVER_PORT", "8700")
    shown = "# API_SERVER_PORT=8642\n"
    assert env.read_text() == BEFORE.replace(shown, shown + "API_SERVER_PORT=8700\n")


def test_a_new_value_goes_to_the_end_otherwise_even_without_a_last_line_break(env: Path) -> None:
    env.write_text("A=1")
    set_env(env, "B", "2")
    assert env.read_text() == "A=1\nB=2\n"


def test_of_several_lines_for_a_name_one_remains(env: Path) -> None:
    env.write_text("A=1\nB=2\nA=3\n")
    set_env(env, "A", "4")
    assert env.read_text() == "B=2\nA=4\n"


def test_removing_takes_all_lines_of_the_name(env: Path) -> None:
    env.write_text("# one\nA=1\nB=2\nexport A=3\n# end\n")
    assert unset_env(env, "A")
    assert env.read_text() == "# one\nB=2\n# end\n"
    assert not unset_env(env, "A")


@pytest.mark.parametrize("name", ["", "1A", "A B", "A=B", "A\nB", "A-B", "É"])
def test_what_is_no_name_is_refused(env: Path, name: str) -> None:
    with pytest.raises(InvalidInput):
        set_env(env, name, "x")
    assert not env.exists()


@pytest.mark.parametrize("value", ["", "a\0b", "a\rb", "\ud800"])
def test_what_cannot_be_a_value_is_refused(env: Path, value: str) -> None:
    with pytest.raises(InvalidInput):
        set_env(env, "A", value)
    assert not env.exists()


@given(
    value=st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"]), min_size=1),
    other=st.sampled_from(["", "B=1\n", "B='x\ny'\n", '# c\n\nexport B="q" # d', "A='old' # kept\nB=2\n"]),
)
def test_any_value_comes_back_as_it_was_and_others_stay(tmp_path_factory, value: str, other: str) -> None:
    path = tmp_path_factory.mktemp("env") / ".env"
    path.write_text(other)
    before = {name: kept for name, kept in read_env(path).items() if name != "A"}
    set_env(path, "A", value)
    assert read_env(path) == {**before, "A": value}


def test_writers_at_the_same_time_lose_nothing(env: Path) -> None:
    names = [f"NAME_{number}" for number in range(20)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: set_env(env, name, name.lower()), names))
    assert read_env(env) == {name: name.lower() for name in names}
