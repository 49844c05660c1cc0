"""What a file of a home said before: the last few texts, without a secret, for its owner alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hermes.core.errors import ConfigError
from hermes.home.backups import KEPT, backups_of, forget_backups, keep_backup, write_with_backup
from hermes.home.config_file import read_config, set_config
from hermes.home.edit import change_settings, set_setting, unset_setting
from hermes.home.env import set_env
from hermes.home.memory import Change, Memories, Target
from hermes.home.paths import Home, create_home
from hermes.home.profiles import create_profile
from hermes.home.skill_files import create, patch, remove_file, write, write_file
from hermes.home.skills import Skills


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    create_home(home)
    home.config_file.write_text("# mine\nlimits:\n  max_steps: 0\n")
    return home


def texts(home: Home, file: Path) -> list[str]:
    return [path.read_text() for path in backups_of(home.path, file)]


def test_the_last_five_texts_of_config_yaml_are_kept_and_it_is_what_it_says_now(home: Home) -> None:
    for number in range(1, 8):
        set_setting(home, "limits.max_steps", str(number))
    assert texts(home, home.config_file) == [f"# mine\nlimits:\n  max_steps: {number}\n" for number in range(2, 7)]
    assert read_config(home.config_file)["limits"]["max_steps"] == 7
    assert KEPT == 5


def test_every_way_to_write_config_yaml_keeps_what_was_there_once(home: Home) -> None:
    change_settings(home, {"approvals.mode": "off", "approvals.timeout": 5})
    assert len(texts(home, home.config_file)) == 1
    unset_setting(home, "approvals.mode")
    set_config(home.config_file, ["toolsets"], ["file"])
    assert len(texts(home, home.config_file)) == 3
    change_settings(home, {"approvals.timeout": 5})
    assert not unset_setting(home, "approvals.mode")
    assert len(texts(home, home.config_file)) == 3


@pytest.mark.skipif(os.name == "nt", reason="modes are not Windows'")
def test_only_the_owner_reads_them(home: Home) -> None:
    set_setting(home, "limits.max_steps", "1")
    [backup] = backups_of(home.path, home.config_file)
    assert backup.stat().st_mode & 0o777 == 0o600
    assert (home.path / "backups").stat().st_mode & 0o777 == 0o700


SECRETS = """\
model:
  default: gpt-5   # the quick one
  api_key: abc   # short ones, too
api_server:
  key: 12345678901234567890
database:
  url: postgresql://me:pw@db.example/hermes
fallback_models:
  - default: other
    api_key: fallback-canary
mcp_servers:
  x:
    command: run
    args: [--token, ghp_0123456789012345678901234567890123456789]
    env:
      MY_TOKEN: env-canary
      LEVEL: info
    headers:
      Authorization: Bearer header-canary
  # api_key: put-out-canary
# timeout: 5
# the old key was sk-01234567890123456789canary, and that of the gateway is dotenv-canary
"""


def test_no_secret_is_in_them_and_all_else_is(home: Home) -> None:
    set_env(home.env_file, "OPENAI_API_KEY", "dotenv-canary")
    home.config_file.write_text(SECRETS)
    set_setting(home, "limits.max_steps", "1")
    [text] = texts(home, home.config_file)
    assert "canary" not in text and "abc" not in text and "123456789" not in text and "me:pw" not in text
    assert (
        text
        == """\
model:
  default: gpt-5   # the quick one
  api_key: '[redacted]'   # short ones, too
api_server:
  key: '[redacted]'
database:
  url: '[redacted]'
fallback_models:
  - default: other
    api_key: '[redacted]'
mcp_servers:
  x:
    command: run
    args:
      - --token
      - '[redacted]'
    env:
      MY_TOKEN: '[redacted]'
      LEVEL: info
    headers:
      Authorization: '[redacted]'
  # api_key: [redacted]
# timeout: 5
# the old key was [redacted], and that of the gateway is [redacted]
"""
    )
    assert "dotenv-canary" in home.env_file.read_text()
    assert not list((home.path / "backups").glob(".env*"))


def test_of_a_file_that_cannot_be_read_nothing_is_kept(home: Home) -> None:
    home.config_file.write_text("model:\n  api_key: canary\n limits: [\n")
    keep_backup(home.path, home.config_file)
    assert texts(home, home.config_file) == []


def test_a_file_with_anchors_is_kept_as_its_values(home: Home) -> None:
    home.config_file.write_text("a: &a {api_key: canary, b: 1}\nc: *a\n")
    keep_backup(home.path, home.config_file)
    [text] = texts(home, home.config_file)
    assert "canary" not in text and text.count("redacted") == 2
    with pytest.raises(ConfigError):
        set_config(home.config_file, ["a", "b"], 2)


def test_memory_is_kept_too_until_it_is_to_be_forgotten(home: Home) -> None:
    set_env(home.env_file, "OPENAI_API_KEY", "dotenv-canary")
    memories = Memories(home.memories_dir)
    visitor = memories.of("someone", None)
    for whose in (memories, visitor):
        whose.change(Target.USER, [Change("add", "likes tea, and dotenv-canary")])
        whose.change(Target.USER, [Change("replace", "likes coffee", "tea")])
        assert texts(home, whose.path(Target.USER)) == ["likes tea, and [redacted]\n"]
    assert memories.reset(Target.USER)
    assert texts(home, memories.path(Target.USER)) == []
    assert texts(home, visitor.path(Target.USER)) != []


def test_a_skill_is_kept_in_its_place(home: Home) -> None:
    skills = Skills(home.skills_dir)

    def content(word: str) -> str:
        return f"---\nname: brew\ndescription: How {word} is made.\n---\nBoil.\n"

    file = create(skills, "brew", content("tea"), "kitchen")
    brew = skills.find("brew")
    write(skills, brew, content("coffee"))
    patch(skills, brew, "Boil", "Grind")
    assert texts(home, file) == [content("tea"), content("coffee")]
    extra = write_file(skills, brew, "references/a.md", "one")
    write_file(skills, brew, "references/a.md", "two")
    remove_file(skills, brew, "references/a.md")
    assert texts(home, extra) == ["one", "two"]
    assert [skill.name for skill in Skills(home.skills_dir).all() if not skill.is_builtin] == ["brew"]


def test_the_same_text_again_and_what_is_no_text_are_not_kept(home: Home) -> None:
    keep_backup(home.path, home.soul_file)
    keep_backup(home.path, home.soul_file)
    assert len(texts(home, home.soul_file)) == 1
    write_with_backup(home.path, home.soul_file, "another")
    assert len(texts(home, home.soul_file)) == 1
    home.soul_file.write_bytes(b"\xff")
    keep_backup(home.path, home.soul_file)
    keep_backup(home.path, home.path / "not-there")
    assert len(texts(home, home.soul_file)) == 1
    forget_backups(home.path, home.soul_file)
    assert texts(home, home.soul_file) == []


def test_other_things_in_the_folder_are_left_alone(home: Home) -> None:
    folder = home.path / "backups"
    folder.mkdir()
    others = [folder / "hermes-default-20260101-000000.db", folder / "config.yaml.mine"]
    for other in others:
        other.write_text("x")
    for number in range(1, 9):
        set_setting(home, "limits.max_steps", str(number))
    assert all(other.exists() for other in others)


def test_where_nothing_can_be_kept_nothing_is_changed(home: Home) -> None:
    (home.path / "backups").write_text("a file in the way")
    before = home.config_file.read_text()
    with pytest.raises(OSError, match="backups"):
        set_setting(home, "limits.max_steps", "1")
    assert home.config_file.read_text() == before


def test_a_cloned_profile_begins_without(home: Home) -> None:
    home.config_file.write_text("api_server: {port: 1}\nlimits: {max_steps: 2}\n")
    made = create_profile(home.path, "copy", clone=home)
    assert read_config(made.config_file) == {"limits": {"max_steps": 2}}
    assert not (made.path / "backups").exists()
