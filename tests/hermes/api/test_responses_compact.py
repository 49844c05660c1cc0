"""POST /v1/responses/compact: one call of the model, and an item that stands for all it read."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from hermes.core.errors import UpstreamError
from hermes.core.model import TextDelta
from hermes.store import sessions as session_store
from tests.support.models import ScriptedModel, says
from tests.support.openresponses import check
from tests.support.responses import OTHER_KEY, Responses, TwoKeys, error_of, open_responses

SAID = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "The code word is slate."},
    {"role": "assistant", "content": "OK."},
]


async def compact(api: Responses, headers: dict[str, str] | None = None, **body: Any) -> dict[str, Any]:
    answer = await api.client.post("/v1/responses/compact", json={"model": "m", **body}, headers=headers)
    assert answer.status_code == 200, answer.text
    compacted: dict[str, Any] = answer.json()
    check("CompactResource", compacted)
    return compacted


async def test_the_model_reads_all_and_its_summary_goes_on_in_its_place() -> None:
    model = ScriptedModel([says("The code word: slate."), says("slate")])
    async with open_responses(model) as api:
        compacted = await compact(api, input=SAID, instructions="Keep code words.", prompt_cache_key="k")
        (call,) = model.requests
        assert [(m.role, m.text) for m in call.messages[1:3]] == [
            ("user", "The code word is slate."),
            ("assistant", "OK."),
        ]
        assert call.messages[3].text.startswith("Summarise the conversation")
        assert all(text in call.messages[0].text for text in ("Be brief.", "Keep code words."))
        assert call.tool_choice == "none"
        assert compacted["usage"]["total_tokens"] == 15
        (item,) = compacted["output"]
        assert b"slate" in base64.urlsafe_b64decode(item["encrypted_content"])

        await api.create([item, {"role": "user", "content": "The word?"}])
        summary, question = model.requests[-1].messages[1:]
        assert (summary.role, question.text) == ("user", "The word?")
        assert summary.text.endswith("\n\nThe code word: slate.")


async def test_a_chain_is_compacted_and_stays_as_it_is() -> None:
    model = ScriptedModel([says("one"), says("summary"), says("two")])
    async with open_responses(model) as api:
        first = await api.post({"input": "Hi"})
        await compact(api, previous_response_id=first.json()["id"])
        assert [m.text for m in model.requests[1].messages[1:3]] == ["Hi", "one"]
        kept = await api.database.read(session_store.history, first.headers["x-hermes-session-id"])
        assert [m.text for m in kept] == ["Hi", "one"]


async def test_it_is_repeated_by_its_key_and_hidden_from_the_responses() -> None:
    async with open_responses(ScriptedModel([says("summary")])) as api:
        key = {"Idempotency-Key": "k"}
        first = await compact(api, key, input=SAID)
        assert await compact(api, key, input=SAID) == first
        assert (await api.client.get(f"/v1/responses/{first['id']}")).status_code == 404


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"input": SAID}, 400, "model"),
        ({"model": "", "input": SAID}, 400, "model"),
        ({"model": "m"}, 400, "input"),
        ({"model": "m", "input": []}, 400, "input"),
        ({"model": "m", "input": [{"role": "system", "content": "x"}]}, 400, "input"),
        ({"model": "m", "input": [{"type": "what"}]}, 400, "input[0].type"),
        ({"model": "m", "input": 7}, 400, "input"),
        ({"model": "m", "input": SAID, "instructions": 7}, 400, "instructions"),
        ({"model": "m", "previous_response_id": "resp_none"}, 404, "previous_response_id"),
        ({"model": "m", "previous_response_id": 7}, 400, "previous_response_id"),
    ],
)
async def test_what_is_wrong_is_named(body: dict[str, Any], status: int, param: str) -> None:
    async with open_responses(ScriptedModel([])) as api:
        answer = await api.client.post("/v1/responses/compact", json=body)
        assert error_of(answer)[::2] == (status, param)


async def test_a_model_that_fails_is_an_error() -> None:
    async with open_responses(ScriptedModel([[TextDelta("Half"), UpstreamError("down")]])) as api:
        answer = await api.client.post("/v1/responses/compact", json={"model": "m", "input": SAID})
        assert error_of(answer)[:2] == (502, "upstream_error")


async def test_a_strangers_chain_is_as_unknown_as_none() -> None:
    async with open_responses(ScriptedModel([says("one")]), keys=TwoKeys()) as api:
        first = await api.create()
        stranger = {"Authorization": f"Bearer {OTHER_KEY}"}
        body = {"model": "m", "previous_response_id": first["id"]}
        answer = await api.client.post("/v1/responses/compact", json=body, headers=stranger)
        assert error_of(answer)[:2] == (404, "previous_response_not_found")
