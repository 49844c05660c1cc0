from __future__ import annotations

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from hermes.core.ids import is_session_id, new_id


def test_an_id_has_its_prefix_and_128_random_bits():
    assert re.fullmatch(r"run_[0-9a-f]{32}", new_id("run"))


def test_threads_never_get_the_same_id():
    with ThreadPoolExecutor(8) as pool:
        drawn = [one for many in pool.map(lambda _: [new_id("x") for _ in range(2_000)], range(8)) for one in many]
    assert len(set(drawn)) == 16_000


def test_a_forked_child_draws_ids_of_its_own():
    script = (
        "import os; from hermes.core.ids import new_id; new_id('x'); r, w = os.pipe()\n"
        "if os.fork() == 0: os.write(w, new_id('x').encode()); os._exit(0)\n"
        "print(os.read(r, 99).decode() == new_id('x'))"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert told.stdout == "False\n"


def test_a_session_id_has_only_characters_that_are_safe_everywhere():
    assert is_session_id("team-a:chat.7_x")
    assert not any(is_session_id(text) for text in ("", "a b", "a/b", "é", "x" * 257, "a\n"))
