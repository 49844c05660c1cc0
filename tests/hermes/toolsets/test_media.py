from __future__ import annotations

import base64
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hermes.core.errors import ToolFailed
from hermes.core.ports import Action, ActionKind, ToolContext
from hermes.toolsets.fetch import Fetcher
from hermes.toolsets.media import PICTURES, SOUNDS, Loaded, Source, kind_of, target
from hermes.toolsets.paths import Reach
from tests.support.media_services import JPEG, MP3, PNG, WAV
from tests.support.stand_in import Answer, Pages

from .conftest import Bench

MakeContext = Callable[..., ToolContext]


def source(reach: Reach | None = None, *hosts: str, most_bytes: int = 1000) -> Source:
    return Source(
        reach=reach or Reach(),
        fetcher=Fetcher(hosts=hosts),
        kinds=PICTURES,
        what="picture",
        most_bytes=most_bytes,
    )


async def failure(what: Source, text: str, context: ToolContext) -> str:
    with pytest.raises(ToolFailed) as failed:
        await what.load(text, context)
    return failed.value.message


async def test_a_picture_comes_from_a_file_a_data_url_and_a_web_address(bench: Bench) -> None:
    (bench.workdir / "a.png").write_bytes(PNG)
    context = bench.context()
    for text in ("a.png", f"{bench.workdir}/a.png", f"file://{bench.workdir}/a.png", " a.png "):
        assert await source().load(text, context) == Loaded(PNG, "a.png", "png")
    data = base64.b64encode(JPEG).decode()
    assert await source().load(f"data:image/png;base64,{data}", context) == Loaded(JPEG, "data", "jpeg")
    with Pages({"/x/b%20c": Answer(200, PNG, "text/html")}) as server:
        found = await source(None, server.host).load(f"{server.url}/x/b%20c?size=1", context)
    assert found == Loaded(PNG, "b_c", "png")


async def test_only_a_file_has_to_be_approved(bench: Bench) -> None:
    context = bench.context()
    path = bench.workdir / "a.png"
    expected = Action(ActionKind.READ, f"read {path}", (path,), bench.workdir)
    assert [source().action(text, context) for text in ("a.png", f"file://{path}")] == [expected, expected]
    assert [source().action(text, context) for text in ("https://example.com/a.png", "data:,x")] == [None, None]


async def test_what_the_file_tools_may_not_read_is_not_read_here(bench: Bench, tmp_path: Path) -> None:
    (bench.home / ".env").write_bytes(PNG)
    (bench.workdir / "link.png").symlink_to(bench.home / ".env")
    os.mkfifo(bench.workdir / "pipe")
    context, inside = bench.context(), Reach(bench.home, (bench.workdir,))
    assert "holds the keys of this agent" in await failure(source(Reach(bench.home)), "link.png", context)
    assert "outside of what the file tools may touch" in await failure(source(inside), f"{tmp_path}/a.png", context)
    assert "is a named pipe" in await failure(source(inside), "pipe", context)
    assert "does not exist" in await failure(source(inside), "none.png", context)


async def test_what_is_no_picture_or_too_large_is_refused(bench: Bench) -> None:
    (bench.workdir / "a.svg").write_text("<svg/>")
    (bench.workdir / "large.png").write_bytes(PNG)
    context = bench.context()
    kinds = "(png, jpeg, gif, webp)"
    assert await failure(source(), "a.svg", context) == f"a.svg is no picture of a known kind {kinds}."
    assert await failure(source(), "data:image/png,x", context) == f"data is no picture of a known kind {kinds}."
    assert "is not valid base64" in await failure(source(), "data:image/png;base64,$", context)
    assert "has no comma" in await failure(source(), "data:image/png;base64", context)
    small = source(most_bytes=10)
    large = bench.workdir / "large.png"
    assert await failure(small, "large.png", context) == f"{large} has {len(PNG)} bytes; at most 10 are taken."
    assert "at most 10 are taken" in await failure(small, f"data:,{'x' * 11}", context)
    assert "must start with https" in await failure(small, "http://example.com/a.png", context)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (WAV, "wav"),
        (MP3, "mp3"),
        (b"\xff\xfb\x90\x00", "mp3"),
        (b"OggS\x00", "ogg"),
        (b"fLaC", "flac"),
        (b"\x00\x00\x00\x18ftypM4A ", "m4a"),
        (b"\x1a\x45\xdf\xa3", "webm"),
        (PNG, None),
        (b"", None),
    ],
)
def test_sound_is_known_by_how_it_begins(data: bytes, kind: str | None) -> None:
    assert kind_of(data, SOUNDS) == kind


def test_a_new_file_is_named_for_its_text_and_its_call(bench: Bench) -> None:
    context, other = bench.context(), bench.context(run="run_2")
    path = target("A red/../../ Fox, in a boat at night on the sea", "", "image", context).of_kind("jpeg")
    assert path.parent == bench.workdir
    assert path.name.startswith("image-a-red-fox-in-a-boat-") and path.suffix == ".jpg"
    again = target("A red/../../ Fox, in a boat at night on the sea", "", "image", context)
    assert again.of_kind("jpeg") == path
    assert target("A red Fox", "", "image", context).path != target("A red Fox", "", "image", other).path
    begins_alike = "one two three four five six "
    assert target(f"{begins_alike}a", "", "image", context) != target(f"{begins_alike}b", "", "image", context)
    assert target("猫", "", "image", context).path.name.startswith("image-")
    assert target("x", "deep/cat.png", "image", context).of_kind("jpeg") == bench.workdir / "deep/cat.png"
