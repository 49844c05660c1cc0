"""QR codes: what one says to an app that scans it, and its picture for a page."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence

from hermes.expose.qr import QUIET


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
