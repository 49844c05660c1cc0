"""What people see of a profile: `profile.json` in its home. The uid stays through every rename."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from hermes.core.ids import new_id
from hermes.home.files import write_private
from hermes.home.locks import edit_lock
from hermes.home.paths import Home

FILE_NAME = "profile.json"
INITIALS = "initials"
"""The avatar of who chose none: a client draws it from the name."""

IMAGE = "image"
AVATAR_TYPES = (INITIALS, IMAGE)
MAX_DISPLAY_NAME = 64
MAX_DESCRIPTION = 500
MAX_URL = 2000
MAX_PICTURE = 96 << 10
"""Characters of a picture that is the URL itself."""
MAX_FILE = 256 << 10

_UID = re.compile(r"prof_[0-9a-f]{32}")
_WEB = re.compile(r"https://(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?(/[!-~]*|\?[!-~]*)?")
_PICTURE = re.compile(r"data:image/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/]+={0,2}")


@dataclass(frozen=True, slots=True)
class About:
    """`uid` is None as long as nobody asked for one. `avatar_url` goes with the `avatar_type` image."""

    uid: str | None = None
    display_name: str | None = None
    description: str | None = None
    avatar_type: str = INITIALS
    avatar_url: str | None = None


def read_about(home: Home) -> About:
    """A file that is no JSON of ours says nothing; a value of a wrong type counts as left out."""
    return _about(_read(home.path / FILE_NAME))


def with_uid(home: Home) -> About:
    """As `read_about`, and from now on it has a uid. One that cannot be kept (a disk that is read-only) is None."""
    found = read_about(home)
    if found.uid is not None or not home.path.is_dir():
        return found
    try:
        return change_about(home)
    except OSError:
        return found


def change_about(home: Home, **changes: str | None) -> About:
    """`changes` are fields of `About`; None takes one away. What is in the file besides stays."""
    file = home.path / FILE_NAME
    with edit_lock(file):
        raw = _read(file)
        said: dict[str, Any] = {**asdict(_about(raw)), **changes}
        about = About(**{**said, "uid": said["uid"] or new_id("prof"), "avatar_type": said["avatar_type"] or INITIALS})
        kept = {name: value for name, value in raw.items() if name not in _NAMES}
        told = {name: value for name, value in asdict(about).items() if value is not None}
        write_private(file, json.dumps({**told, **kept}, indent=2, ensure_ascii=False) + "\n")
    return about


def is_avatar_url(url: str) -> bool:
    """https, and nobody's password in it; or a small picture of a kind that holds no script."""
    if len(url) <= MAX_URL and _WEB.fullmatch(url):
        return True
    return len(url) <= MAX_PICTURE and _PICTURE.fullmatch(url) is not None


def renew_uid(home: Home) -> About:
    """For a copy of another profile, which is not that one."""
    return change_about(home, uid=new_id("prof"))


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.open(encoding="utf-8") as opened:
            found = json.loads(opened.read(MAX_FILE))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _about(raw: dict[str, Any]) -> About:
    said = {name: raw[name] for name in _NAMES if isinstance(raw.get(name), str) and raw[name]}
    if _UID.fullmatch(said.get("uid", "")) is None:
        said.pop("uid", None)
    if said.get("avatar_type") not in AVATAR_TYPES or not is_avatar_url(said.get("avatar_url", "")):
        said.pop("avatar_type", None)
        said.pop("avatar_url", None)
    return About(**said)


_NAMES = tuple(one.name for one in fields(About))
