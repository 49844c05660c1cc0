"""What the agent adds by itself to every conversation: its instructions and the schemas of its default tools."""

from __future__ import annotations

import json
from pathlib import Path

from hermes.app import open_engine
from hermes.cli.prompt_size import sizes_of
from hermes.home.paths import Home, create_home
from hermes.home.settings import load_settings
from tests.support.database import new_url

MOST_BYTES = 12_000


async def test_instructions_and_schemas_of_the_default_tools_stay_small(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    create_home(home)
    async with open_engine(load_settings(home, {}), home=home, environ={}, database_url=new_url()) as engine:
        specs, instructions = engine.agent.opening()
    tools = [
        {"type": "function", "function": {"name": s.name, "description": s.description, "parameters": s.parameters}}
        for s in specs
    ]
    assert {"terminal", "read_file"} <= {spec.name for spec in specs}
    assert len(json.dumps({"instructions": instructions, "tools": tools}).encode()) <= MOST_BYTES
    assert abs(sizes_of(engine)["bytes"] - len(json.dumps([instructions, *tools], ensure_ascii=False).encode())) < 50
