"""The toolset `browser`: a page that can be clicked, where playwright and a Chromium are installed.

`tools` is what a model sees, `browser` keeps the process, `worker` is that process, `tabs` its pages, `proxy` their
only way out, `there` says what is missing.
"""

from __future__ import annotations

from hermes.core.toolset import TOOLSETS
from hermes.toolsets.browser import there
from hermes.toolsets.browser.browser import Browser
from hermes.toolsets.browser.tools import (
    BackTool,
    ClickTool,
    NavigateTool,
    PressTool,
    ScrollTool,
    SnapshotTool,
    TypeTool,
)
from hermes.toolsets.settings import BrowserSettings
from hermes.toolsets.toolset import Toolset


def browser_toolset(settings: BrowserSettings | None = None) -> Toolset:
    settings = settings or BrowserSettings()
    browser = Browser(settings)
    tools = (
        NavigateTool(browser),
        SnapshotTool(browser),
        ClickTool(browser),
        TypeTool(browser),
        PressTool(browser),
        ScrollTool(browser),
        BackTool(browser),
    )
    problem = there.problem(settings.executable)
    return Toolset(TOOLSETS["browser"], tools, problem, not problem, browser)
