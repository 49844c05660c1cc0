"""Whether a browser can be used here: the package playwright, and a Chromium. Looks at files, starts nothing."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
NO_PACKAGE = "the browser needs playwright: pip install 'hermes-server[browser]'"
NO_BROWSER = "the browser needs Chromium: playwright install chromium, or apt-get install chromium"


def problem(executable: str | None) -> str:
    """Empty where nothing is missing; else what, and the command that mends it. `executable`: what the owner set."""
    if importlib.util.find_spec("playwright") is None:
        return NO_PACKAGE
    if executable is not None:
        return "" if shutil.which(executable) else f"browser.executable is no program: {executable}"
    return "" if program() is not None or has_own_chromium() else NO_BROWSER


def program() -> str | None:
    """A Chromium of this machine's."""
    return next((found for found in map(shutil.which, PROGRAMS) if found), None)


def has_own_chromium() -> bool:
    """What `playwright install chromium` brought."""
    said = os.environ.get("PLAYWRIGHT_BROWSERS_PATH")
    usual = "Library/Caches" if sys.platform == "darwin" else ".cache"
    directory = Path(said) if said else Path.home() / usual / "ms-playwright"
    return any(directory.glob("chromium*-*"))
