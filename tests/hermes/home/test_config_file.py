"""config.yaml: changed in place, every other byte left alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes.core.errors import ConfigError
from hermes.home.config_file import read_config, set_config, unset_config
from hermes.home.paths import CONFIG

FILE = """\
# top comment

model:
  default: gpt-5   # the quick one
  provider: "openai"

# Who is asked
approvals:
  mode: manual  # never off
  # what is never run
  deny:
    - rm *     # too much
    - 'git push*'
  # behind the list

api_server: {port: 8642, host: 127.0.0.1}  # one line
toolsets:
- terminal
- file

# the end
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(FILE)
    return path


def changed(config: Path, *pairs: tuple[str, str]) -> bool:
    """The file is FILE with these pieces exchanged, and nothing else."""
    text = FILE
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    assert config.read_text() == text
    return True


def test_a_missing_file_and_one_of_comments_say_nothing(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    assert read_config(path) == {}
    path.write_text(CONFIG)
    assert read_config(path) == {}


def test_a_scalar_is_changed_in_place(config: Path) -> None:
    set_config(config, ["model", "default"], "gpt-6")
    assert changed(config, ("default: gpt-5 ", "default: gpt-6 "))


def test_a_new_name_joins_its_section(config: Path) -> None:
    set_config(config, ["model", "base_url"], "http://127.0.0.1:1/v1")
    assert changed(config, ('provider: "openai"\n', 'provider: "openai"\n  base_url: http://127.0.0.1:1/v1\n'))


def test_a_new_section_comes_last(config: Path) -> None:
    set_config(config, ["limits", "max_steps"], 5)
    assert changed(config, ("# the end\n", "# the end\nlimits:\n  max_steps: 5\n"))


def test_a_new_section_comes_below_the_comment_that_shows_it(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("# terminal:\n#   timeout: 180\n\n# limits:\n")
    set_config(path, ["terminal", "timeout"], 60)
    assert path.read_text() == "# terminal:\n#   timeout: 180\nterminal:\n  timeout: 60\n\n# limits:\n"


def test_a_longer_list_keeps_its_items_and_their_comments(config: Path) -> None:
    set_config(config, ["approvals", "deny"], ["rm *", "git push*", "sudo *"])
    assert changed(config, ("- 'git push*'\n", "- 'git push*'\n    - sudo *\n"))


def test_another_list_replaces_the_items_and_keeps_what_is_around(config: Path) -> None:
    set_config(config, ["approvals", "deny"], ["sudo *"])
    assert changed(config, ("    - rm *     # too much\n    - 'git push*'\n", "    - sudo *\n"))


def test_an_emptied_list_stands_behind_its_name(config: Path) -> None:
    set_config(config, ["approvals", "deny"], [])
    assert changed(config, ("deny:\n    - rm *     # too much\n    - 'git push*'\n", "deny: []\n"))


def test_a_list_without_indentation_grows_in_its_own_way(config: Path) -> None:
    set_config(config, ["toolsets"], ["terminal", "file", "web"])
    assert changed(config, ("- file\n", "- file\n- web\n"))


def test_a_mapping_on_one_line_stays_on_one_line(config: Path) -> None:
    set_config(config, ["api_server", "port"], 8700)
    assert read_config(config)["api_server"] == {"port": 8700, "host": "127.0.0.1"}
    assert "# one line\n" in config.read_text()
    assert config.read_text().startswith(FILE.partition("api_server")[0])
    assert config.read_text().endswith(FILE.partition("# one line\n")[2])


def test_removing_takes_the_line_and_no_comment_of_others(config: Path) -> None:
    assert unset_config(config, ["approvals", "deny"])
    assert changed(config, ("  deny:\n    - rm *     # too much\n    - 'git push*'\n", ""))


def test_removing_the_last_name_of_a_section_takes_the_section(config: Path) -> None:
    unset_config(config, ["model", "default"])
    unset_config(config, ["model", "provider"])
    assert "model" not in read_config(config)
    assert "# top comment\n" in config.read_text()
    assert config.read_text().endswith(FILE.partition('"openai"\n')[2])


def test_removing_what_is_not_there_changes_nothing(config: Path) -> None:
    assert not unset_config(config, ["model", "base_url"])
    assert not unset_config(config, ["nothing", "here"])
    assert changed(config)


def test_a_section_with_nothing_behind_its_name_is_filled(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("model:\n  # default: x\n\napprovals:  # later\n")
    set_config(path, ["approvals", "timeout"], 30)
    set_config(path, ["model", "default"], "y")
    assert read_config(path) == {"model": {"default": "y"}, "approvals": {"timeout": 30}}
    for comment in ("# default: x", "# later"):
        assert comment in path.read_text()


def test_line_ends_of_windows_stay(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"# c\r\nmodel:\r\n  default: x # d\r\n")
    set_config(path, ["model", "provider"], "openai")
    assert path.read_bytes() == b"# c\r\nmodel:\r\n  default: x # d\r\n  provider: openai\r\n"


def test_a_value_behind_an_anchor_is_left_to_a_person(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    text = "a: &one\n  x: 1\nb: *one\n"
    path.write_text(text)
    with pytest.raises(ConfigError, match="edit it by hand"):
        set_config(path, ["b", "x"], 2)
    assert path.read_text() == text


def test_nothing_stands_below_a_value(config: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.default has a value"):
        set_config(config, ["model", "default", "x"], 1)
    assert changed(config)


@pytest.mark.parametrize(
    ("text", "line"),
    [("a: 1\nb: [1\n", "line"), ("a: 1\na: 2\n", "line 2"), ("a: b: c\n", "line 1"), ("\tx: 1\n", "line 1")],
)
def test_a_file_that_is_not_yaml_is_named_with_its_line(tmp_path: Path, text: str, line: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=line) as caught:
        read_config(path)
    assert str(path) in caught.value.message
    with pytest.raises(ConfigError):
        set_config(path, ["x"], 1)
    assert path.read_text() == text


@pytest.mark.parametrize("text", ["- a\n", "just text\n", "12\n"])
def test_a_file_without_names_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="expected names"):
        read_config(path)


TEXTS = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_categories=["Cc", "Cs"]), max_size=12)
SCALARS = st.one_of(
    TEXTS,
    st.integers(-(10**9), 10**9),
    st.booleans(),
    st.floats(0, 1e6),
    st.sampled_from(["off", "null", "1e3", "0x1", "a: b", "- x", "#", "*a", "&a"]),
)
VALUES = st.one_of(
    SCALARS, st.lists(SCALARS, max_size=3), st.dictionaries(st.sampled_from(["p", "q"]), SCALARS, max_size=2)
)
PLACES = [["model", "default"], ["model", "base_url"], ["approvals", "deny"], ["approvals", "mode"], ["toolsets"]]
PLACES += [["api_server", "port"], ["api_server", "key"], ["limits", "max_steps"], ["new"], ["model"], ["a", "b", "c"]]
COMMENTS = ["# top comment", "# Who is asked", "# never off", "# what is never run", "# behind the list", "# the end"]


@given(st.lists(st.tuples(st.sampled_from(PLACES), st.one_of(st.none(), VALUES)), max_size=6))
def test_any_changes_leave_the_other_values_and_the_comments(tmp_path_factory, changes) -> None:
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    path.write_text(FILE)
    wanted = read_config(path)
    for keys, value in changes:
        try:
            if value is None:
                unset_config(path, keys)
            else:
                set_config(path, keys, value)
        except ConfigError as refused:
            assert "has a value" in refused.message
            continue
        _apply(wanted, keys, value)
        assert read_config(path) == wanted
    kept = path.read_text()
    touched = {keys[0] for keys, _ in changes}
    for comment in COMMENTS:
        if comment in ("# never off", "# what is never run", "# behind the list") and "approvals" in touched:
            continue  # its section may be gone
        assert comment in kept


def _apply(values: dict, keys: list[str], value: object) -> None:
    """What `set_config` and `unset_config` mean, on plain values."""
    holders = [values]
    for key in keys[:-1]:
        inner = holders[-1].get(key)
        if inner is None and value is not None:
            inner = holders[-1][key] = {}
        if not isinstance(inner, dict):
            return
        holders.append(inner)
    if value is not None:
        holders[-1][keys[-1]] = value
    elif keys[-1] in holders[-1]:
        del holders[-1][keys[-1]]
        for holder, key in zip(reversed(holders[:-1]), reversed(keys[:-1]), strict=True):
            if not holder[key]:
                del holder[key]


def test_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: set_config(path, ["limits", f"n{number}"], number), range(12)))
    assert read_config(path) == {"limits": {f"n{number}": number for number in range(12)}}
