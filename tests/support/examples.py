"""The code of the documentation, and running it as it stands there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 90

_FENCE = re.compile(r"^```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_NAMED = re.compile(r"(?:#|//|<!--) (?P<name>[\w./-]+\.\w+|Caddyfile)(?: -->)?\n")
_RUN = """
import json, sys
with open(sys.argv[1]) as file:
    blocks = json.load(file)
namespace = {"__name__": "__main__", "KEY": sys.argv[3]}
for line, text in blocks:
    exec(compile("\\n" * line + text, sys.argv[2], "exec"), namespace)
"""


@dataclass(frozen=True)
class Block:
    """`line` is how many stand before it. `name`: its first line is a comment with a file name, and it is that file."""

    line: int
    text: str
    language: str = "python"

    @property
    def name(self) -> str | None:
        found = _NAMED.match(self.text)
        return found["name"] if found else None


def pages() -> list[Path]:
    """Those with Python that is no file of its own."""
    all_pages = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    return [page for page in all_pages if any(block.name is None for block in python_of(page))]


def python_of(page: Path) -> list[Block]:
    return [block for block in blocks_of(page) if block.language == "python"]


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return list(_blocks_of(text))


def howto(name: str) -> Path:
    return ROOT / "docs" / "howto" / f"{name}.md"


def file_of(page: Path, name: str) -> str:
    """The text of the one block that is this file."""
    [text] = [block.text for block in blocks_of(page) if block.name == name]
    return text


def commands_of(page: Path) -> list[str]:
    """The lines of the page's shell blocks, without comments, with broken lines joined."""
    text = "".join(block.text for block in blocks_of(page) if block.language in ("sh", "bash", "console"))
    lines = text.replace("\\\n", " ").splitlines()
    return [line for line in (line.partition("  #")[0].strip() for line in lines) if line and not line.startswith("#")]


def _blocks_of(text: str) -> Iterator[Block]:
    for found in _FENCE.finditer(text):
        yield Block(text.count("\n", 0, found.start("text")), found["text"], found["language"])


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Of a machine where nothing is set up."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR", "PYTHONPATH") if name in os.environ}
    return {**kept, "HOME": str(folder), "HERMES_HOME": str(folder / "no-home"), "PYTHONUNBUFFERED": "1", **more}


def run(
    page: Path, blocks: Iterable[Block], folder: Path, environ: Mapping[str, str], *, key: str, typed: str = ""
) -> subprocess.CompletedProcess[str]:
    """One block after the other in one interpreter, in `folder`; a traceback names the line of the page."""
    given = folder.parent / f"{page.stem}.blocks.json"
    given.write_text(json.dumps([(block.line, block.text) for block in blocks]))
    return subprocess.run(
        [sys.executable, "-c", _RUN, str(given), str(page), key],
        cwd=folder,
        env=dict(environ),
        input=typed,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
