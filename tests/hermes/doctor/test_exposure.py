"""What the doctor tells of tunnels."""

from __future__ import annotations

from pathlib import Path

from hermes.doctor.exposure import exposure
from hermes.expose.exposure import Exposure, ExposureFile, Via
from hermes.home.paths import Home
from hermes.home.settings import load_settings
from tests.support.tunnels import NAME, StandInTailscale, web, with_path

GOOD = "4f1c9a7be02d83565b1e7c0d9f2a6483"


def told(root: Path, config: object = None, *, key: str = GOOD, published: Exposure | None = None) -> list[str]:
    home = Home(root / "home")
    home.run_dir.mkdir(parents=True)
    if published is not None:
        ExposureFile(home.run_dir).write(published)
    tool = StandInTailscale(root, config=config)
    settings = load_settings(home, {"API_SERVER_KEY": key, "API_SERVER_PORT": "8642"})
    return [f"{one.severity} {one.name}" for one in exposure(home, settings, tool.environ)]


def ours(**changes: object) -> Exposure:
    return Exposure(**{"url": f"https://{NAME}", "via": Via.TAILSCALE, "port": 8642, "started_at": 1.0, **changes})  # type: ignore[arg-type]


def test_nothing_is_told_where_nothing_is_published(tmp_path: Path) -> None:
    assert told(tmp_path) == []
    home = Home(tmp_path / "other")
    assert list(exposure(home, load_settings(home, {}), with_path(tmp_path / "nowhere"))) == []


def test_what_is_published_is_told_once_and_by_whom(tmp_path: Path) -> None:
    assert told(tmp_path, web(443, 8642), published=ours(slot=443)) == ["note published", "warning published_nothing"]


def test_what_was_published_and_is_not_any_more_is_told(tmp_path: Path) -> None:
    assert told(tmp_path, published=ours(slot=443)) == ["note lost_tunnel"]


def test_a_weak_key_behind_a_funnel_set_up_by_hand_is_wrong(tmp_path: Path) -> None:
    assert told(tmp_path, web(443, 8642), key="change-me-local-dev") == ["note published", "error weak_published_key"]


def test_a_tailnet_may_have_a_weak_key(tmp_path: Path) -> None:
    assert told(tmp_path, web(443, 8642, is_funnel=False), key="change-me-local-dev") == ["note published"]


def test_bytes_that_are_passed_on_unread_are_wrong(tmp_path: Path) -> None:
    config = {"TCP": {"443": {"TCPForward": "127.0.0.1:8642"}}, "AllowFunnel": {f"{NAME}:443": True}}
    assert told(tmp_path, config) == ["error raw_tunnel"]
