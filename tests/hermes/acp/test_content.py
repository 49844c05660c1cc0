"""What an editor may send as a prompt, and what is refused."""

from __future__ import annotations

import pytest
from acp import schema

from hermes.acp.content import Block, message_of, place_of
from hermes.core.errors import InvalidInput


def image(data: str, mime_type: str = "image/png") -> Block:
    return schema.ImageContentBlock(type="image", data=data, mime_type=mime_type)


@pytest.mark.parametrize(
    ("block", "why"),
    [
        (image("%%%"), r"prompt\[0\] is no base64, or empty"),
        (image(""), "no base64, or empty"),
        (image("AAAA", "text/plain"), "an image of the type 'text/plain'"),
        (image("AAAA", "image/png;x,y"), "an image of the type 'image/png;x,y'"),
        (schema.AudioContentBlock(type="audio", data="?", mime_type="audio/wav"), "no base64, or empty"),
    ],
)
def test_what_no_model_could_take_is_refused_before_the_session_keeps_it(block: Block, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        message_of([block])


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("file:///a%20b/c.py#L3", "/a b/c.py#L3"),
        ("file://elsewhere/c.py", "file://elsewhere/c.py"),
        ("https://example.org/x", "https://example.org/x"),
        ("http://[no-address", "http://[no-address"),
    ],
)
def test_a_file_of_this_machine_is_shown_by_its_path_and_all_else_as_it_is(uri: str, place: str) -> None:
    assert place_of(uri) == place
