from __future__ import annotations

import pytest

from hermes.agent.command import Command, Redirect, fold
from hermes.agent.shell import read


def lines(text: str) -> list[str]:
    return [" ".join(command.words) for command in read(text, {"HOME": "/home/me"}).commands]


def only(text: str) -> Command:
    (command,) = read(text).commands
    return command


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a 'b c' \"d e\" f\\ g", ("a", "b c", "d e", "f g")),
        ("a '' \"\"", ("a", "", "")),
        ("a $'x\\ty\\x41\\u00e9'", ("a", "x\tyA\u00e9")),
        ("a{b,c}d e{1,2}", ("abd", "acd", "e1", "e2")),
        ("a '{b,c}' \\{d,e\\}", ("a", "{b,c}", "{d,e}")),
        ("echo $HOME '$HOME' \"$HOME\"x", ("echo", "$HOME", "$HOME", "$HOMEx")),
        ("a # b c", ("a",)),
        ("a#b", ("a#b",)),
        ("a \\\n b", ("a", "b")),
        ("a $((1 + 2))", ("a", "$((1 + 2))")),
        ("a ${x:-b c}", ("a", "b", "c")),
        ('a "${x:-b c}"', ("a", "b c")),
    ],
)
def test_words_are_what_a_shell_makes_of_them(text: str, words: tuple[str, ...]) -> None:
    assert only(text).words == words


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        ("a; b && c || d & e | f\ng", ["a", "b", "c", "d", "e", "f", "g"]),
        ("if a; then b; elif c; then d; else e; fi", ["a", "b", "c", "d", "e"]),
        ("for x in 1 2; do a $x; done", ["a 1 2"]),
        ("while a; do b; done", ["a", "b"]),
        ("(a; b) && { c; }", ["a", "b", "c"]),
        ("x=1; a $x${x}", ["a 11"]),
        ("x='a b'; c $x \"$x\"", ["c a b a b"]),
        ("a $(b $(c))", ["c", "b $(c)", "a $(b $(c))"]),
        ("a <<E\nb\nE\nc", ["a", "c"]),
        ("a <<E | d\nb\nE\nc", ["a", "d", "c"]),
        ("sudo -u me env A=1 a b", ["sudo -u me env A=1 a b", "env A=1 a b", "a b"]),
        ("x=~/a; cd $x; b", ["cd ~/a", "b"]),
    ],
)
def test_commands_are_found_in_lists_and_blocks(text: str, commands: list[str]) -> None:
    assert lines(text) == commands


def test_redirections_and_pipes_are_kept() -> None:
    reading = read("a < in | b >> out 2>&1")

    first, second = reading.commands
    assert first.redirects == (Redirect("<", "in"),)
    assert second.redirects == (Redirect(">>", "out"), Redirect(">&", "1"))
    assert second.piped_from == (first,)


def test_a_here_document_is_its_commands_text() -> None:
    assert only("cat <<'E' > f\none $x\ntwo\nE").input_text == "one $x\ntwo"
    assert only("cat <<-E\n\tone\n\tE").input_text == "\tone"


def test_the_directory_is_followed() -> None:
    assert [
        command.directory for command in read("a; cd x; b; cd y; c; cd /z; d").commands if command.name != "cd"
    ] == [
        None,
        "x",
        "x/y",
        "/z",
    ]


@pytest.mark.parametrize("text", ["$x", "$(a b)", "eval $x", 'bash -c "$x"', "a | sh", "bash <(a b)"])
def test_what_is_only_known_while_it_runs_is_told(text: str) -> None:
    assert read(text).hidden


@pytest.mark.parametrize("text", ["a $x", "echo $(b)", "x=$(a)", "echo a | sh", "./$x", "bash $x.sh"])
def test_unknown_arguments_hide_no_command(text: str) -> None:
    assert read(text).hidden == []


@pytest.mark.parametrize("text", ["'", '"', "$(", "`", "${", "a 'b", "$'"])
def test_an_incomplete_text_says_what_is_missing(text: str) -> None:
    assert "never closed" in str(read(f"a; b {text}").problem)


def test_options_are_found_in_every_spelling() -> None:
    command = Command(("rm", "-rf", "--one=2", "--", "-x"))

    assert command.has("r", "recursive")
    assert command.has("one")
    assert not command.has("x")
    assert command.operands == ["-x"]
    assert Command(("a", "-o", "b")).value_of("-o") == Command(("a", "--out=b")).value_of("--out") == "b"


def test_look_alikes_are_folded() -> None:
    assert fold("ｒｍ -rf ⁄") == "rm -rf /"
    assert fold("r\u200bm\u202e") == "rm"
    assert fold("ѕudо") == "sudo"
    assert fold("größe 日本") == "größe 日本"
