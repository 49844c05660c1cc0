"""What the built-in model is shown before every conversation: who it is, and how requests like the user's are done.

It copies from its examples. So no name in them is one that anybody would use, and no fact in them one that anybody
would ask for; what turned up in answers all the same was taken out (docs/embedded-model.md has the scores).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .grammar import SAY, written
from .offer import KNOWN, Offer, signature

RULES = """\
You are an assistant on the user's computer. You write one JSON object: {"say": "text"} to answer the user, or one \
call of a tool."""

WITH_TOOLS = """\
Call a tool for everything about files, folders, programs or this computer: you know nothing of them before you \
looked. Then call the next tool until all is done, and at last say what came out: only what the results show, also \
when it failed. Use the user's own names and paths, not those of the examples. Greetings, knowledge, sums, and texts \
or code without a file name need no tool: say them. The tools:"""


@dataclass(frozen=True, slots=True)
class Example:
    """A request and its steps: a call and its result in turn, and the last thing said. `tools` are those it calls."""

    request: str
    steps: tuple[tuple[str, object], ...]
    results: tuple[str, ...] = ()

    @property
    def tools(self) -> set[str]:
        return {name for name, _ in self.steps if name != SAY}


EXAMPLES: tuple[Example, ...] = (
    Example("hello there", ((SAY, "Hello! What can I do for you?"),)),
    Example(
        "what is in the folder quorvex?",
        (("terminal", {"command": "ls -la quorvex"}), (SAY, "quorvex holds two files: blimsy.dat and trogg.cfg.")),
        ("-rw-r--r-- 1 u u 31 blimsy.dat\n-rw-r--r-- 1 u u 90 trogg.cfg",),
    ),
    Example("Of which country is Ouagadougou the capital?", ((SAY, "Ouagadougou is the capital of Burkina Faso."),)),
    Example(
        "What is the wumpf in drib.yaml?",
        (("read_file", {"path": "drib.yaml"}), (SAY, "The wumpf in drib.yaml is felt-61.")),
        ("1|zob: [3]\n2|wumpf: felt-61",),
    ),
    Example(
        "put the words oof and yarg into snuvv.lst, one on a line",
        (
            ("write_file", {"path": "snuvv.lst", "content": "oof\nyarg\n"}),
            (SAY, "snuvv.lst has two lines now: oof and yarg."),
        ),
        ("Wrote /wob/snuvv.lst (9 bytes).",),
    ),
    Example(
        "Which kernel runs here?", (("terminal", {"command": "uname -r"}), (SAY, "Kernel 0.0.7-grub.")), ("0.0.7-grub",)
    ),
    Example(
        "save the first word of plonk.md in fweep.out",
        (
            ("read_file", {"path": "plonk.md"}),
            ("write_file", {"path": "fweep.out", "content": "Zounds\n"}),
            (SAY, "The first word of plonk.md is Zounds; it is in fweep.out now."),
        ),
        ("1|Zounds and gadzooks, he said.", "Wrote /wob/fweep.out (7 bytes)."),
    ),
    Example(
        "move trogg.cfg into quorvex",
        (("terminal", {"command": "mv trogg.cfg quorvex/"}), (SAY, "trogg.cfg is in quorvex now.")),
        ("",),
    ),
    Example(
        "in zibnar.conf set flumpet to 78",
        (
            ("read_file", {"path": "zibnar.conf"}),
            ("patch", {"path": "zibnar.conf", "old_string": "flumpet: 77", "new_string": "flumpet: 78"}),
            (SAY, "flumpet is 78 now in zibnar.conf."),
        ),
        ("1|# zib\n2|flumpet: 77", "Edited /wob/zibnar.conf."),
    ),
    Example(
        "Write two lines about a sneezing yeti",
        ((SAY, "A yeti sneezed upon the hill,\nand all the snow came down with skill."),),
    ),
    Example(
        "where is mogwunk mentioned?",
        (
            ("terminal", {"command": "grep -rin 'mogwunk' ."}),
            (SAY, "In two files: drell/kiv.adoc, line 12, and ploof.rst, line 3."),
        ),
        ("./drell/kiv.adoc:12:see mogwunk\n./ploof.rst:3:a mogwunk",),
    ),
    Example(
        "is the host vexnode.invalid up?",
        (
            ("terminal", {"command": "ping -c 1 vexnode.invalid"}),
            (SAY, "No: the name vexnode.invalid is not known."),
        ),
        ("ping: vexnode.invalid: Name or service not known\n[it failed: exit code 2]",),
    ),
    Example(
        "add the word plib at the end of snuvv.lst",
        (("add_to_file", {"path": "snuvv.lst", "text": "plib"}), (SAY, "plib is the last line of snuvv.lst now.")),
        ("",),
    ),
    Example(
        "Write grolk.awk that prints the third column, and try it on pib.tsv",
        (
            ("write_file", {"path": "grolk.awk", "content": "{ print $3 }\n"}),
            ("terminal", {"command": "awk -f grolk.awk pib.tsv"}),
            (SAY, "grolk.awk works: for pib.tsv it prints wib and wob."),
        ),
        ("Wrote /wob/grolk.awk (13 bytes).", "wib\nwob"),
    ),
    Example(
        "zorf.lua gives the wrong sign, mend it and run it",
        (
            ("read_file", {"path": "zorf.lua"}),
            ("patch", {"path": "zorf.lua", "old_string": "return -gleeb", "new_string": "return gleeb"}),
            ("terminal", {"command": "lua zorf.lua"}),
            (SAY, "zorf.lua returned -gleeb; I made it gleeb, and now it prints 61."),
        ),
        (
            "1|local gleeb = 61\n2|function zorf()\n3|  return -gleeb\n4|end\n5|print(zorf())",
            "Edited /wob/zorf.lua.",
            "61",
        ),
    ),
    Example(
        "show me glimp.hs",
        (("read_file", {"path": "glimp.hs"}), (SAY, "There is no file glimp.hs.")),
        ("/wob/glimp.hs does not exist.",),
    ),
    Example("Thank you!", ((SAY, "You are welcome."),)),
)


def opening(offer: Offer) -> str:
    """The system text: the same for the same known tools, so that its evaluation can be kept."""
    if offer.is_empty:
        return RULES
    lines = [f"{signature(name, KNOWN[name].parameters)} {KNOWN[name].description}" for name in offer.known]
    return "\n".join([RULES, WITH_TOOLS, *lines])


def examples_for(offer: Offer) -> Sequence[Example]:
    """Only what can be called is shown."""
    return [example for example in EXAMPLES if example.tools <= set(offer.known)]


def turns(example: Example) -> list[tuple[str, str]]:
    """The example as (role, text), the way a conversation is written."""
    told = [("user", example.request)]
    for number, (name, value) in enumerate(example.steps):
        told.append(("assistant", written(name, value)))
        if number < len(example.results):
            told.append(("user", shown_result(name, example.results[number], example.request)))
    return told


def shown_result(tool: str, text: str, request: str) -> str:
    """A tool's result as the model gets it, with the request once more: by then it has often lost sight of it."""
    text = _EXIT_CODE.sub(_exit_words, text).strip()
    return f"[result of {tool}]\n{text or '[it worked and printed nothing]'}\n[the request: {request}]"


_EXIT_CODE = re.compile(r"\[exit code (\d+)\]\s*\Z")


def _exit_words(found: re.Match[str]) -> str:
    return "" if found[1] == "0" else f"[it failed: exit code {found[1]}]"
