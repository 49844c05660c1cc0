"""Text on its way to PostgreSQL, which takes no NUL: it is mended as `encoding.clean` mends what is kept, so that a
search for what a client sent finds nothing, or what was kept of it, and does not fail.
"""

from __future__ import annotations

from typing import Any

from psycopg.types.string import StrDumperUnknown

from .encoding import clean


class _Mended(StrDumperUnknown):
    def dump(self, obj: str) -> Any:
        return clean(obj).encode()


def mend_text(driver: Any) -> None:
    """For all statements of this connection of psycopg."""
    driver.adapters.register_dumper(str, _Mended)
