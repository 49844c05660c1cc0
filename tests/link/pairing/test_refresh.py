"""How tokens go on, and end: rotation, an answer that was lost, reuse, logging out (spec: link-api, section 2)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hermes.core.errors import Unauthorized
from hermeslink.pairing import secrets
from tests.support.link_pairing import Door, open_door

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")

DAY = 86400.0


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with open_door(tmp_path) as opened:
        yield opened


async def refused(door: Door, token: str, app_instance: str | None = None) -> None:
    with pytest.raises(Unauthorized) as raised:
        await door.pairing.refresh(token, app_instance)
    assert raised.value.code == "refresh_token_invalid"


async def is_good(door: Door, access_token: str) -> bool:
    return await door.devices.authenticate(access_token) is not None


async def test_refreshing_gives_two_new_tokens_and_the_old_access_token_ends(door: Door) -> None:
    first = await door.let_in()
    door.clock.advance(600)

    second = await door.pairing.refresh(first.refresh.token)

    assert second.refresh.token != first.refresh.token
    assert not await is_good(door, first.access.token) and await is_good(door, second.access.token)
    assert second.access.expires_at == door.clock.now() + 900
    assert second.refresh.expires_at == door.clock.now() + 90 * DAY
    assert second.device.access_expires_at == second.access.expires_at


async def test_a_lost_answer_is_given_again_and_the_lost_one_stays_good(door: Door) -> None:
    first = await door.let_in()
    lost = await door.pairing.refresh(first.refresh.token)
    door.clock.advance(30)

    again = await door.pairing.refresh(first.refresh.token)

    assert again.refresh == lost.refresh
    assert await is_good(door, lost.access.token) and await is_good(door, again.access.token)


async def test_however_many_answers_are_lost_the_token_to_use_next_is_given(door: Door) -> None:
    first = await door.let_in()
    second = await door.pairing.refresh(first.refresh.token)
    third = await door.pairing.refresh(second.refresh.token)

    assert (await door.pairing.refresh(first.refresh.token)).refresh == third.refresh
    assert (await door.pairing.refresh(second.refresh.token)).refresh == third.refresh


async def test_two_tabs_that_refresh_at_once_both_go_on(door: Door) -> None:
    first = await door.let_in()

    tabs = await asyncio.gather(*(door.pairing.refresh(first.refresh.token) for _ in range(8)))

    assert len({tab.refresh.token for tab in tabs}) == 1
    assert all([await is_good(door, tab.access.token) for tab in tabs])


async def test_reuse_after_30_seconds_ends_the_whole_family_and_is_audited(door: Door) -> None:
    first = await door.let_in()
    second = await door.pairing.refresh(first.refresh.token)
    stream = door.devices.revoked(first.device.id)
    door.clock.advance(30.1)

    await refused(door, first.refresh.token)

    assert stream.is_set()
    assert not await is_good(door, second.access.token)
    await refused(door, second.refresh.token)
    assert (await door.actions())[-1] == "tokens.reused"
    device = await door.devices.get(first.device.id)
    assert (device.access_expires_at, device.refresh_expires_at) == (None, None)


async def test_whoever_stole_a_token_and_was_quick_is_found_at_the_next_turn(door: Door) -> None:
    first = await door.let_in()
    owner = await door.pairing.refresh(first.refresh.token)
    thief = await door.pairing.refresh(first.refresh.token)
    door.clock.advance(900)
    await door.pairing.refresh(thief.refresh.token)
    door.clock.advance(900)

    await refused(door, owner.refresh.token)

    assert (await door.actions())[-1] == "tokens.reused"


async def test_another_app_than_the_one_that_paired_gets_no_second_answer(door: Door) -> None:
    first = await door.let_in(app_instance="app-1")
    second = await door.pairing.refresh(first.refresh.token, "app-1")

    await refused(door, first.refresh.token, "app-2")

    assert not await is_good(door, second.access.token)


async def test_a_refresh_token_is_good_for_90_days(door: Door) -> None:
    early, late = await door.let_in(), await door.let_in()
    door.clock.advance(90 * DAY - 1)
    await door.pairing.refresh(early.refresh.token)
    door.clock.advance(1)

    await refused(door, late.refresh.token)


@pytest.mark.parametrize("token", ["", "x", "hlrt_", "hlrt_" + "A" * 43, "hlat_" + "A" * 43, "\udcff"])
async def test_what_is_no_refresh_token_is_refused(door: Door, token: str) -> None:
    await door.let_in()

    await refused(door, token)


async def test_an_access_token_refreshes_nothing(door: Door) -> None:
    await refused(door, (await door.let_in()).access.token)


async def test_a_revoked_device_does_not_refresh(door: Door) -> None:
    admission = await door.let_in()
    await door.devices.revoke(None, admission.device.id)

    await refused(door, admission.refresh.token)


async def test_a_narrowed_device_stays_narrow_when_it_refreshes(door: Door) -> None:
    from hermeslink.core.device import Scope

    admission = await door.let_in(Scope.CHAT)

    assert (await door.pairing.refresh(admission.refresh.token)).device.scope == Scope.CHAT


@pytest.mark.parametrize("which", ["access", "refresh"])
async def test_logging_out_by_either_token_takes_both(door: Door, which: str) -> None:
    admission, other = await door.let_in(), await door.let_in()
    stream = door.devices.revoked(admission.device.id)

    await door.pairing.logout([getattr(admission, which).token, "unknown"])

    assert stream.is_set()
    assert not await is_good(door, admission.access.token)
    await refused(door, admission.refresh.token)
    assert await is_good(door, other.access.token)
    assert (await door.actions())[-1] == "device.logged_out"


async def test_logging_out_with_nothing_known_is_no_error(door: Door) -> None:
    await door.pairing.logout([])
    await door.pairing.logout(["hlrt_unknown"])

    assert await door.actions() == []


async def test_what_anybody_may_ask_writes_nothing(door: Door) -> None:
    admission = await door.let_in()
    before = door.database.tally.write.counts[:]

    await door.pairing.logout(["hlrt_unknown"])
    await door.pairing.logout([])
    with pytest.raises(Unauthorized):
        await door.pairing.refresh("hlrt_unknown")
    assert door.database.tally.write.counts == before

    await door.pairing.logout([admission.access.token])
    assert door.database.tally.write.counts != before


async def test_streams_end_when_their_device_has_no_tokens_any_more(door: Door) -> None:
    phone, laptop, tablet = await door.let_in(app_instance="app-1"), await door.let_in(), await door.let_in()
    await door.pairing.refresh(laptop.refresh.token)
    door.clock.advance(31)
    streams = [door.devices.revoked(each.device.id) for each in (phone, laptop, tablet)]

    assert (await door.let_in(app_instance="app-1")).device.id == phone.device.id
    assert [stream.is_set() for stream in streams] == [True, False, False]
    with pytest.raises(Unauthorized):
        await door.pairing.refresh(laptop.refresh.token)
    assert [stream.is_set() for stream in streams] == [True, True, False]


def test_the_next_token_takes_the_old_one_and_what_is_kept_with_it() -> None:
    token, salt = secrets.new_refresh_token(), secrets.new_salt()

    following = secrets.successor(token, salt)

    assert following == secrets.successor(token, salt)
    assert len(following) == len(token) and following.startswith("hlrt_")
    assert following not in (secrets.successor(token, secrets.new_salt()), secrets.successor(following, salt))
