"""What a program in another language would do, as far as its text tells: the commands it hands to a shell, the files
it writes, deletes and reads. A guess over names of functions and over strings, and no reading of the language."""

from __future__ import annotations

import re
from collections.abc import Iterator

_STRING = re.compile(
    r"'''(.*?)'''|\"\"\"(.*?)\"\"\"|'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"|`([^`]*)`|qx[{(](.*?)[})]", re.DOTALL
)
_RUNS = re.compile(
    r"system|popen|subprocess|exec|spawn|rmtree|unlink|remove|check_|\brun\b|child_process|Command|`|qx|getline|\||"
    r"shell-command|do shell script"
)
_DELETES_TREES = re.compile(
    r"rmtree|rm_rf?\b|rmSync|rm\(|rmdirSync|removeSync|remove_entry|remove_tree|remove_dir_all|delete-directory|"
    r"fs\.rm\b|rimraf|Deno\.remove"
)
_DELETES = re.compile(r"\bunlink|\bremove\b|\brmdir|FileUtils\.rm\b|File\.delete|delete-file")
_WALKS = re.compile(r"\bglob\b|rglob|iterdir|listdir|scandir|os\.walk|readdir|Dir\[")
_WRITES = re.compile(
    r"open\([^)]{0,300}?,\s*(?:mode\s*=\s*)?['\"][rb]*[wax+]|\.open\(\s*['\"][wax]|write_text|write_bytes|[wW]riteFile|"
    r"appendFile|createWriteStream|File\.(?:write|open)|file_put_contents|os\.(?:replace|rename|symlink|link|chmod)|"
    r"copyfile|shutil\.(?:copy|move)|copyFile|renameSync|truncate|print\s*>|getline\s*<"
)
_READS = re.compile(r"open\(|\bopen\b|read_text|read_bytes|[rR]eadFile|File\.read|IO\.read|file_get_contents|slurp")
_DECODES = re.compile(
    r"[ab](?:64|85|32|16)decode|fromhex|unhexlify|rot_?13|decompress|marshal|fromCharCode|\batob\(|unpack\s*\(|"
    r"\bchr\(|decode64|base64_decode|Buffer\.from\("
)
_EXECUTES = re.compile(
    r"\bexec\b|\beval\b|\bsystem\b|popen|subprocess|spawn|child_process|execSync|\bcompile\(|Function\("
)
_FETCHES = re.compile(
    r"urlopen|urlretrieve|requests\.|httpx\.|https?\.get\(|\bfetch\(|LWP|Net::HTTP|URI\.open|open-uri"
)
_EVALUATES = re.compile(r"\bexec\(|\beval\b|\bcompile\(|Function\(|os\.system\(|instance_eval")
_SOCKETS = re.compile(r"\bsocket\b|fsockopen|TCPSocket|net\.connect|net\.Socket|IO::Socket")
_STARTS_SHELLS = re.compile(r"/bin/(?:ba|da|z)?sh|dup2|subprocess|\bexec\b|spawn|\bpty\.|\bsystem\b")
_OWN = re.compile(r"(?:from|import)\s+(?:hermes|run_agent)\b")
_SENDS = re.compile(r"\bdata\s*=|\.post\(|\.put\(|sendall\(|\.send\(|method:\s*['\"]P(?:OST|UT)")


def commands_in_code(text: str) -> list[str]:
    """Texts in a program that it may hand to a shell: its strings, and lists of strings as one command."""
    if not _RUNS.search(text):
        return []
    text = joined_strings(text)
    joined = re.sub(r"""(['"])\s*,\s*(?:\[\s*)?(['"])""", r"\1\2", text)
    found = strings(text)
    if joined != text:
        found.append(" ".join(strings(text)))
    return [item for item in found if " " in item or "/" in item]


def acts_in_code(text: str) -> Iterator[tuple[str, ...]]:
    """What it does to files, as the words of commands that do the same."""
    text = joined_strings(text)
    places = [item for item in strings(text) if _is_place(item)]
    start = next((item for item in re.findall(r"chdir\w*[( ]\s*['\"]([^'\"]+)", text)), None)
    if start is not None:
        places += [f"{start}/{item}" for item in strings(text) if item and "/" not in item and " " not in item]
    if ("/proc" in text and "environ" in text) or ".environ()" in text:
        yield ("cat", "/proc/self/environ")
    if ".hermes" in text and re.search(r"\.env\b|state\.db", text):
        yield ("cat", "~/.hermes/.env")
    if ".hermes" in text and "config.y" in text and _WRITES.search(text):
        yield ("tee", "~/.hermes/config.yaml")
    if re.search(r"\bkill\(\s*-1\b|\bkill\s*\(?\s*['\"]?\w+['\"]?\s*,\s*-1\b", text):
        yield ("kill", "-9", "-1")
    deletes = bool(_DELETES.search(text))
    for place in places:
        if _DELETES_TREES.search(text) or (deletes and _WALKS.search(text)):
            yield ("rm", "-r", place)
        elif deletes:
            yield ("rm", place)
        if _WRITES.search(text) or place.startswith(">"):
            yield ("tee", place.lstrip(">+<| "))
        if _READS.search(text):
            yield ("cat", place)


def hidden_in_code(text: str) -> str | None:
    """Why nobody can tell what it will do; None where nothing speaks for that."""
    if _DECODES.search(text) and _EXECUTES.search(text):
        return "text that is put together while it runs"
    if _FETCHES.search(text) and _EVALUATES.search(text):
        return "text from the internet"
    if _SOCKETS.search(text) and _STARTS_SHELLS.search(text):
        return "a shell at the end of a connection"
    return "the agent's own code" if _OWN.search(text) else None


def sends_files(text: str) -> bool:
    """Whether it may send what it reads of files or of the environment."""
    return bool(_SENDS.search(text) and re.search(r"open\(|environ|read_text|[rR]eadFile|process\.env|ENV\[", text))


def joined_strings(text: str) -> str:
    """With `'a' + 'b'`, `Path('a') / 'b'` and `join('a', 'b')` as one string."""
    text = re.sub(r"""(['"])\s*\+\s*\1""", "", text)
    text = re.sub(r"""(['"])(?:\)\s*/\s*|\s+/\s+)\1""", "/", text)
    return re.sub(
        r"join\(([^()]{0,1000})\)", lambda found: "join(" + re.sub(r"""(['"])\s*,\s*\1""", "/", found[1]) + ")", text
    )


def strings(text: str) -> list[str]:
    return ["".join(part or "" for part in match) for match in _STRING.findall(text)]


def _is_place(text: str) -> bool:
    return (text in ("~", "/") or "/" in text) and " " not in text and "\n" not in text and len(text) < 4096
