from __future__ import annotations

import os
import stat

import pytest

from hermes.core.errors import ToolFailed
from hermes.core.ports import ActionKind
from hermes.toolsets.settings import FileSettings

from .conftest import Bench, MakeBench


async def test_a_file_is_written_with_its_directories(bench: Bench) -> None:
    result = await bench.call("write_file", path="deep/er/a.txt", content="hello\n")

    assert result.content == f"Wrote {bench.workdir / 'deep/er/a.txt'} (6 bytes)."
    assert (bench.workdir / "deep/er/a.txt").read_text() == "hello\n"


async def test_a_file_is_replaced_and_keeps_its_mode(bench: Bench) -> None:
    path = bench.workdir / "run.sh"
    path.write_text("old")
    path.chmod(0o751)

    result = await bench.call("write_file", path="run.sh", content="new")

    assert result.content.startswith("Replaced ")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o751


async def test_content_is_written_as_it_is(bench: Bench) -> None:
    await bench.call("write_file", path="a.txt", content="\ufeffa\r\nb\n\té😀")

    assert (bench.workdir / "a.txt").read_bytes() == "\ufeffa\r\nb\n\té😀".encode()


async def test_a_link_stays_a_link(bench: Bench) -> None:
    (bench.workdir / "real.txt").write_text("old")
    (bench.workdir / "link.txt").symlink_to("real.txt")

    await bench.call("write_file", path="link.txt", content="new")

    assert (bench.workdir / "link.txt").is_symlink()
    assert (bench.workdir / "real.txt").read_text() == "new"


async def test_nothing_else_is_left_in_the_directory(bench: Bench) -> None:
    await bench.call("write_file", path="a.txt", content="x")

    assert [path.name for path in bench.workdir.iterdir()] == ["a.txt"]


async def test_a_directory_a_pipe_and_a_device_are_not_replaced(bench: Bench) -> None:
    (bench.workdir / "folder").mkdir()
    os.mkfifo(bench.workdir / "pipe")

    for path, what in (("folder", "is a directory"), ("pipe", "is a named pipe"), ("/dev/null", "is a device")):
        with pytest.raises(ToolFailed, match=what):
            await bench.call("write_file", path=path, content="x")


async def test_a_file_in_the_way_of_a_directory_is_told(bench: Bench) -> None:
    (bench.workdir / "file").write_text("x")

    with pytest.raises(ToolFailed, match="is a file, not a directory"):
        await bench.call("write_file", path="file/a.txt", content="x")


async def test_secret_files_are_not_written(bench: Bench) -> None:
    with pytest.raises(ToolFailed, match="off limits"):
        await bench.call("write_file", path=str(bench.home / ".env"), content="API_SERVER_KEY=mine")

    assert not (bench.home / ".env").exists()


async def test_the_action_is_a_write_to_the_real_place(bench: Bench) -> None:
    tool = bench.tool("write_file")

    action = tool.action(tool.parse('{"path": "x/../a.txt", "content": ""}'), bench.context())

    assert action is not None
    assert (action.kind, action.paths) == (ActionKind.WRITE, (bench.workdir / "a.txt",))


@pytest.mark.parametrize(
    "path",
    ["../out.txt", "/out.txt", "link/out.txt", "link2", "a/../../out.txt", "~/out.txt", "/etc/passwd", "//etc/passwd"],
)
async def test_roots_hold_whatever_the_path_says(make_bench: MakeBench, path: str) -> None:
    plain = make_bench()
    bench = make_bench(files=FileSettings(roots=(plain.workdir,)))
    (bench.workdir / "link").symlink_to(bench.workdir.parent)
    (bench.workdir / "link2").symlink_to(bench.workdir.parent / "out.txt")

    for tool, more in (
        ("write_file", {"content": "x"}),
        ("read_file", {}),
        ("patch", {"old_string": "a", "new_string": "b"}),
    ):
        with pytest.raises(ToolFailed, match="outside of what the file tools may touch"):
            await bench.call(tool, path=path, **more)
    assert not (bench.workdir.parent / "out.txt").exists()


async def test_inside_the_roots_all_is_well(make_bench: MakeBench) -> None:
    plain = make_bench()
    bench = make_bench(files=FileSettings(roots=(plain.workdir,)))

    await bench.call("write_file", path="deep/a.txt", content="x")

    assert (await bench.call("read_file", path="deep/a.txt")).content == "1|x"
