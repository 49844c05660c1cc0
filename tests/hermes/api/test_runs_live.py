"""/v1/runs in front of a real runner: lists, the session's queue, steering, stopping, and whose run it is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes.api.runs.documentation import ApprovalAnswered, RunList, RunObject, Steered, Stopping
from hermes.core.model import ModelRequest
from hermes.runs.runner import RunnerSettings
from hermes.store import sessions as session_store
from tests.support.live import Live, live
from tests.support.models import ScriptedModel, calls, says
from tests.support.tools import EchoTool


def echo(request: ModelRequest) -> Any:
    return says(f"You said {request.messages[-1].text}.")


def names(events: str) -> list[str]:
    return [line.split('"')[3] for line in events.splitlines() if line.startswith("data: ")]


async def until(condition: Any) -> Any:
    async with asyncio.timeout(10):
        while not (found := await condition()):
            await asyncio.sleep(0)
        return found


async def page(here: Live, **query: Any) -> dict[str, Any]:
    response = await here.client.get("/v1/runs", params=query)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    RunList.model_validate_json(response.text)
    return answer


async def test_runs_are_listed_newest_first_in_pages_that_meet() -> None:
    async with live(ScriptedModel([echo] * 5)) as here:
        started = []
        for i in range(5):
            started.append((await here.start(f"{i}"))["run_id"])
            await here.ended(started[-1])
        seen, cursor, sizes = [], None, []
        while True:
            one = await page(here, limit=2, **({"cursor": cursor} if cursor else {}))
            seen += [run["run_id"] for run in one["data"]]
            sizes.append(len(one["data"]))
            cursor = one["next_cursor"]
            assert one["has_more"] is (cursor is not None)
            if cursor is None:
                break
        assert (seen, sizes) == (started[::-1], [2, 2, 1])


async def test_a_listed_run_is_the_run_as_it_is_told_alone() -> None:
    async with live(ScriptedModel([echo])) as here:
        run = await here.ended((await here.start("hello"))["run_id"])
        assert (await page(here))["data"] == [run]
        assert (run["status"], run["output"], run["finish_reason"]) == ("completed", "You said hello.", "stop")
        RunObject.model_validate(run | {"status": run["status"]})


async def test_a_list_can_be_of_one_session_and_of_some_statuses() -> None:
    hold = asyncio.Event()
    model = ScriptedModel([[hold, *says("a")], [RuntimeError("no")], echo])
    async with live(model) as here:
        running = await here.start("one", session_id="s1")
        await model.asked()
        failed = await here.start("two", session_id="s2")
        await here.ended(failed["run_id"])
        queued = await here.start("three", session_id="s1")

        async def ids(**query: Any) -> list[str]:
            return [run["run_id"] for run in (await page(here, **query))["data"]]

        assert await ids(session_id="s1") == [queued["run_id"], running["run_id"]]
        assert await ids(session_id="nobody") == []
        assert await ids(status="running") == [running["run_id"]]
        assert await ids(status="queued, running") == [queued["run_id"], running["run_id"]]
        assert await ids(status="failed") == [failed["run_id"]]
        assert await ids(status="failed,queued") == [queued["run_id"], failed["run_id"]]
        assert await ids(status="completed") == []
        hold.set()
        await here.ended(queued["run_id"])
        assert await ids(status="completed") == [queued["run_id"], running["run_id"]]


def echo_of(text: str) -> list[Any]:
    return says(text)[:-1]


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=x", "limit"),
        ("limit=", "limit"),
        ("status=asleep", "status"),
        ("cursor=x", "cursor"),
        ("cursor=%00", "cursor"),
        ("cursor=MS4wIHJ1bl8xJw", "cursor"),
        ("cursor=" + "A" * 300, "cursor"),
        ("session_id=a/b", "session_id"),
    ],
)
async def test_a_wrong_question_is_400_and_names_the_parameter(query: str, param: str) -> None:
    async with live(ScriptedModel([])) as here:
        response = await here.client.get(f"/v1/runs?{query}")
        assert (response.status_code, response.json()["error"]["param"]) == (400, param)


QUESTION = st.dictionaries(
    st.sampled_from(["limit", "cursor", "status", "session_id", "x"]), st.text(max_size=30) | st.integers()
)


@settings(max_examples=10)
@given(questions=st.lists(QUESTION, max_size=40))
def test_no_question_about_runs_is_a_server_error(questions: list[dict[str, Any]]) -> None:
    async def ask() -> None:
        async with live(ScriptedModel([])) as here:
            for question in questions:
                response = await here.client.get("/v1/runs", params=question)
                assert response.status_code in (200, 400), response.text

    asyncio.run(ask())


async def test_a_session_takes_one_run_at_a_time_and_the_order_is_kept() -> None:
    hold = asyncio.Event()
    model = ScriptedModel([[hold, *says("first")], echo, echo])
    async with live(model) as here:
        answers = [await here.start(f"{i}", session_id="s") for i in range(3)]
        assert [one["status"] for one in answers] == ["started", "queued", "queued"]
        assert [(await here.run(one["run_id"]))["status"] for one in answers] == ["running", "queued", "queued"]
        hold.set()
        for one in answers:
            await here.ended(one["run_id"])
        assert [request.messages[-1].text for request in model.requests] == ["0", "1", "2"]
        assert [message.text for message in model.requests[-1].messages[1:]] == [
            "0",
            "first",
            "1",
            "You said 1.",
            "2",
        ]


async def test_a_run_of_another_session_does_not_wait_behind_a_busy_one() -> None:
    hold = asyncio.Event()
    model = ScriptedModel([[hold, *says("slow")], echo])
    async with live(model) as here:
        slow = await here.start("slow", session_id="s1")
        await model.asked()
        quick = await here.start("quick", session_id="s2")
        assert (quick["status"], (await here.ended(quick["run_id"]))["status"]) == ("started", "completed")
        hold.set()
        assert (await here.ended(slow["run_id"]))["status"] == "completed"


async def test_a_run_waits_for_its_slot_longer_than_a_chat_would() -> None:
    hold = asyncio.Event()
    settings = RunnerSettings(max_running=1, queue_timeout_seconds=0.0)
    async with live(ScriptedModel([[hold, *says("slow")], echo]), settings=settings) as here:
        await here.start("slow")
        waiting = await here.start("patient")
        chat = {"messages": [{"role": "user", "content": "hurry"}]}
        assert (await here.client.post("/v1/chat/completions", json=chat)).status_code == 429
        hold.set()
        assert (await here.ended(waiting["run_id"]))["output"] == "You said patient."


async def test_what_is_said_to_a_run_is_pending_until_its_model_hears_it() -> None:
    hold = asyncio.Event()

    async def work(text: str) -> str:
        await hold.wait()
        return text

    model = ScriptedModel([calls(("call_1", "echo", '{"text": "x"}')), echo])
    async with live(model, EchoTool(works=work)) as here:
        run_id = (await here.start())["run_id"]
        await until(lambda: _is_at(here, run_id, "tool.started"))
        response = await here.client.post(f"/v1/runs/{run_id}/steer", json={"input": "in French"})
        told = {"object": "hermes.run.steer", "run_id": run_id, "status": "accepted", "pending_steer": True}
        assert (response.status_code, response.json()) == (200, told)
        Steered.model_validate(told)
        now = await here.run(run_id)
        assert (now["pending_steer"], now["usage"]["api_calls"]) == (True, 1)  # what it has used by now
        hold.set()
        run = await here.ended(run_id)
        assert (run["pending_steer"], run["output"]) == (False, "You said in French.")
        assert names((await here.client.get(f"/v1/runs/{run_id}/events")).text) == [
            "run.started",
            "tool.started",
            "tool.completed",
            "run.steered",
            "message.delta",
            "run.completed",
        ]


async def _is_at(here: Live, run_id: str, name: str) -> bool:
    return bool((await here.run(run_id))["last_event"] == name)


@pytest.mark.parametrize("field", ["input", "message", "text"])
async def test_what_is_said_may_have_any_of_three_names(field: str) -> None:
    hold = asyncio.Event()
    async with live(ScriptedModel([[hold, *says("one")], echo])) as here:
        run_id = (await here.start())["run_id"]
        assert (await here.client.post(f"/v1/runs/{run_id}/steer", json={field: "and more"})).status_code == 200
        hold.set()
        assert (await here.ended(run_id))["output"] == "You said and more."


@pytest.mark.parametrize("body", [{}, {"input": ""}, {"input": " "}, {"input": 1}, {"text": ["x"]}, {"message": {}}])
async def test_saying_nothing_is_refused(body: dict[str, Any]) -> None:
    hold = asyncio.Event()
    async with live(ScriptedModel([[hold, *says("one")]])) as here:
        run_id = (await here.start())["run_id"]
        response = await here.client.post(f"/v1/runs/{run_id}/steer", json=body)
        assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_request")
        hold.set()


async def test_a_run_that_has_ended_hears_nothing_and_is_stopped_by_nobody() -> None:
    async with live(ScriptedModel([echo])) as here:
        run_id = (await here.start())["run_id"]
        await here.ended(run_id)
        for path, code in (("steer", "run_not_accepting_steer"), ("stop", "run_not_active")):
            refused = await here.client.post(f"/v1/runs/{run_id}/{path}", json={"input": "hello?"})
            assert (refused.status_code, refused.json()["error"]["code"]) == (409, code)


async def test_a_stopped_run_is_cancelled_and_what_it_said_stays() -> None:
    async with live(ScriptedModel([[*echo_of("Half of"), asyncio.Event()]])) as here:
        run_id = (await here.start())["run_id"]
        await until(lambda: _is_at(here, run_id, "message.delta"))
        first, again = [await here.client.post(f"/v1/runs/{run_id}/stop") for _ in range(2)]
        assert (first.status_code, first.json()) == (200, {"run_id": run_id, "status": "stopping"})
        Stopping.model_validate(first.json())
        assert (again.status_code, again.json()["error"]["code"]) == (409, "run_not_active")
        run = await here.ended(run_id)
        assert (run["status"], run["last_event"], run["output"]) == ("cancelled", "run.cancelled", "Half of")


async def test_a_queued_run_is_stopped_at_once_and_the_one_behind_it_moves_up() -> None:
    hold = asyncio.Event()
    model = ScriptedModel([[hold, *says("slow")], echo])
    async with live(model) as here:
        slow = await here.start("slow", session_id="s")
        stopped = await here.start("never said", session_id="s")
        last = await here.start("last", session_id="s")
        assert (await here.client.post(f"/v1/runs/{stopped['run_id']}/stop")).status_code == 200
        run = await here.ended(stopped["run_id"])  # while the first one still has the session
        assert (run["status"], run["started_at"], run["output"]) == ("cancelled", None, None)
        assert names((await here.client.get(f"/v1/runs/{stopped['run_id']}/events")).text) == ["run.cancelled"]
        hold.set()
        await here.ended(slow["run_id"])
        assert (await here.ended(last["run_id"]))["output"] == "You said last."
        assert "never said" not in [message.text for message in model.requests[-1].messages]


@pytest.mark.parametrize("deleted_while", ["queued", "running"])
async def test_a_session_that_is_deleted_under_its_runs_frees_their_places(deleted_while: str) -> None:
    hold = asyncio.Event()
    model = ScriptedModel([[hold, *says("slow")], echo])
    settings = RunnerSettings(max_running=1)
    async with live(model, settings=settings) as here:
        first = await here.start("slow", session_id="doomed" if deleted_while == "running" else "s1")
        second = await here.start("more", session_id="doomed")
        reading = asyncio.ensure_future(here.client.get(f"/v1/runs/{second['run_id']}/events"))
        await asyncio.sleep(0)
        await here.database.write(session_store.delete, "doomed")
        hold.set()
        if deleted_while == "queued":
            await here.ended(first["run_id"])
        async with asyncio.timeout(10):
            await reading
        gone = await here.client.get(f"/v1/runs/{second['run_id']}")
        assert (gone.status_code, gone.json()["error"]["code"]) == (404, "run_not_found")
        await until(lambda: _is_idle(here))


async def _is_idle(here: Live) -> bool:
    return here.runner.active == 0 and here.runner.queued == 0 and here.runner.line.running == 0


async def test_an_answer_by_id_lets_the_call_run() -> None:
    model = ScriptedModel([calls(("call_1", "echo", '{"text": "x"}')), says("done")])
    async with live(model, EchoTool(is_dangerous=True)) as here:
        run_id = (await here.start())["run_id"]
        run = await until(lambda: _waits(here, run_id))
        assert run["status"] == "waiting_for_approval"
        RunObject.model_validate_json((await here.client.get(f"/v1/runs/{run_id}")).text)
        approval_id = run["approvals"][0]["approval_id"]
        (listed,) = (await page(here, status="waiting_for_approval"))["data"]
        assert listed == run
        answer = {"choice": "approve", "approval_id": approval_id}
        wrong = await here.client.post(f"/v1/runs/{run_id}/approval", json={**answer, "approval_id": "appr_9"})
        right = await here.client.post(f"/v1/runs/{run_id}/approval", json=answer)
        ApprovalAnswered.model_validate(right.json())
        assert (wrong.json()["error"]["code"], right.json()["resolved"]) == ("approval_not_pending", 1)
        assert (await here.ended(run_id))["output"] == "done"
        late = await here.client.post(f"/v1/runs/{run_id}/approval", json=answer)
        assert (late.status_code, late.json()["error"]["code"]) == (409, "approval_not_active")


async def _waits(here: Live, run_id: str) -> dict[str, Any] | None:
    run = await here.run(run_id)
    return run if run["approvals"] else None


async def test_somebody_elses_run_is_as_unknown_as_none_and_its_session_too() -> None:
    hold = asyncio.Event()
    async with live(ScriptedModel([[hold, *says("mine")]])) as here:
        run_id = (await here.start(session_id="mine"))["run_id"]
        routes = [("GET", ""), ("GET", "/events"), ("POST", "/approval"), ("POST", "/steer"), ("POST", "/stop")]
        for method, path in routes:
            sent = {"choice": "once", "input": "x"} if method == "POST" else None
            foreign = await here.other.request(method, f"/v1/runs/{run_id}{path}", json=sent)
            unknown = await here.other.request(method, f"/v1/runs/run_{9:032x}{path}", json=sent)
            assert (foreign.status_code, foreign.json()["error"]["code"]) == (404, "run_not_found")
            assert foreign.text.replace(run_id, "ID") == unknown.text.replace(f"run_{9:032x}", "ID")
        assert (await here.other.get("/v1/runs")).json()["data"] == []
        assert (await here.other.get("/v1/runs?session_id=mine")).json()["data"] == []
        taken = await here.other.post("/v1/runs", json={"input": "hi", "session_id": "mine"})
        assert (taken.status_code, taken.json()["error"]["code"]) == (404, "session_not_found")
        hold.set()
        assert (await here.ended(run_id))["status"] == "completed"


async def test_ten_readers_of_a_run_get_the_same_events() -> None:
    hold = asyncio.Event()
    async with live(ScriptedModel([[*echo_of("a"), hold, *says("b")]])) as here:
        run_id = (await here.start())["run_id"]
        readers = [asyncio.ensure_future(here.client.get(f"/v1/runs/{run_id}/events")) for _ in range(10)]
        await until(lambda: _is_at(here, run_id, "message.delta"))
        hold.set()
        texts = [(await reader).text for reader in readers]
        assert len(set(texts)) == 1
        assert names(texts[0]) == ["run.started", "message.delta", "message.delta", "run.completed"]


TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


@pytest.mark.parametrize("way", ["chat", "runs", "session chat"])
async def test_a_result_that_answers_no_call_of_the_session_is_refused_and_not_left_out(way: str) -> None:
    async with live(ScriptedModel([calls(("c1", "weather", "{}")), says("Sunny."), says("Sunny.")])) as here:
        await here.client.post("/api/sessions", json={"id": "s"})
        session = {"X-Hermes-Session-Id": "s"}
        ask = {"messages": [{"role": "user", "content": "weather?"}], "tools": [TOOL]}
        asked = await here.client.post("/v1/chat/completions", json=ask, headers=session)
        assert asked.json()["choices"][0]["finish_reason"] == "tool_calls"

        async def answer(call_id: str) -> Any:
            said = [{"role": "tool", "tool_call_id": call_id, "content": "sun"}]
            match way:
                case "chat":
                    return await here.client.post("/v1/chat/completions", json={"messages": said}, headers=session)
                case "runs":
                    return await here.client.post("/v1/runs", json={"input": said, "session_id": "s"})
            return await here.client.post("/api/sessions/s/chat", json={"messages": said})

        wrong = await answer("c9")
        where = "input[0].tool_call_id" if way == "runs" else "messages[0].tool_call_id"
        assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, where), wrong.text
        listed = await here.client.get("/api/sessions/s/messages")
        assert [message["role"] for message in listed.json()["data"]] == ["user", "assistant"], "it left something"
        for _ in range(2):  # once more: as after a model that failed
            right = await answer("c1")
            assert right.is_success, right.text
            if way == "runs":
                await here.ended(right.json()["run_id"])


async def test_a_key_without_admin_may_not_allow_for_always() -> None:
    tool = EchoTool(is_dangerous=True)
    async with live(ScriptedModel([calls(("c", "echo", '{"text": "hi"}')), says("Done.")]), tool) as here:
        run_id = (await here.other.post("/v1/runs", json={"input": "go"})).json()["run_id"]
        path = f"/v1/runs/{run_id}"
        await until(lambda: _asks(here, path))
        refused = await here.other.post(f"{path}/approval", json={"choice": "always"})
        error = refused.json()["error"]
        assert (refused.status_code, error["code"], error["param"]) == (403, "insufficient_scope", "choice")
        assert tool.ran == []
        allowed = await here.other.post(f"{path}/approval", json={"choice": "session"})
        assert allowed.json()["resolved"] == 1
        await here.other.get(f"{path}/events")
        assert tool.ran == ["hi"]


async def _asks(here: Live, path: str) -> bool:
    return bool((await here.other.get(path)).json()["approvals"])
