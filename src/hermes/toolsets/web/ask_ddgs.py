"""Asks search engines through the library ddgs, in a process of its own: `python ask_ddgs.py < question.json`.

The library blocks, and has threads that wait for engines that do not answer: a process can be stopped. The question is
`query`, `region`, `backend`, `max_results`, `timeout`; printed is `results` (of `title`, `href`, `body`), or `error`, a
sentence's end. Imports nothing of hermes: it starts from its path.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

NOTHING = "No results found."


def main(question: dict[str, Any]) -> dict[str, Any]:
    logging.disable(logging.CRITICAL)
    from ddgs import DDGS
    from ddgs.engines import ENGINES
    from ddgs.exceptions import DDGSException, RatelimitException, TimeoutException

    known = ENGINES["text"]
    wanted = [name.strip() for name in question["backend"].split(",") if name.strip()] or ["auto"]
    unknown = [name for name in wanted if name not in known and name != "auto"]
    if unknown:
        there = ", ".join(["auto", *sorted(known)])
        return {"error": f"web.search_backend names {', '.join(unknown)}; there are {there}"}
    try:
        results = DDGS(timeout=question["timeout"]).text(
            question["query"],
            region=question["region"],
            max_results=question["max_results"],
            backend=",".join(wanted),
        )
    except RatelimitException:
        return {"error": "the search engines want fewer questions; wait a minute"}
    except TimeoutException:
        return {"error": "the search engines did not answer in time"}
    except DDGSException as error:
        said = str(error)
        return {"results": []} if NOTHING in said else {"error": " ".join(said.split())[:300]}
    return {"results": results}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(json.loads(sys.stdin.read()))))
