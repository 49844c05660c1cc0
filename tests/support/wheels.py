"""Wheels of this project in several versions, and environments that have one of them, for updates that really run."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]


def build_wheel(directory: Path) -> Path:
    """Of the working tree as it is."""
    command = (sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(directory), str(ROOT))
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    [made] = directory.glob("*.whl")
    return made


def as_version(wheel: Path, directory: Path, version: str, changes: Mapping[str, str] | None = None) -> Path:
    """The same wheel under another version, that says so. `changes`: what is written before the code of a file. It asks
    for no other package: all are there."""
    old = wheel.name.split("-")[1]
    files: dict[str, bytes] = {}
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            files[name.replace(f"-{old}.dist-info", f"-{version}.dist-info")] = archive.read(name)
    info = f"hermes_server-{version}.dist-info"
    metadata = files[f"{info}/METADATA"].decode().splitlines(keepends=True)
    kept = [line for line in metadata if not line.startswith(("Requires-Dist", "Provides-Extra", "Requires-Python"))]
    files[f"{info}/METADATA"] = "".join(kept).replace(f"\nVersion: {old}\n", f"\nVersion: {version}\n").encode()
    own = files["hermes/__init__.py"].decode()
    assert f'"{old}"' in own
    files["hermes/__init__.py"] = own.replace(f'"{old}"', f'"{version}"').encode()
    for name, code in (changes or {}).items():
        marker = "from __future__ import annotations\n"
        text = files[name].decode()
        assert marker in text
        files[name] = text.replace(marker, f"{marker}{code}", 1).encode()
    del files[f"{info}/RECORD"]
    record = "".join(f"{name},sha256={_digest(data)},{len(data)}\n" for name, data in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    made = directory / f"hermes_server-{version}-py3-none-any.whl"
    with zipfile.ZipFile(made, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return made


def borrow(site: Path) -> None:
    """What the tests run with, for an environment that has nothing. This project itself is not lent."""
    (site / "borrowed.pth").write_text(f"{sysconfig.get_path('purelib')}\n")


def installed_by_pip(place: Path, wheel: Path) -> Path:
    """The interpreter of a new environment in which pip put the wheel from an index, as its records say."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    [site] = place.glob("lib/python*/site-packages")
    borrow(site)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    [info] = site.glob("hermes_server-*.dist-info")
    (info / "INSTALLER").write_text("pip\n")
    with (info / "RECORD").open("a") as record:
        record.write(f"{info.name}/INSTALLER,,\n")
    return place / "bin" / "python"


def clean_environ(home: Path, **more: str) -> dict[str, str]:
    """Of a person who has only this installation. No setting of an installer of this machine counts."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_CACHE_DIR": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "UV_NO_CACHE": "1",
        "UV_NO_CONFIG": "1",
        **more,
    }


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
