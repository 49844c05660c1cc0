"""The readiness checks of /health/detailed, on real parts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hermes.api.services import Check
from hermes.api.status.checks import Checks, readiness
from hermes.core.errors import StoreUnavailable
from hermes.core.job import Job
from hermes.home.live import LiveSettings
from hermes.home.paths import Home, create_home
from hermes.home.settings import load_settings
from hermes.models.choice import ModelSetting
from hermes.models.resolve import Models
from hermes.runs.runner import Runner
from hermes.store import callbacks as callback_store
from hermes.store import jobs as job_store
from hermes.store.database import Connection, Database
from tests.support.clock import FakeClock
from tests.support.database import new_url
from tests.support.engine import open_runner
from tests.support.models import ScriptedModel
from tests.support.store import keep_run

NAMES = ["state_db", "config", "settings", "model", "disk", "gateway", "background_queues", "mcp"]


@asynccontextmanager
async def parts(
    home: Home, clock: FakeClock, setting: ModelSetting | None = None
) -> AsyncIterator[tuple[Checks, Database, Runner, Models]]:
    database = await Database.open(new_url())
    create_home(home)
    live = LiveSettings(load_settings(home, {}), home=home, environ={}, clock=clock)
    models = Models(setting, environ={}, addresses={}, is_installed=lambda name: False)
    async with open_runner(ScriptedModel([]), database=database, clock=clock) as runner:
        checks = readiness(database=database, runner=runner, models=models, live=live, home=home, clock=clock)
        yield checks, database, runner, models
    await models.close()
    await database.close()


async def test_a_gateway_that_is_well_says_so_of_every_part(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    setting = ModelSetting(name="m", base_url="http://127.0.0.1:9/v1")
    async with parts(home, FakeClock(), setting) as (checks, _, _, models):
        await models.start()
        found = {name: await check() for name, check in checks.items()}
    assert list(found) == NAMES
    assert [name for name, check in found.items() if not check.is_ok] == []
    assert found["mcp"].detail == "none configured"


async def test_a_model_that_nobody_has_asked_yet_is_looked_for(tmp_path: Path) -> None:
    """As of a profile that was opened to be looked at."""
    setting = ModelSetting(name="m", base_url="http://127.0.0.1:9/v1")
    async with parts(Home(tmp_path / "home"), FakeClock(), setting) as (checks, *_):
        check = await checks["model"]()
    assert check.is_ok
    assert "m of 127.0.0.1:9" in str(check.detail)


async def test_each_part_says_what_it_lacks(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    create_home(home)
    home.config_file.write_text("nonsense: 1\n")
    async with parts(home, FakeClock()) as (checks, _, runner, _):
        assert await checks["config"]() == Check(False, "config.yaml: nonsense is no setting")
        assert await checks["model"]() == Check(False, "none")
        await runner.drain(0)
        assert await checks["gateway"]() == Check(False, "it is stopping and takes no more runs")


async def test_background_work_that_was_forgotten_is_told(tmp_path: Path) -> None:
    clock = FakeClock(10_000.0)

    def keep(conn: Connection) -> None:
        job = Job(
            id="job_1",
            owner="alice",
            name="n",
            schedule="30m",
            timezone="UTC",
            anchor=0.0,
            prompt="p",
            created_at=1.0,
            updated_at=1.0,
            next_due=clock.time,
        )
        job_store.insert(conn, job)
        keep_run(conn, "r")
        callback_store.insert(conn, "cb_1", "r", "https://example.org/", clock.time)

    async with parts(Home(tmp_path / "home"), clock) as (checks, database, _, _):
        await database.write(keep)
        clock.advance(59)
        assert await checks["background_queues"]() == Check(True, "0 runs and 0 writes wait")
        clock.advance(2)
        assert await checks["background_queues"]() == Check(False, "1 jobs are due for more than a minute")


async def test_a_database_that_takes_no_write_is_told_even_where_nobody_writes(tmp_path: Path) -> None:
    async with parts(Home(tmp_path / "home"), FakeClock()) as (checks, database, _, _):
        if database.is_shared:
            pytest.skip("a PostgreSQL that has just become read-only is waited for")
        await database.write(_refuse_writes)
        with pytest.raises(StoreUnavailable, match="read-only"):
            await checks["state_db"]()


def _refuse_writes(conn: Connection) -> None:
    conn.exec_driver_sql("PRAGMA query_only = 1")
