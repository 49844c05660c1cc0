"""Who this Link is: an ed25519 key pair and a link_id, which outlive reinstalling (identity.json, 0600)."""

from __future__ import annotations

import json
import os
import tempfile
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hermes.core.clock import Clock
from hermes.core.errors import Conflict
from hermes.home.files import FILE_MODE, give_name, make_private_directory, write_private
from hermeslink.core.ids import new_id

KEY_BYTES = 32

_PUBLIC, _PRIVATE = "ed25519_public_key", "ed25519_private_key"
"""Their names tell the form: base64 of the raw bytes."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The keys are the raw 32 bytes of ed25519."""

    link_id: str
    public_key: bytes
    private_key: bytes = field(repr=False)

    def sign(self, data: bytes) -> bytes:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return Ed25519PrivateKey.from_private_bytes(self.private_key).sign(data)


class IdentityFile:
    """Read once; made when it is first needed, so that a Link nobody paired with has none."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._known: Identity | None = None

    @property
    def link_id(self) -> str | None:
        """None before it was made, and where it cannot be read."""
        if self._known is None:
            with suppress(Conflict):
                self._known = self._read()
        return self._known.link_id if self._known else None

    def get(self) -> Identity:
        """Makes it where there is none. An existing file keeps its link_id, and gets keys where it has none that are
        ours. Raises Conflict (`link_not_paired`) where that cannot be done."""
        if self._known is None:
            try:
                self._known = self._read() or self._make()
            except OSError as error:
                raise _unusable(self._path, error.strerror or "cannot be written") from error
        return self._known

    def _read(self) -> Identity | None:
        try:
            data = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unusable(self._path, error.strerror or "cannot be read") from error
        except ValueError as error:
            raise _unusable(self._path, "is no JSON") from error
        link_id = data.get("link_id") if isinstance(data, dict) else None
        if not isinstance(link_id, str) or not link_id:
            raise _unusable(self._path, "names no link_id")
        if os.name != "nt":
            with suppress(OSError):
                self._path.chmod(FILE_MODE)
        private_key = _key(data.get(_PRIVATE))
        if private_key is None:
            return self._with_keys(data, link_id)
        return Identity(link_id, _public(private_key), private_key)

    def _with_keys(self, data: dict[str, Any], link_id: str) -> Identity:
        """Somebody else's file: what it says is kept."""
        made = _new(link_id)
        try:
            write_private(self._path, _text(self._values(made) | data | _keys(made)))
        except OSError as error:
            raise _unusable(self._path, error.strerror or "cannot be written") from error
        return made

    def _make(self) -> Identity:
        """Of two processes that make it at once, both take what the first one wrote."""
        made = _new(new_id("link"))
        make_private_directory(self._path.parent)
        handle, name = tempfile.mkstemp(prefix=f".{self._path.name}.", suffix=".tmp", dir=self._path.parent)
        part = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(_text(self._values(made)))
                file.flush()
                os.fsync(file.fileno())
            give_name(part, self._path)
        except FileExistsError:
            return self._read() or made
        finally:
            part.unlink(missing_ok=True)
        return made

    def _values(self, identity: Identity) -> dict[str, Any]:
        return {"link_id": identity.link_id, **_keys(identity), "created_at": self._clock.now()}


def _new(link_id: str) -> Identity:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private_key = Ed25519PrivateKey.generate().private_bytes_raw()
    return Identity(link_id, _public(private_key), private_key)


def _public(private_key: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(private_key).public_key().public_bytes_raw()


def _keys(identity: Identity) -> dict[str, str]:
    return {
        _PUBLIC: b64encode(identity.public_key).decode(),
        _PRIVATE: b64encode(identity.private_key).decode(),
    }


def _key(text: object) -> bytes | None:
    if isinstance(text, str):
        with suppress(NotBase64, ValueError):
            key = b64decode(text, validate=True)
            return key if len(key) == KEY_BYTES else None
    return None


def _text(values: dict[str, Any]) -> str:
    return json.dumps(values, indent=2) + "\n"


def _unusable(path: Path, why: str) -> Conflict:
    """A client is told no path; who reads the log is."""
    error = Conflict(
        f"the identity of this Link cannot be used ({path.name} {why}): mend or remove the file on its machine",
        code="link_not_paired",
    )
    error.add_note(str(path))
    return error
