"""One code lets one device in, once, and only for five minutes (spec: link-api, section 2)."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hermes.core.errors import Busy, Conflict, Forbidden, HermesError, NotFound, Unauthorized
from hermeslink.core.caller import Caller
from hermeslink.core.device import DeviceStatus, Platform, Scope
from hermeslink.pairing.pairing import Admission, Newcomer
from tests.support.link_pairing import Door, open_door

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")

PHONE = Newcomer(label="Phone", platform=Platform.IOS, model="15", app_instance="app-1")


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with open_door(tmp_path) as opened:
        yield opened


def code_of(raised: pytest.ExceptionInfo[HermesError]) -> str:
    return raised.value.code


async def test_a_claim_lets_the_device_in_with_what_it_said_and_the_scope_of_the_code(door: Door) -> None:
    code = await door.pairing.make(Scope.CHAT)

    admission = await door.pairing.claim(code.session_id, code.code, PHONE)

    device = admission.device
    assert (device.label, device.platform, device.model) == ("Phone", Platform.IOS, "15")
    assert (device.scope, device.status, device.is_bound) == (Scope.CHAT, DeviceStatus.ACTIVE, True)
    assert admission.access.token.startswith("hlat_") and len(admission.access.token) == 5 + 43
    assert admission.refresh.token.startswith("hlrt_") and len(admission.refresh.token) == 5 + 43
    assert await door.devices.authenticate(admission.access.token) == Caller(device.id, Scope.CHAT)


async def test_a_code_is_32_random_bytes_and_no_part_of_the_session_id(door: Door) -> None:
    code = await door.pairing.make()

    assert len(code.code) == 43 and "_" not in code.session_id[3:]
    assert code.code[:8] not in code.session_id
    assert code.expires_at - code.created_at == 300


@pytest.mark.parametrize("first", ["claim", "device-session"])
@pytest.mark.parametrize("second", ["claim", "device-session"])
async def test_a_code_that_was_used_on_one_route_is_spent_on_both(door: Door, first: str, second: str) -> None:
    code = await door.pairing.make()

    async def come(route: str) -> Admission:
        if route == "claim":
            return await door.pairing.claim(code.session_id, code.code, PHONE)
        return await door.pairing.by_connect_token(code.code, PHONE)

    await come(first)
    with pytest.raises(Conflict) as raised:
        await come(second)

    assert code_of(raised) == "pairing_already_claimed"


async def test_of_50_at_once_over_both_routes_one_wins(door: Door) -> None:
    code = await door.pairing.make()
    tries = [
        door.pairing.claim(code.session_id, code.code, Newcomer(label=f"{at}"), f"10.0.0.{at}")
        if at % 2
        else door.pairing.by_connect_token(code.code, Newcomer(label=f"{at}"), f"10.0.0.{at}")
        for at in range(50)
    ]

    ends = await asyncio.gather(*tries, return_exceptions=True)

    assert len([end for end in ends if isinstance(end, Admission)]) == 1
    assert all(isinstance(end, (Conflict, Busy)) for end in ends if not isinstance(end, Admission))
    session = await door.pairing.session(code.session_id)
    assert session.claimed_at is not None and session.device_id is not None


async def test_after_five_minutes_a_code_is_worth_nothing(door: Door) -> None:
    code = await door.pairing.make()
    door.clock.advance(300)

    with pytest.raises(NotFound) as claimed:
        await door.pairing.claim(code.session_id, code.code, PHONE)
    with pytest.raises(Unauthorized) as other:
        await door.pairing.by_connect_token(code.code, PHONE)

    assert code_of(claimed) == "pairing_session_expired"
    assert code_of(other) == "auth_invalid"


@pytest.mark.parametrize("session_id", ["", "ps_1", "../../x", "ps_" + "0" * 32, "dev_" + "0" * 32])
async def test_a_session_that_is_not_there_is_told_so(door: Door, session_id: str) -> None:
    with pytest.raises(NotFound) as raised:
        await door.pairing.claim(session_id, "x", PHONE)

    assert code_of(raised) == "pairing_session_not_found"


async def test_the_code_of_another_session_does_not_match_and_stays_good(door: Door) -> None:
    one, other = await door.pairing.make(), await door.pairing.make()

    with pytest.raises(Conflict) as raised:
        await door.pairing.claim(one.session_id, other.code, PHONE)

    assert code_of(raised) == "pairing_claim_mismatch"
    assert (await door.pairing.by_connect_token(other.code, PHONE)).device.label == "Phone"


async def test_the_token_of_a_device_is_no_connect_token(door: Door) -> None:
    admission = await door.let_in()

    with pytest.raises(Forbidden) as raised:
        await door.pairing.by_connect_token(admission.access.token, PHONE)

    assert code_of(raised) == "app_connect_required"


async def test_an_app_that_pairs_again_keeps_its_row_and_its_old_tokens_go(door: Door) -> None:
    first = await door.let_in(app_instance="app-1")
    stream = door.devices.revoked(first.device.id)
    door.clock.advance(60)

    second = await door.let_in(app_instance="app-1", label="Phone again")

    assert second.device.id == first.device.id and second.device.label == "Phone again"
    assert second.device.created_at == first.device.created_at < second.device.paired_at
    assert await door.devices.authenticate(first.access.token) is None
    assert await door.devices.authenticate(second.access.token) is not None
    assert stream.is_set() and not door.devices.revoked(first.device.id).is_set()


async def test_pairing_again_never_widens_a_device_that_is_let_in(door: Door) -> None:
    await door.let_in(Scope.CHAT, app_instance="app-1")

    again = await door.let_in(Scope.ADMIN, app_instance="app-1")

    assert again.device.scope == Scope.CHAT


async def test_a_revoked_device_comes_back_with_the_scope_of_its_new_code(door: Door) -> None:
    first = await door.let_in(Scope.CHAT, app_instance="app-1")
    await door.devices.revoke(None, first.device.id)

    again = await door.let_in(Scope.ADMIN, app_instance="app-1")

    assert (again.device.id, again.device.scope) == (first.device.id, Scope.ADMIN)
    assert (again.device.status, again.device.revoked_at) == (DeviceStatus.ACTIVE, None)


async def test_a_device_for_chatting_makes_no_code_that_may_more(door: Door) -> None:
    caller = await door.caller(await door.let_in(Scope.CHAT))

    with pytest.raises(Forbidden) as raised:
        await door.pairing.make(Scope.ADMIN, caller)

    assert code_of(raised) == "scope_required"


async def test_without_an_identity_nobody_pairs(door: Door, tmp_path: Path) -> None:
    (tmp_path / "identity.json").write_text("{")

    with pytest.raises(Conflict) as raised:
        await door.pairing.make()

    assert code_of(raised) == "link_not_paired"


async def test_after_ten_wrong_ones_in_a_minute_an_address_waits_and_others_do_not(door: Door) -> None:
    code = await door.pairing.make()
    for _ in range(10):
        with pytest.raises(Unauthorized):
            await door.pairing.by_connect_token("wrong", PHONE, "10.0.0.1")
        door.clock.advance(1)

    with pytest.raises(Busy) as raised:
        await door.pairing.by_connect_token(code.code, PHONE, "10.0.0.1")

    assert raised.value.retry_after_seconds == 50
    door.clock.advance(50)
    assert (await door.pairing.by_connect_token(code.code, PHONE, "10.0.0.1")).device.label == "Phone"


async def test_a_session_is_guessed_at_ten_times_a_minute_from_however_many_addresses(door: Door) -> None:
    code = await door.pairing.make()
    ends = []
    for at in range(30):
        with pytest.raises((Conflict, Busy)) as raised:
            await door.pairing.claim(code.session_id, "wrong", PHONE, f"10.0.0.{at}")
        ends.append(code_of(raised))

    assert ends == ["pairing_claim_mismatch"] * 10 + ["too_many_attempts"] * 20


async def test_a_session_id_of_a_megabyte_is_not_kept(door: Door) -> None:
    tracemalloc.start()
    try:
        for at in range(10):
            with pytest.raises(NotFound):
                await door.pairing.claim(f"{at}" * 1_000_000, "wrong", PHONE, "10.0.0.1")
        gc.collect()  # errors hold their frames
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert kept < 2_000_000
    with pytest.raises(Busy):
        await door.pairing.claim("ps", "wrong", PHONE, "10.0.0.1")


async def test_of_a_thousand_guesses_two_hundred_a_minute_are_looked_at_and_none_for_ever(door: Door) -> None:
    looked_at = 0
    for at in range(1000):
        with pytest.raises((Unauthorized, Busy)) as raised:
            await door.pairing.by_connect_token("wrong", PHONE, f"10.{at // 250}.{at % 250}.1")
        looked_at += isinstance(raised.value, Unauthorized)

    assert looked_at == 200
    door.clock.advance(60)
    assert (await door.let_in()).device.label == "Phone"


async def test_what_is_kept_and_told_holds_no_secret(door: Door, tmp_path: Path) -> None:
    code = await door.pairing.make()
    admission = await door.pairing.claim(code.session_id, code.code, PHONE)
    await door.pairing.refresh(admission.refresh.token)
    await door.database.close()

    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir()) + repr((code, admission)).encode()

    for secret in (code.code, admission.access.token, admission.refresh.token, "app-1"):
        assert secret.encode() not in kept


async def test_who_paired_is_audited(door: Door) -> None:
    await door.let_in()

    assert await door.actions() == ["pairing.created", "device.paired"]
