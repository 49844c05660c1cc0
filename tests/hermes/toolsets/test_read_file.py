from __future__ import annotations

import codecs
import os
from pathlib import Path

import pytest

from hermes.core.errors import ToolFailed
from hermes.core.ports import ActionKind
from hermes.toolsets.settings import FileSettings

from .conftest import Bench, MakeBench


async def test_lines_come_with_their_numbers(bench: Bench) -> None:
    (bench.workdir / "a.txt").write_text("one\ntwo\nthree\n")

    assert (await bench.call("read_file", path="a.txt")).content == "1|one\n2|two\n3|three"


async def test_a_part_says_where_to_go_on(bench: Bench) -> None:
    (bench.workdir / "a.txt").write_text("".join(f"{n}\n" for n in range(1, 11)))

    part = await bench.call("read_file", path="a.txt", offset=3, limit=2)
    last = await bench.call("read_file", path="a.txt", offset=9, limit=5)

    assert part.content == "3|3\n4|4\n[lines 3-4 of 10; go on with offset=5]"
    assert last.content == "9|9\n10|10"


async def test_an_offset_past_the_end_is_told(bench: Bench) -> None:
    (bench.workdir / "a.txt").write_text("one\n")

    result = await bench.call("read_file", path="a.txt", offset=5)

    assert result.is_error
    assert "has only 1 lines; offset 5 is past its end" in result.content


async def test_an_empty_file_is_empty_and_no_error(bench: Bench) -> None:
    (bench.workdir / "a.txt").write_text("")

    result = await bench.call("read_file", path="a.txt")

    assert (result.content, result.is_error) == (f"[{bench.workdir / 'a.txt'} is empty]", False)


async def test_a_huge_file_is_read_in_part(make_bench: MakeBench) -> None:
    bench = make_bench(files=FileSettings(read_characters=1000, line_characters=100))
    (bench.workdir / "big").write_text("x" * 5000 + "\n" + "line\n" * 100_000)

    result = await bench.call("read_file", path="big")

    assert result.content.startswith("1|" + "x" * 100 + "[… 4,900 more characters in this line]\n2|line\n")
    assert "of 100001; go on with offset=" in result.content
    assert len(result.content) < 1200


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
async def test_a_byte_order_mark_tells_the_encoding(bench: Bench, encoding: str) -> None:
    (bench.workdir / "a.txt").write_bytes("héllo\r\nwörld\r\n".encode(encoding))

    assert (await bench.call("read_file", path="a.txt")).content == "1|héllo\n2|wörld"


async def test_bytes_that_are_no_utf8_do_not_stop_it(bench: Bench) -> None:
    (bench.workdir / "a.txt").write_bytes(b"caf\xe9\n")

    assert (await bench.call("read_file", path="a.txt")).content == "1|caf\N{REPLACEMENT CHARACTER}"


async def test_control_characters_are_made_plain(bench: Bench) -> None:
    (bench.workdir / "a.txt").write_bytes(b"\x1b[31mred\x1b[0m\x07\n")

    assert (await bench.call("read_file", path="a.txt")).content == "1|red\N{REPLACEMENT CHARACTER}"


async def test_a_missing_file_names_what_may_have_been_meant(bench: Bench) -> None:
    (bench.workdir / "README.md").write_text("x")

    with pytest.raises(ToolFailed, match=r"readme\.txt does not exist\. Did you mean .*README\.md\?"):
        await bench.call("read_file", path="readme.txt")


async def test_a_missing_directory_names_the_last_that_is_there(bench: Bench) -> None:
    with pytest.raises(ToolFailed, match=r"does not exist either; .*/work does"):
        await bench.call("read_file", path="no/such/file.txt")


@pytest.mark.parametrize(
    ("name", "what"),
    [("folder", "is a directory"), ("pipe", "is a named pipe"), ("binary.png", r"is not text \(image/png, 4 bytes\)")],
)
async def test_what_is_no_text_file_is_told(bench: Bench, name: str, what: str) -> None:
    (bench.workdir / "folder").mkdir()
    os.mkfifo(bench.workdir / "pipe")
    (bench.workdir / "binary.png").write_bytes(b"\x89PN\0")

    with pytest.raises(ToolFailed, match=what):
        await bench.call("read_file", path=name)


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/tty0", "/dev/stdin"])
async def test_devices_are_not_read(bench: Bench, path: str) -> None:
    with pytest.raises(ToolFailed):
        await bench.call("read_file", path=path)


@pytest.mark.parametrize("path", ["", "  ", "a\0b", "x" * 5000])
async def test_a_path_that_is_none_is_told(bench: Bench, path: str) -> None:
    with pytest.raises(ToolFailed):
        await bench.call("read_file", path=path)


@pytest.mark.parametrize(
    "path",
    [
        "{home}/.env",
        "{home}/state.db",
        "{home}/profiles/alice/.env",
        "{home}/skills/../.env",
        "{home}//.//.env",
        "{work}/link",
        "{work}/folder/.env",
        "/etc/shadow",
        "/etc/./../etc/shadow",
        "/proc/self/environ",
        "/proc/1/environ",
        "~/.ssh/id_ed25519",
        "~/.netrc",
    ],
)
async def test_secret_files_are_refused_by_every_way_to_them(bench: Bench, path: str) -> None:
    (bench.home / ".env").write_text("API_SERVER_KEY=canary")
    (bench.home / "state.db").write_text("canary")
    (bench.workdir / "link").symlink_to(bench.home / ".env")
    (bench.workdir / "folder").symlink_to(bench.home)

    with pytest.raises(ToolFailed, match="off limits for tools: it holds"):
        await bench.call("read_file", path=path.format(home=bench.home, work=bench.workdir))


async def test_the_action_names_the_file_behind_a_link(bench: Bench) -> None:
    (bench.workdir / "link").symlink_to("/etc/hostname")
    tool = bench.tool("read_file")

    action = tool.action(tool.parse('{"path": "link"}'), bench.context())

    assert action is not None
    assert (action.kind, action.paths) == (ActionKind.READ, (Path("/etc/hostname").resolve(),))


async def test_it_may_be_run_again(bench: Bench) -> None:
    assert bench.tool("read_file").is_idempotent


def test_a_utf8_mark_is_not_taken_for_another() -> None:
    assert not codecs.BOM_UTF8.startswith(codecs.BOM_UTF16_LE)
