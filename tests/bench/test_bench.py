"""The bench's own processes speak to each other; what they measure is for bench/, not for tests."""

from __future__ import annotations

import json

from bench.servers import Relay, Upstream, load, load_all, post_chat


def test_model_relay_and_load_generator_work_together():
    with Upstream() as upstream, Relay(upstream) as relay:
        post_chat(relay, "bench:tokens=3")
        assert json.loads(upstream.get("/last"))["messages"][0]["content"] == "bench:tokens=3"
        plain = load(relay, connections=4, turns=20, message="bench:tokens=20")
        paced = load(relay, connections=4, turns=4, message="bench:tokens=5,rate=100,wait=0.01,stamp=1", stamps=True)
        missing = load(relay, connections=1, turns=1, path="/nowhere", message=None)
    assert (plain.turns, plain.errors, paced.turns, paced.errors, paced.tokens) == (20, 0, 4, 0, 20)
    assert 0 < plain.first_text.p50 <= plain.whole.p50 <= plain.whole.worst
    assert missing.errors == 1 and "404" in missing.first_error


def test_several_servers_are_loaded_at_once_and_headers_are_sent():
    with Upstream() as upstream, Relay(upstream) as relay:
        job = {"connections": 2, "turns": 10, "message": "bench:tokens=2", "headers": {"X-Hermes-Detach": "true"}}
        seen = load_all([upstream, relay], **job)
        refused = load(relay, connections=1, turns=1, path="/v1/models", message=None, headers={"Content-Length": "x"})
    assert [(one.turns, one.errors) for one in seen] == [(10, 0), (10, 0)]
    assert refused.errors == 1 and "400" in refused.first_error
