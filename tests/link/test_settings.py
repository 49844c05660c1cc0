"""Every name that `hermeslink config` takes, and what it says to those it does not."""

import json

import pytest

from hermes.core.errors import ConfigError, InvalidInput
from hermeslink.home import LinkHome, link_home
from hermeslink.settings import NAMES, load_settings, set_setting


@pytest.fixture
def home(tmp_path):
    home = LinkHome(tmp_path / "link")
    home.make()
    return home


def test_without_a_file_everything_is_as_published(home):
    settings = load_settings(home, {})
    assert settings.model_dump() == {
        "port": 18642,
        "listen-host": "0.0.0.0",
        "lan-host": None,
        "language": "auto",
        "log-level": "info",
        "allowed-hosts": [],
        "trusted-proxies": [],
        "cors-origins": [],
        "access-token-minutes": 15,
        "update-check": True,
    }
    assert set(settings.model_dump()) == set(NAMES)


@pytest.mark.parametrize(
    ("name", "text", "kept"),
    [
        ("port", "18700", 18700),
        ("lan-host", "192.168.1.7", "192.168.1.7"),
        ("lanHost", "Studio.Local", "studio.local"),
        ("lan_host", "", None),
        ("listen-host", "[::]", "::"),
        ("language", "zh_CN.UTF-8", "zh-CN"),
        ("log-level", "WARNING", "warn"),
        ("allowed-hosts", "link.example.org, 10.0.0.2", ["link.example.org", "10.0.0.2"]),
        ("allowed-hosts", "", []),
        ("trusted-proxies", "10.0.0.0/8,::1", ["10.0.0.0/8", "::1/128"]),
        ("cors-origins", "https://Chat.example.org:8443/", ["https://chat.example.org:8443"]),
        ("access-token-minutes", "120", 120),
        ("update-check", "False", False),
        ("updateCheck", "true", True),
    ],
)
def test_a_value_is_kept_in_its_own_form(home, name, text, kept):
    set_setting(home, name, text)
    written = json.loads(home.config_file.read_text())
    assert list(written.values()) == [kept]
    assert load_settings(home, {}).model_dump()[next(iter(written))] == kept
    assert home.config_file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("ports", "1", "there is no setting 'ports'; there are: port, listen-host"),
        ("port", "seven", 'port cannot be "seven": a whole number from 0 to 65535'),
        ("port", "65536", "a whole number from 0 to 65535"),
        ("language", "de", 'language cannot be "de": use auto, en, zh-CN'),
        ("log-level", "loud", "use debug, info, warn, error"),
        ("listen-host", "0.0.0.0:80", "without a port"),
        ("listen-host", "", "is no host"),
        ("lan-host", "1.2.3", "is no host"),
        ("allowed-hosts", "a b", "is no host"),
        ("trusted-proxies", "proxy", "is no address or network"),
        ("cors-origins", "*", "is no origin"),
        ("cors-origins", "https://a@b", "no user name"),
        ("access-token-minutes", "0", "a whole number from 1 to 1440"),
        ("update-check", "no", 'update-check cannot be "no": use true or false'),
        ("update-check", "", "use true or false"),
    ],
)
def test_a_wrong_name_or_value_is_refused_and_nothing_is_written(home, name, text, said):
    with pytest.raises(InvalidInput, match=said.replace("(", r"\(").replace("*", r"\*")):
        set_setting(home, name, text)
    assert not home.config_file.exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "config.json is no JSON: .*line 1.*Mend it, or remove it"),
        ("[]", "has to hold an object"),
        ('{"colour": 1}', "config.json: there is no setting 'colour'"),
        ('{"port": true}', "config.json: port cannot be true: a whole number from 0 to 65535"),
        ('{"update-check": 0}', "config.json: update-check cannot be 0: use true or false"),
        ('{"port": "x", "language": 3}', "config.json: port cannot be .*; .*config.json: language cannot be 3"),
    ],
)
def test_a_wrong_file_is_told_with_its_name(home, text, said):
    home.config_file.write_text(text)
    with pytest.raises(ConfigError, match=said):
        load_settings(home, {})


def test_a_variable_beats_the_file_and_is_named_when_it_is_wrong(home):
    set_setting(home, "language", "en")
    assert load_settings(home, {"HERMESLINK_LANG": "zh"}).language == "zh-CN"
    assert load_settings(home, {"HERMESLINK_LOG_LEVEL": "debug"}).log_level == "debug"
    assert load_settings(home, {"HERMESLINK_LISTEN_HOST": "127.0.0.1"}).listen_host == "127.0.0.1"
    with pytest.raises(ConfigError, match="HERMESLINK_LANG: language cannot be"):
        load_settings(home, {"HERMESLINK_LANG": "fr"})


def test_names_in_the_file_may_be_written_in_each_way(home):
    home.config_file.write_text('{"lanHost": "10.1.1.1", "access_token_minutes": 30}')
    settings = load_settings(home, {})
    assert (settings.lan_host, settings.access_token_minutes) == ("10.1.1.1", 30)


def test_a_home_is_the_users_unless_a_variable_names_another(tmp_path):
    assert link_home({"HOME": str(tmp_path)}).path == tmp_path / ".hermeslink"
    assert link_home({"HOME": str(tmp_path), "HERMESLINK_HOME": "~/phone"}).path == tmp_path / "phone"


def test_what_is_made_is_for_its_owner_alone(home):
    assert [path.stat().st_mode & 0o777 for path in (home.path, home.blobs_dir, home.logs_dir, home.run_dir)] == [
        0o700
    ] * 4
    assert home.too_open() == []
