"""Profiles: homes under `profiles/` of the root home, that share nothing."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hermes.core.errors import Conflict, NotFound
from hermes.home.config_file import read_config, unset_config
from hermes.home.env import read_env, set_env
from hermes.home.files import make_private_directory, write_private
from hermes.home.names import ALIASES
from hermes.home.paths import DEFAULT_PROFILE, PROFILE_NAME, Home, create_home, profile_home

OWN_PREFIXES = ("API_SERVER_", "HERMES_")
OWN_SETTINGS = ("key", "port", "host", "enabled", "model_name")


def create_profile(root: Path, name: str, *, clone: Home | None = None) -> Home:
    """A new home with a key of its own; its API is not switched on, since two cannot listen on one port.

    `clone` gives its config.yaml, SOUL.md and provider keys; what makes it reachable stays its own. Made whole or not
    at all. Raises `ConfigError` for a bad name, `Conflict` when there is one of that name.
    """
    profile = profile_home(root, name)
    if profile.path.exists():
        raise Conflict(f"there is a profile {name!r} already; see it with: hermes profile show {name}")
    make_private_directory(profile.path.parent)
    draft = Home(Path(tempfile.mkdtemp(prefix=".new-", dir=profile.path.parent)), name)
    try:
        create_home(draft, enable_api=False)
        if clone is not None:
            _clone(clone, draft)
        draft.path.rename(profile.path)
    except OSError as exc:
        if profile.path.exists():  # somebody else was faster
            raise Conflict(f"there is a profile {name!r} already") from exc
        raise
    finally:
        shutil.rmtree(draft.path, ignore_errors=True)
    return profile


def list_profiles(root: Path) -> list[Home]:
    """The root home first, then its profiles by name. A link or a file there is none."""
    directory = root / "profiles"
    names = [] if not directory.is_dir() else sorted(path.name for path in directory.iterdir() if path.is_dir())
    return [
        Home(root),
        *(profile_home(root, name) for name in names if PROFILE_NAME.fullmatch(name) and name != DEFAULT_PROFILE),
    ]


def get_profile(root: Path, name: str) -> Home:
    """Raises `NotFound`, or `ConfigError` for what cannot be a name."""
    if name == DEFAULT_PROFILE:
        return Home(root)
    profile = profile_home(root, name)
    if not profile.path.is_dir():
        raise NotFound(f"no profile {name!r}; list them with: hermes profile list")
    return profile


def _clone(source: Home, draft: Home) -> None:
    for origin, copy in ((source.config_file, draft.config_file), (source.soul_file, draft.soul_file)):
        if origin.exists():
            write_private(copy, origin.read_text(encoding="utf-8"))
    if read_config(draft.config_file):
        for section in ALIASES:
            for key in OWN_SETTINGS:
                unset_config(draft.config_file, [*section.split("."), key])
    for name, value in read_env(source.env_file).items():
        if not name.startswith(OWN_PREFIXES):
            set_env(draft.env_file, name, value)
