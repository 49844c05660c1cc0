"""`hermes update` with a real pip, in a real environment, against an index on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import hermes
from tests.support.index import index, wheel

SOURCE = Path(hermes.__file__).parents[1]
NO_INDEX = "http://127.0.0.1:9/simple"


@dataclass
class Installed:
    """An environment in which pip installed this version, as far as its records say."""

    python: Path
    environ: dict[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str, index_url: str = NO_INDEX) -> subprocess.CompletedProcess[str]:
        environ = {**self.environ, "PIP_INDEX_URL": index_url}
        command = [str(self.python), "-m", "hermes", *arguments]
        return subprocess.run(
            command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False
        )


@pytest.fixture
def installed(tmp_path: Path) -> Installed:
    pytest.importorskip("pip")
    place = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    [site] = place.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(f"{SOURCE}\n{sysconfig.get_path('purelib')}\n")
    info = site / "hermes_server-0.0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hermes-server\nVersion: 0.0.1\n")
    (info / "INSTALLER").write_text("pip\n")
    (info / "RECORD").write_text("hermes_server-0.0.1.dist-info/METADATA,,\nhermes_server-0.0.1.dist-info/RECORD,,\n")
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "HERMES_HOME": str(tmp_path / "home"),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_CACHE_DIR": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "OPENAI_API_KEY": "sk-not-for-the-installer",
    }
    return Installed(place / "bin" / "python", environ)


@pytest.mark.slow
def test_a_newer_version_is_told_and_then_brought_by_pip(installed: Installed, tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    names = [wheel(files, "hermes-server", version, says=f"I am {version}").name for version in ("99.0", "98.0")]
    with index(files, "hermes-server", *names) as url:
        told = installed("update", "--check", index_url=url)
        line = f"{installed.python} -m pip install --upgrade hermes-server==99.0"
        assert (told.returncode, told.stderr) == (0, "")
        assert told.stdout == f"hermes 99.0 is there; this is {hermes.__version__}. It comes with:\n  {line}\n"
        asked = installed("update", index_url=url)
        assert (asked.returncode, asked.stderr) == (2, "hermes: there is nobody to ask: add --yes\n")
        done = installed("update", "--yes", index_url=url)
        assert done.returncode == 0, done.stderr
        assert f"  {line}\n" in done.stdout
    assert installed("update").stdout == "I am 99.0\n"


@pytest.mark.slow
def test_the_newest_version_is_told_and_an_older_one_is_not_brought(installed: Installed, tmp_path: Path) -> None:
    name = wheel(tmp_path, "hermes-server", "0.0.1", says="old").name
    with index(tmp_path, "hermes-server", name) as url:
        done = installed("update", "--yes", index_url=url)
    assert (done.returncode, done.stdout) == (0, f"hermes {hermes.__version__} is the newest version there is.\n")


def test_without_a_network_it_says_so(installed: Installed) -> None:
    done = installed("update", "--check")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(
        "hermes: the package index could not be asked, or has no hermes-server; is there a network? ERROR: "
    )


@pytest.mark.slow
def test_a_hostile_index_runs_nothing(installed: Installed, tmp_path: Path) -> None:
    names = ["hermes_server-99.0;touch${IFS}owned-py3-none-any.whl", "hermes_server-../../owned-py3-none-any.whl"]
    with index(tmp_path, "hermes-server", *names) as url:
        done = installed("update", "--yes", index_url=url)
    assert done.returncode in (0, 1)
    assert not list(tmp_path.rglob("owned*"))
    assert "pip install --upgrade" not in done.stdout


def test_a_checkout_says_git_pull() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hermes", "update"], capture_output=True, text=True, timeout=60, check=False
    )
    if "checkout" not in done.stderr:
        pytest.skip("these tests run from an installed package")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("hermes: this is a checkout; bring it up to date with: git -C ")
