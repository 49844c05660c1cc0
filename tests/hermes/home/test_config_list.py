from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from hermes.home.config_file import add_to_config_list, read_config


def test_what_is_allowed_for_always_is_added_once_and_comments_stay(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("# mine\ncommand_allowlist:\n  - ls *  # harmless\n")
    for item in ("git push*", "git push*"):
        add_to_config_list(path, "command_allowlist", item)
    assert read_config(path) == {"command_allowlist": ["ls *", "git push*"]}
    assert "# mine" in path.read_text() and "# harmless" in path.read_text()


def test_two_at_the_same_time_both_get_in(tmp_path):
    path = tmp_path / "config.yaml"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: add_to_config_list(path, "command_allowlist", f"c{n}"), range(8)))
    assert sorted(read_config(path)["command_allowlist"]) == [f"c{n}" for n in range(8)]
