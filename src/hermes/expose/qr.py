"""A QR code in a terminal."""

from __future__ import annotations

QUIET = 2
"""Modules of white around it, without which cameras do not find it."""
_DARK_ON_LIGHT, _RESET = "\x1b[30;107m", "\x1b[0m"


def drawing(text: str, *, has_colours: bool) -> str:
    """Two rows of modules in one line of characters. Without colours the dark modules are drawn as they are in print:
    right on a light background, and for most cameras on a dark one, too."""
    import segno

    rows = [[bool(module) for module in row] for row in segno.make_qr(text, error="l").matrix_iter(border=QUIET)]
    if len(rows) % 2:
        rows.append([False] * len(rows[0]))
    lines = [
        "".join(_HALVES[upper, lower] for upper, lower in zip(rows[at], rows[at + 1], strict=True))
        for at in range(0, len(rows), 2)
    ]
    return "\n".join(f"{_DARK_ON_LIGHT}{line}{_RESET}" if has_colours else line for line in lines)


_HALVES = {(False, False): " ", (True, False): "▀", (False, True): "▄", (True, True): "█"}
