"""The texts of Link in other languages: gathers them from the code and the pages, and compiles what was translated.

`python -m tools.translations` updates src/hermeslink/locale/*/LC_MESSAGES/hermeslink.po with what is new, and compiles
it; a translator fills in what is empty. `--check` changes nothing, and fails where something is left to do.
"""

from __future__ import annotations

import io
import sys
from datetime import UTC, datetime
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

SOURCE = Path(__file__).parent.parent / "src" / "hermeslink"
LANGUAGES = ("zh_CN",)
METHODS = [("**.py", "python"), ("**.html", "jinja2")]
KEYWORDS = {"_": None, "N_": None, "gettext": None}


def gathered() -> Catalog:
    """Every text that is marked for translation."""
    catalog = Catalog(project="hermeslink", charset="utf-8")
    found = extract_from_dir(SOURCE, METHODS, keywords=KEYWORDS, options_map={"**.html": {"trimmed": "false"}})
    for file, _line, message, comments, context in sorted(found, key=lambda each: (each[0], each[1])):
        catalog.add(message, None, [(file, 0)], auto_comments=comments, context=context)
    return catalog


def problems(language: str) -> list[str]:
    """What is left to do for a language, one sentence each."""
    kept, texts = _read(language), gathered()
    wanted = {message.id for message in texts if message.id}
    there = {message.id: message for message in kept if message.id}
    found = [f"{language} lacks: {text!r}" for text in wanted - set(there)]
    found += [f"{language} has what is said no more: {text!r}" for text in set(there) - wanted]
    for text, message in there.items():
        if not message.string or message.fuzzy:
            found.append(f"{language} does not translate: {text!r}")
        found += [f"{language}: {text!r}: {error}" for error in message.check(kept)]
    if _compiled(kept) != (_po(language).with_suffix(".mo")).read_bytes():
        found.append(f"{language} is not compiled")
    return found


def update(language: str) -> None:
    catalog = _read(language)
    catalog.update(gathered(), no_fuzzy_matching=True)
    catalog.obsolete.clear()
    written = io.BytesIO()
    write_po(written, catalog, width=110, include_lineno=False)
    lines = written.getvalue().splitlines(keepends=True)
    _po(language).write_bytes(b"".join(line for line in lines if not line.startswith(_CHANGING)))
    _po(language).with_suffix(".mo").write_bytes(_compiled(_read(language)))


_NO_DAY = datetime(2026, 1, 1, tzinfo=UTC)
_CHANGING = tuple(
    f'"{name}'.encode() for name in ("Report-Msgid", "POT-Creation", "PO-Revision", "Last-Tr", "Language-T")
)
"""Lines of the head that tell of days and people, and would be another thing to merge."""


def main() -> int:
    if "--check" not in sys.argv:
        for language in LANGUAGES:
            update(language)
    left = [problem for language in LANGUAGES for problem in problems(language)]
    print("\n".join(left) or "Every text is translated.")
    return 1 if left else 0


def _po(language: str) -> Path:
    return SOURCE / "locale" / language / "LC_MESSAGES" / "hermeslink.po"


def _read(language: str) -> Catalog:
    with _po(language).open("rb") as file:
        return read_po(file, locale=language)


def _compiled(catalog: Catalog) -> bytes:
    catalog.creation_date = catalog.revision_date = _NO_DAY  # else it would be another file at each look
    compiled = io.BytesIO()
    write_mo(compiled, catalog)
    return compiled.getvalue()


if __name__ == "__main__":
    sys.exit(main())
