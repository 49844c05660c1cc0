"""Profiles: homes under `profiles/` of the root home, that share nothing."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from pathlib import Path

from hermes.core.errors import ConfigError, Conflict, InvalidInput, NotFound
from hermes.home.about import About, change_about
from hermes.home.config_file import ConfigDraft
from hermes.home.env import read_env, set_env
from hermes.home.files import make_private_directory, write_private
from hermes.home.locks import GatewayLock, bounded_lock, edit_lock, lock_gateway, running_gateway
from hermes.home.names import ALIASES
from hermes.home.paths import (
    ACTIVE_PROFILE_FILE,
    DEFAULT_PROFILE,
    PROFILE_NAME,
    Home,
    active_profile,
    create_home,
    profile_home,
)
from hermes.home.trash import place_in_trash
from hermes.home.wanted import wanted

CLOSE_SECONDS = 5.0
"""How long a gateway is given to close a profile that nobody uses."""
BUSY_SECONDS = 2.0
"""How long it may say that the profile is at work: a run that has just answered is still being put away."""
DRAFT = ".create-"
OWN_PREFIXES = ("API_SERVER_", "HERMES_")
OWN_SETTINGS = ("key", "port", "host", "enabled", "model_name")


def create_profile(
    root: Path, name: str, *, clone: Home | None = None, about: About | None = None, patience_seconds: float = 30.0
) -> Home:
    """A new home with a key of its own; its API is not switched on, since two cannot listen on one port: the default
    profile's gateway answers for it.

    `clone` gives its config.yaml, SOUL.md and provider keys; what makes it reachable, and where its data is, stays its
    own. Made whole or not at all. Raises `ConfigError` for a bad name, `Conflict` `profile_exists` when there is one of
    that name, and `busy` while another is made.
    """
    profile = profile_home(root, name)
    if profile.path.exists():
        raise Conflict(
            f"there is a profile {name!r} already; see it with: hermes profile show {name}", code="profile_exists"
        )
    make_private_directory(profile.path.parent)
    with _making(root, patience_seconds):
        _remove_drafts(root)
        draft = Home(Path(tempfile.mkdtemp(prefix=DRAFT, dir=profile.path.parent)), name)
        try:
            create_home(draft, enable_api=False)
            if clone is not None:
                _clone(clone, draft)
            change_about(draft, **asdict(about or About()))
            if profile.path.exists() or profile.path.is_symlink():
                raise Conflict(f"there is a profile {name!r} already", code="profile_exists")
            draft.path.rename(profile.path)
        finally:
            shutil.rmtree(draft.path, ignore_errors=True)
    return profile


def remove_drafts(root: Path, *, patience_seconds: float = 1.0) -> None:
    """What a process that was killed had begun to make. Raises `Conflict` `busy` while one is made."""
    if (root / "profiles").is_dir():
        with _making(root, patience_seconds):
            _remove_drafts(root)


def list_profiles(root: Path) -> list[Home]:
    """The root home first, then its profiles by name. A link or a file there is none."""
    directory = root / "profiles"
    names = (
        []
        if not directory.is_dir()
        else sorted(path.name for path in directory.iterdir() if path.is_dir() and not path.is_symlink())
    )
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


def delete_profile(
    profile: Home, *, now: float, keeps: bool = True, patience_seconds: float = CLOSE_SECONDS
) -> Path | None:
    """Moves it to the root's trash/, or removes it for good. Where it lies now.

    Raises `Conflict`: `gateway_running` while its gateway runs, `profile_busy` while it is at work in the default's.
    """
    _check_profile(profile)
    with _alone(profile, now, patience_seconds):
        if active_profile(profile.root) == profile.name:
            use_profile(profile.root, DEFAULT_PROFILE)
        place = place_in_trash(profile.root, profile.name, now)
        with edit_lock(profile.env_file):  # whoever writes to it now comes first, and whoever waits finds nothing
            profile.path.rename(place)  # at once: nobody meets half a profile
    if keeps:
        return place
    shutil.rmtree(place)
    return None


def rename_profile(profile: Home, name: str, *, now: float, patience_seconds: float = CLOSE_SECONDS) -> Home:
    """Raises `Conflict` as `delete_profile` does, and `profile_exists` where there is one of the new name."""
    _check_profile(profile)
    renamed = profile_home(profile.root, name)
    with _alone(profile, now, patience_seconds), _making(profile.root, 30.0):
        if renamed.path.exists() or renamed.path.is_symlink():
            raise Conflict(f"there is a profile {name!r} already", code="profile_exists")
        with edit_lock(profile.env_file):
            profile.path.rename(renamed.path)
        if active_profile(profile.root) == profile.name:
            use_profile(profile.root, name)
    return renamed


def use_profile(root: Path, name: str) -> None:
    """From now on commands without -p mean this one; `default` undoes it. Raises `NotFound`."""
    get_profile(root, name)
    file = root / ACTIVE_PROFILE_FILE
    if name == DEFAULT_PROFILE:
        file.unlink(missing_ok=True)
    else:
        write_private(file, name + "\n")


def _check_profile(profile: Home) -> None:
    if not profile.is_profile:
        raise InvalidInput("the default profile is the home itself: it cannot be deleted or renamed", param="name")
    if profile.path.is_symlink():
        raise ConfigError(f"{profile.path} is a link, and no profile")


@contextmanager
def _alone(profile: Home, now: float, patience_seconds: float) -> Iterator[None]:
    """As its gateway would hold it: none can start meanwhile. Where the default profile's gateway has it open and
    nothing goes on in it, that closes it.
    """
    with wanted(profile):
        lock = _lock(profile, now, patience_seconds)
        try:
            yield
        finally:
            lock.release()


def _lock(profile: Home, now: float, patience_seconds: float) -> GatewayLock:
    began = time.monotonic()
    deadline, idle_by = began + patience_seconds, began + min(patience_seconds, BUSY_SECONDS)
    while True:
        try:
            return lock_gateway(profile.pid_file, now=now, name=profile.name)
        except Conflict as error:
            running = running_gateway(profile.pid_file)
            is_guest = running is not None and running.is_guest
            if running is not None and running.is_ready and not is_guest:
                raise
            if running is not None and running.is_busy and time.monotonic() >= idle_by:
                raise Conflict(
                    f"profile {profile.name} is at work in the default profile's gateway; wait until its runs have "
                    "ended, or stop them",
                    code="profile_busy",
                ) from error
            if time.monotonic() >= deadline:
                if running is None or not is_guest:
                    raise
                raise Conflict(
                    f"profile {profile.name} is open in the default profile's gateway (pid {running.pid}), which does "
                    "not let go of it; stop that first: hermes -p default gateway stop",
                    code="gateway_running",
                ) from error
        time.sleep(0.05)


def _making(root: Path, patience_seconds: float) -> AbstractContextManager[None]:
    """Whoever puts a profile under a name holds it."""
    return bounded_lock(root / "run" / "profiles.lock", patience_seconds)


def _remove_drafts(root: Path) -> None:
    for draft in (root / "profiles").glob(f"{DRAFT}*"):
        shutil.rmtree(draft, ignore_errors=True)


def _clone(source: Home, draft: Home) -> None:
    if source.soul_file.exists():
        write_private(draft.soul_file, source.soul_file.read_text(encoding="utf-8"))
    if source.config_file.exists():
        config = ConfigDraft(source.config_file)
        for section in ALIASES:
            for key in OWN_SETTINGS:
                config.unset([*section.split("."), key])
        config.unset(["database", "url"])
        write_private(draft.config_file, config.text)
    for name, value in read_env(source.env_file).items():
        if not name.startswith(OWN_PREFIXES):
            set_env(draft.env_file, name, value)
