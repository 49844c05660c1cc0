"""Every text that people read is there in Chinese, and what is compiled is what is written."""

import pytest

from hermeslink.core.language import CHINESE, ENGLISH, of_terminal, translations
from tools.translations import LANGUAGES, problems


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_is_left_to_translate(language):
    assert problems(language) == []


def test_the_catalogue_is_found_and_english_stands_in_the_code():
    assert translations(CHINESE).gettext("Pair a device") == "配对设备"
    assert translations(ENGLISH).gettext("Pair a device") == "Pair a device"


@pytest.mark.parametrize(
    ("environ", "language"),
    [
        ({"LANG": "zh_CN.UTF-8"}, CHINESE),
        ({"LC_ALL": "en_US.UTF-8", "LANG": "zh_CN.UTF-8"}, ENGLISH),
        ({"LC_ALL": "", "LC_MESSAGES": "zh_TW"}, CHINESE),
        ({"LANG": "C.UTF-8"}, ENGLISH),
        ({}, ENGLISH),
    ],
)
def test_the_terminal_says_its_language_by_its_locale(environ, language):
    assert of_terminal(environ) == language
