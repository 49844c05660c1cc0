"""docs/tools.md names every toolset, with its tools."""

from __future__ import annotations

import re
from pathlib import Path

from hermes.core.toolset import CATALOGUE

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tools.md"


def test_the_overview_names_every_toolset_with_its_tools() -> None:
    rows = re.findall(r"^\| `([a-z_]+)` \| ([^|]+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert {name: re.findall(r"`(\w+)`", tools) for name, tools in rows} == {
        info.name: [tool.name for tool in info.tools] for info in CATALOGUE
    }
