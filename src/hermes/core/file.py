"""A file that a client uploaded: what is known of it. Its bytes lie in the home, under its id."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hermes.core.ids import new_id

FILE_ID = re.compile(r"file-[0-9a-f]{32}")
"""What is not of this shape names no file, and never becomes a path."""

PURPOSES = ("assistants", "batch", "evals", "fine-tune", "user_data", "vision")
"""The public API's words; kept and told, nothing here depends on them."""


def new_file_id() -> str:
    return new_id("file").replace("_", "-", 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """Times are unix seconds. `filename` is what the client called it: text for people, never a path.

    `media_type` is what the bytes are, whatever the client said they were.
    """

    id: str
    owner: str
    filename: str
    purpose: str
    media_type: str
    bytes: int
    sha256: str
    created_at: float
    expires_at: float | None = None
