"""Skills as they lie in a home."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from hermes.home import skills
from hermes.home.skills import front_matter, list_skills


def write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def matter(name: str, description: str) -> str:
    return f"---\nname: {name}\ndescription: {description}\n---\n\n# {name}\n\nDo this.\n"


def told(directory: Path) -> list[tuple[str | None, str, str]]:
    return [(skill.category, skill.name, skill.description) for skill in list_skills(directory)]


def test_skills_are_listed_by_category_and_name(tmp_path: Path) -> None:
    write(tmp_path / "web" / "scrape" / "SKILL.md", matter("scrape", "Read pages"))
    write(tmp_path / "web" / "archive" / "SKILL.md", matter("archive", "Keep pages"))
    write(tmp_path / "git" / "SKILL.md", matter("git", '"Work with git:\n  branches"'))
    assert told(tmp_path) == [
        (None, "git", "Work with git: branches"),
        ("web", "archive", "Keep pages"),
        ("web", "scrape", "Read pages"),
    ]


def test_no_folder_is_no_skill(tmp_path: Path) -> None:
    assert list_skills(tmp_path / "skills") == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("# no front matter\n", "does not begin with a front matter"),
        ("---\nname: x\n", "does not begin with a front matter"),
        ("---\nname: x\n---\n", "no 'description'"),
        ("---\nname: [x]\ndescription: y\n---\n", "no 'name'"),
        ("---\n- x\n---\n", "no mapping"),
        ("---\n: : :\n  - }{\n---\n", "no YAML"),
        ("---\n!!python/object/apply:os.system ['true']\n---\n", "no YAML"),
        ("", "does not begin"),
    ],
)
def test_a_bad_file_is_left_out_with_a_line_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str, why: str
) -> None:
    file = write(tmp_path / "bad" / "SKILL.md", text)
    write(tmp_path / "good" / "SKILL.md", matter("good", "Works"))
    with caplog.at_level(logging.WARNING):
        assert told(tmp_path) == [(None, "good", "Works")]
    assert [str(file) in line and why in line for line in caplog.messages] == [True]


def test_a_link_that_leads_out_is_not_followed(tmp_path: Path) -> None:
    outside = write(tmp_path / "secret" / "SKILL.md", matter("secret", "Not ours"))
    inside = tmp_path / "skills"
    (inside / "real").mkdir(parents=True)
    (inside / "folder").symlink_to(outside.parent, target_is_directory=True)
    (inside / "real" / "SKILL.md").symlink_to(outside)
    assert list_skills(inside) == []
    write(inside / "web" / "own" / "SKILL.md", matter("own", "Ours"))
    (inside / "alias").symlink_to(inside / "web" / "own", target_is_directory=True)
    assert told(inside) == [(None, "own", "Ours"), ("web", "own", "Ours")]


def test_of_a_huge_file_only_the_head_is_read_and_long_texts_are_cut(tmp_path: Path) -> None:
    write(tmp_path / "big" / "SKILL.md", matter("n" * 500, "d" * 5000) + "x" * 20_000_000)
    [skill] = list_skills(tmp_path)
    assert (len(skill.name), len(skill.description)) == (skills.MOST_NAME, skills.MOST_DESCRIPTION)


def test_a_device_and_an_unreadable_file_are_no_skill(tmp_path: Path) -> None:
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "SKILL.md")
    assert list_skills(tmp_path) == []


LINES = st.tuples(
    st.sampled_from(["name", "description", "license", "other-key"]),
    st.text("aZ0 -:#'\"[]{}&*!|>%@`,?=~.é\t", max_size=12)
    | st.sampled_from(["true", "No", "null", "~", "1.5", "a: b"]),
)


@pytest.mark.filterwarnings("ignore::ruamel.yaml.error.ReusedAnchorWarning")
@given(st.lists(LINES, max_size=4))
def test_plain_front_matter_is_read_as_yaml_reads_it(lines: list[tuple[str, str]]) -> None:
    matter = "".join(f"{key}: {value}\n" for key, value in lines)
    try:
        read = YAML(typ="safe", pure=True).load(matter)
    except YAMLError:
        read = None
    wanted = {k: v for k, v in (read or {}).items() if isinstance(v, str) and v.strip()} if matter.strip() else {}
    try:
        told = front_matter(f"---\n{matter}---\n")
    except ValueError:
        assert not isinstance(read, dict)
    else:
        assert told == wanted
