"""How .env, config.yaml and the environment become one value, and what is said about wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from hermes.core.errors import ConfigError
from hermes.core.providers import PROVIDERS
from hermes.home.names import PROVIDER_NAMES, env_names, known_settings
from hermes.home.paths import Home, create_home
from hermes.home.settings import Settings, load_settings


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    create_home(home)
    return home


def load(home: Home, environ: dict[str, str] | None = None, *, config: str = "", env: str = "") -> Settings:
    home.config_file.write_text(config)
    home.env_file.write_text(env)
    return load_settings(home, environ or {}, is_lenient=True)


def test_without_a_home_there_are_defaults_and_no_problems(tmp_path: Path) -> None:
    settings = load_settings(Home(tmp_path / "nowhere"), {})
    assert settings.model_dump() == Settings().model_dump()
    assert (settings.problems, settings.sources, settings.environ) == ([], {}, {})
    assert not (tmp_path / "nowhere").exists()


def test_a_home_as_it_is_made_has_no_problems(home: Home) -> None:
    settings = load_settings(home, {})
    assert settings.problems == []
    assert settings.sources == {"api_server.enabled": ".env", "api_server.key": ".env"}


def test_the_environment_beats_dotenv_and_dotenv_beats_config_yaml(home: Home) -> None:
    config = "api_server: {port: 1, host: a, model_name: yaml}\n"
    settings = load(home, {"API_SERVER_PORT": "3"}, config=config, env="API_SERVER_PORT=2\nAPI_SERVER_HOST=b\n")
    api = settings.api_server
    assert (api.port, api.host, api.model_name) == (3, "b", "yaml")
    assert settings.sources == {
        "api_server.port": "environment",
        "api_server.host": ".env",
        "api_server.model_name": "config.yaml",
    }


def test_an_empty_variable_is_unset_and_beats_nothing(home: Home) -> None:
    settings = load(home, {"API_SERVER_KEY": "", "API_SERVER_PORT": " "}, env="API_SERVER_KEY=k\nAPI_SERVER_PORT=2\n")
    assert (settings.api_server.key, settings.api_server.port) == ("k", 2)


def test_every_setting_of_the_api_has_its_variable() -> None:
    for name in ("enabled", "key", "port", "host", "cors_origins", "allowed_hosts", "model_name", "tool_progress"):
        assert env_names()[f"API_SERVER_{name.upper()}"] == f"api_server.{name}"


def test_values_of_the_environment_get_their_types(home: Home) -> None:
    settings = load(
        home,
        {
            "API_SERVER_ENABLED": "yes",
            "API_SERVER_CORS_ORIGINS": "https://a.example, https://b.example",
            "API_SERVER_QUEUE_TIMEOUT_SECONDS": "1.5",
            "API_SERVER_TOOL_PROGRESS": "inline",
        },
    )
    api = settings.api_server
    assert api.enabled is True
    assert api.cors_origins == ["https://a.example", "https://b.example"]
    assert (api.queue_timeout_seconds, api.tool_progress) == (1.5, "inline")


@pytest.mark.parametrize("text", ["true", "1", "yes", "on", "TRUE"])
def test_true_is_written_in_many_ways(home: Home, text: str) -> None:
    assert load(home, env=f"API_SERVER_ENABLED={text}\n").api_server.enabled is True


@pytest.mark.parametrize("place", ["api_server", "gateway.api_server", "platforms.api_server"])
def test_the_section_of_the_api_may_stand_in_three_places(home: Home, place: str) -> None:
    outer, _, inner = place.rpartition(".")
    section = "{port: 8700, cors_origins: [https://a.example]}"
    config = f"{outer}:\n  {inner}: {section}\n" if outer else f"{inner}: {section}\n"
    settings = load(home, config=config)
    assert settings.problems == []
    assert (settings.api_server.port, settings.api_server.cors_origins) == (8700, ["https://a.example"])


def test_two_places_add_up_and_a_contradiction_is_named(home: Home) -> None:
    config = "gateway: {api_server: {port: 1, host: a}}\napi_server: {port: 2}\n"
    settings = load(home, config=config)
    assert (settings.api_server.port, settings.api_server.host) == (2, "a")
    assert settings.problems == ["config.yaml: gateway.api_server.port is not used: api_server.port says otherwise"]


def test_secrets_of_dotenv_are_for_look_ups_and_not_in_the_process(home: Home) -> None:
    settings = load(home, {"GROQ_API_KEY": "outside", "HOME": "/x"}, env="OPENAI_API_KEY=inside\nGROQ_API_KEY=inside\n")
    assert settings.environ == {"OPENAI_API_KEY": "inside", "GROQ_API_KEY": "outside", "HOME": "/x"}
    import os

    assert os.environ.get("OPENAI_API_KEY") != "inside"


def test_a_model_may_be_named_in_several_ways(home: Home) -> None:
    settings = load(
        home,
        config="model: gpt-5\nfallback_models: [a, {model: b, provider: openai}]\n"
        "model_routes: {fast: c, slow: {default: d}}\n",
    )
    assert settings.problems == []
    assert settings.model.default == "gpt-5"
    assert [(each.default, each.provider) for each in settings.fallback_models] == [("a", None), ("b", "openai")]
    assert {name: each.default for name, each in settings.model_routes.items()} == {"fast": "c", "slow": "d"}


def test_off_is_a_mode_also_where_yaml_takes_it_for_false(home: Home) -> None:
    for text in ("off", "false", "'off'"):
        assert load(home, config=f"approvals: {{mode: {text}}}\n").approvals.mode == "off"


def test_a_name_with_nothing_behind_it_says_nothing(home: Home) -> None:
    settings = load(home, config="model:\napprovals:\n  mode:\napi_server:\n  # port: 1\n")
    assert settings.model_dump() == Settings().model_dump()
    assert settings.problems == []


UNKNOWN = [
    ("config", "modle: {default: x}\n", "config.yaml: modle is no setting; did you mean model?"),
    ("config", "api_server: {prot: 1}\n", "config.yaml: api_server.prot is no setting; did you mean api_server.port?"),
    (
        "config",
        "model: {timeout: 1}\n",
        "config.yaml: model.timeout is no setting; did you mean approvals.timeout?",
    ),
    ("config", "12: x\n", "config.yaml: 12 is no setting"),
    ("env", "API_SERVER_PROT=1\n", ".env: API_SERVER_PROT is no setting; did you mean API_SERVER_PORT?"),
    ("environ", "HERMES_LOGLEVEL=1\n", "environment: HERMES_LOGLEVEL is no setting; did you mean HERMES_LOG_LEVEL?"),
]


@pytest.mark.parametrize(("place", "text", "problem"), UNKNOWN)
def test_an_unknown_name_stops_nothing_and_is_named_with_its_file(
    home: Home, place: str, text: str, problem: str
) -> None:
    outside = {"HERMES_LOGLEVEL": "1"} if place == "environ" else {}
    settings = load(home, outside, config=text if place == "config" else "", env=text if place == "env" else "")
    assert settings.problems == [problem]
    assert settings.errors == []
    load_settings(home, outside)


WRONG = [
    ("api_server: {port: abc}", "config.yaml: api_server.port: expected a whole number from 0 to 65535, not 'abc'"),
    ("api_server: {port: 70000}", "config.yaml: api_server.port: expected a whole number from 0 to 65535, not 70000"),
    ("api_server: 12", "config.yaml: api_server: expected a mapping, not 12"),
    ("approvals: {mode: manul}", "config.yaml: approvals.mode: expected one of manual, smart, off, not 'manul'"),
    ("approvals: {timeout: 0}", "config.yaml: approvals.timeout: expected a number above 0, not 0"),
    ("approvals: {deny: rm}", "config.yaml: approvals.deny: expected a list of texts, not 'rm'"),
    ("approvals: {deny: [a, 1]}", "config.yaml: approvals.deny[1]: expected a list of texts, not 1"),
    (
        "terminal: {backend: podman}",
        "config.yaml: terminal.backend: expected one of local, bubblewrap, docker, ssh, not 'podman'",
    ),
    ("model: {default: 4}", "config.yaml: model.default: expected text, not 4; put it in quotes"),
    (
        "model: {base_url: localhost}",
        "config.yaml: model.base_url: expected an address that starts with http:// or https://, not 'localhost'",
    ),
    ("model: [a]", "config.yaml: model: expected a mapping, not ['a']"),
    ("api_server: {key: 12345}", "config.yaml: api_server.key: expected text"),
    (
        "model_routes: {fast: {context_length: x}}",
        "config.yaml: model_routes.fast.context_length: expected a whole number above 0, not 'x'",
    ),
    ("fallback_models: [{provider: [x]}]", "config.yaml: fallback_models[0].provider: expected text, not ['x']"),
]


@pytest.mark.parametrize(("config", "error"), WRONG)
def test_a_wrong_value_stops_a_start_and_is_named_with_what_is_expected(home: Home, config: str, error: str) -> None:
    settings = load(home, config=config + "\n")
    assert settings.errors == [error]
    assert settings.problems == [error]
    defaults = Settings().model_dump(exclude={"model_routes"})  # a route that lost its value is still a name
    assert settings.model_dump(exclude={"model_routes"}) == defaults
    with pytest.raises(ConfigError) as caught:
        load_settings(home, {})
    assert caught.value.message.splitlines() == [error, "see also: hermes config check"]


def test_a_wrong_variable_is_named_as_it_was_set(home: Home) -> None:
    settings = load(home, {"API_SERVER_PORT": "tcp://10.0.0.1:8642"})
    assert settings.errors == [
        "environment: API_SERVER_PORT: expected a whole number from 0 to 65535, not 'tcp://10.0.0.1:8642'"
    ]


def test_all_that_is_wrong_is_named_at_once_and_the_rest_counts(home: Home) -> None:
    settings = load(
        home, config="api_server: {port: x, host: h, nope: 1}\nlimits: {max_steps: -1, max_usd: 2}\nnope: 1\n"
    )
    assert len(settings.errors) == 2
    assert len(settings.problems) == 4
    assert (settings.api_server.host, settings.limits.max_usd) == ("h", 2)


def test_a_file_that_cannot_be_read_stops_a_start(home: Home) -> None:
    settings = load(home, config="a: [\n")
    assert settings.errors[0].startswith(f"{home.config_file}, line")
    with pytest.raises(ConfigError):
        load_settings(home, {})


def test_a_setting_of_old_is_noted_and_no_problem(home: Home) -> None:
    settings = load(home, {"GATEWAY_ALLOW_ALL_USERS": "true"})
    assert settings.problems == []
    assert settings.notes == [
        "environment: GATEWAY_ALLOW_ALL_USERS is accepted and has no effect: who may call is decided by API keys"
    ]


def test_no_secret_is_in_the_text_of_settings_or_of_problems(home: Home) -> None:
    settings = load(
        home,
        {"API_SERVER_KEY": "canary-1"},
        config="model: {api_key: canary-2}\nfallback_models: [{api_key: [canary-3]}]\ndatabase: {url: canary-4}\n",
    )
    assert "canary" not in repr(settings)
    assert "canary" not in str(settings.problems)


def test_a_key_is_taken_without_the_spaces_around_it(home: Home) -> None:
    assert load(home, env="API_SERVER_KEY=' my key '\n").api_server.key == "my key"


def test_every_setting_is_described() -> None:
    for setting in known_settings().values():
        assert setting.description.endswith("."), setting.name


def test_the_provider_keys_that_models_look_for_are_known_names() -> None:
    assert {key for provider in PROVIDERS for key in provider.keys} <= set(PROVIDER_NAMES)
