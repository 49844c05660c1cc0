"""What the running gateway goes on without is told to an admin's phone, with the command that mends it."""

from __future__ import annotations

import pytest

from hermes.home.config_file import set_config
from tests.acceptance.conftest import Gateway
from tests.acceptance.link.phone import Phone
from tests.acceptance.link.process import LinkProcess

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")


def test_a_setting_that_waits_for_a_restart_is_named_to_an_admin(
    known_gateway: Gateway, phone: Phone, link: LinkProcess
) -> None:
    assert phone.get("/status")["gateway"] == {"state": "running", "issue": None}
    set_config(known_gateway.home / "config.yaml", ["logging", "level"], "debug")
    issue = phone.get("/status")["gateway"]["issue"]
    assert issue == "restart needed for logging.level: hermes gateway restart"
    assert link.phone(scope="chat").get("/status")["gateway"] == {"state": "running", "issue": None}
