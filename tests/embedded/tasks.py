"""Requests as people make them, and how to tell whether they were met.

SINGLE looks at the first step alone; SEVERAL at what is true in the end; UNSEEN is of both kinds and was written after
the examples and the prompt were final: its score is the honest one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.embedded.workbench import Outcome

FOLDER: Mapping[str, str] = {
    "notes.txt": "Call Marta about the boat.\nBuy lamp oil.\nTODO: renew the passport\n",
    "settings.ini": "[server]\nport = 8080\nhost = localhost\ndebug = false\n",
    "prices.csv": "item,price\npen,2\nbook,12\nlamp,31\n",
    "src/app.py": 'def greet(name):\n    return "Hello " + name\n\n\nprint(greet("Ada"))\n',
    "src/broken.py": "total = 0\nfor i in range(5)\n    total += i\nprint(total)\n",
    "src/util.py": "# TODO: remove\ndef double(x):\n    return x * 3\n",
    "docs/readme.md": "# Lighthouse\n\nA tool that counts ships.\n\n## Install\n\nRun `make`.\n",
    "logs/server.log": "10:00 INFO start\n10:01 ERROR disk full\n10:02 INFO retry\n10:03 ERROR timeout\n",
    "data.json": '{"name": "Pelican", "version": "2.4.1", "tags": ["bird", "sea"]}\n',
    "old/a.tmp": "x\n",
    "old/b.tmp": "y\n",
}

Check = Callable[[Outcome], bool]


@dataclass(frozen=True)
class Task:
    request: str
    check: Check
    files: Mapping[str, str] = field(default_factory=lambda: FOLDER)


def calls(tool: str, *patterns: str) -> Check:
    """The first step is a call of one of these tools (`a|b`), and its arguments have all the patterns."""

    def check(outcome: Outcome) -> bool:
        name, text = outcome.first
        return name in tool.split("|") and all(re.search(pattern, text, re.IGNORECASE) for pattern in patterns)

    return check


def says(*patterns: str) -> Check:
    """Nothing is called, and the text has all the patterns."""
    return calls("say", *patterns)


def ends(test: Callable[[Outcome], bool]) -> Check:
    return test


LOOK = "terminal|search_files|read_file"

SINGLE: tuple[Task, ...] = (
    Task("Hi!", says(r"\w")),
    Task("What is the capital of France?", says("paris")),
    Task("What is 12 times 12?", says("144")),
    Task("Translate 'good morning' to Spanish", says("buenos d")),
    Task("Tell me a short joke", says(r"\w")),
    Task("Explain in one sentence what a hash table is", says("key|hash")),
    Task("Write a haiku about rain", says(r"\w")),
    Task("What can you do for me?", says(r"\w")),
    Task("who are you?", says(r"\w")),
    Task("Write a Python function that reverses a string", says("def|::-1")),
    Task("What does the HTTP status 404 mean?", says("not found|cannot|could not|does not exist")),
    Task("Thanks, that was great", says(r"\w")),
    Task("list the files here", calls("terminal", r"\bls\b")),
    Task("What's in the docs folder?", calls("terminal", r"\bls\b.*docs")),
    Task("show me settings.ini", calls("read_file|terminal", r"settings\.ini")),
    Task("What does notes.txt say?", calls("read_file|terminal", r"notes\.txt")),
    Task("Which port is set in settings.ini?", calls(LOOK, "settings.ini")),
    Task("how much free disk space is there", calls("terminal", r"\bdf\b")),
    Task("What time is it on this machine?", calls("terminal", r"\bdate\b|timedatectl")),
    Task("Which version of python is installed?", calls("terminal", r"python3?.*(-V|--version)")),
    Task("How much memory does this computer have?", calls("terminal", r"free|meminfo")),
    Task("how many CPU cores do I have?", calls("terminal", r"nproc|lscpu|cpuinfo")),
    Task("what user am I logged in as", calls("terminal", r"whoami|\bid\b|\bwho\b|USER")),
    Task("Run src/app.py", calls("terminal", r"python3?.*src/app\.py")),
    Task("run the command uptime", calls("terminal", "uptime")),
    Task("create a file called todo.txt with the text buy milk", calls("write_file|terminal", "todo.txt", "buy milk")),
    Task("Write a python script hello.py that prints hello world", calls("write_file", "hello.py", "print")),
    Task("Change the port in settings.ini from 8080 to 9090", calls("patch|read_file|terminal", "settings.ini")),
    Task("in settings.ini set debug to true", calls("patch|read_file|terminal", "settings.ini")),
    Task("Which files contain the word TODO?", calls("search_files|terminal", "TODO")),
    Task("find all .py files", calls("terminal|search_files", "py")),
    Task("delete notes.txt", calls("terminal", r"rm.*notes\.txt")),
    Task("make a directory called backup", calls("terminal", "mkdir.*backup")),
    Task("rename prices.csv to costs.csv", calls("terminal", r"mv.*prices\.csv.*costs\.csv")),
    Task("How many lines does logs/server.log have?", calls("terminal|read_file", r"server\.log")),
    Task("Show the errors in logs/server.log", calls("terminal|search_files|read_file", r"server\.log")),
    Task("Is git installed?", calls("terminal", "git")),
    Task("What is the version in data.json?", calls(LOOK, r"data\.json")),
    Task("copy data.json to data.bak", calls("terminal", r"cp.*data\.json.*data\.bak")),
    Task("what is my current directory?", calls("terminal", "pwd")),
)

SEVERAL: tuple[Task, ...] = (
    Task("Which port does settings.ini use?", ends(lambda o: o.says("8080"))),
    Task("Change the port in settings.ini from 8080 to 9090", ends(lambda o: "port = 9090" in o.file("settings.ini"))),
    Task("What does the project in docs/readme.md do?", ends(lambda o: o.says("ship"))),
    Task("How many files are in the folder old?", ends(lambda o: o.says(r"\b2\b|two"))),
    Task("Run src/app.py and tell me what it prints", ends(lambda o: o.says("Hello Ada"))),
    Task(
        "Write a script fib.py that prints the first 10 Fibonacci numbers, and run it",
        ends(lambda o: bool(o.file("fib.py")) and any("34" in result for result in o.results)),
    ),
    Task("Count the ERROR lines in logs/server.log", ends(lambda o: o.says(r"\b2\b|two"))),
    Task("What is the version in data.json?", ends(lambda o: o.says(r"2\.4\.1"))),
    Task(
        "Delete all .tmp files in the folder old",
        ends(lambda o: not o.file("old/a.tmp") and not o.file("old/b.tmp") and bool(o.file("notes.txt"))),
    ),
    Task(
        "Create a folder backup and copy notes.txt into it",
        ends(lambda o: o.file("backup/notes.txt") == FOLDER["notes.txt"]),
    ),
    Task(
        "Read notes.txt and write the line about the passport into passport.txt",
        ends(lambda o: "passport" in o.file("passport.txt") and "oil" not in o.file("passport.txt")),
    ),
    Task("Which files contain TODO?", ends(lambda o: o.says(r"notes\.txt", r"util\.py"))),
    Task("What is the sum of the prices in prices.csv?", ends(lambda o: o.says(r"\b45\b"))),
    Task("Which item in prices.csv costs most?", ends(lambda o: o.says("lamp"))),
    Task(
        "Add the line 'water the plants' to the end of notes.txt",
        ends(lambda o: "water the plants" in o.file("notes.txt") and "boat" in o.file("notes.txt")),
    ),
    Task("Why does src/broken.py not run?", ends(lambda o: o.says(r"colon|syntax|':'|“:”"))),
    Task(
        "Fix the syntax error in src/broken.py and run it",
        ends(lambda o: "range(5):" in o.file("src/broken.py") and "total += i" in o.file("src/broken.py")),
    ),
    Task(
        "Read missing.txt and tell me what is in it",
        ends(lambda o: o.says(r"no (such )?file|not exist|not found|no file|could not|cannot|is no")),
    ),
    Task(
        "The function double in src/util.py is wrong. Fix it.",
        ends(lambda o: bool(re.search(r"x \* 2|2 \* x|x \+ x", o.file("src/util.py")))),
    ),
    Task(
        "Create hello.sh that prints hi, make it executable and run it",
        ends(lambda o: bool(o.file("hello.sh")) and any(result.startswith("hi\n") for result in o.results)),
    ),
    Task(
        "Set debug to true in settings.ini and show me the file",
        ends(lambda o: "debug = true" in o.file("settings.ini")),
    ),
    Task("What is the name of the person in notes.txt that I should call?", ends(lambda o: o.says("marta"))),
    Task("rename prices.csv to costs.csv", ends(lambda o: bool(o.file("costs.csv")) and not o.file("prices.csv"))),
    Task("How many lines does notes.txt have?", ends(lambda o: o.says(r"\b3\b|three"))),
    Task(
        "Put the tags from data.json into tags.txt, one on a line",
        ends(lambda o: o.file("tags.txt").split() == ["bird", "sea"]),
    ),
    Task("Run the command `exit 3` and tell me its exit code", ends(lambda o: o.says(r"\b3\b"))),
    Task("What is the first error in logs/server.log, and when was it?", ends(lambda o: o.says("disk full", r"10:01"))),
)

UNSEEN: tuple[Task, ...] = (
    Task("Good evening", says(r"\w")),
    Task("Who wrote Don Quixote?", says("cervantes")),
    Task("What is 15 percent of 80?", ends(lambda o: o.says(r"\b12\b"))),
    Task("What is my hostname?", calls("terminal", "hostname|uname")),
    Task("list the folders in here", calls("terminal", "ls|find")),
    Task("When was data.json last changed?", calls("terminal", r"(stat|ls|date).*data\.json")),
    Task("What is the host in settings.ini?", ends(lambda o: o.says("localhost"))),
    Task("Which item in prices.csv costs 12?", ends(lambda o: o.says("book"))),
    Task("How should I install the tool of docs/readme.md?", ends(lambda o: o.says("make"))),
    Task("Copy src/app.py to src/main.py", ends(lambda o: o.file("src/main.py") == FOLDER["src/app.py"])),
    Task("Change the host in settings.ini to 0.0.0.0", ends(lambda o: "host = 0.0.0.0" in o.file("settings.ini"))),
    Task(
        "Add a line 'eraser,1' to prices.csv",
        ends(lambda o: "eraser,1" in o.file("prices.csv") and "book" in o.file("prices.csv")),
    ),
    Task(
        "Write a script even.py that prints the even numbers from 2 to 10 and run it",
        ends(lambda o: bool(o.file("even.py")) and any("10" in result and "4" in result for result in o.results)),
    ),
    Task("Delete the folder old", ends(lambda o: not (o.folder / "old").exists() and bool(o.file("notes.txt")))),
    Task("How often does the word INFO stand in logs/server.log?", ends(lambda o: o.says(r"\b2\b|two|twice"))),
)
