"""schemathesis against a real gateway: right and wrong data for every route, made from /openapi.json.

Nothing may answer 5xx, or anything that the document does not say. The data is the same each time (a fixed seed).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import Failure
from schemathesis.core.transport import Response
from schemathesis.engine import events, from_schema

from hermes.api.pages.openapi import operation_id
from hermes.api.routes import ROUTES
from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway, make_gateway
from tests.support.calls import SCRIPT

pytestmark = pytest.mark.slow

SEED = 20_26_11_22
EXAMPLES = 12
NUMBERS = itertools.count()
WITH_AN_ID = {operation_id(route) for route in ROUTES if "{" in route.path}
OPERATIONS = [operation_id(route) for route in ROUTES if route.method != "WEBSOCKET"]


class UnknownCode(Failure):
    """An error whose code the document does not give this route."""


@schemathesis.check
def documented_code(ctx: schemathesis.CheckContext, response: Response, case: schemathesis.Case) -> None:
    told = case.operation.definition.raw["responses"].get(str(response.status_code), {})
    if "x-hermes-codes" not in told or case.operation.method.upper() != case.method.upper():
        return
    code = response.json()["error"]["code"] if b'"error":{' in response.content else None
    if code is not None and code not in told["x-hermes-codes"]:
        raise UnknownCode(
            operation=case.operation.label,
            title="An error's code is not in the document",
            message=f"{response.status_code} {code}",
        )


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case, **options: Any) -> None:
    """One key for all would make every second request a conflict, and nothing else of it would be looked at."""
    key = case.headers.get("Idempotency-Key") if case.headers else None
    if isinstance(key, str) and re.fullmatch(r"[\x21-\x7e]{1,200}", key):
        case.headers["Idempotency-Key"] = f"{key}-{next(NUMBERS)}"


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory, module_database: str | None) -> Iterator[Gateway]:
    with ScriptedModelServer(SCRIPT) as model:
        gateway = make_gateway(
            tmp_path_factory.mktemp("fuzz"), model, {"approvals": {"timeout": 1}}, database_url=module_database
        ).start()
        yield gateway
        assert gateway.process is not None
        assert gateway.process.poll() is None
        gateway.close()


@pytest.fixture(scope="module")
def document(fuzzed: Gateway) -> dict[str, Any]:
    """As it is served. What is right by the schema and names nothing that is there: left out in most requests here."""
    found: dict[str, Any] = fuzzed.client.get("/openapi.json").json()
    for schema in found["components"]["schemas"].values():
        for name in {*schema.get("properties", ())} & {"previous_response_id", "session_id", "callback_url"}:
            schema["properties"][name]["examples"] = [None]
    return found


@pytest.mark.parametrize("operation", OPERATIONS)
def test_right_and_wrong_data_get_what_the_document_says(
    fuzzed: Gateway, document: dict[str, Any], operation: str
) -> None:
    phases = {"stateful": {"enabled": False}}
    assert problems(document, fuzzed, phases, operation) == []


def test_what_one_route_made_is_right_for_the_next(fuzzed: Gateway, document: dict[str, Any]) -> None:
    """Ids of one answer go into the next request: show, change, delete, and use after that."""
    phases = {name: {"enabled": False} for name in ("examples", "coverage", "fuzzing")}
    assert problems(document, fuzzed, phases) == []


def problems(
    document: dict[str, Any], gateway: Gateway, phases: dict[str, Any], operation: str | None = None
) -> list[str]:
    """What schemathesis found, each with the request that shows it."""
    config = SchemathesisConfig.from_dict(
        {
            "seed": SEED,
            "base-url": gateway.url,
            "headers": {"Authorization": f"Bearer {gateway.key}"},
            "request-timeout": 20,
            "continue-on-failure": True,
            "workers": 1,
            "cache": {"enabled": False},
            "phases": phases,
            "generation": {"max-examples": EXAMPLES, "deterministic": True, "no-shrink": True, "database": "none"},
            # a schema cannot say all that must fit together: a result needs its call, a choice its question
            "checks": {"positive_data_acceptance": {"enabled": False}},
        }
    )
    whole = schemathesis.openapi.from_dict(document, config=config)
    schema = whole if operation is None else whole.include(operation_id=operation)
    found: list[str] = []
    answers: list[int] = []
    for event in from_schema(schema).execute():
        match event:
            case events.ScenarioFinished(recorder=recorder):
                answers += [one.response.status_code for one in recorder.interactions.values() if one.response]
                for case_id, checks in recorder.checks.items():
                    for check in checks:
                        if check.failure_info is not None:
                            failure = check.failure_info.failure
                            curl = check.failure_info.code_sample
                            answer = recorder.interactions[case_id].response
                            said = answer.content[:500] if answer is not None else b""
                            found.append(f"{check.name}: {failure.title}: {failure.message}\n{curl}\n{said!r}")
            case events.NonFatalError(value=value):
                found.append(f"error: {value!r}")
            case events.FatalError(exception=exception):
                raise exception
    assert answers
    if operation not in WITH_AN_ID:
        assert any(200 <= status < 300 for status in answers), "no request was right"
    return found
