"""Files that clients uploaded: their bytes on disk, their records in the store, their text for a model.

`uploads` keeps them, `kinds` tells what they are, `documents` reads them (in a process of its own, `reader`), and
`parts` puts what was read into the messages of a run.
"""

from __future__ import annotations

from hermes.files.uploads import Files, UploadSettings

__all__ = ["Files", "UploadSettings"]
