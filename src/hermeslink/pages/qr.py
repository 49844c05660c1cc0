"""QR codes: what one says to an app that scans it, for a page and for a terminal."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence

QUIET = 2
"""Modules of white around it, without which cameras do not find it."""
_DARK_ON_LIGHT, _RESET = "\x1b[30;107m", "\x1b[0m"


def payload(link_id: str, display_name: str, session_id: str, code: str, urls: Sequence[str]) -> str:
    """Spec: link-api, section 4. `code` is the connect token."""
    told = {
        "kind": "hermes_link_pairing",
        "version": 1,
        "link_id": link_id,
        "display_name": display_name,
        "session_id": session_id,
        "code": code,
        "preferred_urls": list(urls),
    }
    return json.dumps(told, ensure_ascii=False, separators=(",", ":"))


def picture(text: str) -> str:
    """A `data:` URL of an SVG. It stands on white, whatever colour the page has."""
    import segno

    svg = io.BytesIO()
    segno.make_qr(text, error="l").save(
        svg, kind="svg", border=QUIET, light="#fff", dark="#000", xmldecl=False, svgns=True, omitsize=True
    )
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.getvalue()).decode()}"


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
