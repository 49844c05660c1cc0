"""What newer version there is: the index says it, once for all who ask, and what it said is kept."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from hermes.core.errors import InvalidInput
from hermes.home.updates.installation import Installation, Kind, Release
from hermes.store.database import Database
from hermeslink.core.caller import Caller
from hermeslink.core.device import Scope
from hermeslink.home import LinkHome
from hermeslink.store import audit
from hermeslink.store.schema import LINK
from hermeslink.updates.updates import FRESH_SECONDS, OLD_SECONDS, Known, Updates
from tests.support.clock import FakeClock
from tests.support.pretend_pip import calls_of, pretend_pip

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")

CALLER = Caller("dev_1", Scope.ADMIN, "192.168.1.7")


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Callable[..., Updates]]:
    home = LinkHome(tmp_path / "link")
    home.make()
    database = await Database.open(home.database_url, LINK)
    clock = FakeClock()

    def open_updates(installation: Installation, *, asks_unasked: bool = True) -> Updates:
        updates = Updates(
            home,
            tmp_path / "hermes",
            database,
            clock,
            {
                "OPENAI_API_KEY": "sk-secret",
                "PYTHONPATH": "/of/link",
                "PIP_INDEX_URL": "https://index",
                "UV_INDEX_MINE_PASSWORD": "for-the-index",
            },
            asks_unasked=asks_unasked,
        )
        updates.installation = installation
        return updates

    yield open_updates
    await database.close()


OpenUpdates = Callable[..., Updates]


async def test_what_the_index_says_is_told_and_asked_once(opened: OpenUpdates, tmp_path: Path) -> None:
    pip = pretend_pip(tmp_path / "pip", "99.0", "98.0", notes="https://example.org/changes")
    updates = opened(pip)
    assert updates.known() == Known()

    first, *others = await asyncio.gather(*(updates.check() for _ in range(5)))

    assert (first.release, first.issue, first.is_available) == (
        Release("99.0", "https://example.org/changes"),
        None,
        True,
    )
    assert others == [first] * 4
    assert len(calls_of(pip)) == 1
    assert updates.known() == Known(True, "99.0")


async def test_the_installer_gets_its_own_variables_and_no_key(opened: OpenUpdates, tmp_path: Path) -> None:
    await opened(pretend_pip(tmp_path / "pip", "99.0")).check()

    environment = (tmp_path / "pip" / "environment").read_text()
    assert "PIP_INDEX_URL=https://index" in environment
    assert "UV_INDEX_MINE_PASSWORD=for-the-index" in environment
    assert "sk-secret" not in environment and "PYTHONPATH" not in environment


async def test_an_index_without_a_newer_version_has_no_update(opened: OpenUpdates, tmp_path: Path) -> None:
    check = await opened(pretend_pip(tmp_path / "pip", "0.0.1")).check()
    assert (check.release, check.is_available) == (Release("0.0.1"), False)


async def test_an_index_that_does_not_answer_is_said_without_its_password(opened: OpenUpdates, tmp_path: Path) -> None:
    pip = pretend_pip(tmp_path / "pip", "99.0")
    (tmp_path / "pip" / "offline").touch()
    updates = opened(pip)

    check = await updates.check()

    assert check.release is None and not check.is_available
    assert check.issue is not None and "no network https://index.example" in check.issue
    assert "secret" not in check.issue
    assert updates.known() == Known()


@pytest.mark.parametrize(("kind", "word"), [(Kind.CHECKOUT, "git pull"), (Kind.FILE, "not from an index")])
async def test_where_no_index_is_asked_it_says_why_without_a_path(opened: OpenUpdates, kind: Kind, word: str) -> None:
    check = await opened(Installation(kind, "/venv/bin/python", "/src/hermes")).check()
    assert check.issue is not None and word in check.issue and "/src" not in check.issue


async def test_an_answer_is_good_for_a_minute_and_known_for_hours(opened: OpenUpdates, tmp_path: Path) -> None:
    pip = pretend_pip(tmp_path / "pip", "99.0")
    updates = opened(pip)
    clock = updates.clock
    assert isinstance(clock, FakeClock)
    async with updates.running():
        await updates.check()
        clock.advance(FRESH_SECONDS + 1)
        assert updates.known() == Known(True, "99.0")
        assert len(calls_of(pip)) == 1
        await updates.check()
        assert len(calls_of(pip)) == 2

        pretend_pip(tmp_path / "pip", "100.0")
        clock.advance(OLD_SECONDS + 1)
        assert updates.known() == Known(True, "99.0")  # asked behind the back of who wants to know
        async with asyncio.timeout(30):
            while updates.known().target_version != "100.0":
                await asyncio.sleep(0.01)
        assert len(calls_of(pip)) == 3


async def test_an_index_that_is_not_to_be_asked_unasked_is_asked_by_who_asks(
    opened: OpenUpdates, tmp_path: Path
) -> None:
    pip = pretend_pip(tmp_path / "pip", "99.0")
    updates = opened(pip, asks_unasked=False)
    clock = updates.clock
    assert isinstance(clock, FakeClock)
    async with updates.running():
        assert updates.known() == Known()
        told = await updates.latest()
        assert (told.release, told.is_available) == (None, False)
        assert told.issue is not None and "update-check" in told.issue
        with pytest.raises(InvalidInput):
            await updates.dismiss(CALLER, None)
        assert (updates.is_asking, calls_of(pip)) == (False, [])

        await updates.check()
        clock.advance(OLD_SECONDS + 1)
        assert updates.known() == Known(True, "99.0")
        assert (await updates.latest()).release == Release("99.0")
        assert await updates.dismiss(CALLER, None) == "99.0"
        assert (updates.is_asking, len(calls_of(pip))) == (False, 1)


async def test_what_the_index_said_is_known_also_while_it_does_not_answer(opened: OpenUpdates, tmp_path: Path) -> None:
    pip = pretend_pip(tmp_path / "pip", "99.0")
    updates = opened(pip)
    clock = updates.clock
    assert isinstance(clock, FakeClock)
    await updates.check()
    (tmp_path / "pip" / "offline").touch()
    clock.advance(FRESH_SECONDS + 1)

    assert (await updates.check()).issue is not None

    assert updates.known() == Known(True, "99.0")
    await updates.dismiss(CALLER, "99.0")
    assert opened(pip).known() == Known(True, "99.0", is_dismissed=True)


async def test_what_was_known_and_dismissed_outlives_the_process(opened: OpenUpdates, tmp_path: Path) -> None:
    pip = pretend_pip(tmp_path / "pip", "99.0")
    updates = opened(pip)
    assert await updates.dismiss(CALLER, None) == "99.0"

    again = opened(pip)

    assert again.known() == Known(True, "99.0", is_dismissed=True)
    assert len(calls_of(pip)) == 1
    [entry] = await again.database.read(audit.page, 10, None)
    assert (entry.action, entry.device_id, entry.subject) == ("update.dismissed", "dev_1", "99.0")


@pytest.mark.parametrize("version", ["1.0; rm -rf ~", "../../x", "--index-url=http://evil", "1.0+local", "٣.٠", ""])
async def test_what_is_no_version_is_not_dismissed(opened: OpenUpdates, tmp_path: Path, version: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        await opened(pretend_pip(tmp_path / "pip", "99.0")).dismiss(CALLER, version)
    assert raised.value.code == "update_version_unknown"


@pytest.mark.parametrize("version", ["1.0; rm -rf ~", "--index-url=http://evil", "97.0"])
async def test_what_is_no_version_or_none_of_the_index_is_not_begun(
    opened: OpenUpdates, tmp_path: Path, version: str
) -> None:
    with pytest.raises(InvalidInput) as raised:
        await opened(pretend_pip(tmp_path / "pip", "99.0", "98.0")).start(CALLER, version)
    assert raised.value.code == "update_version_unknown"
    assert not (tmp_path / "hermes").exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"dismissed": "1;x", "asked_at": 1, "version": "9", "notes_url": null}',
        '{"dismissed": null, "asked_at": 1, "version": "9;x", "notes_url": null}',
    ],
)
async def test_a_file_that_cannot_be_read_was_never_written(opened: OpenUpdates, tmp_path: Path, text: str) -> None:
    (tmp_path / "link" / "updates.json").write_text(text)
    assert opened(pretend_pip(tmp_path / "pip", "99.0")).known() == Known()


async def test_who_leaves_while_the_index_is_asked_leaves_no_process(opened: OpenUpdates, tmp_path: Path) -> None:
    script = tmp_path / "python"
    script.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec /bin/sleep 600\n")
    script.chmod(0o700)
    asking = asyncio.create_task(opened(Installation(Kind.PIP, str(script))).check())
    async with asyncio.timeout(30):
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().strip():
            await asyncio.sleep(0.01)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
