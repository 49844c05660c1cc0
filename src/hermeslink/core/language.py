"""The languages of Link, and which of them somebody reads. The texts are in locale/; English ones stand in the code."""

from __future__ import annotations

import gettext
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

ENGLISH, CHINESE = "en", "zh-CN"
LANGUAGES = (ENGLISH, CHINESE)
CATALOGUES = Path(__file__).parent.parent / "locale"
DOMAIN = "hermeslink"

_VARIABLES = ("LC_ALL", "LC_MESSAGES", "LANG")


@cache
def translations(language: str) -> gettext.NullTranslations:
    """Of one of LANGUAGES."""
    names = [language.replace("-", "_")]
    return gettext.translation(DOMAIN, str(CATALOGUES), names, fallback=True)


def of_terminal(environ: Mapping[str, str]) -> str:
    """What its locale says; English where that is another language's."""
    return _first([next((environ[name] for name in _VARIABLES if environ.get(name)), "")])


def of_browser(accept_language: str) -> str:
    """The first one of the header Accept-Language that there is, in the order that its weights give."""
    weighed = []
    for position, part in enumerate(accept_language.split(",")[:20]):
        name, _, weight = part.partition(";")
        weighed.append((-_weight(weight), position, name.strip()))
    return _first(name for weight, _, name in sorted(weighed) if weight < 0)


def _weight(text: str) -> float:
    try:
        return float(text.strip().removeprefix("q=")) if text.strip() else 1.0
    except ValueError:
        return 0.0


def _first(names: Iterable[str]) -> str:
    for name in names:
        word = name.lower().replace("_", "-")
        for language in LANGUAGES:
            if word == language[:2] or word.startswith(f"{language[:2]}-"):
                return language
    return ENGLISH
