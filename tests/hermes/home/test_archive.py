"""Profiles in one file: what goes in, and what an archive may not do to the machine that takes it in."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import stat
import tarfile
from pathlib import Path

import pytest

from hermes.core.errors import ConfigError, Conflict, InvalidInput, NotFound
from hermes.home.about import change_about, read_about
from hermes.home.archive import INSIDE, MANIFEST, Bounds, Imported, export_profile, import_profile
from hermes.home.config_file import read_config
from hermes.home.env import read_env, set_env
from hermes.home.paths import Home
from hermes.home.profiles import create_profile, list_profiles

CANARY = "canary-0123456789abcdef"
MANIFEST_TEXT = json.dumps({"format": 1, "name": "alice", "has_secrets": False})


@pytest.fixture
def root(tmp_path: Path) -> Home:
    (tmp_path / "home").mkdir()
    return Home(tmp_path / "home")


@pytest.fixture
def alice(root: Home) -> Home:
    profile = create_profile(root.path, "alice")
    profile.soul_file.write_text("You are Alice.\n")
    (profile.skills_dir / "a" / "b").mkdir(parents=True)
    (profile.skills_dir / "a" / "b" / "SKILL.md").write_text("skill")
    profile.state_db.write_text("database")
    return profile


def copied(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)


def exported(home: Home, target: Path, *, with_secrets: bool = False) -> list[str]:
    export_profile(home, target, copied, with_secrets=with_secrets)
    with tarfile.open(target) as archive:
        return sorted(archive.getnames())


def imported(root: Home, source: Path, **options: object) -> Imported:
    return import_profile(root.path, source, **{"adopt": lambda path: None, **options})  # type: ignore[arg-type]


def archive_of(tmp_path: Path, *members: tuple[tarfile.TarInfo, bytes], manifest: str | None = MANIFEST_TEXT) -> Path:
    path = tmp_path / "made.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        if manifest is not None:
            members = (file(MANIFEST, manifest.encode()), *members)
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return path


def file(name: str, data: bytes = b"x") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    return info, data


def of_type(name: str, kind: bytes, link: str = "") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info, b""


def nothing_was_made(root: Home, tmp_path: Path) -> bool:
    return (
        not any(root.profiles_dir.glob("*"))
        and not any(root.profiles_dir.glob(".new-*"))
        and not list(tmp_path.glob("evil*"))
    )


def test_a_profile_comes_back_as_it_was_under_another_name_with_a_new_key(
    root: Home, alice: Home, tmp_path: Path
) -> None:
    exported(alice, tmp_path / "a.tar.gz")
    done = imported(root, tmp_path / "a.tar.gz", name="bob")
    bob = done.home
    assert bob == Home(root.path / "profiles" / "bob", "bob")
    assert bob.soul_file.read_text() == "You are Alice.\n"
    assert (bob.skills_dir / "a" / "b" / "SKILL.md").read_text() == "skill"
    assert bob.state_db.read_text() == "database"
    assert read_env(bob.env_file)["API_SERVER_KEY"] != read_env(alice.env_file)["API_SERVER_KEY"]
    assert bob.too_open() == []
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in bob.path.rglob("*") if path.is_file())
    assert [home.name for home in list_profiles(root.path)] == ["default", "alice", "bob"]


def test_without_secrets_no_secret_is_in_it(alice: Home, tmp_path: Path) -> None:
    set_env(alice.env_file, "OPENAI_API_KEY", CANARY)
    alice.config_file.write_text(
        f"# old key: {CANARY}\n"
        f"model: {{default: m, api_key: {CANARY}1, key_env: OPENAI_API_KEY}}\n"
        f"fallback_models: [{{default: n, api_key: {CANARY}2}}, other]\n"
        f"database: {{url: 'sqlite:///{CANARY}3'}}\n"
        f"mcp_servers: {{x: {{env: {{SOME_TOKEN: {CANARY}4}}, headers: {{Authorization: {CANARY}5}}, "
        "args: [--fast]}}\n"
        "gateway: {api_server: {key: " + CANARY + "6, port: 9000}}\n"
        "notes: sk-0123456789abcdefghijklmnopqrstuv\n"
        "terminal: {timeout: 7}  # kept\n"
    )
    before = alice.config_file.read_text()
    names = exported(alice, tmp_path / "a.tar.gz")
    assert f"{INSIDE}.env" not in names
    text = gzip.decompress((tmp_path / "a.tar.gz").read_bytes()).decode("latin-1")
    assert CANARY not in text
    assert "sk-0123456789" not in text
    assert alice.config_file.read_text() == before
    with tarfile.open(tmp_path / "a.tar.gz") as archive:
        member = archive.extractfile(f"{INSIDE}config.yaml")
        assert member is not None
        kept = tmp_path / "config.yaml"
        kept.write_bytes(member.read())
    assert read_config(kept) == {
        "model": {"default": "m", "key_env": "OPENAI_API_KEY"},
        "fallback_models": [{"default": "n"}, "other"],
        "mcp_servers": {"x": {"args": ["--fast"]}},
        "gateway": {"api_server": {"port": 9000}},
        "terminal": {"timeout": 7},
    }
    assert "# kept" in kept.read_text()


def test_with_secrets_they_are_in_it_and_taken_only_when_asked_for(root: Home, alice: Home, tmp_path: Path) -> None:
    set_env(alice.env_file, "OPENAI_API_KEY", CANARY)
    assert f"{INSIDE}.env" in exported(alice, tmp_path / "a.tar.gz", with_secrets=True)
    without = imported(root, tmp_path / "a.tar.gz", name="without")
    assert without.has_secrets
    assert CANARY not in without.home.env_file.read_text()
    taken = imported(root, tmp_path / "a.tar.gz", name="taken", with_secrets=True)
    assert read_env(taken.home.env_file) == read_env(alice.env_file)


def test_a_copy_is_another_profile_under_the_name_that_people_see(root: Home, alice: Home, tmp_path: Path) -> None:
    change_about(alice, display_name="Alice")
    exported(alice, tmp_path / "a.tar.gz")
    copy = imported(root, tmp_path / "a.tar.gz", name="copy").home
    assert read_about(copy).display_name == "Alice"
    assert read_about(copy).uid not in (None, read_about(alice).uid)


def test_the_file_is_its_owners_alone_and_never_written_over(alice: Home, tmp_path: Path) -> None:
    target = tmp_path / "a.tar.gz"
    exported(alice, target)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    before = target.read_bytes()
    with pytest.raises(Conflict, match="is there already"):
        exported(alice, target)
    assert target.read_bytes() == before
    assert [path.name for path in tmp_path.glob(".hermes-export-*")] == []


def test_what_belongs_to_the_process_and_what_is_no_file_stays_out(root: Home, alice: Home, tmp_path: Path) -> None:
    for name in (
        "run/gateway.pid",
        "logs/gateway.log",
        "backups/x",
        "cache/big",
        "state.db-wal",
        "skills/__pycache__/x.pyc",
    ):
        (alice.path / name).parent.mkdir(exist_ok=True)
        (alice.path / name).write_text("x")
    (alice.path / "link").symlink_to("/etc/passwd")
    (alice.path / "folder").symlink_to("/etc")
    os.mkfifo(alice.path / "pipe")
    names = exported(alice, tmp_path / "a.tar.gz")
    assert names == [
        MANIFEST,
        *(f"{INSIDE}{name}" for name in ("SOUL.md", "config.yaml", "profile.json", "skills/a/b/SKILL.md", "state.db")),
    ]
    (root.path / "trash").mkdir()
    (root.path / "trash" / "x").write_text("x")
    root.env_file.write_text("A=b\n")
    (root.path / "SOUL.md").write_text("root")
    assert exported(root, tmp_path / "r.tar.gz") == [MANIFEST, f"{INSIDE}SOUL.md"]


def test_a_home_that_was_never_made_cannot_be_exported(root: Home, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        exported(root, tmp_path / "a.tar.gz")


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "profile/../../evil",
        "profile/../evil",
        "/tmp/evil",
        "profile//tmp/evil",
        "profile/a/../../../evil",
        "profile/./evil",
        "profile/a\\..\\evil",
        "profile/evil\nname",
        "profile/",
        "profile",
        "other/evil",
        "profile/" + "a/" * 40 + "evil",
        "profile/" + "a" * 300,
    ],
)
def test_a_name_that_leads_elsewhere_ends_the_import(root: Home, tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match="leads elsewhere"):
        imported(root, archive_of(tmp_path, file("profile/SOUL.md"), file(name)))
    assert nothing_was_made(root, tmp_path)


@pytest.mark.parametrize(
    "member",
    [
        of_type("profile/evil", tarfile.SYMTYPE, "/etc/passwd"),
        of_type("profile/evil", tarfile.LNKTYPE, "profile/.env"),
        of_type("profile/evil", tarfile.FIFOTYPE),
        of_type("profile/evil", tarfile.CHRTYPE),
        of_type("profile/evil", tarfile.BLKTYPE),
    ],
)
def test_links_and_devices_end_the_import(root: Home, tmp_path: Path, member: tuple[tarfile.TarInfo, bytes]) -> None:
    with pytest.raises(InvalidInput, match="a link or a device"):
        imported(root, archive_of(tmp_path, member, file("profile/evil/x")))
    assert nothing_was_made(root, tmp_path)


@pytest.mark.parametrize("name", [".ENV", ".Env", "\uff0eenv", "STATE.db-wal"])
def test_a_name_that_some_disks_take_for_another_is_left_out_like_that(root: Home, tmp_path: Path, name: str) -> None:
    archive = archive_of(tmp_path, file(f"{INSIDE}{name}", b"API_SERVER_KEY=known\n"))
    assert not (imported(root, archive, name="bob").home.path / name).exists()


@pytest.mark.parametrize("second", ["profile/a", "profile/A"])
def test_a_name_twice_ends_the_import(root: Home, tmp_path: Path, second: str) -> None:
    with pytest.raises(InvalidInput, match="twice"):
        imported(root, archive_of(tmp_path, file("profile/a"), file(second)))
    assert nothing_was_made(root, tmp_path)


def test_headers_upon_headers_end_the_import(root: Home, tmp_path: Path) -> None:
    """tarfile reads the header behind a header by calling itself."""
    name = tarfile.TarInfo("x")
    name.type, name.size = tarfile.GNUTYPE_LONGNAME, 2
    with pytest.raises(InvalidInput, match="recursion"):
        imported(root, archive_of(tmp_path, *([(name, b"a\0")] * 3000)))
    assert nothing_was_made(root, tmp_path)


def test_more_than_there_is_room_for_ends_the_import(root: Home, tmp_path: Path) -> None:
    many = archive_of(tmp_path, *(file(f"profile/{number}") for number in range(12)))
    with pytest.raises(InvalidInput, match="more than 10 files"):
        imported(root, many, bounds=Bounds(files=10))
    directories = archive_of(tmp_path, *(of_type(f"profile/{number}", tarfile.DIRTYPE) for number in range(12)))
    with pytest.raises(InvalidInput, match="more than 10 files"):
        imported(root, directories, bounds=Bounds(files=10))
    large = archive_of(tmp_path, file("profile/a", b"\0" * 5_000_000))
    assert large.stat().st_size < 10_000
    with pytest.raises(InvalidInput, match="more bytes than"):
        imported(root, large, bounds=Bounds(total_bytes=1_000_000))
    assert nothing_was_made(root, tmp_path)


def test_a_header_that_would_fill_the_memory_ends_the_import(root: Home, tmp_path: Path) -> None:
    made = gzip.decompress(archive_of(tmp_path).read_bytes()).rstrip(b"\0")
    header, _ = of_type("x", tarfile.XHDTYPE)
    header.size = 1 << 30
    padded = made.ljust(-(-len(made) // 512) * 512, b"\0")
    (tmp_path / "huge.tar.gz").write_bytes(gzip.compress(padded + header.tobuf() + b"\0" * 5_000_000))
    with pytest.raises(InvalidInput, match="larger than any of ours"):
        imported(root, tmp_path / "huge.tar.gz")
    assert nothing_was_made(root, tmp_path)


@pytest.mark.parametrize(
    "manifest",
    [None, "", "[]", "{}", '{"format": 2, "name": "alice"}', '{"format": 1, "name": 7}', "\xff", "x" * 100_000],
)
def test_what_is_no_archive_of_ours_is_refused(root: Home, tmp_path: Path, manifest: str | None) -> None:
    with pytest.raises(InvalidInput, match="is no archive that"):
        imported(root, archive_of(tmp_path, file("profile/a"), manifest=manifest))
    assert nothing_was_made(root, tmp_path)


@pytest.mark.parametrize(
    "data",
    [b"", b"text", gzip.compress(b"text"), gzip.compress(b"\0" * 2000)[:40]],
    ids=["nothing", "text", "packed text", "cut off"],  # gzip writes the time: as names they would differ by worker
)
def test_a_file_of_another_kind_is_refused(root: Home, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "other").write_bytes(data)
    with pytest.raises(InvalidInput, match="is no archive that"):
        imported(root, tmp_path / "other")


def test_an_archive_that_breaks_off_leaves_nothing(root: Home, alice: Home, tmp_path: Path) -> None:
    (alice.path / "files").mkdir()
    (alice.path / "files" / "x").write_bytes(os.urandom(300_000))
    exported(alice, tmp_path / "a.tar.gz")
    whole = (tmp_path / "a.tar.gz").read_bytes()
    for length in (100, len(whole) // 2, len(whole) - 200_000):
        (tmp_path / "cut").write_bytes(whole[:length])
        with pytest.raises(InvalidInput):
            imported(root, tmp_path / "cut", name="cut")
    assert [home.name for home in list_profiles(root.path)] == ["default", "alice"]
    assert list(root.profiles_dir.glob(".new-*")) == []


@pytest.mark.parametrize("name", ["../evil", "default", "UPPER", ""])
def test_the_name_in_the_archive_is_checked_like_any(root: Home, tmp_path: Path, name: str) -> None:
    manifest = json.dumps({"format": 1, "name": name})
    with pytest.raises((ConfigError, InvalidInput)):
        imported(root, archive_of(tmp_path, file("profile/a"), manifest=manifest))


def test_a_profile_that_is_there_is_not_written_over(root: Home, alice: Home, tmp_path: Path) -> None:
    exported(alice, tmp_path / "a.tar.gz")
    alice.soul_file.write_text("newer")
    with pytest.raises(Conflict, match="choose another name with --name"):
        imported(root, tmp_path / "a.tar.gz")
    assert alice.soul_file.read_text() == "newer"


def test_a_database_that_is_not_taken_leaves_nothing(root: Home, alice: Home, tmp_path: Path) -> None:
    exported(alice, tmp_path / "a.tar.gz")

    def refuse(path: Path) -> None:
        raise ConfigError("not this one")

    with pytest.raises(ConfigError):
        imported(root, tmp_path / "a.tar.gz", name="bob", adopt=refuse)
    assert [path.name for path in root.profiles_dir.iterdir()] == ["alice"]
