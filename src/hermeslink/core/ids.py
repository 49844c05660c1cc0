"""The forms of Link's ids: a prefix and 32 hexadecimal digits. Nothing secret is part of one."""

from __future__ import annotations

import re

from hermes.core.ids import new_id as new_id

PREFIXES = ("conv", "msg", "run", "blob", "dev", "plan", "appr", "ps", "link", "prof", "inst")
_DIGITS = re.compile(r"[0-9a-f]{32}")


def is_id(text: str, prefix: str) -> bool:
    """Whether `text` has the form of an id with that prefix; one that has not names nothing."""
    name, _, digits = text.partition("_")
    return name == prefix and _DIGITS.fullmatch(digits) is not None
