"""One shell, four places: what holds of the terminal holds wherever it runs."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hermes.core.errors import ToolFailed
from hermes.toolsets.backends.bubblewrap import BubblewrapSettings, find_problem
from hermes.toolsets.backends.choice import Place
from hermes.toolsets.backends.docker import Docker, DockerSettings, owner, remove_leftovers
from hermes.toolsets.backends.ssh import SshSettings
from hermes.toolsets.processes import Processes
from hermes.toolsets.settings import TerminalSettings
from tests.support import waiting
from tests.support.sshd import SSHD, Sshd, running_sshd

from .conftest import Bench, MakeBench, alive_within, gone_within
from .test_terminal import number

NO_BUBBLEWRAP = find_problem()
needs_bubblewrap = pytest.mark.skipif(bool(NO_BUBBLEWRAP), reason=NO_BUBBLEWRAP)
needs_sshd = pytest.mark.skipif(SSHD is None or shutil.which("ssh") is None, reason="no sshd here: openssh-server")
STAND_IN = Path(__file__).parents[2] / "support" / "docker_stand_in.py"

BACKENDS = (
    "local",
    pytest.param("bubblewrap", marks=needs_bubblewrap),
    "docker",
    pytest.param("ssh", marks=needs_sshd),
)


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with running_sshd(tmp_path_factory.mktemp("sshd") / "sshd") as server:
        yield server


@pytest.fixture
def docker_place(tmp_path: Path) -> dict[str, str]:
    """An environment in which `docker` is the stand-in; what it was called with is in `docker/calls.jsonl`."""
    programs = tmp_path / "programs"
    programs.mkdir()
    script = programs / "docker"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -S {STAND_IN} "$@"\n')
    script.chmod(0o755)
    (tmp_path / "docker").mkdir()
    return {"PATH": f"{programs}:{os.environ['PATH']}", "DOCKER_CONFIG": str(tmp_path / "docker")}


def docker_calls(environ: dict[str, str]) -> list[list[str]]:
    return [json.loads(line) for line in (Path(environ["DOCKER_CONFIG"]) / "calls.jsonl").read_text().splitlines()]


def containers(environ: dict[str, str]) -> dict[str, int]:
    """The living ones, with the pid of their own program."""
    made = {file.stem: json.loads(file.read_text()) for file in Path(environ["DOCKER_CONFIG"]).glob("hermes-*.json")}
    return {name: it["pid"] for name, it in made.items() if Path(f"/proc/{it['pid']}/exe").exists()}


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def bench_of(make_bench: MakeBench, request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Bench]:
    def make(name: str, **settings: float) -> Bench:
        place: Place = None
        environ = None
        match name:
            case "bubblewrap":
                place = BubblewrapSettings(home=tmp_path / "home")
            case "docker":
                place = DockerSettings(image="python:3", home=tmp_path / "home")
                environ = request.getfixturevalue("docker_place")
            case "ssh":
                server: Sshd = request.getfixturevalue("sshd")
                place = ssh_settings(server, tmp_path / "work")
        terminal = TerminalSettings(kill_grace_seconds=1.0, cancel_grace_seconds=0.2, place=place, **settings)  # type: ignore[arg-type]
        return make_bench(terminal, environ=environ)

    return make


def ssh_settings(server: Sshd, directory: Path) -> SshSettings:
    return SshSettings(
        host="127.0.0.1",
        port=server.port,
        key_file=server.key_file,
        known_hosts=server.known_hosts,
        directory=str(directory),
    )


@pytest.fixture
def bench(bench_of: Callable[..., Bench], backend: str) -> Bench:
    return bench_of(backend)


everywhere = pytest.mark.parametrize("backend", BACKENDS, indirect=True)


@everywhere
async def test_output_exit_code_directory_and_variables_are_as_on_this_machine(bench: Bench) -> None:
    (bench.workdir / "deep er").mkdir()

    bad = await bench.sh("echo one; echo two >&2; exit 3")
    moved = await bench.sh("cd 'deep er'; export A='x\n y'; greet() { echo \"$A\"; }; false")
    later = await bench.sh("pwd; greet")
    there = await bench.sh("pwd", workdir="..")
    after = await bench.sh("unset A; pwd")

    assert bad.content == "one\ntwo\n[exit code 3]"
    assert bad.is_error
    assert moved.content == f"[directory is now {bench.workdir}/deep er]\n[exit code 1]"
    assert later.content == f"{bench.workdir}/deep er\nx\n y\n[exit code 0]"
    assert there.content == f"{bench.workdir}\n[exit code 0]"
    assert after.content == f"{bench.workdir}/deep er\n[exit code 0]"
    assert (await bench.sh('echo "[$A]"')).content == "[]\n[exit code 0]"


@pytest.mark.parametrize("backend", ["docker", pytest.param("ssh", marks=needs_sshd)], indirect=True)
async def test_a_tilde_is_the_home_over_there(bench: Bench) -> None:
    home = (await bench.sh('cd; mkdir -p "a b"; echo "$HOME"; cd - > /dev/null')).content.splitlines()[0]

    assert (await bench.sh("pwd", workdir="~")).content == f"{home}\n[exit code 0]"
    assert (await bench.sh("pwd", workdir="~/a b")).content == f"{home}/a b\n[exit code 0]"


@everywhere
async def test_a_wrong_workdir_is_told(bench: Bench) -> None:
    try:
        said = (await bench.sh("pwd", workdir="nowhere")).content
    except ToolFailed as failed:
        said = failed.message

    assert f"workdir: {bench.workdir}/nowhere is not a directory." in said


@everywhere
async def test_a_time_out_ends_the_whole_tree_and_keeps_the_session(bench: Bench) -> None:
    nap = number()
    await bench.sh("export A=kept")

    result = await bench.sh(f"export A=lost; echo begun; setsid -f sleep {nap}; (sleep {nap} & sleep {nap})", timeout=3)

    assert result.content.startswith("begun\n")
    assert "[killed after 3 seconds" in result.content
    assert gone_within(1, f"sleep {nap}")
    assert (await bench.sh('echo "$A"')).content.startswith("kept\n")


@everywhere
async def test_stopping_ends_deaf_and_hidden_grandchildren_within_a_second(bench: Bench) -> None:
    nap = number()
    deaf = f"setsid -f sh -c 'trap \"\" TERM HUP; sleep {nap}'"
    call = asyncio.create_task(bench.sh(f"{deaf}; env -i setsid -f sleep {nap}; (sleep {nap} &); sleep {nap}"))
    while not call.done() and not await asyncio.to_thread(alive_within, 0, f"sleep {nap}"):
        await asyncio.sleep(0)
    began = asyncio.get_running_loop().time()

    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert gone_within(1, f"sleep {nap}")
    assert asyncio.get_running_loop().time() - began < 1.5


@everywhere
async def test_a_background_process_is_followed_fed_and_killed(bench: Bench) -> None:
    nap = number()
    process = await bench.started(f"read line; echo got $line; trap 'echo ending; exit 5' TERM; sleep {nap} & wait")

    await bench.call("process", action="submit", session_id=process, data="hello there")
    assert await asyncio.to_thread(alive_within, 10, f"sleep {nap}")
    polled = await bench.call("process", action="poll", session_id=process)
    await bench.call("process", action="kill", session_id=process)
    ended = await bench.call("process", action="poll", session_id=process)

    assert polled.content.endswith("got hello there")
    assert gone_within(1, f"sleep {nap}")
    assert ended.content == "[exit code 5]\nending"


@everywhere
async def test_long_output_is_cut(bench_of: Callable[..., Bench], backend: str) -> None:
    bench = bench_of(backend, output_characters=1000)

    result = await bench.sh("seq 1 100000")

    assert result.content.startswith("1\n2\n3\n")
    assert "99999\n100000\n[588,895 bytes of output in all, " in result.content
    if "kept in " in result.content:
        kept = result.content.split("kept in ")[1].split("]")[0]
        assert "99999" in (await bench.call("read_file", path=kept, offset=99_990)).content


@everywhere
async def test_ending_a_run_ends_what_it_left_running(bench: Bench) -> None:
    nap = number()
    await bench.started(f"setsid -f sleep {nap}; sleep {nap}")
    assert await asyncio.to_thread(alive_within, 10, f"sleep {nap}")

    await bench.registry.end_run("run_1")

    assert gone_within(1, f"sleep {nap}")


@pytest.mark.parametrize("backend", ["local", "docker", pytest.param("ssh", marks=needs_sshd)], indirect=True)
async def test_what_a_command_leaves_running_does_not_hold_the_call(bench: Bench) -> None:
    nap = number()

    result = await bench.sh(f"sleep {nap} & echo started")

    assert result.content.startswith("started\n[1 process(es) it started still run, as proc_")
    assert alive_within(0, f"sleep {nap}")
    await bench.registry.end_run("run_1")
    assert gone_within(1, f"sleep {nap}")


@everywhere
async def test_no_secret_of_this_process_is_in_a_commands_environment(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.environment["HARMLESS"] = "1"

    listed = (await bench.sh("env; cat /proc/self/environ /proc/$PPID/environ | tr '\\0' '\\n'")).content

    assert "API_KEY" not in listed
    assert "HERMES_HOME" not in listed
    assert "DOCKER_CONFIG" not in listed


GATEWAY = """
import asyncio, json, os, pathlib, sys
from hermes.core.clock import SystemClock
from hermes.core.ports import ToolContext
from hermes.toolsets.backends.bubblewrap import BubblewrapSettings
from hermes.toolsets.backends.docker import DockerSettings
from hermes.toolsets.backends.ssh import SshSettings
from hermes.toolsets.registry import build_registry
from hermes.toolsets.settings import TerminalSettings

async def main(run_dir, place, command):
    work = pathlib.Path(run_dir).parent / "work"
    registry = build_registry(run_dir=pathlib.Path(run_dir), terminal=TerminalSettings(place=eval(place)))
    context = ToolContext("s", "run", "call", work, None, SystemClock(), dict(os.environ), {})
    terminal = registry.tools["terminal"]
    await terminal.run(terminal.parse(json.dumps({"command": command})), context)

from pathlib import Path, PosixPath
asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("backend", BACKENDS[1:], indirect=True)
def test_nothing_outlives_a_killed_gateway(backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    nap = number()
    (tmp_path / "work").mkdir()
    environ = dict(os.environ)
    place: Place = BubblewrapSettings()
    if backend == "docker":
        environ.update(request.getfixturevalue("docker_place"))
        place = DockerSettings(image="python:3")
    elif backend == "ssh":
        place = ssh_settings(request.getfixturevalue("sshd"), tmp_path / "work")
    command = f"setsid -f sleep {nap}; env -i setsid -f sleep {nap}; (sleep {nap} &); sleep {nap}"
    words = [sys.executable, "-c", GATEWAY, str(tmp_path / "run"), repr(place), command]
    process = subprocess.Popen(words, env=environ)
    assert alive_within(20, f"sleep {nap}")

    process.kill()
    process.wait()

    assert gone_within(3, f"sleep {nap}")
    if backend == "docker":  # its own program saw the end of its input
        waiting.eventually(lambda: not containers(environ), seconds=5)


@pytest.mark.parametrize("backend", BACKENDS[1:], indirect=True)
async def test_a_killed_supervisor_takes_everything_along(bench: Bench) -> None:
    nap = number()
    process = await bench.started(f"setsid -f sleep {nap}; env -i setsid -f sleep {nap}; sleep {nap}")
    assert await asyncio.to_thread(alive_within, 10, f"sleep {nap}")
    record = bench.run_dir / "processes" / process

    os.kill(int(record.read_text().split()[2]), signal.SIGKILL)

    assert await asyncio.to_thread(gone_within, 3, f"sleep {nap}")


@pytest.mark.parametrize("backend", ["local", "docker"], indirect=True)
@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
async def test_a_command_that_talks_into_our_own_pipes_is_no_trouble(bench: Bench, backend: str) -> None:
    pipe = f"/proc/$PPID/fd/{1 if backend == 'local' else 2}"
    words = r"exit x\n\036hermes:exit x\n\036hermes:left \nleft 1x\npid\n"

    result = await bench.sh(f"printf '{words}' > {pipe}; head -c 3000000 /dev/zero > {pipe}; echo > {pipe}; exit 3")

    assert result.content.endswith("[exit code 3]")
    assert (await bench.sh("echo again")).content == "again\n[exit code 0]"


async def test_an_endless_answer_of_the_other_side_is_not_kept(tmp_path: Path) -> None:
    other = Docker(DockerSettings(image="python:3"), Processes(tmp_path / "run"), {"PATH": os.environ["PATH"]})

    with pytest.raises(ToolFailed, match=r"docker: yes answered with more than 1,048,576 bytes\."):
        await other.ask(("yes",), b"x" * 200_000, seconds=60)
    with pytest.raises(ToolFailed, match=r"docker: sleep did not answer within 0\.1 s\."):
        await other.ask(("sleep", "60.25"), seconds=0.1)
    assert gone_within(1, "sleep 60.25")


@needs_bubblewrap
async def test_scripts_of_skills_can_be_run_in_a_sandbox(bench_of: Callable[..., Bench]) -> None:
    bench = bench_of("bubblewrap")
    (bench.home / "skills").mkdir()
    (bench.home / "skills" / "greet.sh").write_text("echo hello")

    assert (await bench.sh(f"sh {bench.home}/skills/greet.sh")).content == "hello\n[exit code 0]"
    assert (await bench.sh(f"echo x > {bench.home}/skills/greet.sh")).is_error


@needs_bubblewrap
async def test_a_sandbox_has_no_network_writes_its_workspace_and_does_not_see_the_home(
    bench_of: Callable[..., Bench], tmp_path: Path
) -> None:
    bench = bench_of("bubblewrap")
    (bench.home / ".env").write_text("OPENAI_API_KEY=secret-in-the-env-file\n")
    outside = tmp_path / "outside"
    outside.mkdir()

    assert (await bench.sh("cat /proc/net/dev | grep -c :")).content == "1\n[exit code 0]"  # lo alone
    assert "Network is unreachable" in (await bench.sh("exec 3<>/dev/tcp/192.0.2.1/80")).content
    assert (await bench.sh("echo hi > inside; cat inside")).content == "hi\n[exit code 0]"
    assert (bench.workdir / "inside").read_text() == "hi\n"
    for place in (outside / "x", "/x", "/etc/x", "/usr/x", bench.run_dir / "x", "/run/x"):
        result = await bench.sh(f"echo hi > {place}")
        assert result.is_error, place
        assert not os.path.lexists(place)
    assert (await bench.sh(f"cat {bench.home}/.env")).is_error
    assert (await bench.sh(f"ls -A {bench.home}")).content == "[exit code 0]"
    assert (await bench.sh(f"umount {bench.home}; mount -o remount,rw /")).is_error
    assert (
        "secret-in" not in (await bench.sh(f"unshare -Urm sh -c 'umount {bench.home}; cat {bench.home}/.env'")).content
    )
    assert (await bench.sh("ls /run")).content == "hermes\n[exit code 0]"
    assert (await bench.sh("test -w /proc/sys/kernel/core_pattern")).is_error  # root's to write, and then a way out
    assert (await bench.sh("grep CapEff /proc/self/status")).content == "CapEff:\t0000000000000000\n[exit code 0]"


@needs_bubblewrap
async def test_passwords_of_the_machine_and_a_database_elsewhere_are_not_in_a_sandbox(
    make_bench: MakeBench, tmp_path: Path
) -> None:
    database = tmp_path / "work" / "elsewhere.db"
    bench = make_bench(TerminalSettings(place=BubblewrapSettings(hidden=(database,))))
    database.write_text("what was said")

    assert (await bench.sh(f"cat {database}")).content != "what was said\n[exit code 0]"
    assert ":" not in (await bench.sh("cat /etc/shadow")).content.replace("cat: ", "").replace("shadow: ", "")
    for key in Path("/etc/ssh").glob("ssh_host_*_key"):
        assert "PRIVATE" not in (await bench.sh(f"cat {key}")).content
    assert (await bench.sh("ls /etc/passwd")).content == "/etc/passwd\n[exit code 0]"


@needs_bubblewrap
async def test_the_sandboxs_tmp_is_the_sessions_own(bench_of: Callable[..., Bench], tmp_path: Path) -> None:
    bench = bench_of("bubblewrap")
    await bench.sh("echo mine > /tmp/note")

    assert (await bench.sh("cat /tmp/note")).content == "mine\n[exit code 0]"
    assert (await bench.sh("cat /tmp/note", session="other")).is_error
    assert not Path("/tmp/note").exists()


@needs_bubblewrap
async def test_a_snapshot_that_a_command_made_a_trap_of_is_none(bench_of: Callable[..., Bench]) -> None:
    bench = bench_of("bubblewrap")
    (bench.home / "secret").write_text("/secret-words\n")
    traps = (
        f"ln -sf {bench.home}/secret /run/hermes/shell/directory.new",
        "mkfifo /run/hermes/shell/environment.new",
        "mkdir -p /run/hermes/shell/environment.new/x",
        "rm -rf /run/hermes/shell/*; ln -s /etc/passwd /run/hermes/shell/environment",
    )
    for trap in traps:
        process = await bench.started(f"{trap}; trap '' EXIT")
        await bench.call("process", action="wait", session_id=process)
        result = await bench.sh("trap '' EXIT; exec true")
        assert "secret-words" not in result.content
        assert (await bench.sh(f"{trap}; trap '' EXIT; exec true")).content == "[exit code 0]"
    assert (await bench.sh("echo fine")).content.startswith("fine\n")


@needs_bubblewrap
@pytest.mark.parametrize("place", ["/", "/usr", "/tmp", "HOME", "HOME/x"])
async def test_a_workspace_that_gives_all_away_is_refused(
    bench_of: Callable[..., Bench], place: str, tmp_path: Path
) -> None:
    bench = bench_of("bubblewrap")
    (bench.home / "x").mkdir()
    bench.workdir = Path(place.replace("HOME", str(bench.home)))

    with pytest.raises(ToolFailed, match="cannot be the working directory of a sandbox"):
        await bench.sh("true")


@needs_bubblewrap
async def test_the_network_and_further_directories_are_there_when_they_are_allowed(
    make_bench: MakeBench, tmp_path: Path
) -> None:
    further = tmp_path / "further"
    further.mkdir()
    bench = make_bench(TerminalSettings(place=BubblewrapSettings(network=True, binds=(further,))))

    assert (await bench.sh(f"echo hi > {further}/x")).content == "[exit code 0]"
    here = Path("/proc/self/ns/net").readlink()
    assert (await bench.sh("readlink /proc/self/ns/net")).content == f"{here}\n[exit code 0]"


@pytest.mark.parametrize("backend", [pytest.param("bubblewrap", marks=needs_bubblewrap), "docker"], indirect=True)
async def test_file_tools_keep_to_the_workspace_that_they_share(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "outside.txt").write_text("far")

    await bench.call("write_file", path="a.txt", content="near")
    assert (await bench.sh("cat a.txt")).content == "near\n[exit code 0]"
    for tool, arguments in (
        ("read_file", {"path": str(tmp_path / "outside.txt")}),
        ("write_file", {"path": str(tmp_path / "new.txt"), "content": "x"}),
        ("search_files", {"pattern": "far", "path": str(tmp_path)}),
    ):
        with pytest.raises(ToolFailed, match=r"outside of what the file tools may touch: .*terminal\.backend"):
            await bench.call(tool, **arguments)
    assert not (tmp_path / "new.txt").exists()


@pytest.mark.parametrize("backend", [pytest.param("bubblewrap", marks=needs_bubblewrap), "docker"], indirect=True)
async def test_file_tools_read_what_people_attached(bench: Bench) -> None:
    attached = bench.home / "inbox" / "link_1" / "blob_1" / "notes.txt"
    attached.parent.mkdir(parents=True)
    attached.write_text("from the phone")

    assert "from the phone" in (await bench.call("read_file", path=str(attached))).content


@needs_sshd
async def test_file_tools_are_refused_where_commands_run_on_another_machine(bench_of: Callable[..., Bench]) -> None:
    bench = bench_of("ssh")
    file = next(state for state in bench.registry.toolsets() if state.name == "file")

    assert (file.is_enabled, file.is_configured) == (False, False)
    assert file.problem == "commands run elsewhere (terminal.backend is ssh), and file tools see only this machine"
    with pytest.raises(ToolFailed, match="read_file: commands run elsewhere"):
        await bench.call("read_file", path="a.txt")


async def test_a_container_is_made_for_a_session_and_goes_with_it(
    bench_of: Callable[..., Bench], docker_place: dict[str, str]
) -> None:
    bench = bench_of("docker")
    await bench.sh("echo one")
    await bench.sh("echo two")
    await bench.sh("echo other", session="other")

    runs = [words for words in docker_calls(docker_place) if words[0] == "run"]
    assert len(runs) == 2
    name = runs[0][runs[0].index("--name") + 1]
    assert runs[0][: runs[0].index("-c")] == [
        *("run", "--rm", "-i", "--init", "--name", name, "--label", f"hermes.owner={owner()}"),
        *("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--pids-limit", "1024", "--network", "none"),
        *("--user", f"{os.getuid()}:{os.getgid()}", "-e", "HOME=/tmp"),
        *("--mount", f"type=bind,source={bench.workdir},target={bench.workdir}", "--workdir", str(bench.workdir)),
        *("--entrypoint", "python3", "python:3", "-I", "-S"),
    ]
    executed = [words for words in docker_calls(docker_place) if words[0] == "exec"]
    assert {tuple(words[:2]) for words in executed} == {("exec", "-i")}
    assert name in containers(docker_place)
    await bench.registry.close_session("s1")
    assert name not in containers(docker_place)
    assert len(containers(docker_place)) == 1
    assert ["rm", "-f", name] in docker_calls(docker_place)


async def test_a_container_does_not_see_the_home_in_its_workspace(
    bench_of: Callable[..., Bench], docker_place: dict[str, str], tmp_path: Path
) -> None:
    bench = bench_of("docker")
    bench.workdir = tmp_path

    await bench.sh("true")

    (run,) = (words for words in docker_calls(docker_place) if words[0] == "run")
    assert f"type=tmpfs,target={tmp_path}/home" in run


async def test_a_container_that_is_gone_is_made_again_and_that_is_said(
    bench_of: Callable[..., Bench], docker_place: dict[str, str]
) -> None:
    bench = bench_of("docker")
    await bench.sh("export A=1; cd /")
    (name,) = containers(docker_place)
    os.kill(containers(docker_place)[name], signal.SIGKILL)
    carriers = bench.registry._processes
    assert carriers is not None
    for process in carriers.of_session(f"docker {name}"):
        await process.gone.wait()

    result = await bench.sh('echo "[$A]"; pwd')

    assert result.content.startswith("[this is a new container: what was changed outside of the working directory")
    assert f"\n[]\n{bench.workdir}\n" in result.content


async def test_why_a_container_cannot_be_made_is_told(make_bench: MakeBench, docker_place: dict[str, str]) -> None:
    bench = make_bench(TerminalSettings(place=DockerSettings(image="missing")), environ=docker_place)

    with pytest.raises(ToolFailed, match="docker: docker: Error response from daemon: pull access denied for missing"):
        await bench.sh("true")


def test_containers_of_processes_that_are_gone_are_removed(docker_place: dict[str, str]) -> None:
    place = Path(docker_place["DOCKER_CONFIG"])
    programs = [subprocess.Popen(["sleep", "1000"]) for _ in range(2)]
    for name, whose, program in zip(("old", "own"), ("1-999999999999", owner()), programs, strict=True):
        record = {"label": f"hermes.owner={whose}", "pid": program.pid}
        (place / f"hermes-{name}.json").write_text(json.dumps(record))
    try:
        assert remove_leftovers(docker_place) == 1
        assert programs[0].wait(5) == -signal.SIGKILL
        assert programs[1].poll() is None
    finally:
        for program in programs:
            program.kill()
            program.wait()


@needs_sshd
async def test_a_session_over_ssh_goes_on_after_a_restart_and_after_a_lost_connection(
    bench_of: Callable[..., Bench],
) -> None:
    before = bench_of("ssh")
    await before.sh("cd /; export A=kept")
    await before.registry.close()
    after = bench_of("ssh")

    assert (await after.sh('echo "$A"; pwd')).content == "kept\n/\n[exit code 0]"
    carriers = after.registry._processes
    assert carriers is not None
    (connection,) = carriers.of_session("ssh connection")
    await connection.kill_and_wait(0)
    lost = await after.sh('echo "$A"; pwd')
    assert lost.content == "[the connection was lost and is there again]\nkept\n/\n[exit code 0]"


@needs_sshd
async def test_an_unknown_host_key_and_a_wrong_key_are_told(make_bench: MakeBench, sshd: Sshd, tmp_path: Path) -> None:
    (tmp_path / "nobody").write_text("")
    strange = SshSettings(host="127.0.0.1", port=sshd.port, key_file=sshd.key_file, known_hosts=tmp_path / "nobody")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "wrong")], check=True)
    refused = SshSettings(host="127.0.0.1", port=sshd.port, key_file=tmp_path / "wrong", known_hosts=sshd.known_hosts)

    with pytest.raises(ToolFailed, match=r"ssh: .*Host key verification failed"):
        await make_bench(TerminalSettings(place=strange)).sh("true")
    with pytest.raises(ToolFailed, match=r"ssh: .*Permission denied"):
        await make_bench(TerminalSettings(place=refused)).sh("true")


async def test_a_backend_that_cannot_work_is_not_offered_and_nothing_runs_instead(
    make_bench: MakeBench, tmp_path: Path
) -> None:
    bench = make_bench(TerminalSettings(place=DockerSettings(image="x")), environ={"PATH": str(tmp_path)})
    terminal = next(state for state in bench.registry.toolsets() if state.name == "terminal")

    assert (terminal.is_enabled, terminal.is_configured) == (False, False)
    assert terminal.problem == "terminal.backend is docker, and there is no docker program"
    with pytest.raises(
        ToolFailed, match=r"No command runs: terminal\.backend is docker, and there is no docker program"
    ):
        await bench.sh("echo hi > ran")
    assert not (bench.workdir / "ran").exists()


@needs_sshd
async def test_more_sessions_at_once_than_a_connection_has_channels(bench_of: Callable[..., Bench]) -> None:
    bench = bench_of("ssh")

    results = await asyncio.gather(*(bench.sh(f"sleep 1; echo {n}", session=f"s{n}") for n in range(13)))

    assert [result.content for result in results] == [f"{n}\n[exit code 0]" for n in range(13)]
