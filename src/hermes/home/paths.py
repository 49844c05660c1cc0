"""Where a home is, and what lies where in it.

A home is HERMES_HOME (`~/.hermes`) or a profile, `profiles/NAME` under it: a whole home of its own. HERMES_HOME may
point to a profile too; `-p` then still means the profiles beside it.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hermes.core.errors import ConfigError
from hermes.home.files import make_private_directory, too_open, write_private
from hermes.home.locks import edit_lock

DEFAULT_PROFILE = "default"
ACTIVE_PROFILE_FILE = "active_profile"
INBOX = "inbox"
"""In a home: the folder of what people attached, which the agent's file tools may read wherever commands run."""
PROFILE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class Home:
    """`name` is the profile's, `default` for the root home. Nothing here says that the files exist."""

    path: Path
    name: str = DEFAULT_PROFILE

    @property
    def is_profile(self) -> bool:
        return self.name != DEFAULT_PROFILE

    @property
    def root(self) -> Path:
        """The home that holds the profiles."""
        return self.path.parent.parent if self.is_profile else self.path

    @property
    def command(self) -> str:
        """How a person calls this home: `hermes` or `hermes -p alice`."""
        return f"hermes -p {self.name}" if self.is_profile else "hermes"

    @property
    def env_file(self) -> Path:
        return self.path / ".env"

    @property
    def config_file(self) -> Path:
        return self.path / "config.yaml"

    @property
    def soul_file(self) -> Path:
        return self.path / "SOUL.md"

    @property
    def state_db(self) -> Path:
        return self.path / "state.db"

    @property
    def logs_dir(self) -> Path:
        return self.path / "logs"

    @property
    def memories_dir(self) -> Path:
        return self.path / "memories"

    @property
    def skills_dir(self) -> Path:
        return self.path / "skills"

    @property
    def cron_dir(self) -> Path:
        return self.path / "cron"

    @property
    def files_dir(self) -> Path:
        """What clients uploaded, each file under its id."""
        return self.path / "files"

    @property
    def history_file(self) -> Path:
        """What was written into chats at a terminal."""
        return self.path / "chat_history"

    @property
    def profiles_dir(self) -> Path:
        return self.root / "profiles"

    @property
    def backups_dir(self) -> Path:
        """What files of the home said before, and copies of its database."""
        return self.path / "backups"

    @property
    def run_dir(self) -> Path:
        """What lives as long as a process does: the pid file, locks, the outputs that tools spilled to disk."""
        return self.path / "run"

    @property
    def pid_file(self) -> Path:
        return self.run_dir / "gateway.pid"

    def exists(self) -> bool:
        """It was set up before. A directory that only holds profiles or locks was not."""
        return any(file.exists() for file in (self.env_file, self.config_file, self.state_db))

    def too_open(self) -> list[str]:
        """What of it others on this machine can read, one sentence each."""
        return too_open(self._private_paths())

    def _private_paths(self) -> Iterator[Path]:
        yield from (self.path, self.env_file, self.config_file, self.state_db, self.history_file)
        yield from (self.logs_dir, self.memories_dir, self.files_dir, self.run_dir, self.backups_dir)


def resolve_home(profile: str | None = None, environ: Mapping[str, str] | None = None) -> Home:
    """The home that is meant: by -p, else by HERMES_HOME, else by `hermes profile use`.

    Raises `ConfigError` for a bad name and for a profile that does not exist.
    """
    environ = os.environ if environ is None else environ
    home = _base_home(environ)
    if profile is None:
        return home if environ.get("HERMES_HOME", "").strip() else _used_home(home)
    if profile == DEFAULT_PROFILE:
        return Home(home.root)
    chosen = profile_home(home.root, profile)
    if not chosen.path.is_dir():
        raise ConfigError(
            f"no profile {profile!r} in {chosen.path.parent}; make it with: hermes profile create {profile}"
        )
    return chosen


def active_profile(root: Path) -> str:
    """What `hermes profile use` chose, `default` when nothing. The profile may be gone."""
    try:
        name = (root / ACTIVE_PROFILE_FILE).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return DEFAULT_PROFILE
    return name if PROFILE_NAME.fullmatch(name) else DEFAULT_PROFILE


def profile_home(root: Path, name: str) -> Home:
    """Raises `ConfigError` for what cannot be a profile's name: it becomes a path."""
    if PROFILE_NAME.fullmatch(name) is None:
        raise ConfigError(
            f"{name!r} cannot be a profile's name: use a-z, 0-9, - and _, at most 64, a letter or digit first"
        )
    if name == DEFAULT_PROFILE:
        raise ConfigError("the default profile is the home itself: leave -p away, or choose another name")
    return Home(root / "profiles" / name, name)


def create_home(home: Home, *, enable_api: bool = True) -> bool:
    """Makes what a home needs, with a random API key. True when it was made, False when it was there.

    Two processes at once make one home: the second finds it. What exists already is never overwritten.
    """
    if home.exists():
        return False
    make_private_directory(home.path)
    if os.name != "nt" and not any(home.path.iterdir()):
        home.path.chmod(0o700)  # a directory with something in it may be more than a home: it is only reported
    with edit_lock(home.env_file):
        if home.exists():
            return False
        for directory in (home.logs_dir, home.memories_dir, home.skills_dir, home.cron_dir):
            make_private_directory(directory)
        if not home.soul_file.exists():
            write_private(home.soul_file, SOUL)
        write_private(home.config_file, CONFIG)
        # last, because it is what makes the home exist for whoever waits at the lock
        write_private(home.env_file, _env_text(secrets.token_hex(32), enable_api=enable_api))
    return True


def _base_home(environ: Mapping[str, str]) -> Home:
    user = Path(environ.get("HOME") or Path.home())
    named = environ.get("HERMES_HOME", "").strip()
    if named == "~" or named.startswith("~/"):
        named = str(user) + named[1:]
    path = Path(named).absolute() if named else user / ".hermes"
    if path.parent.name == "profiles" and PROFILE_NAME.fullmatch(path.name) and path.name != DEFAULT_PROFILE:
        return Home(path, path.name)
    return Home(path)


def _used_home(root: Home) -> Home:
    name = active_profile(root.path)
    if name == DEFAULT_PROFILE:
        return root
    used = profile_home(root.path, name)
    if not used.path.is_dir():
        raise ConfigError(
            f"the profile in use, {name!r}, is gone; choose another: hermes -p default profile use default"
        )
    return used


def _env_text(key: str, *, enable_api: bool) -> str:
    enabled = "API_SERVER_ENABLED=true" if enable_api else "# API_SERVER_ENABLED=true"
    return ENV.format(key=key, enabled=enabled)


ENV = """\
# Secrets and addresses of this home. The environment beats this file, this file beats config.yaml.
# Change a line with: hermes config set NAME VALUE

{enabled}
API_SERVER_KEY={key}
# API_SERVER_HOST=127.0.0.1
# API_SERVER_PORT=8642
# API_SERVER_CORS_ORIGINS=https://chat.example.org
# API_SERVER_ALLOWED_HOSTS=hermes.example.org

# The key of the provider that answers; one is enough.
# OPENAI_API_KEY=
# ANTHROPIC_API_KEY=
# OPENROUTER_API_KEY=
"""

SOUL = """\
You are Hermes, an agent on your owner's machine. You get things done with the tools you have.

- Look before you change something, and say what you found.
- Say plainly when something failed or when you are not sure; never claim what a tool's result does not show.
- Be brief. Show the command or the line that matters.
"""

CONFIG = """\
# How Hermes behaves. Every line is optional; what is commented out shows the default.
# Change a value with: hermes config set NAME VALUE      Check the file with: hermes config check
# All names: docs/reference/settings.md

# The language model. Without a setting: a provider key in .env or the environment, then a local server
# (Ollama, LM Studio, llama.cpp, vLLM), then the built-in model. See: hermes model
# model:
#   default: gpt-5-mini
#   provider: openai
#   base_url: https://api.openai.com/v1

# Asked in this order when the model fails before it said anything.
# fallback_models: []

# What the agent can do. See: hermes tools list
# toolsets: [terminal, file]

# Who is asked before something dangerous.
# approvals:
#   mode: manual        # manual, smart or off
#   timeout: 60         # seconds; no answer is a no
#   cron_mode: deny     # deny or approve, for jobs that run on their own
#   deny: []            # patterns of commands that are never run

# terminal:
#   backend: local
#   cwd: null           # where commands start; null is where the gateway started
#   timeout: 180        # seconds a command may take

# api_server:
#   max_concurrent_runs: 32
#   max_queued_runs: 256
#   queue_timeout_seconds: 30
#   drain_timeout: 10

# limits:               # of one run
#   max_steps: 90
#   max_tokens: null
#   max_seconds: null
#   max_usd: null
"""
