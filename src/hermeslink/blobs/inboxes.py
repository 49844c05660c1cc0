"""The inbox of a profile, where the agent finds attached files: `inbox/LINK_ID/BLOB_ID/NAME` in the profile's home.

They are copies, since an agent may change what it is given. All of it blocks.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from hermes.home.files import make_private_directory
from hermes.home.paths import INBOX, Home
from hermes.home.profiles import get_profile, list_profiles
from hermeslink.blobs.names import clean_name
from hermeslink.core.blob import Blob
from hermeslink.core.ids import is_id

UNPAIRED = "link"


class Inboxes:
    """`link_id` keeps apart what several Links put into one home, and is None before anybody paired."""

    def __init__(self, hermes_root: Path, link_id: Callable[[], str | None]) -> None:
        self._root = hermes_root
        self._link_id = link_id

    def put(self, profile: str, blob: Blob, content: BinaryIO) -> Path:
        """Where it lies from now on, the same place each time. Raises NotFound for a profile that is gone, and OSError.

        No link is followed below the profile's home: an agent may have put one there.
        """
        folder = self._folder(get_profile(self._root, profile)) / blob.id
        place = folder / clean_name(blob.filename)
        if place.is_file() and place.resolve() == place:
            return place  # also when the agent changed it: it is his
        if folder.resolve() != folder:
            raise OSError(errno.ELOOP, "there is a link in its way", str(folder))
        make_private_directory(folder)
        handle, temporary = tempfile.mkstemp(prefix=".", dir=folder)
        with os.fdopen(handle, "wb") as copy:
            shutil.copyfileobj(content, copy, 1 << 20)
        Path(temporary).replace(place)
        return place

    def remove(self, blob_ids: Iterable[str]) -> None:
        """What was put there of them, in every profile."""
        folders = list(self._folders())
        for blob_id in blob_ids:
            for folder in folders:
                shutil.rmtree(folder / blob_id, ignore_errors=True)

    def blob_ids(self) -> set[str]:
        return {path.name for folder in self._folders() for path in folder.iterdir() if is_id(path.name, "blob")}

    def _folders(self) -> Iterator[Path]:
        if not self._root.is_dir():
            return
        for profile in list_profiles(self._root):
            folder = self._folder(profile)
            if folder.is_dir() and folder.resolve() == folder:
                yield folder

    def _folder(self, profile: Home) -> Path:
        return profile.path.resolve() / INBOX / (self._link_id() or UNPAIRED)
