"""Which addresses devices are told, on machines of many kinds."""

import pytest

from hermeslink.settings import LinkSettings
from hermeslink.system.network import Interface, Network, Route, machine_interfaces, reachable, surroundings

LAPTOP = [
    Interface("lo", "127.0.0.1"),
    Interface("docker0", "172.17.0.1"),
    Interface("br-5f3a", "172.18.0.1"),
    Interface("virbr0", "192.168.122.1"),
    Interface("tailscale0", "100.101.102.103"),
    Interface("tun0", "10.8.0.2"),
    Interface("eth0", "192.168.1.20"),
    Interface("wlan0", "192.168.1.21"),
    Interface("wlan0", "fe80::1"),
    Interface("wlan0", "2001:db8::5"),
    Interface("usb0", "169.254.3.4"),
]


def network(interfaces=LAPTOP, outgoing="192.168.1.21", hostname="Anna's Laptop.lan", **settings):
    made = Network(
        LinkSettings(**settings), interfaces=lambda: interfaces, outgoing=lambda: outgoing, hostname=hostname
    )
    made.port = 18642
    return made


def test_the_card_that_leads_out_comes_first_and_bridges_are_left_out():
    assert reachable(LAPTOP, "192.168.1.21", has_ipv6=False) == (
        "192.168.1.21",
        "192.168.1.20",
        "10.8.0.2",
        "100.101.102.103",
    )


def test_a_vpn_that_carries_everything_is_not_taken_for_the_network_at_home():
    assert reachable(LAPTOP, "10.8.0.2", has_ipv6=False)[:2] == ("192.168.1.20", "192.168.1.21")


def test_ipv6_is_told_only_where_it_is_listened_on():
    assert "2001:db8::5" not in reachable(LAPTOP, None, has_ipv6=False)
    assert "2001:db8::5" in reachable(LAPTOP, None, has_ipv6=True)
    assert "fe80::1" not in reachable(LAPTOP, None, has_ipv6=True)


@pytest.mark.parametrize(
    ("name", "address"),
    [("vEthernet (WSL)", "172.20.1.1"), ("vmnet8", "172.16.4.1"), ("veth12ab", "10.1.1.1"), ("cni0", "10.244.0.1")],
)
def test_bridges_of_virtual_machines_are_left_out_by_their_names(name, address):
    assert reachable([Interface(name, address)], address, has_ipv6=False) == ()


def test_devices_are_told_the_network_first_and_loopback_last():
    urls = network().preferred_urls()
    assert urls[0] == "http://192.168.1.21:18642"
    assert urls[-1] == "http://127.0.0.1:18642"
    assert network().routes()[0] == Route("http://192.168.1.21:18642", "lan")


def test_the_address_that_the_owner_named_stands_alone():
    named = network(lan_host="phone.example.org")
    assert named.preferred_urls() == ("http://phone.example.org:18642", "http://127.0.0.1:18642")
    assert "192.168.1.20" in named.host_names()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_what_listens_to_this_machine_alone_tells_no_other_address(host):
    closed = network(listen_host=host)
    assert not closed.is_open
    assert closed.routes() == ()
    assert len(closed.preferred_urls()) == 1


def test_one_address_is_told_as_it_is():
    assert network(listen_host="192.168.1.20").preferred_urls() == ("http://192.168.1.20:18642",)
    assert network(listen_host="::").local_url() == "http://[::1]:18642"


def test_a_machine_without_a_network_has_loopback():
    assert network([Interface("lo", "127.0.0.1")], None).preferred_urls() == ("http://127.0.0.1:18642",)


def test_its_names_are_those_that_devices_may_call_it_by():
    names = network(allowed_hosts=["link.example.org"], lan_host="studio.lan").host_names()
    assert {"localhost", "127.0.0.1", "::1", "anna-s-laptop.local", "192.168.1.20", "link.example.org"} <= names
    assert "studio.lan" in names
    assert "0.0.0.0" not in names


def test_a_network_that_changed_is_seen_a_little_later():
    cards, now = [Interface("wlan0", "10.0.0.5")], [0.0]
    made = Network(
        LinkSettings(), interfaces=lambda: list(cards), outgoing=lambda: None, hostname="a", monotonic=lambda: now[0]
    )
    assert made.lan_addresses() == ("10.0.0.5",)
    cards[0] = Interface("wlan0", "10.0.0.6")
    assert made.lan_addresses() == ("10.0.0.5",)
    now[0] = 10.0
    assert made.lan_addresses() == ("10.0.0.6",)


def test_this_machine_has_loopback():
    assert "127.0.0.1" in [one.address for one in machine_interfaces()]


def test_containers_and_wsl_are_known_by_their_files(tmp_path):
    assert surroundings(tmp_path) == "host"
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/version").write_text("Linux version 5.15 microsoft-standard-WSL2")
    assert surroundings(tmp_path) == "wsl"
    (tmp_path / ".dockerenv").touch()
    assert surroundings(tmp_path) == "container"
