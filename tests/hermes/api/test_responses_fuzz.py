"""No JSON that a client can send makes the server fail."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hermes.api.responses.request import KNOWN
from tests.hermes.api.test_responses_request import BODIES, ITEMS, VALUES
from tests.support.models import ScriptedModel, says
from tests.support.responses import open_responses
from tests.support.tools import EchoTool

ANYTHING = (
    VALUES
    | BODIES
    | st.fixed_dictionaries({"input": ITEMS})
    | st.fixed_dictionaries(
        {"input": st.just("Hi"), "model": st.just("m")}, optional=dict.fromkeys(KNOWN - {"input", "model"}, VALUES)
    )
)


@pytest.mark.slow
@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(bodies=st.lists(ANYTHING, min_size=25, max_size=40))
async def test_no_body_is_an_error_of_the_servers(bodies: list[Any]) -> None:
    model = ScriptedModel([says("fine")] * 200)
    async with open_responses(model, EchoTool()) as api:
        for body in bodies:
            try:
                sent = json.dumps(body).encode()
            except ValueError:
                continue
            for path in ("/v1/responses", "/v1/responses/compact"):
                answer = await api.client.post(path, content=sent, headers={"Content-Type": "application/json"})
                assert answer.status_code < 500, (path, body, answer.text)
                if answer.status_code != 200:
                    assert answer.json()["error"]["message"], (path, body)


@pytest.mark.slow
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    name=st.text(max_size=60),
    query=st.dictionaries(
        st.sampled_from(["stream", "starting_after", "limit", "order", "after"]), st.text(max_size=5)
    ),
)
async def test_no_id_and_no_query_is_an_error_of_the_servers(name: str, query: dict[str, str]) -> None:
    async with open_responses(ScriptedModel([says("fine")])) as api:
        response = await api.create()
        for path in (f"/v1/responses/{response['id']}", f"/v1/responses/{response['id']}/input_items"):
            assert (await api.client.get(path, params=query)).status_code < 500
        strange = await api.client.get("/v1/responses/" + "".join(f"%{byte:02x}" for byte in name.encode()))
        assert strange.status_code < 500
