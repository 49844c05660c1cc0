"""Link on the local network: another program finds it by its kind."""

import asyncio

import pytest
from zeroconf import IPVersion
from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

from hermes.core.clock import SystemClock
from hermeslink.settings import LinkSettings
from hermeslink.system.announce import SERVICE, announce, service_info
from hermeslink.system.network import Interface, Network, machine_interfaces, reachable
from tests.support.clock import FakeClock


def network(address="192.168.1.20", hostname="studio", **settings):
    made = Network(
        LinkSettings(**settings),
        interfaces=lambda: [Interface("eth0", address)],
        outgoing=lambda: address,
        hostname=hostname,
    )
    made.port = 18642
    return made


def test_it_tells_what_bootstrap_tells_anybody():
    info = service_info(network(), "link_1")
    assert info.type == "_hermeslink._tcp.local."
    assert info.parsed_addresses() == ["192.168.1.20"]
    assert info.port == 18642
    assert info.decoded_properties == {"name": "studio", "api": "1", "path": "/api/v1", "link_id": "link_1"}
    assert "link_id" not in service_info(network(), None).decoded_properties


def test_a_long_name_fits_and_its_dots_make_no_more_labels():
    assert service_info(network(hostname="ü" * 80), None).name.count(".") == 4
    assert network(hostname="a b.c").display_name == "a b"


async def test_what_listens_to_this_machine_alone_announces_nothing():
    await announce(network(listen_host="127.0.0.1"), lambda: None, FakeClock())


async def test_a_network_that_takes_no_multicast_is_told_once(caplog):
    clock = FakeClock()
    announcing = asyncio.create_task(announce(network("203.0.113.77"), lambda: None, clock))
    for _ in range(2):
        await asyncio.wait_for(clock.someone_sleeps(), 20)
        clock.advance(30)
    announcing.cancel()
    await asyncio.gather(announcing, return_exceptions=True)
    assert len([record for record in caplog.records if "takes no announcement" in record.message]) == 1


async def test_another_program_finds_it_and_it_says_good_bye():
    own = reachable(machine_interfaces(), None, has_ipv6=False)
    if not own:
        pytest.skip("this machine has no network")
    announcing = asyncio.create_task(announce(network(own[0], "finds-me"), lambda: "link_1", SystemClock()))
    looking = AsyncZeroconf(interfaces=[own[0]], ip_version=IPVersion.V4Only)
    try:
        info = AsyncServiceInfo(SERVICE, f"finds-me.{SERVICE}")
        assert await info.async_request(looking.zeroconf, 10_000)
        assert info.port == 18642
        assert info.decoded_properties["link_id"] == "link_1"
    finally:
        announcing.cancel()
        await asyncio.gather(announcing, return_exceptions=True)
        await looking.async_close()
