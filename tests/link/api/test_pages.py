"""The pages and their files, as a browser gets them."""

import re

import pytest

from hermeslink.pages.rendering import assets
from tests.support.link import serving_link

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")


@pytest.fixture
async def server(tmp_path):
    async with serving_link(tmp_path) as serving:
        yield serving


@pytest.mark.parametrize("path", ["/", "/pair"])
async def test_a_page_is_public_runs_only_our_files_and_names_nothing_of_the_request(server, path):
    answer = await server.client.get(path, params={"x": "<script>alert(1)</script>"}, headers={"Referer": "<b>"})
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    assert "alert(1)" not in answer.text
    assert not re.search(r"<script(?![^>]* src=)|\son\w+=|\sstyle=|<style", answer.text)
    for name in re.findall(r'(?:src|href)="/static/([^"]+)"', answer.text):
        assert name in assets()


@pytest.mark.parametrize("secret", ["hlat_", "hlrt_", "ps_", "link_"])
async def test_the_page_itself_is_empty(server, secret):
    await server.link.pairing.make()
    assert secret not in (await server.client.get("/pair")).text


@pytest.mark.parametrize(
    ("accept", "language"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh-CN"),
        ("zh-TW", "zh-CN"),
        ("de,en;q=0.5,zh;q=0.9", "zh-CN"),
        ("en-GB,zh;q=0.1", "en"),
        ("zh;q=0", "en"),
        ("de", "en"),
        ("", "en"),
        ("zh;q=nonsense", "en"),
    ],
)
async def test_the_browser_chooses_the_language(server, accept, language):
    answer = await server.client.get("/pair", headers={"Accept-Language": accept})
    assert answer.headers["content-language"] == language
    assert answer.headers["vary"] == "Accept-Language"
    assert ("配对设备" in answer.text) == (language == "zh-CN")


async def test_a_language_in_the_settings_beats_the_browsers(tmp_path):
    async with serving_link(tmp_path, settings={"language": "zh-CN"}) as serving:
        assert "配对设备" in (await serving.client.get("/pair", headers={"Accept-Language": "en"})).text


async def test_files_of_pages_are_those_in_the_list_and_no_others(server):
    for name, asset in assets().items():
        answer = await server.client.get(f"/static/{name}")
        assert answer.content == asset.content
        assert answer.headers["content-type"].startswith(asset.kind)
    for name in ("pair.html", "..%2Frendering.py", "__init__.py", "pair.js%00", "PAIR.JS", "%2e%2e"):
        answer = await server.client.get(f"/static/{name}")
        assert answer.status_code in (401, 404)  # a path that leads elsewhere is no public one
        assert answer.json()["error"]["code"] in ("not_found", "auth_required")
