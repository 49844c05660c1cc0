"""Finding the parts, putting them together, and every way in which that goes wrong."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from hermes.models.embedded import BUILTINS, NoRoom, PartsMissing, PartsWrong, is_available, missing, parts

pytestmark = pytest.mark.usefixtures("library")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "models"


def test_the_table_adds_up():
    for builtin in BUILTINS.values():
        sizes = [builtin.part_size(number) for number in range(1, builtin.parts + 1)]
        assert sum(sizes) == builtin.size_bytes
        assert 0 < sizes[-1] <= builtin.part_bytes


def test_the_parts_make_the_file_and_their_code_never_runs(make_builtin, folder):
    builtin = make_builtin("hello")
    told: list[tuple[int, int]] = []
    whole = parts.assemble(builtin, folder, lambda what, done, total: told.append((done, total)))
    assert whole.read_bytes() == b"".join(path.read_bytes() for path in parts.find_parts(builtin))
    assert told[-1] == (builtin.size_bytes, builtin.size_bytes)
    assert sorted(path.name for path in folder.iterdir()) == ["tiny.gguf", "tiny.gguf.checked", "tiny.gguf.lock"]
    assert folder.stat().st_mode & 0o777 == 0o700


def test_the_second_time_nothing_is_read(make_builtin, folder):
    builtin = make_builtin("hello")
    parts.assemble(builtin, folder)
    told: list[int] = []
    parts.assemble(builtin, folder, lambda what, done, total: told.append(done))
    assert told == []


def test_the_parts_may_go_once_the_file_is_there(make_builtin, folder, site):
    builtin = make_builtin("hello")
    whole = parts.assemble(builtin, folder)
    shutil.rmtree(site / "tiny_part1")
    assert parts.assemble(builtin, folder) == whole
    assert is_available(builtin, folder)


def test_a_file_that_was_changed_is_made_anew(make_builtin, folder):
    builtin = make_builtin("hello")
    whole = parts.assemble(builtin, folder)
    right = whole.read_bytes()
    whole.write_bytes(right[:-1])
    assert parts.assemble(builtin, folder).read_bytes() == right
    whole.write_bytes(right[::-1])
    assert parts.assemble(builtin, folder).read_bytes() == right


def test_a_file_without_its_stamp_is_checked_and_kept(make_builtin, folder):
    builtin = make_builtin("hello")
    whole = parts.assemble(builtin, folder)
    (folder / "tiny.gguf.checked").unlink()
    inode = whole.stat().st_ino
    parts.assemble(builtin, folder)
    assert whole.stat().st_ino == inode


def test_damage_that_left_size_and_time_alone_is_found_on_request(make_builtin, folder):
    builtin = make_builtin("hello")
    whole = parts.assemble(builtin, folder)
    assert parts.is_intact(builtin, folder)
    times = (whole.stat().st_atime_ns, whole.stat().st_mtime_ns)
    right = whole.read_bytes()
    whole.write_bytes(right[::-1])
    os.utime(whole, ns=times)
    assert not parts.is_intact(builtin, folder)
    assert parts.assemble(builtin, folder).read_bytes() == right


def test_a_missing_part_is_told_with_the_command_that_mends_it(make_builtin, folder, site):
    builtin = make_builtin("hello")
    shutil.rmtree(site / "tiny_part2")
    with pytest.raises(PartsMissing, match=r"1 of its 2 parts are missing\): pip install tiny, or connect"):
        parts.assemble(builtin, folder)
    assert not is_available(builtin, folder)
    assert isinstance(missing(builtin, folder), PartsMissing)


def test_a_missing_library_is_told(make_builtin, folder, monkeypatch):
    builtin = make_builtin("hello")
    monkeypatch.setattr(parts, "find_spec", lambda name: None)
    error = missing(builtin, folder)
    assert error is not None
    assert "xllamacpp" in error.message
    assert "pip install tiny" in error.message


def test_a_part_of_the_wrong_size_is_named(make_builtin, folder, site):
    builtin = make_builtin("hello")
    (site / "tiny_part2" / "data" / "part02.bin").write_bytes(b"short")
    with pytest.raises(PartsWrong, match=r"part02\.bin has 5 bytes instead of \d+: pip install tiny --force-reinstall"):
        parts.assemble(builtin, folder)


def test_parts_with_other_contents_leave_nothing_behind(make_builtin, folder, site):
    builtin = make_builtin("hello")
    path = site / "tiny_part1" / "data" / "part01.bin"
    path.write_bytes(path.read_bytes()[::-1])
    with pytest.raises(PartsWrong, match="SHA-256"):
        parts.assemble(builtin, folder)
    assert [path.name for path in folder.iterdir()] == ["tiny.gguf.lock"]


def test_a_full_disk_is_told_before_anything_is_written(make_builtin, folder, monkeypatch):
    builtin = make_builtin("hello")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1_000))
    with pytest.raises(NoRoom, match=r"0\.0 GB are free: make room, name another folder with XDG_CACHE_HOME"):
        parts.assemble(builtin, folder)


def test_a_folder_that_cannot_be_made_is_told(make_builtin, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NoRoom, match="XDG_CACHE_HOME"):
        parts.assemble(make_builtin("hello"), tmp_path / "file" / "models")


def test_an_assembly_that_is_stopped_leaves_nothing_behind(make_builtin, folder):
    def stop(what: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    builtin = make_builtin("hello")
    with pytest.raises(KeyboardInterrupt):
        parts.assemble(builtin, folder, stop)
    (folder / "tiny.gguf.part-1").write_bytes(b"of a process that was killed")
    parts.assemble(builtin, folder)
    assert not list(folder.glob("*.part-*"))


def test_of_two_at_once_one_works(make_builtin, folder):
    builtin = make_builtin("hello")
    made: list[int] = []
    meet = threading.Barrier(2)

    def tell(what: str, done: int, total: int) -> None:
        if what.startswith("Putting") and done == builtin.size_bytes:
            made.append(done)

    def work() -> None:
        meet.wait()
        parts.assemble(builtin, folder, tell)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [builtin.size_bytes]


def test_the_cache_is_the_users_and_no_profiles():
    assert parts.cache_folder({"XDG_CACHE_HOME": "/c", "HOME": "/h"}) == Path("/c/hermes/models")
    assert parts.cache_folder({"HOME": "/h", "HERMES_HOME": "/x"}) == Path("/h/.cache/hermes/models")
