"""README.zh-CN.md says what README.md says: the same chapters, commands and links that lead somewhere."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ENGLISH, CHINESE = ((ROOT / name).read_text("utf-8") for name in ("README.md", "README.zh-CN.md"))


def commands(text):
    """Every indented line, without its remark."""
    return {line.partition("#")[0].strip() for line in re.findall(r"^    (\S.*)$", text, re.M)} - {""}


def test_it_has_the_same_chapters_and_blocks_of_code():
    for form in (r"^## ", r"^```\w+$"):
        assert len(re.findall(form, CHINESE, re.M)) == len(re.findall(form, ENGLISH, re.M))
    assert re.findall(r"^```.*?^```", CHINESE, re.M | re.S) == re.findall(r"^```.*?^```", ENGLISH, re.M | re.S)


def test_it_has_the_same_commands():
    assert commands(CHINESE) == commands(ENGLISH)


def test_its_links_lead_to_files_of_the_other():
    links = set(re.findall(r"\]\(([^)#]+)\)", CHINESE))
    assert [link for link in links if not (ROOT / link).exists()] == []
    assert links - {"README.md"} <= set(re.findall(r"\]\(([^)#]+)\)", ENGLISH))
    assert "(README.zh-CN.md)" in ENGLISH
