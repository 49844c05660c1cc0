"""The pages of docs/howto as pages: all are in the index, and what they link to is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.examples import ROOT

FOLDER = ROOT / "docs" / "howto"
PAGES = sorted(FOLDER.glob("*.md"))


def links_of(page: Path) -> list[str]:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]


def anchors_of(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_in_the_index() -> None:
    listed = set(links_of(FOLDER / "README.md"))
    assert {page.name for page in PAGES} - listed == {"README.md"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_links_to_is_there(page: Path) -> None:
    for link in links_of(page):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors_of(target) or f'id="{anchor}"' in target.read_text(), link
