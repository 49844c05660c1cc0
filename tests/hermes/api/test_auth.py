from __future__ import annotations

import pytest

from hermes.api.auth import Gatekeeper, OwnerKey, digest_of, sent_key
from hermes.core import guesses
from hermes.core.errors import Busy, Unauthorized
from hermes.core.peers import Peers, Tunnel, is_forwarded
from tests.support.api import KEY, Server, make_services, serving
from tests.support.clock import FakeClock

LOOPBACK = ("127.0.0.1", 5000)
FAR = ("203.0.113.7", 5000)
RIGHT = {b"authorization": b"Bearer " + KEY.encode()}

PROXY_HEADERS = [
    b"forwarded",
    b"x-forwarded-for",
    b"x-forwarded-proto",
    b"x-forwarded-host",
    b"x-real-ip",
    b"via",
    b"tailscale-user-login",
    b"tailscale-funnel-request",
    b"cf-connecting-ip",
    b"cf-ray",
    b"true-client-ip",
]


def wrong(number: int) -> dict[bytes, bytes]:
    return {b"x-api-key": b"guess-%d" % number}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def gate(clock: FakeClock) -> Gatekeeper:
    return Gatekeeper(OwnerKey(KEY), clock)


async def outcome(gate: Gatekeeper, peer: tuple[str, int] | None, headers: dict[bytes, bytes]) -> str:
    try:
        return (await gate.check(peer, headers)).name
    except Unauthorized:
        return "401"
    except Busy as busy:
        assert busy.code == "too_many_attempts"
        assert 0 < busy.retry_after_seconds <= guesses.PER_ADDRESS_REFILL_SECONDS
        return "429"


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({b"authorization": b"Bearer abc"}, b"abc"),
        ({b"authorization": b"bearer abc"}, b"abc"),
        ({b"authorization": b"BEARER   abc "}, b"abc"),
        ({b"x-api-key": b"abc"}, b"abc"),
        ({b"authorization": b"Basic abc", b"x-api-key": b"def"}, b"def"),
        ({b"authorization": b"Bearer abc", b"x-api-key": b"def"}, b"abc"),
        ({b"authorization": b"abc"}, None),
        ({b"authorization": b"Bearer "}, None),
        ({b"authorization": b"Bearerabc"}, None),
        ({b"x-api-key": b" "}, None),
        ({}, None),
    ],
)
def test_a_key_comes_as_bearer_in_any_case_or_as_x_api_key(headers: dict[bytes, bytes], key: bytes | None) -> None:
    assert sent_key(headers) == key


async def test_keys_are_compared_as_hashes_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[bytes, bytes]] = []

    def compare(a: bytes, b: bytes) -> bool:
        seen.append((a, b))
        return a == b

    monkeypatch.setattr("hermes.api.auth.hmac.compare_digest", compare)
    ring = OwnerKey(KEY)
    assert await ring.find(digest_of(KEY.encode())) is not None
    assert await ring.find(digest_of(b"wrong")) is None
    assert [len(a) for a, _ in seen] == [32, 32]
    assert KEY.encode() not in [part for pair in seen for part in pair]


@pytest.mark.parametrize("value", [KEY + "x", KEY[:-1], KEY.upper(), "x" * 5000, KEY + "\xff"])
async def test_only_the_whole_key_is_right(gate: Gatekeeper, value: str) -> None:
    assert await outcome(gate, LOOPBACK, {b"x-api-key": value.encode("latin-1")}) == "401"


async def test_of_a_thousand_guesses_ten_are_heard_and_the_owner_gets_in_after_them() -> None:
    async with serving(make_services()) as server:
        statuses = []
        for number in range(1000):
            response = await server.client.get("/v1/models", headers={"Authorization": f"Bearer guess-{number}"})
            statuses.append(response.status_code)
            if response.status_code == 429:
                assert int(response.headers["retry-after"]) >= 1
                assert response.json()["error"]["code"] == "too_many_attempts"
        assert statuses.count(401) <= guesses.PER_ADDRESS + 2  # the budget, and what it regained meanwhile
        assert set(statuses) == {401, 429}
        assert (await server.client.get("/v1/models")).status_code == 200


async def test_far_away_even_the_right_key_waits_until_the_budget_has_refilled(
    gate: Gatekeeper, clock: FakeClock
) -> None:
    heard = [await outcome(gate, FAR, wrong(number)) for number in range(guesses.PER_ADDRESS + 5)]
    assert heard == ["401"] * guesses.PER_ADDRESS + ["429"] * 5
    assert await outcome(gate, FAR, RIGHT) == "429"
    clock.advance(2 * guesses.PER_ADDRESS_REFILL_SECONDS)
    assert await outcome(gate, FAR, RIGHT) == "owner"


async def test_a_key_that_was_right_from_there_before_never_waits(gate: Gatekeeper) -> None:
    assert await outcome(gate, FAR, RIGHT) == "owner"
    for number in range(50):
        await outcome(gate, FAR, wrong(number))
    assert await outcome(gate, FAR, wrong(99)) == "429"
    assert await outcome(gate, FAR, RIGHT) == "owner"


async def test_on_loopback_the_right_key_is_never_locked_out(gate: Gatekeeper) -> None:
    heard = [await outcome(gate, LOOPBACK, wrong(number)) for number in range(30)]
    assert heard == ["401"] * guesses.PER_ADDRESS + ["429"] * 20
    assert await outcome(gate, LOOPBACK, RIGHT) == "owner"


async def test_a_client_that_repeats_its_old_key_locks_nobody_out(gate: Gatekeeper) -> None:
    assert {await outcome(gate, FAR, wrong(1)) for _ in range(500)} == {"401"}
    assert await outcome(gate, FAR, RIGHT) == "owner"


async def test_guesses_spread_over_addresses_are_counted_together(gate: Gatekeeper, clock: FakeClock) -> None:
    assert await outcome(gate, ("198.51.100.1", 1), RIGHT) == "owner"
    heard = [
        await outcome(gate, (f"10.{number // 200}.{number % 200}.1", 1), wrong(number))
        for number in range(guesses.OVER_ALL + 50)
    ]
    assert heard == ["401"] * guesses.OVER_ALL + ["429"] * 50
    assert await outcome(gate, ("192.0.2.9", 1), RIGHT) == "429"  # a stranger waits
    assert await outcome(gate, ("198.51.100.1", 1), RIGHT) == "owner"  # who was right before does not
    clock.advance(2 * guesses.OVER_ALL_REFILL_SECONDS)
    assert await outcome(gate, ("192.0.2.9", 1), RIGHT) == "owner"


async def test_an_ipv6_guesser_has_one_budget_for_its_whole_network(gate: Gatekeeper) -> None:
    heard = [await outcome(gate, (f"2001:db8:1:2::{number:x}", 1), wrong(number)) for number in range(15)]
    assert heard == ["401"] * guesses.PER_ADDRESS + ["429"] * 5
    assert await outcome(gate, ("2001:db8:1:3::1", 1), RIGHT) == "owner"


async def test_the_memory_of_guesses_is_bounded(gate: Gatekeeper) -> None:
    for number in range(guesses.MAX_ADDRESSES + 100):
        gate.guesses._known(f"address {number}")
    assert len(gate.guesses._addresses) == guesses.MAX_ADDRESSES


@pytest.mark.parametrize("name", PROXY_HEADERS, ids=lambda name: name.decode())
async def test_each_proxy_header_takes_the_privileges_of_loopback_away(clock: FakeClock, name: bytes) -> None:
    weak = Gatekeeper(OwnerKey("change-me-local-dev", is_local_only=True), clock)
    key = {b"x-api-key": b"change-me-local-dev"}
    assert await outcome(weak, LOOPBACK, key) == "owner"
    assert await outcome(weak, LOOPBACK, {**key, name: b"127.0.0.1"}) == "401"
    assert await outcome(weak, FAR, key) == "401"


async def test_who_speaks_http_1_0_as_a_silent_proxy_does_has_no_privileges(clock: FakeClock) -> None:
    weak = Gatekeeper(OwnerKey("change-me-local-dev", is_local_only=True), clock)
    key = {b"x-api-key": b"change-me-local-dev"}
    assert (await weak.check(LOOPBACK, key, "1.1")).name == "owner"
    with pytest.raises(Unauthorized):
        await weak.check(LOOPBACK, key, "1.0")


@pytest.mark.parametrize("name", PROXY_HEADERS, ids=lambda name: name.decode())
async def test_guesses_behind_a_proxy_lock_out_neither_loopback_nor_get_its_exemption(
    gate: Gatekeeper, name: bytes
) -> None:
    for number in range(30):
        await outcome(gate, LOOPBACK, {**wrong(number), name: b"x"})
    assert await outcome(gate, LOOPBACK, {**RIGHT, name: b"x"}) == "429"
    assert await outcome(gate, LOOPBACK, RIGHT) == "owner"
    assert not gate.peers.of(LOOPBACK, {name: b"x"}).is_local


async def test_an_unknown_proxy_cannot_choose_its_address(gate: Gatekeeper) -> None:
    heard = [
        await outcome(gate, LOOPBACK, {**wrong(number), b"x-forwarded-for": b"198.51.100.%d" % number})
        for number in range(15)
    ]
    assert heard == ["401"] * guesses.PER_ADDRESS + ["429"] * 5


def test_a_configured_proxy_is_believed_up_to_its_own_hop(clock: FakeClock) -> None:
    gate = Gatekeeper(OwnerKey(KEY), clock, trusted_proxies=("10.0.0.0/8",))
    proxy = ("10.0.0.1", 80)
    forged = {b"x-forwarded-for": b"127.0.0.1, 198.51.100.7, 10.0.0.9"}
    assert gate.peers.of(proxy, forged).address == "198.51.100.7"
    assert not gate.peers.of(proxy, forged).is_local
    assert gate.peers.of(proxy, {b"x-forwarded-for": b"nonsense"}).address == "10.0.0.1"
    assert gate.peers.of(("192.0.2.1", 1), forged).address == "192.0.2.1 behind a proxy"


@pytest.mark.parametrize(
    ("peer", "is_loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.0.0.1", False),
        ("", False),
    ],
)
def test_loopback_is_what_the_socket_says(gate: Gatekeeper, peer: str, is_loopback: bool) -> None:
    assert gate.peers.of((peer, 1), {}).is_local is is_loopback


def test_ordinary_headers_are_no_proxy() -> None:
    assert not is_forwarded([b"host", b"user-agent", b"accept", b"authorization", b"x-request-id", b"x-stainless-os"])


async def test_a_weak_key_through_a_proxy_is_refused_over_the_socket_like_any_wrong_key() -> None:
    services = make_services(keys=OwnerKey("change-me-local-dev", is_local_only=True))
    async with serving(services) as server:
        headers = {"Authorization": "Bearer change-me-local-dev"}
        assert (await server.client.get("/v1/models", headers=headers)).status_code == 200
        through = await server.client.get("/v1/models", headers={**headers, "X-Forwarded-For": "1.2.3.4"})
        wrong_key = await server.client.get("/v1/models", headers={"Authorization": "Bearer nope"})
        assert (through.status_code, through.json()) == (401, wrong_key.json())


async def test_the_key_in_a_query_string_is_no_key(server: Server) -> None:
    for name in ("api_key", "key", "token", "access_token"):
        response = await server.client.get(f"/v1/models?{name}={KEY}", headers={"Authorization": ""})
        assert response.status_code == 401


WEAK = b"change-me-local-dev"


async def comes_in(tunnel: Tunnel = "none", peer: str = "127.0.0.1", **headers: str) -> bool:
    """Whether a key that is good on this machine alone opens the door."""
    keeper = Gatekeeper(OwnerKey(WEAK.decode(), is_local_only=True), FakeClock(), tunnel=lambda: tunnel)
    sent = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    try:
        await keeper.check((peer, 1), {b"host": b"localhost:8642", **sent, b"x-api-key": WEAK})
    except Unauthorized:
        return False
    return True


async def test_who_asks_for_another_name_than_loopbacks_is_not_this_machine() -> None:
    """Some tunnels end on loopback and send no header of their own."""
    assert await comes_in()
    for host in ("127.0.0.1:8642", "[::1]", "127.0.0.5"):
        assert await comes_in(host=host), host
    for host in ("hermes.example.org", "box.tail1234.ts.net", "192.168.1.5", "localhost.example.org"):
        assert not await comes_in(host=host), host


async def test_nothing_is_local_while_a_tunnel_that_tells_nothing_stands_in_front() -> None:
    """Whoever sends bytes through it writes the Host, too."""
    assert not await comes_in("nameless")
    assert await comes_in("named")
    assert not await comes_in("named", x_forwarded_for="127.0.0.1")


@pytest.mark.parametrize(
    ("tunnel", "header", "address"),
    [
        ("named", "203.0.113.7", "203.0.113.7"),
        ("named", "6.6.6.6, 203.0.113.7", "203.0.113.7"),  # what the client wrote stands before what the tunnel adds
        ("named", "nonsense", "127.0.0.1 behind a proxy"),
        ("none", "203.0.113.7", "127.0.0.1 behind a proxy"),
        ("nameless", "203.0.113.7", "127.0.0.1 behind a proxy"),
    ],
)
def test_a_tunnels_end_names_clients_only_while_it_runs_and_is_known_to(
    tunnel: Tunnel, header: str, address: str
) -> None:
    peers = Peers((), lambda: tunnel)
    found = peers.of(("127.0.0.1", 1), {b"x-forwarded-for": header.encode()})
    assert (found.address, found.is_local) == (address, False)
    elsewhere = peers.of(("192.168.1.5", 1), {b"x-forwarded-for": header.encode()})
    assert elsewhere.address == "192.168.1.5 behind a proxy"
