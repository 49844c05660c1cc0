"""Whatever devices, thieves and time do in whatever order: who is let in, and to what, is what a small model says
(spec: security, scope escalation, revoked token still works, replayed pairing code)."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes.core.errors import Conflict, HermesError, NotFound, Unauthorized
from hermeslink.core.caller import Caller
from hermeslink.core.device import Scope
from hermeslink.pairing.pairing import Admission, Newcomer, PairingCode
from tests.support.link_pairing import Door, open_door

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")

DAY = 86400.0
APPS = ("app-0", "app-1")


@dataclass
class Family:
    """What is to be true of one app's device. `chain`: its refresh tokens of this pairing, and when each was used."""

    scope: Scope | None = None
    is_active: bool = False
    chain: list[list[object]] = field(default_factory=list)
    access: dict[str, float] = field(default_factory=dict)

    def end(self) -> None:
        self.chain, self.access = [], {}


@dataclass
class World:
    door: Door
    families: dict[str, Family] = field(default_factory=lambda: {app: Family() for app in APPS})
    ids: dict[str, str] = field(default_factory=dict)
    codes: list[tuple[PairingCode, bool]] = field(default_factory=list)
    seen_access: set[str] = field(default_factory=set)
    seen_refresh: list[str] = field(default_factory=list)
    step: int = 0

    @property
    def address(self) -> str:
        """A new one each time: how often one may fail is another test's."""
        self.step += 1
        return f"10.0.0.{self.step}"

    async def make(self, scope: Scope) -> None:
        self.codes.append((await self.door.pairing.make(scope), False))

    async def pair(self, app: str, which: int, is_claim: bool) -> None:
        if not self.codes:
            return
        which %= len(self.codes)
        code, is_spent = self.codes[which]
        is_late = self.door.clock.now() >= code.expires_at
        try:
            if is_claim:
                admission = await self.door.pairing.claim(
                    code.session_id, code.code, Newcomer(app_instance=app), self.address
                )
            else:
                admission = await self.door.pairing.by_connect_token(
                    code.code, Newcomer(app_instance=app), self.address
                )
        except (Conflict, NotFound, Unauthorized) as error:
            assert is_spent or is_late
            if not is_late:
                assert error.code == "pairing_already_claimed"
            elif is_claim:  # one that is long over is forgotten
                assert error.code in ("pairing_session_expired", "pairing_session_not_found")
            else:
                assert error.code == "auth_invalid"
            return
        assert not is_spent and not is_late
        self.codes[which] = (code, True)
        family = self.families[app]
        family.end()
        narrow = family.is_active and family.scope == Scope.CHAT
        family.scope, family.is_active = Scope.CHAT if narrow else code.scope, True
        assert self.ids.setdefault(app, admission.device.id) == admission.device.id
        self._admitted(family, admission)

    async def refresh(self, which: int, app: str | None) -> None:
        if not self.seen_refresh:
            return
        token = self.seen_refresh[-1 - which % len(self.seen_refresh)]
        try:
            admission = await self.door.pairing.refresh(token, app, self.address)
        except Unauthorized:
            assert self._expected(token, app) is None
            return
        expected = self._expected(token, app)
        assert expected is not None
        family, link = expected
        if link[1] is None:
            link[1] = self.door.clock.now()
            family.access = {}
            self._admitted(family, admission)
        else:
            assert admission.refresh.token == family.chain[-1][0]
            self._opened(family, admission)

    def _expected(self, token: str, app: str | None) -> tuple[Family, list[object]] | None:
        now = self.door.clock.now()
        for owner, family in self.families.items():
            for link in family.chain:
                if link[0] != token or float(str(link[2])) <= now:
                    continue
                if link[1] is None or (now - float(str(link[1])) <= 30 and app in (None, owner)):
                    return family, link
                family.end()
                return None
        return None

    async def revoke(self, app: str) -> None:
        if app in self.ids:
            await self.door.devices.revoke(None, self.ids[app])
            self.families[app].is_active = False
            self.families[app].end()

    async def logout(self, which: int) -> None:
        if self.seen_refresh:
            token = self.seen_refresh[-1 - which % len(self.seen_refresh)]
            kept = [family for family in self.families.values() if token in [link[0] for link in family.chain]]
            await self.door.pairing.logout([token])
            for family in kept:
                family.end()

    def _admitted(self, family: Family, admission: Admission) -> None:
        family.chain.append([admission.refresh.token, None, admission.refresh.expires_at])
        self.seen_refresh.append(admission.refresh.token)
        self._opened(family, admission)

    def _opened(self, family: Family, admission: Admission) -> None:
        assert admission.device.scope == family.scope
        family.access[admission.access.token] = admission.access.expires_at
        self.seen_access.add(admission.access.token)

    async def check(self) -> None:
        """Every access token that there ever was is good exactly where the model says so, and for that scope."""
        now = self.door.clock.now()
        for token in self.seen_access:
            expected = None
            for app, family in self.families.items():
                if family.access.get(token, 0.0) > now:
                    assert family.scope is not None
                    expected = Caller(self.ids[app], family.scope)
            assert await self.door.devices.authenticate(token) == expected


apps, scopes, index = st.sampled_from(APPS), st.sampled_from(list(Scope)), st.integers(0, 5)
STEPS = st.one_of(
    st.tuples(st.just("make"), scopes),
    st.tuples(st.just("pair"), apps, index, st.booleans()),
    st.tuples(st.just("pair"), apps, index, st.booleans()),
    st.tuples(st.just("refresh"), index, st.sampled_from([None, *APPS])),
    st.tuples(st.just("refresh"), index, st.sampled_from([None, *APPS])),
    st.tuples(st.just("advance"), st.sampled_from([1.0, 15.0, 30.0, 31.0, 300.0, 900.0, 89 * DAY])),
    st.tuples(st.just("revoke"), apps),
    st.tuples(st.just("logout"), index),
)


@given(st.lists(STEPS, min_size=5, max_size=40))
@settings(max_examples=40)
def test_who_is_let_in_is_what_the_model_says(steps: list[tuple[object, ...]]) -> None:
    async def live(home: Path) -> None:
        async with open_door(home) as door:
            world = World(door)
            for name, *arguments in steps:
                if name == "advance":
                    door.clock.advance(*arguments)  # type: ignore[arg-type]
                else:
                    await getattr(world, str(name))(*arguments)
                await world.check()

    with tempfile.TemporaryDirectory() as home:
        asyncio.run(live(Path(home)))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=12))
@settings(max_examples=20)
def test_of_any_mixture_at_once_one_wins_and_one_device_is_kept(tries: list[tuple[bool, bool]]) -> None:
    """Each tries by one of both routes, under its own name or as the same app."""

    async def live(home: Path) -> None:
        async with open_door(home) as door:
            code = await door.pairing.make()

            async def come(at: int, is_claim: bool, is_same: bool) -> Admission | HermesError:
                newcomer = Newcomer(app_instance="same" if is_same else f"app {at}")
                try:
                    if is_claim:
                        return await door.pairing.claim(code.session_id, code.code, newcomer, f"{at}")
                    return await door.pairing.by_connect_token(code.code, newcomer, f"{at}")
                except HermesError as error:
                    return error

            ends = await asyncio.gather(*(come(at, *one) for at, one in enumerate(tries)))

            winners = [end for end in ends if isinstance(end, Admission)]
            assert len(winners) == 1
            assert await door.devices.all(Caller("dev", Scope.ADMIN)) == [winners[0].device]
            codes = {end.code for end in ends if isinstance(end, HermesError)}
            assert codes <= {"pairing_already_claimed", "too_many_attempts"}

    with tempfile.TemporaryDirectory() as home:
        asyncio.run(live(Path(home)))
