"""The `hermeslink` command in this process: arguments and environment in, exit code and both outputs out."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hermeslink.cli.main import main
from hermeslink.home import LinkHome
from hermeslink.settings import set_setting
from tests.support.cli import Done


@dataclass
class HermesLink:
    """`hermeslink("config", "get")`. The environment holds nothing but the two homes, unless a test adds to it. It
    listens on loopback, on any free port."""

    directory: Path
    capture: pytest.CaptureFixture[str]
    environ: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        set_setting(self.home, "port", "0")
        set_setting(self.home, "listen-host", "127.0.0.1")

    @property
    def home(self) -> LinkHome:
        return LinkHome(self.directory / "link")

    def __call__(self, *arguments: str) -> Done:
        with pytest.raises(SystemExit) as ended:
            main(arguments, self.full_environ)
        out, err = self.capture.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return Done(code, out, err)

    @property
    def full_environ(self) -> dict[str, str]:
        homes = {"HERMESLINK_HOME": str(self.home.path), "HERMES_HOME": str(self.directory / "hermes")}
        return {"HOME": str(self.directory), **homes, **self.environ}
