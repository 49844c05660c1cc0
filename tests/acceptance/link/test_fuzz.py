"""schemathesis against a real Link: right and wrong data for every route, made from /api/openapi.json.

Nothing may answer 5xx but what says so, or anything that the document does not say.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import make_gateway
from tests.acceptance.link.process import LinkProcess, make_link, tell_link
from tests.acceptance.link.rows import anonymous
from tests.acceptance.link.world import SCRIPT, World

pytestmark = [pytest.mark.sqlite("Link keeps its data in SQLite"), pytest.mark.slow]

SEED = 20_26_11_22
EXAMPLES = 12
ENDS_THE_CALLER = {"/api/v1/auth/logout"}
"""Not with the token that all others need; test_rows calls it."""
STREAMS = {
    "/api/v1/conversations/events",
    "/api/v1/conversations/{}/events",
    "/api/v1/runs/{}/events",
    "/api/v1/profile-creation/events",
    "/api/v1/hermes/update/events",
    "/api/v1/link/update/events",
}


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root = tmp_path_factory.mktemp("fuzz")
    with ScriptedModelServer(SCRIPT) as model:
        gateway = make_gateway(root, model).start()
        tell_link(gateway)
        link: LinkProcess = make_link(root, gateway.home).start()
        yield World(link)
        assert link.process is not None
        assert link.process.poll() is None, link.output
        link.close()
        gateway.close()


@pytest.fixture(scope="module")
def document(fuzzed: World) -> dict[str, Any]:
    found: dict[str, Any] = fuzzed.admin.client.get(f"{fuzzed.link.url}/api/openapi.json").json()
    return found


@pytest.mark.timeout(600)
def test_right_and_wrong_data_get_what_the_document_says(fuzzed: World, document: dict[str, Any]) -> None:
    paths = {
        path: {method: without_keys(one) for method, one in operations.items()}
        for path, operations in document["paths"].items()
    }
    found = problems({**document, "paths": paths}, fuzzed)
    assert not found, "\n\n".join(found)


def is_left_out(context: Any) -> bool:
    return anonymous(context.operation.path) in STREAMS | ENDS_THE_CALLER


def without_keys(operation: Any) -> Any:
    """One Idempotency-Key for all would make every second request a conflict, and nothing else of it be looked at."""
    if not isinstance(operation, dict):
        return operation
    parameters = [one for one in operation.get("parameters", ()) if one["name"].lower() != "idempotency-key"]
    return {**operation, "parameters": parameters}


def problems(document: dict[str, Any], world: World) -> list[str]:
    """What schemathesis found, each with the request that shows it."""
    config = SchemathesisConfig.from_dict(
        {
            "seed": SEED,
            "base-url": world.link.url,
            "headers": {"Authorization": f"Bearer {world.admin.access}"},
            "request-timeout": 20,
            "continue-on-failure": True,
            "workers": 1,
            "cache": {"enabled": False},
            "phases": {"stateful": {"enabled": False}},
            "generation": {"max-examples": EXAMPLES, "deterministic": True, "no-shrink": True, "database": "none"},
            # a schema cannot say all that must fit together; what needs no token is public, sent one or not
            "checks": {
                "positive_data_acceptance": {"enabled": False},
                "ignored_auth": {"enabled": False},
                "negative_data_rejection": {
                    "expected-statuses": ["400", "401", "403", "404", "409", "413", "415", "422", "5xx"]
                },
                # DELETE /conversations/archived is that of /conversations/{id}, and a 404
                "allow_header_conformance": {"enabled": False},
            },
        }
    )
    found: list[str] = []
    answered: set[str] = set()
    schema = schemathesis.openapi.from_dict(document, config=config).exclude(is_left_out)
    for event in from_schema(schema).execute():
        match event:
            case events.ScenarioFinished(recorder=recorder):
                for interaction in recorder.interactions.values():
                    if interaction.response and interaction.response.status_code < 300:
                        answered.add(recorder.label)
                for case_id, checks in recorder.checks.items():
                    for check in checks:
                        if check.failure_info is not None:
                            failure = check.failure_info.failure
                            answer = recorder.interactions[case_id].response
                            said = answer.content[:300] if answer is not None else b""
                            sample = check.failure_info.code_sample
                            found.append(f"{check.name}: {failure.title}: {failure.message}\n{sample}\n{said!r}")
            case events.NonFatalError(value=value):
                found.append(f"error: {value!r}")
            case events.FatalError(exception=exception):
                raise exception
    assert len(answered) > 40, f"only these were asked something right: {sorted(answered)}"
    return found
