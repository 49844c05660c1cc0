"""Names that people give."""

from __future__ import annotations


def is_shown(character: str) -> bool:
    """Not what turns the line around or hides in it; the joiner of emoji is one of the name."""
    return character.isprintable() or character == "\u200d"


def one_line(text: str) -> str:
    """What of it is shown, with one space for each gap."""
    return " ".join("".join(one if is_shown(one) else " " if one.isspace() else "" for one in text).split())
