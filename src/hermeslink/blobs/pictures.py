"""Pictures made to fit: what every model reads (PNG, JPEG, GIF, WebP), of a size that it looks at, in so many bytes.

Models scale what is larger than some 2,000 pixels down themselves. All of it blocks, and takes a core.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from PIL import Image

MOST_SIDE = 2048
MOST_PIXELS = 64_000_000
"""A phone's camera makes 50 million; a picture is 3 bytes each in memory."""
_PASSED_ON = ("image/png", "image/jpeg", "image/gif", "image/webp")
_SIDES = (MOST_SIDE, 1536, 1024, 768, 512, 256)
_QUALITY = 85


@dataclass(frozen=True, slots=True)
class Picture:
    mime: str
    data: bytes


def fitted(file: BinaryIO, mime: str, size: int, most_bytes: int) -> Picture | None:
    """As it is where it fits, else scaled down, and a JPEG (a PNG where one sees through it). None for what cannot be
    read, or is so large that reading it would fill the memory. `size` is the file's, in bytes."""
    from PIL import Image, ImageOps  # 60 ms of a start that needs none

    try:
        with Image.open(file) as image:
            width, height = image.size
            if width * height > MOST_PIXELS:
                return None
            if mime in _PASSED_ON and max(width, height) <= MOST_SIDE and size <= most_bytes:
                file.seek(0)
                return Picture(mime, file.read())
            image.draft("RGB", (MOST_SIDE, MOST_SIDE))  # a JPEG is read at an eighth of its size in much less time
            turned = ImageOps.exif_transpose(image)
            form = "PNG" if turned.has_transparency_data else "JPEG"
            return _scaled(turned.convert("RGBA" if form == "PNG" else "RGB"), form, most_bytes)
    except (OSError, ValueError, SyntaxError, ArithmeticError, struct.error):  # damaged, each format in its own way
        return None


def _scaled(image: Image.Image, form: str, most_bytes: int) -> Picture | None:
    for side in _SIDES:
        image.thumbnail((side, side))
        made = io.BytesIO()
        image.save(made, form, quality=_QUALITY, optimize=True)
        if made.tell() <= most_bytes:
            return Picture(f"image/{form.lower()}", made.getvalue())
    return None
