"""Files that clients uploaded: their bytes on disk, their records in the store, their text for a model."""

from __future__ import annotations

from pathlib import Path

from hermes.core.clock import Clock
from hermes.store.database import Database


class Files:
    """`directory` None: there is no home, and nothing can be uploaded."""

    def __init__(self, database: Database, directory: Path | None, clock: Clock) -> None:
        self._database = database
        self._directory = directory
        self._clock = clock
