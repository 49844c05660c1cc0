"""What a phone permits is what the agent of a running gateway goes by, and nothing is lost when others write, too."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from hermes.home.config_file import read_config
from hermes.home.env import read_env
from hermes.models.script import Call, Step
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway, StartGateway
from tests.acceptance.link.conftest import StartLink
from tests.acceptance.link.phone import Phone
from tests.acceptance.link.process import LinkProcess, tell_link
from tests.support.home_assistant import TOKEN, HomeAssistant
from tests.support.mcp_servers import in_config
from tests.support.media_services import KEY, PNG, MediaServices
from tests.support.waiting import eventually

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")

PERMISSIONS = "/profiles/default/permissions"
TOOLS = "/profiles/default/tool-configs"
HELLO = Step(times=0, text="Hello.")
TELL = Step(after_tool=True, times=0, text="{{tool}}")


def calls(tool: str, when: str, **arguments: Any) -> Step:
    return Step(when=when, after_tool=False, times=0, tool_calls=(Call(tool, arguments),))


def ask(phone: Phone, text: str) -> str:
    """The answer in a conversation of its own."""
    return phone.ask(phone.conversation(), text)


def offered(phone: Phone, model: ScriptedModelServer) -> set[str]:
    ask(phone, "hello")
    return {tool["function"]["name"] for tool in model.requests[-1].get("tools", ())}


def enable(phone: Phone, **toolsets: Any) -> None:
    phone.patch(PERMISSIONS, {"toolsets": toolsets})


@pytest.fixture
def services() -> Iterator[MediaServices]:
    with MediaServices() as services:
        yield services


@pytest.fixture
def house() -> Iterator[HomeAssistant]:
    with HomeAssistant() as house:
        yield house


def test_a_toolset_that_is_switched_off_is_not_offered_any_more(phone: Phone, model: ScriptedModelServer) -> None:
    model.add(HELLO)
    assert {"terminal", "read_file"} <= offered(phone, model)
    items = phone.get(PERMISSIONS)["permissions"]["toolsets"]["items"]
    on = [item["key"] for item in items if item["enabled"]]

    enable(phone, enabled_toolsets=[key for key in on if key != "terminal"])
    there = offered(phone, model)
    assert "read_file" in there and not {"terminal", "process"} & there
    enable(phone, enabled_toolsets=[])
    assert offered(phone, model) == set()
    enable(phone, enabled_toolsets=on)
    assert {"terminal", "read_file"} <= offered(phone, model)


def test_tools_of_mcp_servers_come_and_go(
    start_gateway: StartGateway, start_link: StartLink, model: ScriptedModelServer
) -> None:
    model.add(HELLO)
    gateway = start_gateway({"mcp_servers": {"notes": in_config("--legacy")}})
    tell_link(gateway)
    phone = start_link(gateway.home).phone()
    enable(phone, enabled_toolsets=["file"])  # with all of them, a model finds the others by tool_search

    def is_offered() -> bool:
        return "mcp_notes_echo" in offered(phone, model)

    eventually(is_offered, 60)
    enable(phone, mcp_enabled=False)
    assert not is_offered()
    enable(phone, mcp_enabled=True)
    assert is_offered()


def test_whether_somebody_is_asked_is_said_from_the_phone(
    phone: Phone, known_gateway: Gateway, model: ScriptedModelServer
) -> None:
    model.add(calls("terminal", "^clean", command="rm -rf build"), TELL, HELLO)
    build = known_gateway.workdir / "build"

    def clean() -> None:
        build.mkdir()
        ask(phone, "clean")
        assert not build.exists()

    def is_asked() -> bool:
        build.mkdir(exist_ok=True)
        conversation = phone.conversation()
        with phone.follow(conversation) as stream:
            run = phone.send(conversation, "clean")["run"]["id"]
            approval = stream.until_type("approval.requested").payload["approval_id"]
            phone.post(f"/conversations/{conversation}/approvals/{approval}/deny")
            stream.until_end(run)
        return build.exists()

    assert is_asked()
    build.rmdir()
    phone.patch(PERMISSIONS, {"approvals": {"mode": "off"}})
    clean()
    phone.patch(PERMISSIONS, {"approvals": {"mode": "manual"}})
    assert is_asked()


def test_a_service_that_is_named_on_the_phone_is_used_with_its_key(
    phone: Phone,
    link: LinkProcess,
    known_gateway: Gateway,
    model: ScriptedModelServer,
    services: MediaServices,
    house: HomeAssistant,
) -> None:
    model.add(
        calls("image_generate", "^draw", prompt="A fox", path="fox.png"),
        calls("ha_list_entities", "^home", area="Kitchen"),
        TELL,
        HELLO,
    )
    enable(phone, enabled_toolsets=["file", "image_gen", "homeassistant"])
    assert not {"image_generate", "ha_list_entities"} & offered(phone, model)

    painter = {"values": {"baseUrl": services.base_url, "model": "painter"}, "env": {"IMAGE_GEN_API_KEY": KEY}}
    told = phone.patch(f"{TOOLS}/image_gen", painter)
    assert (told["configured"]["IMAGE_GEN_API_KEY"], told["missing"]) == (True, None)
    phone.patch(f"{TOOLS}/homeassistant", {"values": {"url": house.url}, "env": {"HASS_TOKEN": TOKEN}})

    assert {"image_generate", "ha_list_entities"} <= offered(phone, model)
    ask(phone, "draw")
    assert (known_gateway.workdir / "fox.png").read_bytes() == PNG
    assert "Kitchen light" in ask(phone, "home")

    assert read_env(known_gateway.home / ".env")["IMAGE_GEN_API_KEY"] == KEY
    assert KEY not in (known_gateway.home / "config.yaml").read_text()
    seen = [phone.client.get(path).text for path in (PERMISSIONS, f"{TOOLS}/image_gen", f"{TOOLS}/homeassistant")]
    seen += [phone.client.get(path).text for path in ("/audit", "/logs?source=link", "/logs?source=gateway")]
    assert not any(secret in text for text in [*seen, link.output] for secret in (KEY, TOKEN))

    phone.patch(f"{TOOLS}/image_gen", {"values": {"model": None}})
    assert "image_generate" not in offered(phone, model)


def test_nothing_is_lost_when_phone_command_line_and_agent_write_at_once(
    start_gateway: StartGateway, start_link: StartLink, model: ScriptedModelServer
) -> None:
    """config.yaml by all three, .env by two."""
    model.add(calls("terminal", "^remove (\\d+)", command="rm -rf made{{1}}"), TELL, HELLO)
    gateway = start_gateway({"limits": {"max_steps": 50}})
    tell_link(gateway)
    phone = start_link(gateway.home).phone()
    (gateway.home / "config.yaml").write_text("# mine\n" + (gateway.home / "config.yaml").read_text())
    count = 8

    def command(number: int) -> None:
        environ = {name: value for name, value in gateway.environ.items() if not name.startswith("API_SERVER_")}
        for name, value in ((f"model_routes.route{number}.default", "m"), (f"MY_VALUE_{number}", f"v{number}")):
            run = [sys.executable, "-m", "hermes", "config", "set", name, value]
            subprocess.run(run, env=environ, capture_output=True, timeout=60, check=True)

    def change(number: int) -> None:
        phone.patch(PERMISSIONS, {"terminal": {"timeout": 100 + number}})
        phone.patch(f"{TOOLS}/stt", {"values": {"keyEnv": f"EAR_{number}"}, "env": {f"EAR_{number}": f"e{number}"}})

    def allow(number: int) -> None:
        """The agent adds to the allow-list."""
        conversation = phone.conversation()
        with phone.follow(conversation) as stream:
            run = phone.send(conversation, f"remove {number}")["run"]["id"]
            approval = stream.until(lambda one: one.type in {"approval.requested", "run.completed"})
            if approval.type == "approval.requested":
                approve = f"/conversations/{conversation}/approvals/{approval.payload['approval_id']}/approve"
                phone.post(approve, {"scope": "always"})
                stream.until_end(run)

    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(do, number) for number in range(count) for do in (command, change, allow)]
        for job in jobs:
            job.result()

    config, env = read_config(gateway.home / "config.yaml"), read_env(gateway.home / ".env")
    assert (gateway.home / "config.yaml").read_text().startswith("# mine\n")
    assert config["limits"] == {"max_steps": 50}
    assert set(config["model_routes"]) == {f"route{number}" for number in range(count)}
    assert config["terminal"]["timeout"] in {100.0 + number for number in range(count)}
    assert config["command_allowlist"] and config["stt"]["key_env"].startswith("EAR_")
    assert {f"MY_VALUE_{number}": f"v{number}" for number in range(count)}.items() <= env.items()
    assert {f"EAR_{number}": f"e{number}" for number in range(count)}.items() <= env.items()
    kept = [path for path in (gateway.home / "backups").iterdir() if path.name.startswith("config.yaml.")]
    assert len(kept) == 5
