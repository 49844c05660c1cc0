from __future__ import annotations

from typing import Any

import pytest

from hermes.core.errors import ToolFailed
from hermes.core.ports import ActionKind

from .conftest import Bench

PROGRAM = "def first():\n    return 1\n\n\ndef second():\n    return 1\n"


async def replace(bench: Bench, old: str, new: str, **more: Any) -> str:
    return (await bench.call("patch", path="a.py", old_string=old, new_string=new, **more)).content


async def test_a_unique_text_is_replaced_and_the_change_shown(bench: Bench) -> None:
    (bench.workdir / "a.py").write_text(PROGRAM)

    said = await replace(bench, "def second():\n    return 1", "def second():\n    return 2")

    assert (bench.workdir / "a.py").read_text() == PROGRAM[:-2] + "2\n"
    assert "-    return 1\n+    return 2" in said


async def test_an_ambiguous_text_changes_nothing_and_shows_where_it_stands(bench: Bench) -> None:
    (bench.workdir / "a.py").write_text(PROGRAM)

    with pytest.raises(ToolFailed, match=r"stands 2 times in [\s\S]*line 2: return 1\n  line 6: return 1"):
        await replace(bench, "return 1", "return 2")
    assert (bench.workdir / "a.py").read_text() == PROGRAM


async def test_replace_all_replaces_all(bench: Bench) -> None:
    (bench.workdir / "a.py").write_text(PROGRAM)

    assert "2 times" in await replace(bench, "return 1", "return 2", replace_all=True)
    assert (bench.workdir / "a.py").read_text() == PROGRAM.replace("1", "2")


async def test_other_indentation_is_forgiven_and_said(bench: Bench) -> None:
    (bench.workdir / "a.py").write_text("class A:\n    def f(self):\n        return 1\n")

    said = await replace(bench, "def f(self):\n    return 1", "def f(self):\n    x = 2\n    return x")

    assert "was not there exactly; it was found by ignoring indentation" in said
    assert (bench.workdir / "a.py").read_text() == "class A:\n    def f(self):\n        x = 2\n        return x\n"


async def test_white_space_at_line_ends_is_forgiven_and_said(bench: Bench) -> None:
    (bench.workdir / "a.py").write_text("a = 1  \nb = 2\n")

    assert "ignoring white space at line ends" in await replace(bench, "a = 1\nb = 2", "a = 3\nb = 2")


async def test_forgiving_still_wants_one_place(bench: Bench) -> None:
    (bench.workdir / "a.py").write_text("  x = 1\n  y = 2\nz\n    x = 1\n    y = 2\n")

    with pytest.raises(ToolFailed, match="stands 2 times"):
        await replace(bench, "x = 1\ny = 2", "x = 2\ny = 2")


async def test_a_text_that_is_not_there_shows_the_nearest(bench: Bench) -> None:
    (bench.workdir / "a.py").write_text(PROGRAM)

    with pytest.raises(ToolFailed, match=r"is not in .*The nearest lines are:\n5\|def second\(\):"):
        await replace(bench, "def secnod():\n    pass", "x")


async def test_line_ends_and_byte_order_mark_stay(bench: Bench) -> None:
    (bench.workdir / "a.py").write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n")

    await replace(bench, "one\ntwo", "one\nand a half\ntwo")

    assert (bench.workdir / "a.py").read_bytes() == b"\xef\xbb\xbfone\r\nand a half\r\ntwo\r\n"


async def test_bytes_that_are_no_utf8_stay(bench: Bench) -> None:
    (bench.workdir / "a.py").write_bytes(b"caf\xe9 = 1\nx = 1\n")

    await replace(bench, "x = 1", "x = 2")

    assert (bench.workdir / "a.py").read_bytes() == b"caf\xe9 = 1\nx = 2\n"


async def test_deleting_is_an_empty_new_string(bench: Bench) -> None:
    (bench.workdir / "a.py").write_text("keep\ndrop\n")

    await replace(bench, "drop\n", "")

    assert (bench.workdir / "a.py").read_text() == "keep\n"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"path": "a.py"}, "mode replace needs old_string, new_string"),
        ({"mode": "patch"}, "mode patch needs patch"),
        ({"mode": "patch", "patch": "hello"}, "no file in it"),
        (
            {"mode": "patch", "patch": "*** Begin Patch\n*** Update File: a.py\n*** End Patch"},
            "nothing to change in a.py",
        ),
        ({"mode": "patch", "patch": "*** Update File: a.py\nhello"}, "line 2: must begin with"),
        ({"path": "a.py", "old_string": "", "new_string": "x"}, "old_string: is empty"),
        ({"path": "a.py", "old_string": "x", "new_string": "x"}, "are the same"),
    ],
)
async def test_a_wrong_call_says_what_is_wrong(bench: Bench, arguments: dict[str, str], reason: str) -> None:
    (bench.workdir / "a.py").write_text("x\n")

    with pytest.raises(ToolFailed, match=reason):
        await bench.call("patch", **arguments)


async def test_a_patch_changes_several_files_at_once(bench: Bench) -> None:
    (bench.workdir / "a.py").write_text(PROGRAM)
    (bench.workdir / "old.txt").write_text("bye\n")
    (bench.workdir / "moved.txt").write_text("one\ntwo\n")
    patch = """*** Begin Patch
*** Update File: a.py
@@ def second():
-    return 1
+    return 2
*** Add File: new/b.txt
+hello
+
+there
*** Delete File: old.txt
*** Update File: moved.txt
*** Move to: there.txt
 one
-two
+three
*** End Patch"""

    said = (await bench.call("patch", mode="patch", patch=patch)).content

    assert (bench.workdir / "a.py").read_text() == PROGRAM[:-2] + "2\n"
    assert (bench.workdir / "new/b.txt").read_text() == "hello\n\nthere\n"
    assert not (bench.workdir / "old.txt").exists()
    assert not (bench.workdir / "moved.txt").exists()
    assert (bench.workdir / "there.txt").read_text() == "one\nthree\n"
    assert said.startswith(
        f"Edited {bench.workdir}/a.py.\nAdded {bench.workdir}/new/b.txt.\nDeleted {bench.workdir}/old.txt."
    )


async def test_a_patch_that_does_not_fit_changes_nothing(bench: Bench) -> None:
    (bench.workdir / "a.py").write_text(PROGRAM)
    patch = "*** Add File: b.txt\n+x\n*** Update File: a.py\n-not there\n+x\n"

    with pytest.raises(ToolFailed, match=r"Hunk 1 does not fit a\.py; these lines are not there in order:\nnot there"):
        await bench.call("patch", mode="patch", patch=patch)
    assert not (bench.workdir / "b.txt").exists()
    assert (bench.workdir / "a.py").read_text() == PROGRAM


async def test_a_patch_that_fails_while_writing_is_undone(bench: Bench) -> None:
    (bench.workdir / "a.py").write_text("one\n")
    (bench.workdir / "file").write_text("x")
    patch = "*** Update File: a.py\n-one\n+two\n*** Add File: file/b.txt\n+x\n"

    with pytest.raises(ToolFailed, match="is a file, not a directory"):
        await bench.call("patch", mode="patch", patch=patch)
    assert (bench.workdir / "a.py").read_text() == "one\n"


async def test_a_new_file_is_not_put_over_an_old_one(bench: Bench) -> None:
    (bench.workdir / "a.txt").write_text("old")

    with pytest.raises(ToolFailed, match="exists already"):
        await bench.call("patch", mode="patch", patch="*** Add File: a.txt\n+new")
    assert (bench.workdir / "a.txt").read_text() == "old"


async def test_a_unified_diff_is_a_patch_too(bench: Bench) -> None:
    (bench.workdir / "a.txt").write_text("".join(f"{n}\n" for n in range(1, 21)))
    diff = """diff --git a/a.txt b/a.txt
index 1111111..2222222 100644
--- a/a.txt
+++ b/a.txt
@@ -2,3 +2,4 @@
 2
-3
+three
+and more
 4
@@ -18,3 +19,2 @@ anything
 18
-19
 20
--- /dev/null
+++ b/new.txt
@@ -0,0 +1,1 @@
+fresh
\\ No newline at end of file
"""

    await bench.call("patch", mode="patch", patch=diff)

    lines = (bench.workdir / "a.txt").read_text().split()
    assert lines[:6] == ["1", "2", "three", "and", "more", "4"]
    assert lines[-2:] == ["18", "20"]
    assert (bench.workdir / "new.txt").read_text() == "fresh\n"


async def test_the_action_names_every_file_of_a_patch(bench: Bench) -> None:
    tool = bench.tool("patch")
    patch = "*** Update File: a\\n*** Move to: ../b\\n-x\\n+y\\n*** Delete File: /etc/c"
    arguments = tool.parse(f'{{"mode": "patch", "patch": "{patch}"}}')

    action = tool.action(arguments, bench.context())

    assert action is not None
    assert action.kind is ActionKind.WRITE
    assert [str(path) for path in action.paths] == [str(bench.workdir / "a"), str(bench.workdir.parent / "b"), "/etc/c"]
