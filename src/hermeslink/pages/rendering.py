"""Pages from templates, in the language of who looks. Nothing of a request is written into one, so each is made once.

Everything is escaped by itself, and the policy lets a page run and load what this service sends, and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hermeslink.core.language import of_browser, translations

HOME, PAIR = "home.html", "pair.html"

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)

_HERE = Path(__file__).parent
_KINDS = {".js": "text/javascript", ".css": "text/css"}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file of a page, whole."""

    content: bytes
    kind: str


def language_of(setting: str, accept_language: str) -> str:
    """The setting, or with auto what the browser wants."""
    return of_browser(accept_language) if setting == "auto" else setting


@cache
def page(name: str, language: str) -> str:
    """HOME or PAIR."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    words = translations(language)
    environment.install_gettext_callables(words.gettext, words.ngettext, newstyle=True)  # type: ignore[attr-defined]
    return environment.get_template(name).render(language=language)


@cache
def assets() -> dict[str, Asset]:
    """By their names; there are no others."""
    files = sorted((_HERE / "static").iterdir())
    return {file.name: Asset(file.read_bytes(), _KINDS[file.suffix]) for file in files if file.suffix in _KINDS}
