"""/v1/files over a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hermes.api.documented import Documentation
from hermes.api.files.handlers import FileDeleted, FileList, FileObject
from hermes.api.routes import ROUTES
from hermes.files import Files, UploadSettings
from hermes.store.database import Database
from tests.support import documents
from tests.support.api import Server, hello, make_services, serving
from tests.support.clock import FakeClock
from tests.support.database import new_url

TEXT = {"Content-Type": "text/plain"}
UNKNOWN = f"file-{7:032x}"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    database = await Database.open(new_url())
    files = Files(
        database,
        tmp_path / "files",
        FakeClock(),
        UploadSettings(max_bytes=1 << 20, total_bytes=2 << 20, text_characters=9),
    )
    async with serving(make_services(files=files, database=database)) as running:
        yield running
    await database.close()


async def put(server: Server, data: bytes = b"hello", name: str = "a.txt", **fields: Any) -> httpx.Response:
    form = {"purpose": "user_data", **fields}
    return await server.client.post("/v1/files", files={"file": (name, data)}, data=form)


async def put_raw(server: Server, data: bytes = b"hello", query: str = "", **headers: str) -> httpx.Response:
    sent = {"Content-Type": "text/plain", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return await server.client.post(f"/v1/files{query}", content=data, headers=sent)


def error_of(answer: httpx.Response) -> tuple[int, str, str | None]:
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return answer.status_code, error["code"], error["param"]


@pytest.mark.parametrize(
    "header",
    [
        "attachment; filename*=undefined''a",
        "attachment; filename*=idna''xn--%ff",
        f"attachment; filename*{'9' * 5000}*=a",
    ],
)
async def test_a_name_that_cannot_be_read_is_the_senders_fault(server: Server, header: str) -> None:
    assert error_of(await put_raw(server, Content_Disposition=header)) == (400, "invalid_request", "filename")


async def test_a_name_that_no_answer_can_hold_is_kept_as_one_that_can(server: Server) -> None:
    made = await put_raw(server, Content_Disposition="attachment; filename*=raw_unicode_escape''%5Cud800.txt")
    assert (made.status_code, made.json()["filename"]) == (200, "?.txt")
    read = await server.client.get(f"/v1/files/{made.json()['id']}/content")
    assert read.headers["content-disposition"] == "attachment; filename*=utf-8''%3F.txt"


async def test_a_form_and_raw_bytes_make_the_same_file(server: Server) -> None:
    form = await put(server, name="Gerät.txt")
    raw = await put_raw(server, query="?filename=Ger%C3%A4t.txt")
    for answer in (form, raw):
        assert answer.status_code == 200, answer.text
        FileObject.model_validate(answer.json(), strict=True)
    assert {**form.json(), "id": ""} == {**raw.json(), "id": ""}
    assert form.json() == {
        "id": form.json()["id"],
        "object": "file",
        "bytes": 5,
        "created_at": 1_700_000_000,
        "expires_at": None,
        "filename": "Gerät.txt",
        "purpose": "user_data",
        "status": "processed",
    }


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('attachment; filename="a b.txt"', "a b.txt"),
        ("attachment; filename*=UTF-8''Ger%C3%A4t.txt", "Gerät.txt"),
        ("attachment", "file"),
        (';;;="', "file"),
    ],
)
async def test_raw_bytes_may_be_named_by_their_disposition(server: Server, disposition: str, name: str) -> None:
    assert (await put_raw(server, Content_Disposition=disposition)).json()["filename"] == name


async def test_an_expiry_is_counted_from_the_upload(server: Server) -> None:
    fields: dict[str, Any] = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    assert (await put(server, **fields)).json()["expires_at"] == 1_700_003_600
    raw = await put_raw(server, query="?expires_after[seconds]=3600")
    assert raw.json()["expires_at"] == 1_700_003_600


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"purpose": "fun"}, "purpose"),
        ({"purpose": ""}, "purpose"),
        ({"expires_after[seconds]": "soon"}, "expires_after[seconds]"),
        ({"expires_after[seconds]": "12"}, "expires_after[seconds]"),
        ({"expires_after[seconds]": "9" * 30}, "expires_after[seconds]"),
        ({"expires_after[anchor]": "now"}, "expires_after[anchor]"),
    ],
)
async def test_a_wrong_field_is_named(server: Server, fields: dict[str, Any], param: str) -> None:
    assert error_of(await put(server, **fields)) == (400, "invalid_request", param)
    assert (await server.client.get("/v1/files")).json()["data"] == []


async def test_a_form_must_have_a_purpose_and_a_file(server: Server) -> None:
    no_purpose = await server.client.post("/v1/files", files={"file": ("a", b"x")})
    assert error_of(no_purpose) == (400, "invalid_request", "purpose")
    no_file = await server.client.post("/v1/files", files={"other": ("a", b"x")}, data={"purpose": "user_data"})
    assert error_of(no_file) == (400, "invalid_request", "file")
    assert error_of(await put(server, b"")) == (400, "invalid_request", "file")
    assert error_of(await put_raw(server, b"")) == (400, "invalid_request", "file")


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "multipart/mixed; boundary=x"},
        {"Content-Type": "nonsense"},
        {"Content-Type": ""},
        {"Content-Type": "text/plain", "Content-Encoding": "gzip"},
    ],
)
async def test_a_body_that_is_neither_form_nor_file_is_415(server: Server, headers: dict[str, str]) -> None:
    answer = await server.client.post("/v1/files", content=b"a=b", headers=headers)
    assert error_of(answer) == (415, "unsupported_media_type", None)


@pytest.mark.parametrize("put_it", [put, put_raw])
async def test_a_file_over_the_limit_is_413(server: Server, put_it: Any) -> None:
    assert (await put_it(server, bytes(1 << 20))).status_code == 200
    assert error_of(await put_it(server, bytes((1 << 20) + 1)))[:2] == (413, "body_too_large")
    assert len((await server.client.get("/v1/files")).json()["data"]) == 1


async def test_a_key_that_has_no_room_is_told_which_setting_gives_more(server: Server) -> None:
    for _ in range(2):
        assert (await put(server, bytes((1 << 20) - 100))).status_code == 200
    answer = await put(server, b"x")
    assert error_of(answer) == (413, "file_quota_exceeded", "file")
    assert "uploads.total_mb" in answer.json()["error"]["message"]


async def test_the_list_pages_both_ways(server: Server) -> None:
    ids = sorted([(await put(server)).json()["id"] for _ in range(3)])  # the clock stands still: ids decide
    first = (await server.client.get("/v1/files?order=asc&limit=2")).json()
    FileList.model_validate(first, strict=True)
    assert ([file["id"] for file in first["data"]], first["has_more"]) == (ids[:2], True)
    assert (first["first_id"], first["last_id"]) == (ids[0], ids[1])
    rest = (await server.client.get(f"/v1/files?order=asc&limit=2&after={ids[1]}")).json()
    assert ([file["id"] for file in rest["data"]], rest["has_more"]) == (ids[2:], False)
    newest = (await server.client.get("/v1/files?purpose=user_data")).json()
    assert [file["id"] for file in newest["data"]] == ids[::-1]
    none = (await server.client.get("/v1/files?purpose=vision")).json()
    assert none == {"object": "list", "data": [], "has_more": False, "first_id": None, "last_id": None}


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"),
        ("limit=10001", "limit"),
        ("limit=x", "limit"),
        ("order=up", "order"),
        ("purpose=fun", "purpose"),
        (f"after={UNKNOWN}", "after"),
        ("after=../x", "after"),
    ],
)
async def test_a_wrong_parameter_of_the_list_is_named(server: Server, query: str, param: str) -> None:
    assert error_of(await server.client.get(f"/v1/files?{query}")) == (400, "invalid_request", param)


async def test_content_is_an_attachment_of_its_own_type_and_runs_nowhere(server: Server) -> None:
    html = b"<script>alert(1)</script>"
    file_id = (await put(server, html, 'x".html\r\nSet-Cookie: a=b')).json()["id"]
    answer = await server.client.get(f"/v1/files/{file_id}/content")
    assert answer.content == html
    assert answer.headers["content-type"] == "text/plain"
    assert answer.headers["content-disposition"].startswith("attachment; filename*=utf-8''x")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert "set-cookie" not in answer.headers
    head = await server.client.head(f"/v1/files/{file_id}/content")
    assert (head.content, head.headers["content-length"]) == (b"", str(len(html)))
    image = (await put(server, documents.png(), "a.html")).json()["id"]
    assert (await server.client.get(f"/v1/files/{image}/content")).headers["content-type"] == "image/png"


@pytest.mark.parametrize(
    ("wanted", "status", "content", "content_range"),
    [
        ("bytes=0-1", 206, b"01", "bytes 0-1/10"),
        ("bytes=8-", 206, b"89", "bytes 8-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=-99", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=5-99", 206, b"56789", "bytes 5-9/10"),
        ("bytes=5-4", 200, b"0123456789", None),
        ("bytes=-", 200, b"0123456789", None),
        ("bytes=0-1,4-5", 200, b"0123456789", None),
        ("lines=1-2", 200, b"0123456789", None),
        ("bytes=" + "9" * 40 + "-", 200, b"0123456789", None),
    ],
)
async def test_one_range_is_honoured_and_any_other_is_the_whole(
    server: Server, wanted: str, status: int, content: bytes, content_range: str | None
) -> None:
    file_id = (await put(server, b"0123456789")).json()["id"]
    answer = await server.client.get(f"/v1/files/{file_id}/content", headers={"Range": wanted})
    assert (answer.status_code, answer.content) == (status, content)
    assert answer.headers.get("content-range") == content_range


@pytest.mark.parametrize("wanted", ["bytes=10-", "bytes=10-20", "bytes=-0"])
async def test_a_range_behind_the_end_is_416(server: Server, wanted: str) -> None:
    file_id = (await put(server, b"0123456789")).json()["id"]
    answer = await server.client.get(f"/v1/files/{file_id}/content", headers={"Range": wanted})
    assert error_of(answer) == (416, "range_not_satisfiable", "Range")
    assert answer.headers["content-range"] == "bytes */10"


async def test_a_range_of_what_the_file_once_was_is_the_whole(server: Server) -> None:
    file_id = (await put(server, b"0123456789")).json()["id"]
    url = f"/v1/files/{file_id}/content"
    etag = (await server.client.head(url)).headers["etag"]
    for if_range, status in ((etag, 206), ('"other"', 200)):
        answer = await server.client.get(url, headers={"Range": "bytes=0-1", "If-Range": if_range})
        assert answer.status_code == status


async def test_a_deleted_file_is_unknown(server: Server) -> None:
    file_id = (await put(server)).json()["id"]
    deleted = await server.client.delete(f"/v1/files/{file_id}")
    assert deleted.json() == {"id": file_id, "object": "file", "deleted": True}
    FileDeleted.model_validate(deleted.json(), strict=True)
    for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        answer = await server.client.request(method, f"/v1/files/{file_id}{path}")
        assert error_of(answer) == (404, "file_not_found", None)


@pytest.mark.parametrize(
    "file_id", [UNKNOWN, "x", "file-", "..%2Fstate.db", "%00", "file-" + "A" * 32, "💥", "x" * 5000]
)
@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("GET", "/content"), ("DELETE", "")])
async def test_no_id_is_a_path(server: Server, file_id: str, method: str, path: str) -> None:
    answer = await server.client.request(method, f"/v1/files/{file_id}{path}")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] in ("file_not_found", "not_found")


async def test_a_chat_is_given_what_its_files_say_in_history_and_turn(server: Server) -> None:
    server.runner.script = hello("ok")
    file_id = (await put(server, b"0123456789")).json()["id"]
    named = [{"type": "file", "file": {"file_id": file_id}}]
    sent = [{"type": "file", "file": {"filename": "b.txt", "file_data": "aGk="}}]
    messages = [
        {"role": "user", "content": named},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": sent},
    ]
    answer = await server.client.post("/v1/chat/completions", json={"messages": messages})
    assert answer.status_code == 200, answer.text
    (request,) = server.runner.requests
    assert request.history is not None
    assert "\n012345678\n" in request.history[0].text_with_files
    assert "\nhi\n" in request.messages[0].text_with_files
    assert request.warnings == ('the text of "a.txt" was cut after 9 characters',)


@pytest.mark.parametrize(
    ("part", "status", "code", "place"),
    [
        ({"type": "file", "file": {"file_id": UNKNOWN}}, 404, "file_not_found", ".file.file_id"),
        ({"type": "input_file", "file_id": UNKNOWN}, 404, "file_not_found", ".file_id"),
        ({"type": "input_image", "file_id": UNKNOWN}, 404, "file_not_found", ".file_id"),
        ({"type": "file", "file": {"file_data": "AAEC"}}, 400, "unsupported_content_type", ".file.file_data"),
    ],
)
async def test_a_part_that_cannot_be_given_is_named(
    server: Server, part: dict[str, Any], status: int, code: str, place: str
) -> None:
    messages = [
        {"role": "system", "content": "a"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, part]},
    ]
    answer = await server.client.post("/v1/chat/completions", json={"messages": messages})
    assert error_of(answer) == (status, code, f"messages[1].content[1]{place}")
    assert server.runner.requests == []


parts = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=8) | st.sampled_from([UNKNOWN, "aGk=", "data:,"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "file", "file_id", "file_data", "filename", "image_url", "url", "input_audio", "data"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=8,
)
kinds = st.sampled_from(["file", "input_file", "image_url", "input_image", "input_audio", "text"])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        parts | st.builds(lambda kind, part: {**(part if isinstance(part, dict) else {}), "type": kind}, kinds, parts),
        max_size=3,
    )
)
async def test_no_part_is_a_server_error(server: Server, content: list[Any]) -> None:
    server.runner.script = hello("ok")
    answer = await server.client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": content}]})
    assert answer.status_code in (200, 400, 404), answer.text


def test_every_route_of_files_is_documented() -> None:
    routes = [route for route in ROUTES if route.path.startswith("/v1/files")]
    assert len(routes) == 5
    for route in routes:
        handler = route.resolve()
        assert isinstance(handler.documentation, Documentation)  # type: ignore[attr-defined]
        assert handler.__doc__
