"""The `hermes` command in this process: arguments and environment in, exit code and both outputs out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hermes.cli.main import main
from hermes.home.paths import Home
from tests.support.database import is_postgres, new_url


@dataclass(frozen=True, slots=True)
class Done:
    code: int
    out: str
    err: str


@dataclass
class Hermes:
    """`hermes("config", "show")`. The environment holds nothing but the home, unless a test adds to it."""

    home: Home
    capture: pytest.CaptureFixture[str]
    environ: dict[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str) -> Done:
        environ = {"HOME": str(self.home.path.parent), "HERMES_HOME": str(self.home.path)}
        if is_postgres():
            environ["HERMES_DATABASE_URL"] = new_url(self.home.state_db)
        environ |= self.environ
        with pytest.raises(SystemExit) as ended:
            main(arguments, environ)
        out, err = self.capture.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return Done(code, out, err)


MakeHermes = Callable[[], Hermes]


def hermes_in(directory: Path, capture: pytest.CaptureFixture[str]) -> Hermes:
    return Hermes(Home(directory / "home"), capture)
