from __future__ import annotations

import pytest

from hermes.core.errors import ToolFailed
from hermes.toolsets.settings import FileSettings

from .conftest import Bench, MakeBench


@pytest.fixture
def tree(bench: Bench) -> Bench:
    for name, text in {
        "src/a.py": "import os\n\n\ndef greet():\n    return 'hello'\n",
        "src/b.js": "function greet() {}\n",
        "docs/a.md": "hello hello\n",
        ".hidden/c.txt": "hello\n",
        ".git/config": "hello\n",
        "build/out.txt": "hello\n",
        ".gitignore": "build/\n",
    }.items():
        path = bench.workdir / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return bench


async def test_matching_lines_come_with_file_and_number(tree: Bench) -> None:
    assert (
        await tree.call("search_files", pattern="gre+t")
    ).content == "src/a.py:4:def greet():\nsrc/b.js:1:function greet() {}"


async def test_hidden_files_count_and_git_does_not(tree: Bench) -> None:
    found = (await tree.call("search_files", pattern="hello", output_mode="files_only")).content

    assert found.split("\n") == [".hidden/c.txt", "docs/a.md", "src/a.py"]


async def test_what_git_ignores_is_left_out_unless_asked_for(tree: Bench) -> None:
    assert "build" not in (await tree.call("search_files", pattern="hello")).content
    assert (await tree.call("search_files", pattern="hello", path="build")).content == "out.txt:1:hello"
    assert (await tree.call("search_files", pattern="hello", path="build/out.txt")).content == "out.txt:1:hello"


async def test_context_comes_around_the_match(tree: Bench) -> None:
    found = (await tree.call("search_files", pattern="def greet", context=1)).content

    assert found == "src/a.py:3-\nsrc/a.py:4:def greet():\nsrc/a.py:5-    return 'hello'"


async def test_matches_are_counted_a_file(tree: Bench) -> None:
    assert "docs/a.md:2" in (await tree.call("search_files", pattern="hello", output_mode="count")).content


async def test_names_are_found_by_glob_or_part(tree: Bench) -> None:
    by_glob = await tree.call("search_files", pattern="*.py", target="files")
    by_part = await tree.call("search_files", pattern="B.j", target="files")

    assert (by_glob.content, by_part.content) == ("src/a.py", "src/b.js")


async def test_file_glob_and_path_narrow_it(tree: Bench) -> None:
    assert (
        await tree.call("search_files", pattern="greet", file_glob="*.js")
    ).content == "src/b.js:1:function greet() {}"
    assert (await tree.call("search_files", pattern="hello", path="docs")).content == "a.md:1:hello hello"
    assert (await tree.call("search_files", pattern="hello", path="docs/a.md")).content == "a.md:1:hello hello"


async def test_too_many_results_are_cut_and_said(tree: Bench) -> None:
    (tree.workdir / "many.txt").write_text("match\n" * 500)

    result = await tree.call("search_files", pattern="match", limit=3)

    assert result.content.count("many.txt:") == 3
    assert "[cut at 3 results; narrow the pattern" in result.content


async def test_nothing_found_is_no_error(tree: Bench) -> None:
    result = await tree.call("search_files", pattern="nowhere to be seen")

    assert (result.content, result.is_error) == ("Nothing found.", False)


async def test_a_wrong_expression_is_told(tree: Bench) -> None:
    with pytest.raises(ToolFailed, match="regex parse error"):
        await tree.call("search_files", pattern="(")


@pytest.mark.parametrize("pattern", ["--files", "-v", "--pre=cat"])
async def test_a_pattern_is_never_an_option(tree: Bench, pattern: str) -> None:
    assert (await tree.call("search_files", pattern=pattern)).content == "Nothing found."


async def test_a_missing_path_is_told(tree: Bench) -> None:
    with pytest.raises(ToolFailed, match="does not exist"):
        await tree.call("search_files", pattern="x", path="nowhere")


async def test_secret_files_are_left_out_and_that_is_said(tree: Bench) -> None:
    (tree.home / ".env").write_text("API_SERVER_KEY=canary\n")
    (tree.home / "notes.txt").write_text("canary sings\n")

    for more in ({}, {"output_mode": "files_only"}, {"output_mode": "count"}):
        result = await tree.call("search_files", pattern="canary", path=str(tree.home), **more)
        assert "API_SERVER_KEY" not in result.content
        assert ".env" not in result.content
        assert "[left out 1 file(s) that hold secrets]" in result.content


async def test_roots_hold(make_bench: MakeBench) -> None:
    bench = make_bench(files=FileSettings(roots=(make_bench().workdir,)))

    with pytest.raises(ToolFailed, match="outside of what the file tools may touch"):
        await bench.call("search_files", pattern="root", path="/etc")


async def test_a_very_long_line_is_shown_in_part(tree: Bench) -> None:
    (tree.workdir / "min.js").write_text("x" * 2_000_000 + "needle\n")

    result = await tree.call("search_files", pattern="needle")

    assert len(result.content) < 1500
