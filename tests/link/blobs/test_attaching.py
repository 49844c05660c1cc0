"""Attachments on their way to the agent: pictures as such, short text as it is, anything else in its inbox."""

from __future__ import annotations

import base64
import io
import os
import re
from pathlib import Path

import pytest
from PIL import Image

from hermes.core.errors import NotFound
from hermeslink.blobs.attaching import MOST_TEXT_BYTES, MOST_TOGETHER_PICTURE_BYTES, Attaching, Part
from hermeslink.blobs.blobs import Blobs
from hermeslink.blobs.pictures import MOST_SIDE
from hermeslink.core.blob import Blob

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")


async def keep(blobs: Blobs, conversation: str, data: bytes, name: str = "a.txt") -> Blob:
    async with await blobs.receive(conversation) as incoming:
        await incoming.write(data)
        return await incoming.keep(name)


def a_picture(form: str, size: tuple[int, int], mode: str = "RGB", *, noise: bool = False) -> bytes:
    made = io.BytesIO()
    bands = len(mode)
    image = Image.frombytes(mode, size, os.urandom(size[0] * size[1] * bands)) if noise else Image.new(mode, size)
    image.save(made, form)
    return made.getvalue()


def picture_in(part: Part) -> tuple[str, bytes]:
    head, data = part["image_url"]["url"].split(";base64,")
    return head, base64.b64decode(data)


def place_in(part: Part) -> Path:
    found = re.search(r"It is at (.*)$", part["text"])
    assert found is not None
    return Path(found[1])


async def test_a_picture_that_fits_is_sent_as_it_is(blobs: Blobs, conversation: str) -> None:
    data = a_picture("PNG", (40, 30))
    (part,) = await Attaching(blobs).parts([await keep(blobs, conversation, data, "a.png")], "default")
    assert picture_in(part) == ("data:image/png", data)


@pytest.mark.parametrize(
    ("form", "size", "mode", "mime"),
    [
        ("JPEG", (4000, 3000), "RGB", "image/jpeg"),
        ("PNG", (3000, 4000), "RGB", "image/jpeg"),
        ("PNG", (3000, 1000), "RGBA", "image/png"),
        ("BMP", (400, 300), "RGB", "image/jpeg"),
        ("TIFF", (400, 300), "CMYK", "image/jpeg"),
        ("GIF", (3000, 300), "P", "image/jpeg"),
    ],
)
async def test_a_picture_that_does_not_is_scaled_to_what_models_read(
    blobs: Blobs, conversation: str, form: str, size: tuple[int, int], mode: str, mime: str
) -> None:
    blob = await keep(blobs, conversation, a_picture(form, size, mode), "a")
    (part,) = await Attaching(blobs).parts([blob], "default")
    head, data = picture_in(part)
    with Image.open(io.BytesIO(data)) as image:
        assert head == f"data:{mime}"
        assert max(image.size) <= MOST_SIDE
        assert image.size[0] / image.size[1] == pytest.approx(size[0] / size[1], rel=0.01)


async def test_a_photo_stands_upright(blobs: Blobs, conversation: str) -> None:
    made, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side
    Image.new("RGB", (3000, 2000)).save(made, "JPEG", exif=exif)
    (part,) = await Attaching(blobs).parts([await keep(blobs, conversation, made.getvalue())], "default")
    with Image.open(io.BytesIO(picture_in(part)[1])) as image:
        assert image.size[0] < image.size[1]


async def test_pictures_together_fit_into_a_body_of_the_api_server(blobs: Blobs, conversation: str) -> None:
    data = a_picture("PNG", (1500, 1000), noise=True)  # 4.5 MB that nothing makes smaller
    blob = await keep(blobs, conversation, data, "a.png")
    parts = await Attaching(blobs).parts([blob] * 6, "default")
    assert [part["type"] for part in parts] == ["image_url"] * 6
    assert sum(len(picture_in(part)[1]) for part in parts) <= MOST_TOGETHER_PICTURE_BYTES


async def test_what_only_looks_like_a_picture_is_a_file(blobs: Blobs, conversation: str) -> None:
    broken = a_picture("PNG", (3000, 3000), noise=True)[:20_000]
    bomb = a_picture("PNG", (9000, 9000), "1")
    for data in (broken, bomb, b"\x89PNG\r\n\x1a\n\0\0\0\1"):
        blob = await keep(blobs, conversation, data, "a.png")
        (part,) = await Attaching(blobs).parts([blob], "default")
        assert place_in(part).read_bytes() == data


async def test_short_text_is_told_as_it_is(blobs: Blobs, conversation: str) -> None:
    blob = await keep(blobs, conversation, "# 发票\n```\nx\n```".encode(), "notes.md")
    (part,) = await Attaching(blobs).parts([blob], "default")
    assert part == {
        "type": "text",
        "text": "[Attached file: notes.md (text/plain, 18 bytes)]\n````\n# 发票\n```\nx\n```\n````",
    }


async def test_text_of_windows_is_read_by_its_mark(blobs: Blobs, conversation: str) -> None:
    blob = await keep(blobs, conversation, "grün".encode("utf-16"))
    (part,) = await Attaching(blobs).parts([blob], "default")
    assert part["text"].endswith("```\ngrün\n```")


async def test_long_text_and_other_files_lie_in_the_profiles_inbox(
    blobs: Blobs, conversation: str, hermes_root: Path
) -> None:
    long = await keep(blobs, conversation, b"a" * (MOST_TEXT_BYTES + 1), "long.txt")
    cut = await keep(blobs, conversation, b"a" * 9000 + "ü".encode()[:1], "cut.txt")
    other = await keep(blobs, conversation, b"PK\x03\x04", "../a.zip")
    attaching = Attaching(blobs)
    for profile, home in (("default", hermes_root), ("work", hermes_root / "profiles" / "work")):
        parts = await attaching.parts([long, cut, other], profile)
        places = [place_in(part) for part in parts]
        assert [place.name for place in places] == ["long.txt", "cut.txt", "a.zip"]
        assert all(place.is_absolute() and home / "inbox" in place.parents for place in places)
        assert places[2].read_bytes() == b"PK\x03\x04"
        assert places[2].stat().st_mode & 0o077 == 0


async def test_texts_together_stay_short(blobs: Blobs, conversation: str) -> None:
    some = [await keep(blobs, conversation, b"a" * MOST_TEXT_BYTES, f"{i}.txt") for i in range(3)]
    parts = await Attaching(blobs).parts(some, "default")
    assert ["It is at" in part["text"] for part in parts] == [False, False, True]


async def test_the_same_attachments_give_the_same_parts(blobs: Blobs, conversation: str) -> None:
    some = [
        await keep(blobs, conversation, a_picture("JPEG", (3000, 2000), noise=True), "a.jpg"),
        await keep(blobs, conversation, b"PK\x03\x04", "a.zip"),
        await keep(blobs, conversation, b"text", "a.txt"),
    ]
    assert await Attaching(blobs).parts(some, "work") == await Attaching(blobs).parts(some, "work")


async def test_what_the_agent_did_to_its_copy_changes_no_attachment(blobs: Blobs, conversation: str) -> None:
    blob = await keep(blobs, conversation, b"PK\x03\x04", "a.zip")
    (part,) = await Attaching(blobs).parts([blob], "default")
    place_in(part).write_bytes(b"changed")
    with await blobs.open(blob) as file:
        assert file.read() == b"PK\x03\x04"


async def test_copies_go_with_their_blobs_also_those_of_a_crash(
    blobs: Blobs, conversation: str, hermes_root: Path
) -> None:
    blob = await keep(blobs, conversation, b"PK\x03\x04", "a.zip")
    place = place_in((await Attaching(blobs).parts([blob], "work"))[0])
    left = place.parent.parent / f"blob_{'0' * 32}"
    others = hermes_root / "inbox" / f"link_{'2' * 32}" / f"blob_{'0' * 32}"
    for folder in (left, others):
        folder.mkdir(parents=True)
        (folder / "a").write_bytes(b"")
    await blobs.sweep()
    assert (place.exists(), left.exists(), others.exists()) == (True, False, True)
    await blobs.delete(conversation, blob.id)
    assert not place.parent.exists()


async def test_what_is_lost_is_told(blobs: Blobs, conversation: str) -> None:
    blob = await keep(blobs, conversation, b"text", "a.txt")
    (blobs.folder.path / blob.sha256).unlink()
    (part,) = await Attaching(blobs).parts([blob], "default")
    assert part["text"] == "[Attached file: a.txt (text/plain, 4 bytes)] It is lost."


@pytest.mark.parametrize("link", ["inbox", "inbox/LINK", "inbox/LINK/BLOB", "inbox/LINK/BLOB/a.zip"])
async def test_a_link_that_an_agent_put_into_its_inbox_is_not_followed(
    blobs: Blobs, conversation: str, hermes_root: Path, tmp_path: Path, link: str
) -> None:
    blob = await keep(blobs, conversation, b"PK\x03\x04", "a.zip")
    (elsewhere := tmp_path / "elsewhere").mkdir()
    place = hermes_root / link.replace("LINK", f"link_{'1' * 32}").replace("BLOB", blob.id)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(elsewhere)
    await Attaching(blobs).parts([blob], "default")
    assert list(elsewhere.iterdir()) == []
    await blobs.delete(conversation, blob.id)
    assert elsewhere.exists()


async def test_an_inbox_that_takes_nothing_is_told(blobs: Blobs, conversation: str, hermes_root: Path) -> None:
    (hermes_root / "inbox").write_text("in the way")
    blob = await keep(blobs, conversation, b"PK\x03\x04", "a.zip")
    (part,) = await Attaching(blobs).parts([blob], "default")
    assert part["text"].endswith("It cannot be read: the inbox of this profile does not take it.")


async def test_a_profile_that_is_gone_is_told(blobs: Blobs, conversation: str) -> None:
    blob = await keep(blobs, conversation, b"PK\x03\x04", "a.zip")
    with pytest.raises(NotFound):
        await Attaching(blobs).parts([blob], "gone")
