from __future__ import annotations

from hermes.toolsets.environment import child_environment

ENVIRON = {
    "PATH": "/bin",
    "HOME": "/home/me",
    "OPENAI_API_KEY": "canary-1",
    "GITHUB_TOKEN": "canary-2",
    "HERMES_HOME": "/home/me/.hermes",
    "API_SERVER_PORT": "8642",
    "MY_PASSWORD": "canary-3",
    "PLAIN": "canary-4",
    "CARRIER": "https://x/?k=canary-value",
}


def test_a_child_gets_everything_but_secrets_and_our_own_settings() -> None:
    kept = child_environment(ENVIRON, secret_names=["PLAIN"], secret_values=["canary-value"])

    assert kept == {"PATH": "/bin", "HOME": "/home/me"}


def test_what_the_owner_lets_through_gets_through() -> None:
    assert child_environment(ENVIRON, allowed=["GITHUB_TOKEN"])["GITHUB_TOKEN"] == "canary-2"


def test_there_is_always_a_path() -> None:
    assert child_environment({})["PATH"]
