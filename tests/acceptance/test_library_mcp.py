"""AIAgent with an MCP server of the home's settings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from hermes.models.script import Call, Step
from hermes.models.scripted import ScriptedModelServer
from tests.support.mcp_servers import ROOT, in_config

SCRIPT = """
from run_agent import AIAgent
agent = AIAgent(model="scripted", base_url="{url}", api_key="x", enabled_toolsets=["mcp-one"], quiet_mode=True)
print(agent.chat("go"))
print(agent.chat("again"))
"""


def test_an_agent_in_a_script_waits_for_the_server_it_was_given(tmp_path: Path, model: ScriptedModelServer) -> None:
    model.add(Step(after_tool=False, times=0, tool_calls=(Call("mcp_one_echo", {"text": "x"}),)))
    model.add(Step(after_tool=True, text="{{tool}}"))
    home, mark = tmp_path / "home", tmp_path / "mark"
    home.mkdir(0o700)
    server = in_config(env={"MCP_TEST_MARK": str(mark)}, trust="all")
    (home / "config.yaml").write_text(json.dumps({"mcp_servers": {"one": server}}))
    environ = {**os.environ, "HERMES_HOME": str(home), "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(url=model.base_url)],
        env=environ,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.stdout == "echo: x\necho: x\n", done.stderr
    assert not psutil.pid_exists(int(mark.read_text()))
