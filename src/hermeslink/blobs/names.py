"""The name of a file as its sender said it, made fit to be shown, sent in a header and used on a disk."""

from __future__ import annotations

import unicodedata

MOST_BYTES = 200
"""In UTF-8: a disk takes 255."""
UNNAMED = "file"


def clean_name(said: str) -> str:
    """Its last part, without what is not seen or turns the direction of writing; cut in front of its ending."""
    last = said.replace("\\", "/").rpartition("/")[2]
    plain = unicodedata.normalize("NFC", last.encode("utf-8", "replace").decode())
    seen = "".join(c for c in plain if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp")).strip()
    name = seen if seen.strip(".") else UNNAMED
    stem, dot, ending = name.rpartition(".")
    if not stem or len(ending.encode()) > MOST_BYTES // 4:
        return _cut(name, MOST_BYTES)
    return f"{_cut(stem, MOST_BYTES - len(ending.encode()) - 1)}{dot}{ending}"


def _cut(text: str, most: int) -> str:
    return text.encode()[:most].decode("utf-8", "ignore")
