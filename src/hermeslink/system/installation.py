"""Which installation this is: an id that tells two Links apart also before one of them was paired."""

from __future__ import annotations

from hermes.home.files import make_private_directory, write_private
from hermes.home.locks import file_lock
from hermeslink.core.ids import is_id, new_id
from hermeslink.home import LinkHome


def install_id(home: LinkHome) -> str:
    """`inst_` and 32 hex digits, from `install-id` in the home. Made when it is first asked for. Blocks on the disk."""
    known = _read(home)
    if known is not None:
        return known
    make_private_directory(home.run_dir)
    with file_lock(home.run_dir / "install-id.lock"):
        known = _read(home)
        if known is None:
            known = new_id("inst")
            write_private(home.install_id_file, known + "\n")
        return known


def _read(home: LinkHome) -> str | None:
    try:
        text = home.install_id_file.read_text("ascii", "replace").strip()
    except OSError:
        return None
    return text if is_id(text, "inst") else None
