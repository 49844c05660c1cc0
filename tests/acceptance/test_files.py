"""Uploaded files through a real gateway: the OpenAI package, a chat over a file, and a kill in the middle."""

from __future__ import annotations

import base64
import http.client
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import openai
import psycopg
import pytest
from openai import OpenAI

from hermes.models.scripted import ScriptedModelServer
from tests.acceptance.conftest import Gateway, StartGateway, make_gateway
from tests.support import documents, waiting

DEADLINE_SECONDS = 20
SECRET = "The launch code is tulip-42"


@pytest.fixture(scope="module")
def model_server() -> Iterator[ScriptedModelServer]:
    with ScriptedModelServer(()) as server:
        yield server


@pytest.fixture(scope="module")
def shared(
    tmp_path_factory: pytest.TempPathFactory, model_server: ScriptedModelServer, module_database: str | None
) -> Iterator[Gateway]:
    """One gateway for the tests that leave nothing behind which another would see."""
    gateway = make_gateway(tmp_path_factory.mktemp("files"), model_server, database_url=module_database).start()
    yield gateway
    gateway.close()


@pytest.fixture
def client(shared: Gateway) -> Iterator[OpenAI]:
    """Of a key that has no files yet."""
    with OpenAI(base_url=shared.base_url, api_key=shared.key, max_retries=0, timeout=60) as made:
        for file in made.files.list():
            made.files.delete(file.id)
        yield made


def asked(part: dict[str, Any], text: str = "What does it say?") -> list[Any]:
    return [{"role": "user", "content": [part, {"type": "text", "text": text}]}]


def said_to(model: ScriptedModelServer) -> list[dict[str, Any]]:
    """The parts of the last user's message, as the model got them."""
    content: list[dict[str, Any]] = model.requests[-1]["messages"][-1]["content"]
    return content


def stored(gateway: Gateway) -> list[str]:
    """The files whose bytes are there, and on a disk what is on its way."""
    if gateway.database_url is not None:
        with psycopg.connect(gateway.database_url) as conn:
            return [row[0] for row in conn.execute("SELECT DISTINCT file_id FROM file_chunks ORDER BY file_id")]
    directory = gateway.home / "files"
    return sorted(path.name for path in directory.iterdir()) if directory.is_dir() else []


def test_the_openai_package_uploads_lists_reads_and_deletes(client: OpenAI, shared: Gateway) -> None:
    made = client.files.create(file=("notes.txt", b"some notes"), purpose="user_data")
    assert (made.object, made.bytes, made.filename, made.purpose) == ("file", 10, "notes.txt", "user_data")
    assert made.status == "processed"
    other = client.files.create(
        file=("b.txt", b"more"), purpose="assistants", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert other.expires_at == other.created_at + 3600
    assert [file.id for file in client.files.list()] == [other.id, made.id]
    assert [file.id for file in client.files.list(purpose="assistants")] == [other.id]
    assert [file.id for file in client.files.list(limit=1, order="asc")] == [made.id, other.id]  # it pages by itself
    assert client.files.retrieve(made.id) == made
    assert client.files.content(made.id).read() == b"some notes"
    assert client.files.delete(made.id).deleted is True
    with pytest.raises(openai.NotFoundError) as gone:
        client.files.retrieve(made.id)
    assert gone.value.code == "file_not_found"
    assert stored(shared) == [other.id]
    if shared.database_url is None:
        assert (shared.home / "files" / other.id).stat().st_mode & 0o777 == 0o600


def test_a_chat_reads_an_uploaded_document_and_its_session_keeps_what_it_read(
    client: OpenAI, model_server: ScriptedModelServer
) -> None:
    model_server.add("tulip-42", "As I said")
    uploaded = client.files.create(file=("plan.pdf", documents.pdf(SECRET)), purpose="user_data")
    session = {"X-Hermes-Session-Id": "reading"}
    part = {"type": "file", "file": {"file_id": uploaded.id}}
    answer = client.chat.completions.create(model="x", messages=asked(part), extra_headers=session)
    assert answer.choices[0].message.content == "tulip-42"
    first, second = said_to(model_server)
    assert first["type"] == "text"
    assert 'the file "plan.pdf" (PDF, 1 page)' in first["text"].partition("\n")[0]
    assert SECRET in first["text"]
    assert second == {"type": "text", "text": "What does it say?"}
    client.files.delete(uploaded.id)
    client.chat.completions.create(
        model="x", messages=[{"role": "user", "content": "Say it again"}], extra_headers=session
    )
    assert model_server.requests[-1]["messages"][-3]["content"] == [first, second]


def test_a_response_reads_a_document_that_comes_with_it(client: OpenAI, model_server: ScriptedModelServer) -> None:
    model_server.add("tulip-42")
    data = base64.b64encode(documents.docx(SECRET)).decode()
    url = f"data:application/octet-stream;base64,{data}"
    part: Any = {"type": "input_file", "filename": "plan.docx", "file_data": url}
    client.responses.create(model="x", input=[{"role": "user", "content": [part]}])
    assert SECRET in said_to(model_server)[0]["text"]


def test_an_uploaded_image_reaches_the_model_as_an_image(client: OpenAI, model_server: ScriptedModelServer) -> None:
    model_server.add("A pixel")
    uploaded = client.files.create(file=("dot.txt", documents.png()), purpose="vision")
    client.chat.completions.create(model="x", messages=asked({"type": "file", "file": {"file_id": uploaded.id}}))
    encoded = base64.b64encode(documents.png()).decode()
    assert said_to(model_server)[0] == {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{encoded}"}}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/runs", "/api/sessions/s1/chat"])
def test_an_unknown_file_is_named_by_every_way_in(shared: Gateway, path: str) -> None:
    part = {"type": "input_file", "file_id": f"file-{1:032x}"}
    messages = [{"role": "user", "content": [{"type": "input_text", "text": "a"}, part]}]
    shared.client.post("/api/sessions", json={"id": "s1"})
    field = {"/v1/responses": "input", "/v1/runs": "input"}.get(path, "messages")
    answer = shared.client.post(path, json={"model": "x", field: messages})
    assert answer.status_code == 404, answer.text
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("file_not_found", f"{field}[0].content[1].file_id")


def test_a_cut_text_is_told_to_the_model_and_to_the_client(
    start_gateway: StartGateway, model: ScriptedModelServer
) -> None:
    model.add("ok")
    gateway = start_gateway(config={"uploads": {"text_characters": 100}})
    data = base64.b64encode(b"x" * 101).decode()
    answer = gateway.client.post(
        "/v1/chat/completions",
        json={"messages": asked({"type": "file", "file": {"filename": "long.txt", "file_data": data}})},
    )
    assert answer.headers["x-hermes-warnings"] == 'the text of "long.txt" was cut after 100 characters'
    head, text, _ = said_to(model)[0]["text"].split("\n")
    assert "CUT: only its first 100 characters are here" in head
    assert text == "x" * 100


@pytest.mark.sqlite("beside a PostgreSQL it is a file without a name, which a kill removes")
def test_a_killed_upload_leaves_no_half_file(gateway: Gateway) -> None:
    whole = gateway.client.post("/v1/files", files={"file": ("a.txt", b"whole")}, data={"purpose": "user_data"}).json()
    host, _, port = gateway.url.removeprefix("http://").partition(":")
    upload = http.client.HTTPConnection(host, int(port), timeout=30)
    upload.putrequest("POST", "/v1/files?filename=half.txt")
    upload.putheader("Authorization", f"Bearer {gateway.key}")
    upload.putheader("Content-Type", "text/plain")
    upload.putheader("Content-Length", str(10 << 20))
    upload.endheaders()
    upload.send(b"x" * (3 << 20))
    wait_for(lambda: any(name.endswith(".part") for name in stored(gateway)))
    gateway.kill()
    upload.close()
    assert len(stored(gateway)) == 2
    gateway.start()
    wait_for(lambda: stored(gateway) == [whole["id"]])
    with fresh(gateway) as client:
        listed = client.get("/v1/files").json()["data"]
    assert [file["id"] for file in listed] == [whole["id"]]


@pytest.mark.slow
def test_a_file_of_50_mib_is_taken_and_one_byte_more_is_not(gateway: Gateway) -> None:
    limit = 50 << 20
    headers = {"Content-Type": "application/octet-stream"}
    gateway.client.post("/v1/files?filename=small", content=b"x", headers=headers).raise_for_status()
    before = most_resident(gateway.pid)
    taken = gateway.client.post("/v1/files?filename=big", content=pieces(limit), headers=headers, timeout=60)
    assert (taken.status_code, taken.json()["bytes"]) == (200, limit), taken.text
    assert most_resident(gateway.pid) - before < 10 << 20
    refused = gateway.client.post("/v1/files?filename=big", content=pieces(limit + 1), headers=headers, timeout=60)
    assert (refused.status_code, refused.json()["error"]["code"]) == (413, "body_too_large")
    assert len(stored(gateway)) == 2
    read = gateway.client.get(f"/v1/files/{taken.json()['id']}/content", headers={"Range": "bytes=-3"})
    assert (read.status_code, read.content) == (206, b"xxx")


def test_a_key_sees_none_of_another_keys_files(shared: Gateway) -> None:
    made = shared.client.post("/v1/files?filename=a", content=b"mine", headers={"Content-Type": "text/plain"}).json()
    other = other_key(shared)
    with httpx.Client(base_url=shared.url, headers={"Authorization": f"Bearer {other}"}, timeout=30) as stranger:
        assert stranger.get("/v1/files").json()["data"] == []
        for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
            answer = stranger.request(method, f"/v1/files/{made['id']}{path}")
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "file_not_found")
        body = {"messages": asked({"type": "file", "file": {"file_id": made["id"]}})}
        answer = stranger.post("/v1/chat/completions", json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "file_not_found")
    assert shared.client.get(f"/v1/files/{made['id']}/content").content == b"mine"


def other_key(gateway: Gateway) -> str:
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-m", "hermes", "keys", "add", "stranger", "--scope", "chat"],
        env=gateway.environ,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return next(word for word in done.stdout.split() if len(word) > 30)


def fresh(gateway: Gateway) -> httpx.Client:
    return httpx.Client(base_url=gateway.url, headers={"Authorization": f"Bearer {gateway.key}"}, timeout=30)


def pieces(size: int) -> Iterator[bytes]:
    while size > 0:
        yield b"x" * min(size, 1 << 20)
        size -= 1 << 20


def most_resident(pid: int) -> int:
    """The most bytes of memory that it ever had."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


wait_for = partial(waiting.eventually, seconds=DEADLINE_SECONDS)
