"""The models of a profile through Link's socket, and what they are in its files."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import httpx
import pytest

from hermes.core.errors import InvalidInput
from hermes.home.paths import Home
from hermes.home.settings import load_settings
from hermeslink.profiles.model_edits import ModelDraft, Wanted
from tests.support.link import LinkServer

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")

MODELS = "/api/v1/model-configs"
BOX = {"id": "llama", "provider": "custom", "base_url": "http://box.lan:8000/v1"}
KEY = "sk-very-secret-0123456789"
THREE = """\
# my models
model:
  default: gpt-6.1-terra  # the good one
  provider: openai
model_routes:
  # for little things
  fast: {default: llama, base_url: "http://box.lan:8000/v1"}
  slow:
    model: claude-sonnet-5-5
    provider: anthropic
    reasoning_effort: high
compression:
  model: fast
delegation: {model: fast}
fallback_models: [fast, {default: other, base_url: "http://b/v1"}]
"""


def config(home: Path, text: str) -> None:
    (home / "config.yaml").write_text(text)


def env(home: Path) -> dict[str, str]:
    lines = (home / ".env").read_text().splitlines() if (home / ".env").exists() else []
    return dict(line.split("=", 1) for line in lines if "=" in line)


async def shown(server: LinkServer) -> dict[str, Any]:
    answer = await server.chat.get(MODELS)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def saved(server: LinkServer, **fields: Any) -> dict[str, Any]:
    answer = await server.admin.post(MODELS, json=fields)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def refusal(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def ids(found: dict[str, Any]) -> list[str]:
    return [model["id"] for model in found["models"]]


def settings(home: Path) -> Any:
    return load_settings(Home(home), {})


async def test_the_default_and_the_routes_are_listed_with_what_is_known_of_them(
    server: LinkServer, tmp_path: Path
) -> None:
    config(tmp_path, THREE)
    (tmp_path / ".env").write_text("OPENAI_API_KEY=sk-o\n")
    found = await shown(server)
    assert (found["defaultModel"], found["defaultReasoningEffort"], found["compressionModelId"]) == (
        "gpt-6.1-terra",
        None,
        "fast",
    )
    assert found["configPath"] == str(tmp_path / "config.yaml")
    assert ids(found) == ["gpt-6.1-terra", "fast", "slow"]
    terra, fast, slow = found["models"]
    assert terra == {
        "id": "gpt-6.1-terra",
        "modelName": "gpt-6.1-terra",
        "provider": "openai",
        "providerName": "OpenAI",
        "baseUrl": "https://api.openai.com/v1",
        "apiMode": "chat_completions",
        "contextLength": None,
        "keyEnv": "OPENAI_API_KEY",
        "credentialConfigured": True,
        "credentialState": "configured",
        "isDefault": True,
        "reasoningEffort": None,
        "reasoningSupport": "supported",
        "supportedReasoningEfforts": ["none", "low", "medium", "high"],
    }
    assert (fast["modelName"], fast["provider"], fast["providerName"]) == ("llama", "custom", "box.lan:8000")
    assert (fast["credentialState"], fast["keyEnv"], fast["credentialConfigured"]) == ("not_required", None, True)
    assert (fast["reasoningSupport"], len(fast["supportedReasoningEfforts"])) == ("unknown", 5)
    assert (slow["modelName"], slow["reasoningEffort"], slow["credentialState"]) == (
        "claude-sonnet-5-5",
        "high",
        "missing",
    )
    assert (slow["keyEnv"], slow["credentialConfigured"]) == ("ANTHROPIC_API_KEY", False)


async def test_the_model_that_a_key_chooses_is_shown_too(server: LinkServer, tmp_path: Path) -> None:
    assert (await shown(server))["models"] == []
    (tmp_path / ".env").write_text("OPENROUTER_API_KEY=sk-r\n")
    found = await shown(server)
    assert (found["defaultModel"], ids(found)) == ("openrouter/auto", ["openrouter/auto"])
    assert refusal(await server.admin.request("DELETE", MODELS, json={"model_id": "openrouter/auto"})) == (
        409,
        "model_config_last",
    )
    found = await saved(server, **BOX, set_default=True)
    assert ids(found) == ["llama", "openrouter/auto"]
    found = (await server.admin.patch(f"{MODELS}/defaults", json={"task_model_id": "openrouter/auto"})).json()
    assert found["defaultModel"] == "openrouter/auto"


async def test_the_first_model_becomes_the_default_and_its_key_is_in_env_alone(
    server: LinkServer, tmp_path: Path
) -> None:
    found = await saved(server, **BOX, api_key=KEY, reasoning_effort="high", context_length=32000)
    assert (found["defaultModel"], found["defaultReasoningEffort"], ids(found)) == ("llama", "high", ["llama"])
    assert found["model"] == found["models"][0]
    assert (found["model"]["keyEnv"], found["model"]["credentialState"]) == ("MODEL_LLAMA_API_KEY", "configured")
    assert (found["requiresGatewayReload"], found["restartHint"]) == (False, None)
    assert KEY not in str(found) and KEY not in (tmp_path / "config.yaml").read_text()
    assert env(tmp_path)["MODEL_LLAMA_API_KEY"] == KEY
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    route = settings(tmp_path).model_routes["llama"]
    assert (route.default, route.base_url, route.key_env) == ("llama", BOX["base_url"], "MODEL_LLAMA_API_KEY")
    assert (route.reasoning_effort, route.context_length) == ("high", 32000)
    assert settings(tmp_path).model.default == "llama"
    entries = (await server.admin.get("/api/v1/audit")).json()["entries"]
    assert KEY not in str(entries)
    assert (entries[0]["action"], entries[0]["details"]["model"]) == ("model_config.saved", "llama")


async def test_the_model_that_was_the_default_stays_and_comments_do_too(server: LinkServer, tmp_path: Path) -> None:
    config(tmp_path, THREE)
    found = await saved(server, **{**BOX, "id": "new"}, setDefault=True)
    assert found["defaultModel"] == "new"
    assert sorted(ids(found)) == ["fast", "gpt-6.1-terra", "new", "slow"]
    text = (tmp_path / "config.yaml").read_text()
    assert "# my models" in text and "# for little things" in text
    assert settings(tmp_path).model_routes["gpt-6.1-terra"].provider == "openai"
    back = (await server.admin.patch(f"{MODELS}/defaults", json={"taskModelId": "gpt-6.1-terra"})).json()
    assert back["defaultModel"] == "gpt-6.1-terra" and len(back["models"]) == 4


async def test_what_is_not_sent_stays_and_what_is_sent_back_as_shown_changes_nothing(
    server: LinkServer, tmp_path: Path
) -> None:
    config(tmp_path, THREE)
    for model in (await shown(server))["models"]:
        await saved(server, **model)
    assert (tmp_path / "config.yaml").read_text() == THREE
    await saved(server, id="slow", provider="anthropic", reasoning_effort="low")
    await saved(server, id="gpt-6.1-terra", provider="openai", context_length=1000)
    text = (tmp_path / "config.yaml").read_text()
    assert text == THREE.replace("reasoning_effort: high", "reasoning_effort: low").replace(
        "  provider: openai\n", "  provider: openai\n  context_length: 1000\n"
    )
    found = await saved(server, id="slow", provider="anthropic", reasoning_effort=None)
    assert found["model"]["reasoningEffort"] is None


async def test_a_word_above_the_route_gives_way(server: LinkServer, tmp_path: Path) -> None:
    config(tmp_path, "model: {default: fast, reasoning_effort: high}\n" + THREE.split("openai\n")[1])
    assert (await shown(server))["defaultReasoningEffort"] == "high"
    found = await saved(server, id="fast", provider="custom", reasoning_effort="none")
    assert found["defaultReasoningEffort"] == "none"
    assert settings(tmp_path).model.reasoning_effort is None


async def test_a_new_name_is_new_everywhere(server: LinkServer, tmp_path: Path) -> None:
    config(tmp_path, THREE)
    found = await saved(server, id="quick", provider="custom", original_id="fast")
    assert ids(found) == ["gpt-6.1-terra", "slow", "quick"]
    assert (found["model"]["modelName"], found["compressionModelId"]) == ("llama", "quick")
    now = settings(tmp_path)
    assert (now.delegation.model, now.fallback_models[0].default) == ("quick", "quick")
    renamed = await saved(server, id="gpt-6-sol", provider="openai", original_id="gpt-6.1-terra")
    assert (renamed["defaultModel"], renamed["model"]["modelName"]) == ("gpt-6-sol", "gpt-6-sol")
    assert refusal(
        await server.admin.post(MODELS, json={"id": "slow", "provider": "custom", "original_id": "quick"})
    ) == (409, "model_config_exists")


async def test_what_named_a_model_that_goes_names_it_no_more_and_its_key_goes_along(
    server: LinkServer, tmp_path: Path
) -> None:
    config(tmp_path, THREE)
    await saved(server, id="fast", provider="custom", api_key=KEY)
    assert env(tmp_path) == {"MODEL_FAST_API_KEY": KEY}
    answer = await server.admin.request("DELETE", MODELS, json={"modelId": "fast"})
    assert (answer.status_code, ids(answer.json())) == (200, ["gpt-6.1-terra", "slow"])
    now = settings(tmp_path)
    assert (now.compression.model, now.delegation.model) == (None, None)
    assert [one.default for one in now.fallback_models] == ["other"]
    assert env(tmp_path) == {}


async def test_a_key_of_a_name_that_a_person_gave_stays_when_its_model_goes(server: LinkServer, tmp_path: Path) -> None:
    config(tmp_path, THREE)
    await saved(server, id="mine", provider="custom", base_url="https://box.lan/v1", key_env="MY_KEY", api_key=KEY)
    answer = await server.admin.request("DELETE", MODELS, json={"modelId": "mine"})
    assert (answer.status_code, env(tmp_path)) == (200, {"MY_KEY": KEY})


async def test_where_the_default_goes_the_first_of_the_others_is_it_and_the_last_one_stays(
    server: LinkServer, tmp_path: Path
) -> None:
    config(tmp_path, THREE)
    for gone, default in (("gpt-6.1-terra", "fast"), ("fast", "slow")):
        answer = await server.admin.request("DELETE", MODELS, params={"model_id": gone})
        assert answer.json()["defaultModel"] == default
    assert settings(tmp_path).model.default == "slow"
    answer = await server.admin.request("DELETE", MODELS, json={"model_id": "slow"})
    assert refusal(answer) == (409, "model_config_last")


async def test_the_model_that_shortens_is_chosen_and_given_back(server: LinkServer, tmp_path: Path) -> None:
    config(tmp_path, "model: gpt-6.1-terra  # short\n")
    answer = await server.admin.patch(f"{MODELS}/defaults", json={"compression_model_id": "gpt-6.1-terra"})
    assert (answer.json()["compressionModelId"], answer.json()["defaultModel"]) == ("gpt-6.1-terra",) * 2
    assert "gpt-6.1-terra" in settings(tmp_path).model_routes  # a request may name it, whatever becomes the default
    answer = await server.admin.patch(f"{MODELS}/defaults", json={"compression_model_id": None})
    assert answer.json()["compressionModelId"] is None
    assert settings(tmp_path).compression.model is None


async def test_another_profile_has_models_of_its_own(server: LinkServer, tmp_path: Path) -> None:
    (tmp_path / "profiles" / "work").mkdir(parents=True)
    path = "/api/v1/profiles/work/model-configs"
    answer = await server.admin.post(path, json={**BOX, "api_key": KEY})
    assert answer.json()["configPath"] == str(tmp_path / "profiles" / "work" / "config.yaml")
    assert env(tmp_path / "profiles" / "work") == {"MODEL_LLAMA_API_KEY": KEY}
    assert (await shown(server))["models"] == []
    assert refusal(await server.chat.post(path, json=BOX)) == (403, "scope_required")


async def test_a_provider_that_nobody_knows_needs_an_address_at_any_time(server: LinkServer, tmp_path: Path) -> None:
    config(tmp_path, "model: gpt-6.1-terra\n")
    answer = await server.admin.post(MODELS, json={"id": "gpt-6.1-terra", "provider": "acme"})
    assert refusal(answer) == (400, "model_config_invalid")
    assert (tmp_path / "config.yaml").read_text() == "model: gpt-6.1-terra\n"


# --- a key goes to no other address than the one it was given for ---

EVIL = "https://evil.example/v1"


@pytest.mark.parametrize(
    "body",
    [
        {"id": "x", "provider": "openai", "base_url": EVIL},
        {"id": "x", "provider": "openai", "base_url": "http://api.openai.com/v1"},
        {"id": "gpt-6.1-terra", "provider": "openai", "base_url": EVIL},
        {"id": "gpt-6.1-terra", "provider": "custom", "base_url": EVIL, "key_env": "OPENAI_API_KEY"},
        {"id": "mine", "provider": "custom", "base_url": EVIL},
        {"id": "other", "provider": "custom", "base_url": EVIL, "original_id": "mine"},
        {"id": "mine", "provider": "openrouter", "base_url": ""},
        {"id": "inline", "provider": "custom", "base_url": EVIL},
        {"id": "x", "provider": "custom", "base_url": EVIL, "key_env": "MY_KEY"},
        {"id": "x", "provider": "custom", "base_url": EVIL, "key_env": "OPENAI_API_KEY"},
        {"id": "x", "provider": "custom", "base_url": EVIL, "key_env": "API_SERVER_KEY"},
        {"id": "x", "provider": "custom", "base_url": EVIL, "key_env": "HERMES_DATABASE_URL"},
        {"id": "x", "provider": "custom", "base_url": EVIL, "key_env": "HASS_TOKEN"},
        {"id": "x", "provider": "custom", "base_url": EVIL, "key_env": "MY_KEY", "api_key": "another"},
        {"id": "x", "provider": "custom", "base_url": EVIL, "key_env": "API_SERVER_KEY", "api_key": "another"},
        {"id": "x", "provider": "custom", "base_url": EVIL, "key_env": "OPENAI_API_KEY", "api_key": "another"},
    ],
)
async def test_a_key_that_is_there_is_led_to_no_new_address(
    server: LinkServer, tmp_path: Path, body: dict[str, Any]
) -> None:
    text = (
        "model: {default: gpt-6.1-terra, provider: openai}\n"
        'model_routes:\n  mine: {base_url: "https://box.lan/v1", key_env: MY_KEY}\n'
        '  inline: {base_url: "https://box.lan/v1", api_key: in-the-file}\n'
    )
    config(tmp_path, text)
    (tmp_path / ".env").write_text(f"OPENAI_API_KEY=sk-o\nMY_KEY={KEY}\nAPI_SERVER_KEY=s\nHASS_TOKEN=t\n")
    before = (tmp_path / ".env").read_text()
    answer = await server.admin.post(MODELS, json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] in ("model_config_key_required", "model_config_invalid")
    assert ((tmp_path / "config.yaml").read_text(), (tmp_path / ".env").read_text()) == (text, before)


@pytest.mark.parametrize("key", [{}, {"api_key": "another"}])
async def test_a_providers_key_that_is_not_there_yet_is_promised_to_nobody_else(
    server: LinkServer, tmp_path: Path, key: dict[str, str]
) -> None:
    body = {"id": "x", "provider": "custom", "base_url": EVIL, "key_env": "OPENAI_API_KEY", **key}
    assert refusal(await server.admin.post(MODELS, json=body)) == (400, "model_config_invalid")
    assert env(tmp_path) == {}


async def test_a_key_that_two_models_share_stays_with_the_other(server: LinkServer, tmp_path: Path) -> None:
    route = '{base_url: "https://box.lan/v1", key_env: MODEL_A_API_KEY}'
    config(tmp_path, f"model_routes:\n  a: {route}\n  b: {route}\n")
    (tmp_path / ".env").write_text(f"MODEL_A_API_KEY={KEY}\n")
    assert (await server.admin.request("DELETE", MODELS, json={"modelId": "a"})).status_code == 200
    assert env(tmp_path) == {"MODEL_A_API_KEY": KEY}


async def test_with_a_new_key_a_model_moves_and_the_old_key_of_others_stays(server: LinkServer, tmp_path: Path) -> None:
    config(
        tmp_path,
        'model_routes:\n  a: {base_url: "https://box.lan/v1", key_env: MY_KEY}\n'
        '  b: {base_url: "https://box.lan/v1", key_env: MY_KEY}\n',
    )
    (tmp_path / ".env").write_text("MY_KEY=old\n")
    await saved(server, id="a", provider="custom", base_url=EVIL, api_key=KEY)
    assert env(tmp_path) == {"MY_KEY": "old", "MODEL_A_API_KEY": KEY}
    await saved(server, id="b", provider="custom", api_key="new")  # nobody else uses it now
    assert env(tmp_path) == {"MY_KEY": "new", "MODEL_A_API_KEY": KEY}


async def test_a_key_that_is_sent_takes_the_place_of_the_one_in_config_yaml(server: LinkServer, tmp_path: Path) -> None:
    config(tmp_path, 'model_routes:\n  a: {base_url: "https://box.lan/v1", api_key: in-the-file}\n')
    await saved(server, id="a", provider="custom", api_key=KEY)
    assert settings(tmp_path).model_routes["a"].api_key is None
    assert env(tmp_path) == {"MODEL_A_API_KEY": KEY}


def test_a_key_is_not_written_where_the_environment_would_beat_it(tmp_path: Path) -> None:
    config(tmp_path, 'model_routes:\n  a: {base_url: "https://box.lan/v1", key_env: MY_KEY}\n')
    draft = ModelDraft(Home(tmp_path), {"MY_KEY": "old"})
    with pytest.raises(InvalidInput, match="MY_KEY is set in the environment"):
        draft.save(Wanted("a", {}, api_key="new"))


async def test_where_config_yaml_cannot_be_written_no_key_stays_behind(server: LinkServer, tmp_path: Path) -> None:
    config(tmp_path, THREE)
    before = env(tmp_path)
    (tmp_path / "backups").write_text("a file in the way")
    answer = await server.admin.post(MODELS, json={**BOX, "id": "box", "api_key": KEY})
    assert answer.status_code >= 500
    assert (env(tmp_path), (tmp_path / "config.yaml").read_text()) == (before, THREE)


async def test_a_provider_gets_its_own_key(server: LinkServer, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("OPENAI_API_KEY=sk-o\n")
    found = await saved(server, id="gpt-6-luna", provider="openai", base_url="https://api.openai.com/v1")
    assert found["model"]["credentialState"] == "configured"
    found = await saved(server, id="openai:gpt-6-sol", provider="openai", key_env="OPENAI_API_KEY")
    assert (found["model"]["modelName"], found["model"]["keyEnv"]) == ("gpt-6-sol", "OPENAI_API_KEY")


async def test_a_password_in_an_address_is_not_shown_and_not_lost(server: LinkServer, tmp_path: Path) -> None:
    address = f"https://ada:{KEY}@box.lan/v1?key={KEY}"
    config(tmp_path, f'model: {{default: a, base_url: "{address}"}}\n')
    found = await shown(server)
    assert found["models"][0]["baseUrl"] == "https://box.lan/v1" and KEY not in str(found)
    await saved(server, **found["models"][0])
    assert settings(tmp_path).model.base_url == address


# --- what `model` says itself ---


async def test_a_default_that_is_called_otherwise_then_is_a_route_of_the_old_name(
    server: LinkServer, tmp_path: Path
) -> None:
    """Its id is the provider's own default, which another provider does not have."""
    config(tmp_path, "model: {provider: openai}\n")
    found = await saved(server, id="gpt-6.1-terra", provider="anthropic")
    assert (found["defaultModel"], found["model"]["provider"]) == ("gpt-6.1-terra", "anthropic")
    renamed = await saved(server, id="claude", provider="anthropic", original_id="gpt-6.1-terra")
    assert ids(renamed) == ["claude"]


async def test_a_model_whose_server_is_asked_for_its_name_keeps_being_asked(server: LinkServer, tmp_path: Path) -> None:
    config(tmp_path, 'model: {base_url: "http://box.lan/v1"}\n')
    assert ids(await shown(server)) == ["default"]
    found = await saved(server, id="box", provider="custom", original_id="default")
    assert (found["model"]["modelName"], found["defaultModel"]) == (None, "box")
    assert settings(tmp_path).model_routes["box"].base_url == "http://box.lan/v1"


async def test_a_default_beside_a_route_of_its_name_has_another_id(server: LinkServer, tmp_path: Path) -> None:
    config(tmp_path, 'model: {default: a, base_url: "http://one/v1"}\nmodel_routes: {a: {base_url: "http://two/v1"}}\n')
    assert ids(await shown(server)) == ["a@default", "a"]
    found = await saved(server, id="b", provider="custom", original_id="a@default")
    assert (found["defaultModel"], found["model"]["baseUrl"], found["model"]["modelName"]) == (
        "b",
        "http://one/v1",
        "a",
    )


async def test_a_provider_in_front_of_the_name_goes_where_another_one_is_said(
    server: LinkServer, tmp_path: Path
) -> None:
    config(tmp_path, "model: openai:gpt-6-sol\n")
    found = await saved(server, id="openai:gpt-6-sol", provider="openrouter", set_default=True)
    assert (found["model"]["modelName"], found["model"]["provider"]) == ("gpt-6-sol", "openrouter")


async def test_a_key_that_was_kept_for_a_model_goes_when_it_has_another(server: LinkServer, tmp_path: Path) -> None:
    await saved(server, **BOX, api_key=KEY)
    await saved(server, id="llama", provider="custom", api_key="other", key_env="BOX_KEY")
    assert env(tmp_path) == {"BOX_KEY": "other"}


# --- what is no model ---


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({**BOX, "id": "hermes-agent"}, "id"),
        ({**BOX, "id": "a\nb"}, "id"),
        ({"id": "a", "provider": "acme"}, "base_url"),
        ({**BOX, "base_url": "ftp://box"}, "base_url"),
        ({**BOX, "base_url": "http://[box"}, "base_url"),
        ({**BOX, "base_url": "http://"}, "base_url"),
        ({**BOX, "base_url": "http://box:99999/v1"}, "base_url"),
        ({**BOX, "base_url": "http://ada:secret@box/v1"}, "base_url"),
        ({**BOX, "api_key": "two\nlines"}, "api_key"),
        ({**BOX, "api_key": "schlüssel"}, "api_key"),
        ({"id": "a", "provider": "bedrock", "api_key": "k"}, "api_key"),
        ({**BOX, "api_key": "k", "key_env": "no name"}, "key_env"),
        ({"id": "a", "provider": "openai", "api_mode": "anthropic_messages"}, "api_mode"),
        ({**BOX, "api_mode": "native"}, "api_mode"),
    ],
)
async def test_what_is_no_model_is_refused_with_its_field(
    server: LinkServer, tmp_path: Path, body: dict[str, Any], field: str
) -> None:
    answer = await server.admin.post(MODELS, json=body)
    assert refusal(answer) == (400, "model_config_invalid")
    assert answer.json()["error"]["field"] == field
    assert not (tmp_path / "config.yaml").exists() and not (tmp_path / ".env").exists()


@pytest.mark.parametrize(
    "body",
    [
        {"id": "a"},
        {**BOX, "reasoning_effort": "enormous"},
        {**BOX, "context_length": 0},
        {**BOX, "context_length": "many"},
        {**BOX, "context_length": True},
        {**BOX, "set_default": 1},
        {**BOX, "api_mode": "codex_responses"},
        {**BOX, "set_default": "perhaps"},
        {**BOX, "id": 7},
    ],
)
async def test_a_body_that_breaks_the_schema(server: LinkServer, body: dict[str, Any]) -> None:
    assert refusal(await server.admin.post(MODELS, json=body)) == (422, "validation_error")


@pytest.mark.parametrize(
    "text",
    [
        'model: {default: a, base_url: "http://[box"}\n',
        "model_routes: {4: gpt, a: {base_url: 7}, b: {default: [1]}}\n",
        "model: [1]\n",
        "model: {context_length: many}\nmodel_routes: no\n",
        "model: {default: a, foo: 1, reasoning_effort: much}\n",
    ],
)
async def test_a_file_with_wrong_values_hides_nothing_else(server: LinkServer, tmp_path: Path, text: str) -> None:
    config(tmp_path, text)
    await shown(server)
    answer = await server.admin.post(MODELS, json=BOX)
    assert answer.status_code in (200, 409), answer.text


async def test_a_file_that_cannot_be_read_is_said_with_its_line_and_left_alone(
    server: LinkServer, tmp_path: Path
) -> None:
    config(tmp_path, "model: gpt\nmodel_routes: {\n")
    for answer in (await server.chat.get(MODELS), await server.admin.post(MODELS, json={**BOX, "api_key": KEY})):
        assert refusal(answer) == (409, "profile_config_invalid")
        assert "line 3" in answer.json()["error"]["message"] and str(tmp_path) not in answer.text
    assert (tmp_path / "config.yaml").read_text() == "model: gpt\nmodel_routes: {\n"
    assert not (tmp_path / ".env").exists()
