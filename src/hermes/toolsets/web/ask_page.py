"""Reads one page, in a process of its own: `python ask_page.py URL CHARSET MOST_CHARACTERS < page`.

It prints one JSON object: `title`, `text` (markdown unless `is_plain`), `is_cut`; or `error`, a sentence's end. Parsers
of hostile HTML hang and eat memory, so none runs in the server. Imports nothing of hermes: it starts from its path.
"""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin

MEMORY_BYTES = 2 << 30
CPU_SECONDS = 20
LAYOUT_SECONDS = 10.0
"""For the markdown. It takes more than twice as long for a page of twice the size; then plain text has to do."""
MOST_LINKS = 100


class TooSlow(Exception):
    pass


def read(page: bytes, url: str, charset: str, most: int) -> dict[str, Any]:
    given = _decoded(page, charset)
    title, text, is_plain = "", "", False
    try:
        with at_most(LAYOUT_SECONDS):
            title, text = markdown(given, url)
    except TooSlow:
        pass
    if not text.strip():  # too long for it, or a piece of HTML that it takes for none
        text, is_plain = plain(given), True
    text = text.strip().encode("utf-8", "replace").decode()  # no lone surrogates
    return {
        "title": " ".join(title.split())[:300],
        "text": text[:most],
        "is_cut": len(text) > most,
        "is_plain": is_plain and bool(text),
    }


def markdown(page: bytes | str, url: str) -> tuple[str, str]:
    """Title and main text; empty where there is none."""
    import trafilatura
    from trafilatura.settings import use_config

    config = use_config()
    config.set("DEFAULT", "MIN_EXTRACTED_SIZE", "1")  # a short page is a page too: below 250 it loses its markup
    tree = trafilatura.load_html(page)
    if tree is None:
        return "", ""
    title = trafilatura.extract_metadata(tree, default_url=url).title or ""
    links = _links(tree, url)  # before the extraction, which takes the tree apart
    text = trafilatura.extract(
        tree,
        url=url,
        output_format="markdown",
        include_links=True,
        include_comments=False,
        favor_recall=True,
        config=config,
    )
    text = text or trafilatura.html2txt(page) or ""
    if links and "](" not in text:  # a page that is a list of links lost them
        text = "\n".join([text, "", "Links:", *links])
    return title, text


def plain(page: bytes | str) -> str:
    """All text of it, whatever it is for."""
    from lxml import etree, html  # type: ignore[import-untyped]

    try:
        root = html.document_fromstring(page, parser=html.HTMLParser(huge_tree=True))
    except (etree.ParserError, ValueError):  # nothing in it; a declaration of another encoding than it was read in
        return ""
    etree.strip_elements(root, "script", "style", "noscript", "template", with_tail=False)
    return "\n".join(line for text in root.itertext(tag=etree.Element) if (line := " ".join(text.split())))


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raises TooSlow, where the system has such a clock."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def stop(number: int, frame: object) -> None:
        raise TooSlow

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _decoded(page: bytes, charset: str) -> bytes | str:
    """By what the server said of it; what it says of itself is read by the library."""
    if charset:
        with contextlib.suppress(LookupError, ValueError):
            return page.decode(charset, "replace")
    return page


def _links(tree: Any, url: str) -> list[str]:
    found: dict[str, str] = {}
    for link in tree.iter("a"):
        words, where = " ".join(link.text_content().split()), link.get("href") or ""
        with contextlib.suppress(ValueError):
            there = urljoin(url, where.strip())
            if words and there.startswith(("http://", "https://")) and not where.startswith("#"):
                found.setdefault(there, words[:120])
        if len(found) == MOST_LINKS:
            break
    return [f"- [{words}]({there})" for there, words in found.items()]


def limit_this_process() -> None:
    """Memory, time, and no files: what it must not do, it cannot."""
    try:
        import resource
    except ImportError:  # Windows has none; the parent's clock still holds
        return
    limits = {"RLIMIT_AS": MEMORY_BYTES, "RLIMIT_CPU": CPU_SECONDS, "RLIMIT_FSIZE": 0, "RLIMIT_CORE": 0}
    for name, value in limits.items():
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(getattr(resource, name), (value, value))


def main(url: str, charset: str, most: int) -> dict[str, Any]:
    logging.disable(logging.CRITICAL)
    limit_this_process()
    try:
        return read(open(0, "rb", closefd=False).read(), url, charset, most)
    except (MemoryError, RecursionError):
        return {"error": "reading it takes too much memory"}
    except ImportError:
        raise
    except Exception as why:  # noqa: BLE001 the parsers have errors of their own, and all of them mean the same
        return {"error": f"it is damaged ({type(why).__name__})"}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
