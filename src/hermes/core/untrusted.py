"""Text that came from outside, in a block that a model can tell from what the person said.

Results of tools are marked in one place, when a request for the model is put together (`agent/marks.py`): what is kept
and what clients see stays as the tool gave it. A tool has to do nothing for it. One whose results are only the
server's own words, or the person's, says so in the catalogue: `ToolInfo(…, is_own_words=True)`. A tool that joins texts
of several strangers in one result may call `mark` for each of them as well.
"""

from __future__ import annotations

import hashlib
import re

_SOURCE_CHARACTERS = 120
_NO_SOURCE = re.compile(r"[^\w .,:;/@#?=&%+~-]+")
_HIDDEN = re.compile(
    "[\u115f\u1160\u17b4\u17b5\u180e\u200b\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff]+"
    "|[\u00ad\u034f\u061c\u200c-\u200f\ufe00-\ufe0f]{3,}"
)
"""What nobody sees and a model reads. Joiners, direction marks and emoji selectors are hidden only in rows."""
_MAY_HIDE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff"
    "\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff]"
)
"""All of these characters as one class, which is searched for many times faster."""
_BLOCK = re.compile(r'<untrusted-([0-9a-f]{8}) from="[^"]*">\n(.*)\n</untrusted-\1>', re.DOTALL)


def mark(source: str, text: str) -> str:
    """`text` in a block whose end tag does not occur in it; `source` is a tool, an address or a file.

    The same text gives the same block, so that a provider's prefix cache hits.
    """
    text = visible(text)
    code = _code(text)
    name = _NO_SOURCE.sub("_", source)[:_SOURCE_CHARACTERS]
    return f'<untrusted-{code} from="{name}">\n{text}\n</untrusted-{code}>'


def unmarked(text: str) -> str:
    """What was marked; a text that is no such block as it is."""
    found = _BLOCK.fullmatch(text)
    return text if found is None else found[2]


def visible(text: str) -> str:
    """With a word in place of characters that nobody sees: zero width, tags, turned reading direction."""
    return text if text.isascii() or _MAY_HIDE.search(text) is None else _HIDDEN.sub(_word, text)


def _word(found: re.Match[str]) -> str:
    hidden = found[0]
    return f"[hidden U+{ord(hidden):04X}]" if len(hidden) == 1 else f"[hidden: {len(hidden)} characters]"


def _code(text: str) -> str:
    """A hash of the text, or of that hash and so on: one that the text does not hold, whoever wrote it."""
    code = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    folded = text.casefold()
    while code in folded:
        code = hashlib.blake2b(code.encode(), digest_size=4).hexdigest()
    return code
