"""A built-in model of two parts and a few bytes, on a library that stands in for llama.cpp."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from importlib import invalidate_caches
from pathlib import Path
from typing import Any

import pytest

from hermes.models.embedded import Builtin

STAND_IN = Path(__file__).with_name("stand_in")


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child process, and whoever asks whether the library is installed, find the stand-in."""
    monkeypatch.setenv("PYTHONPATH", str(STAND_IN))
    monkeypatch.syspath_prepend(str(STAND_IN))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder where packages can be installed."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    for name in [name for name in sys.modules if name.startswith("tiny_part")]:
        del sys.modules[name]


@pytest.fixture
def make_builtin(site: Path) -> Callable[..., Builtin]:
    """Install a model whose file holds a script for the stand-in, and describe it."""

    def make(*answers: str, **script: Any) -> Builtin:
        whole = json.dumps({"answers": answers, **script}).encode()
        part_bytes = len(whole) // 2 + 1
        for number in (1, 2):
            data = site / f"tiny_part{number}" / "data"
            data.mkdir(parents=True, exist_ok=True)
            (data.parent / "__init__.py").write_text("raise AssertionError('a part was run')")
            (data / f"part{number:02}.bin").write_bytes(whole[(number - 1) * part_bytes :][:part_bytes])
        invalidate_caches()
        return Builtin(
            name="embedded",
            title="Tiny",
            file="tiny.gguf",
            size_bytes=len(whole),
            sha256=hashlib.sha256(whole).hexdigest(),
            package="tiny_part",
            parts=2,
            part_bytes=part_bytes,
            install="pip install tiny",
            memory_bytes=1,
        )

    return make
