"""Who comes with a token, and who may no more (spec: link-api, section 2; security, revoked token still works)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hermes.core.errors import Conflict, Forbidden, HermesError, InvalidInput, NotFound
from hermes.store.database import Database
from hermeslink.core.caller import Caller
from hermeslink.core.device import DeviceStatus, Scope
from hermeslink.pairing.devices import Devices
from hermeslink.store.schema import LINK
from tests.support.link_pairing import Door, open_door

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with open_door(tmp_path) as opened:
        yield opened


async def refused(doing: object, kind: type[HermesError]) -> str:
    with pytest.raises(kind) as raised:
        await doing  # type: ignore[misc]
    return raised.value.code


@pytest.mark.parametrize("token", ["", "hlat_", "hlat_x", "Bearer", "hlat_\udcff", "hlrt_" + "A" * 43, "é" * 50])
async def test_a_token_that_is_none_is_nobodys(door: Door, token: str) -> None:
    await door.let_in()

    assert await door.devices.authenticate(token) is None


async def test_a_refresh_token_is_no_access_token(door: Door) -> None:
    admission = await door.let_in()

    assert await door.devices.authenticate(admission.refresh.token) is None


async def test_an_access_token_is_good_until_its_second_and_no_longer(door: Door) -> None:
    admission = await door.let_in()
    door.clock.advance(899.9)
    assert await door.devices.authenticate(admission.access.token) is not None

    door.clock.advance(0.1)

    assert admission.access.expires_at == door.clock.now()
    assert await door.devices.authenticate(admission.access.token) is None


async def test_that_a_device_was_seen_is_written_once_a_minute(door: Door) -> None:
    admission = await door.let_in()
    seen = []
    for _ in range(5):
        await door.caller(admission)
        seen.append((await door.devices.get(admission.device.id)).last_seen_at)
        door.clock.advance(20)

    start = admission.device.paired_at
    assert seen == [start, start, start, start + 60, start + 60]


async def test_a_revoked_device_is_out_at_once_and_its_streams_end(door: Door) -> None:
    phone, laptop = await door.let_in(), await door.let_in()
    stream, other = door.devices.revoked(phone.device.id), door.devices.revoked(laptop.device.id)

    revoked = await door.devices.revoke(await door.caller(laptop), phone.device.id)

    assert (revoked.status, revoked.revoked_at) == (DeviceStatus.REVOKED, door.clock.now())
    assert (revoked.access_expires_at, revoked.refresh_expires_at) == (None, None)
    assert await door.devices.authenticate(phone.access.token) is None
    assert stream.is_set() and not other.is_set()


async def test_revoking_again_changes_nothing_and_is_no_error(door: Door) -> None:
    admission = await door.let_in()
    first = await door.devices.revoke(None, admission.device.id)
    door.clock.advance(5)

    assert await door.devices.revoke(None, admission.device.id) == first
    assert (await door.actions()).count("device.revoked") == 1


async def test_streams_end_too_when_another_process_revokes(door: Door, tmp_path: Path) -> None:
    admission = await door.let_in()
    staying = await door.let_in()
    other_process = await Database.open(f"sqlite:///{tmp_path / 'link.db'}", LINK)
    async with door.devices.watched():
        stream, other = door.devices.revoked(admission.device.id), door.devices.revoked(staying.device.id)
        await Devices(other_process, door.clock).revoke(None, admission.device.id)
        await door.clock.someone_sleeps()
        door.clock.advance(0.5)

        await asyncio.wait_for(stream.wait(), 10)

        assert not other.is_set()
    await other_process.close()


async def test_a_stream_that_begins_when_its_device_was_just_revoked_ends(door: Door) -> None:
    admission = await door.let_in()
    await door.devices.revoke(None, admission.device.id)
    async with door.devices.watched():
        stream = door.devices.revoked(admission.device.id)
        await door.clock.someone_sleeps()
        door.clock.advance(0.5)

        await asyncio.wait_for(stream.wait(), 10)


async def test_an_admin_sees_all_devices_and_one_for_chatting_itself(door: Door) -> None:
    phone, guest = await door.let_in(), await door.let_in(Scope.CHAT)

    all_devices = await door.devices.all(await door.caller(phone))
    own = await door.devices.all(await door.caller(guest))

    assert {device.id for device in all_devices} == {phone.device.id, guest.device.id}
    assert [device.id for device in own] == [guest.device.id]


async def test_the_summary_counts_who_may_come_back(door: Door) -> None:
    await door.let_in()
    gone, quiet = await door.let_in(), await door.let_in()
    await door.devices.revoke(None, gone.device.id)
    await door.pairing.logout([quiet.refresh.token])

    summary = door.devices.summary(await door.devices.all(Caller("dev", Scope.ADMIN)))

    assert (summary.total, summary.active, summary.revoked, summary.trusted) == (3, 2, 1, 1)


async def test_a_device_for_chatting_changes_itself_and_no_other(door: Door) -> None:
    phone, guest = await door.let_in(), await door.let_in(Scope.CHAT)
    caller = await door.caller(guest)

    assert (await door.devices.rename(caller, guest.device.id, "  Mine ")).label == "Mine"
    for doing in (
        door.devices.rename(caller, phone.device.id, "Theirs"),
        door.devices.revoke(caller, phone.device.id),
        door.devices.hide(caller, phone.device.id),
    ):
        assert await refused(doing, Forbidden) == "scope_required"
    assert (await door.devices.get(phone.device.id)).label == "Phone"


@pytest.mark.parametrize("label", [None, "", "   "])
async def test_a_device_needs_a_name(door: Door, label: str | None) -> None:
    caller = await door.caller(await door.let_in())

    assert await refused(door.devices.rename(caller, caller.device_id, label), InvalidInput) == "device_label_required"


@pytest.mark.parametrize("label", [7, ["x"], "x" * 129, "a\x1bb", "a\x00b", "\u202egpj.exe", "a\udcffb"])
async def test_a_name_is_one_line_of_at_most_128_characters(door: Door, label: object) -> None:
    caller = await door.caller(await door.let_in())

    assert await refused(door.devices.rename(caller, caller.device_id, label), InvalidInput) == "device_label_invalid"
    assert (await door.devices.rename(caller, caller.device_id, "x" * 128)).label == "x" * 128


async def test_a_name_may_have_emoji_and_its_white_space_is_made_plain(door: Door) -> None:
    caller = await door.caller(await door.let_in(label="Ann\xa0 's\n\u202ephone"))

    assert (await door.devices.get(caller.device_id)).label == "Ann 's phone"
    assert (await door.devices.rename(caller, caller.device_id, " 👩\u200d💻\n PC ")).label == "👩\u200d💻 PC"


@pytest.mark.parametrize(
    "device_id", ["", "dev_1", "../../etc/passwd", "dev_" + "A" * 32, "dev_" + "0" * 32, "ps_" + "0" * 32]
)
async def test_an_unknown_device_is_told_so(door: Door, device_id: str) -> None:
    caller = await door.caller(await door.let_in())
    for doing in (
        door.devices.rename(caller, device_id, "x"),
        door.devices.revoke(caller, device_id),
        door.devices.hide(caller, device_id),
    ):
        assert await refused(doing, NotFound) == "device_not_found"


async def test_a_revoked_device_keeps_its_name_and_leaves_the_list_when_asked(door: Door) -> None:
    caller = await door.caller(await door.let_in())
    gone = await door.let_in(app_instance="app-1")
    assert await refused(door.devices.hide(caller, gone.device.id), Conflict) == "device_still_active"
    await door.devices.revoke(caller, gone.device.id)
    assert await refused(door.devices.rename(caller, gone.device.id, "x"), Conflict) == "device_revoked"

    hidden = await door.devices.hide(caller, gone.device.id)

    assert hidden.app_hidden_at == door.clock.now()
    assert [device.id for device in await door.devices.all(caller)] == [caller.device_id]
    assert len(await door.devices.all(caller, hidden=True)) == 2
    assert (await door.let_in(app_instance="app-1")).device.app_hidden_at is None


async def test_what_was_done_to_devices_is_audited_with_who_did_it(door: Door) -> None:
    caller = await door.caller(await door.let_in())
    gone = (await door.let_in()).device.id
    await door.devices.rename(caller, gone, "Old one")
    await door.devices.revoke(caller, gone)
    await door.devices.hide(caller, gone)

    assert (await door.actions())[4:] == ["device.renamed", "device.revoked", "device.hidden"]
