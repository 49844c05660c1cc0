"""What Tailscale's own JSON says, and what is missing when it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hermes.core.errors import HermesError
from hermes.expose.tailscale import Mount, Tailscale, consent_link, read_serving, refused
from tests.support.tunnels import CONSENT, NAME, StandInTailscale, web, with_path


def served(config: object, port: int = 8642) -> list[tuple[str, bool]]:
    return [(mount.url, mount.is_public) for mount in read_serving(config).of(port)]


@pytest.mark.parametrize(
    ("config", "found"),
    [
        (None, []),
        ({}, []),
        ({"TCP": None, "Web": None, "AllowFunnel": None, "Foreground": None, "Services": None}, []),
        ([1, 2], []),
        (web(443, 8642), [(f"https://{NAME}", True)]),
        (web(8443, 8642), [(f"https://{NAME}:8443", True)]),
        (web(443, 8642, is_funnel=False), [(f"https://{NAME}", False)]),
        (web(443, 8643), []),
        (web(443, 8642, path="/hermes"), []),
        ({"Foreground": {"4f": web(10000, 8642)}}, [(f"https://{NAME}:10000", True)]),
        ({"Foreground": {"4f": None, "50": {}}}, []),
        # AllowFunnel may be kept above what it allows, and false is no
        ({"AllowFunnel": {f"{NAME}:443": True}, "Foreground": {"4f": web(443, 8642, is_funnel=False)}},
         [(f"https://{NAME}", True)]),
        ({**web(443, 8642), "AllowFunnel": {f"{NAME}:443": False}}, [(f"https://{NAME}", False)]),
        # without TCP beside it, and over HTTP within the tailnet
        ({"Web": web(443, 8642)["Web"]}, [(f"https://{NAME}", False)]),
        ({"TCP": {"80": {"HTTP": True}}, "Web": web(80, 8642)["Web"]}, [(f"http://{NAME}", False)]),
        ({"Services": {"svc:hermes": web(443, 8642, host="hermes.tail1234.ts.net", is_funnel=False)}},
         [("https://hermes.tail1234.ts.net", False)]),
        ({"Web": {f"{NAME}:443": {"Handlers": {"/": {"Text": "hi"}, "/f": {"Path": "/srv"}}}}}, []),
        ({"Web": {f"{NAME}:443": {}, "nonsense": {"Handlers": {"/": {"Proxy": "8642"}}}}}, []),
    ],
)  # fmt: skip
def test_what_leads_to_a_port_is_read_from_whatever_of_the_status_is_there(
    config: object, found: list[tuple[str, bool]]
) -> None:
    assert served(config) == found


@pytest.mark.parametrize(
    "target",
    [
        "8642",
        "localhost:8642",
        "127.0.0.1:8642",
        "http://127.0.0.1:8642",
        "http://localhost:8642/",
        "http://[::1]:8642",
        "https+insecure://localhost:8642",
    ],
)
def test_each_way_to_write_a_server_of_this_machine_is_known(target: str) -> None:
    assert served({"Web": {f"{NAME}:443": {"Handlers": {"/": {"Proxy": target}}}}}) == [(f"https://{NAME}", False)]


@pytest.mark.parametrize(
    "target", ["http://192.168.1.5:8642", "unix:/run/x", "http://8642.example.com", "86420000", 8642]
)
def test_a_server_elsewhere_is_not_this_one(target: object) -> None:
    assert served({"Web": {f"{NAME}:443": {"Handlers": {"/": {"Proxy": target}}}}}) == []


def test_a_port_is_free_only_when_nothing_at_all_has_it() -> None:
    raw = {"TCP": {"443": {"TCPForward": "127.0.0.1:22"}}}
    assert read_serving(None).free_slot() == 443
    assert read_serving(raw).free_slot() == 8443
    assert read_serving({**raw, "Foreground": {"1": web(8443, 1)}}).free_slot() == 10000
    assert read_serving({"AllowFunnel": {f"{NAME}:443": True}}).free_slot() == 8443
    assert read_serving({**raw, "Foreground": {"1": web(8443, 1), "2": web(10000, 1)}}).free_slot() is None
    assert read_serving({"Services": {"svc:a": web(443, 1)}}).free_slot() == 443  # it has an address of its own


def test_bytes_that_are_passed_on_are_told_from_requests() -> None:
    config = {
        "TCP": {"443": {"TCPForward": "127.0.0.1:8642", "TerminateTLS": NAME}},
        "AllowFunnel": {f"{NAME}:443": True},
    }
    (mount,) = read_serving(config).of(8642)
    assert (mount.is_raw, mount.is_public, mount.slot) == (True, True, 443)


@pytest.mark.parametrize(
    ("state", "code", "told"),
    [
        ({"backend": "NeedsLogin"}, "expose_not_logged_in", "sudo tailscale up"),
        ({"backend": "Stopped"}, "expose_not_logged_in", "sudo tailscale up"),
        ({"runs": False}, "expose_tool_missing", "tailscaled"),
    ],
)
def test_who_cannot_publish_is_told_what_to_type(tmp_path: Path, state: dict[str, Any], code: str, told: str) -> None:
    with pytest.raises(HermesError) as refusal:
        Tailscale(StandInTailscale(tmp_path, **state).environ).own_name()
    assert refusal.value.code == code
    assert told in refusal.value.message


def test_without_tailscale_there_is_another_way(tmp_path: Path) -> None:
    with pytest.raises(HermesError, match="--via cloudflared"):
        Tailscale(with_path(tmp_path)).own_name()


def test_the_tool_gets_no_secret_of_ours(tmp_path: Path) -> None:
    tool = StandInTailscale(tmp_path)
    assert Tailscale({**tool.environ, "API_SERVER_KEY": "k" * 40, "LANG": "C"}).own_name() == NAME
    assert "API_SERVER_KEY" not in tool.state["environ"]
    assert tool.state["environ"]["LANG"] == "C"


def test_one_handler_is_taken_away_and_its_neighbours_stay(tmp_path: Path) -> None:
    both = web(443, 8642)
    both["Web"][f"{NAME}:443"]["Handlers"]["/blog"] = {"Proxy": "http://127.0.0.1:4000"}
    tool = StandInTailscale(tmp_path, config=both)
    Tailscale(tool.environ).take_away("funnel", 443)
    assert tool.state["config"]["Web"][f"{NAME}:443"]["Handlers"] == {"/blog": {"Proxy": "http://127.0.0.1:4000"}}


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("Access denied: serve config denied", "expose_not_allowed"),
        ("foreground already exists under this port", "expose_port_taken"),
        ("background configuration already exists, use `tailscale funnel --https=443 off`", "expose_port_taken"),
        ('want to serve "https" but port is already serving "tcp"', "expose_port_taken"),
        ('Funnel not available; "funnel" node attribute not set. See https://tailscale.com/s/no-funnel.',
         "expose_not_allowed"),
        ("port 443 is not allowed for funnel", "expose_not_allowed"),
        ("something new", "expose_failed"),
        ("", "expose_failed"),
    ],
)  # fmt: skip
def test_a_refusal_is_known_by_its_text(said: str, code: str) -> None:
    assert refused(said).code == code


def test_the_link_to_consent_is_no_link_to_a_manual() -> None:
    assert consent_link(f"         {CONSENT}") == CONSENT
    assert consent_link("See https://tailscale.com/kb/1223/funnel") is None
    assert consent_link("https://login.tailscale.com.evil.example/f") is None


@pytest.mark.parametrize(
    ("mount", "command"),
    [
        (Mount("box.ts.net", 443, "/", 8642, is_public=True), "tailscale funnel --https=443 off"),
        (Mount("box.ts.net", 8443, "/", 8642, is_public=False), "tailscale serve --https=8443 off"),
        (Mount("box.ts.net", 80, "/", 8642, is_public=False, is_tls=False), "tailscale serve --http=80 off"),
        (Mount("box.ts.net", 10000, "/", 8642, is_public=True, is_raw=True), "tailscale funnel --tcp=10000 off"),
    ],
)
def test_each_is_taken_away_by_its_own_command(mount: Mount, command: str) -> None:
    assert mount.closing == command
