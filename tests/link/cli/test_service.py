"""`hermeslink start`, `stop`, `restart`, `status`: a real process, started by a command in this one."""

import json
import os
import signal
import socket
import urllib.request
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from hermeslink.service import background, lock

pytestmark = pytest.mark.sqlite("Link keeps its data in SQLite")


def version_at(url):
    with urllib.request.urlopen(f"{url}/api/v1/system/version", timeout=10) as answer:
        return json.load(answer)


def status_of(hermeslink):
    done = hermeslink("status", "--json")
    return done.code, json.loads(done.out)


def test_a_start_in_the_background_is_one_process_that_a_stop_ends(hermeslink):
    assert status_of(hermeslink)[0] == 1
    started = hermeslink("start")
    assert started.code == 0
    assert "[Hermes Link] listening on http://127.0.0.1:" in started.out
    code, facts = status_of(hermeslink)
    assert (code, facts["running"], facts["answers"]) == (0, True, True)
    assert version_at(facts["url"])["ok"]
    assert "It runs already" in hermeslink("start").out
    assert "Stopped" in hermeslink("stop").out
    assert hermeslink("stop").out == "It does not run.\n"
    assert status_of(hermeslink)[0] == 1


def test_a_second_one_in_the_foreground_says_which_runs(hermeslink):
    hermeslink("start")
    done = hermeslink("start", "--foreground")
    assert done.code == 1
    assert "Link runs already at http://127.0.0.1:" in done.err


def test_one_that_is_just_starting_is_waited_for(hermeslink):
    """As in the foreground, or by a supervisor: it holds the lock, and does not say yet where it is."""
    home = hermeslink.home
    home.make()
    held = lock.take(home, now=1.0)
    with ThreadPoolExecutor() as pool:
        started = pool.submit(background.start, home, hermeslink.full_environ)
        assert wait([started], timeout=0.2).not_done
        held.announce(lock.Process(os.getpid(), 1.0, "http://127.0.0.1:1", is_ready=True))
        found = started.result(60)
    assert found.was_running
    assert found.process.url == "http://127.0.0.1:1"
    held.release()


def test_a_start_goes_on_where_another_gave_up(hermeslink):
    home = hermeslink.home
    home.make()
    held = lock.take(home, now=1.0)
    with ThreadPoolExecutor() as pool:
        started = pool.submit(background.start, home, hermeslink.full_environ)
        held.release()
        assert not started.result(60).was_running
    assert status_of(hermeslink)[0] == 0


def test_a_restart_is_another_process_and_wrong_settings_stop_none(hermeslink):
    hermeslink("start")
    first = status_of(hermeslink)[1]["pid"]
    kept = hermeslink.home.config_file.read_text()
    hermeslink.home.config_file.write_text('{"port": "no"}')
    assert hermeslink("restart").code == 2
    hermeslink.home.config_file.write_text(kept)
    assert status_of(hermeslink)[1]["pid"] == first
    assert hermeslink("restart").code == 0
    assert status_of(hermeslink)[1]["pid"] != first


def test_one_that_was_killed_does_not_count_as_running(hermeslink):
    hermeslink("start")
    pid = status_of(hermeslink)[1]["pid"]
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert "listening on" in hermeslink("start").out


def test_a_port_that_is_taken_is_exit_2_and_says_how_to_take_another(hermeslink):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        hermeslink("config", "set", "port", str(port))
        done = hermeslink("start")
    assert done.code == 2
    assert f"cannot listen on 127.0.0.1:{port}" in done.err
    assert f"hermeslink config set port {port + 1}" in done.err


def test_what_it_writes_is_for_its_owner_alone(hermeslink):
    hermeslink("start")
    files = [path for path in hermeslink.home.path.rglob("*") if path.is_file()]
    assert {"link.db", "link.log", "link.out", "link.pid"} <= {path.name for path in files}
    assert [path for path in files if path.stat().st_mode & 0o077] == []
    assert hermeslink.home.too_open() == []
