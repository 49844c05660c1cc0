"""Write docs/reference/{settings,errors,events,approvals,tools,http,link-http}.md from the code.

`--check`: exit 1 when a file is not as it would be.

A page is a function; PAGES names its file. What the code does not say (what an error means) is said here, and a code
without its sentence fails.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

from http_page import http_page  # type: ignore[import-not-found] # beside this script
from link_page import link_page  # type: ignore[import-not-found] # beside this script
from scope_page import scopes_page  # type: ignore[import-not-found] # beside this script
from tool_pages import approvals_page, tools_page  # type: ignore[import-not-found] # beside this script

from hermes.api.errors import RULES
from hermes.core.event import EVENT_TYPES, KeptEvent, is_final
from hermes.core.providers import LOCAL, PROVIDERS
from hermes.core.run import Usage
from hermes.home.names import ALIASES, PLACES, WITHOUT_EFFECT, Setting, known_settings, sections
from hermes.home.settings import Settings

REFERENCE = Path(__file__).resolve().parent.parent / "docs" / "reference"
MADE_BY = "<!-- Made by tools/generate_docs.py: `make docs` writes it anew, `make check` compares it. -->"


def main(arguments: list[str]) -> int:
    is_check = "--check" in arguments
    stale = []
    for name, page in PAGES.items():
        path = REFERENCE / name
        text = page()
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        if is_check:
            stale.append(name)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote docs/reference/{name}")
    for name in stale:
        print(f"docs/reference/{name} is not what the code says; write it anew with: make docs", file=sys.stderr)
    return 1 if stale else 0


def settings_page() -> str:
    known = list(known_settings().values())
    alone = [
        setting
        for setting in known
        if setting.name.partition(".")[0] not in sections() and not re.search(r"(\[\]|\*)\.", setting.name)
    ]
    parts = [
        "# Settings",
        MADE_BY,
        "A setting is looked for in the environment, then in `.env`, then in `config.yaml`, then here; the first place "
        "that has it counts, and an empty variable is none. How to change one: [Configuration](../configuration.md). "
        "In `config.yaml`, `approvals.timeout` is the line `timeout:` below `approvals:`. `*` stands for a name of "
        "yours.",
    ]
    for section in sections():
        info = Settings.model_fields[section]
        inside = [setting for setting in known if setting.name.startswith(section + ".")]
        parts += [f"## {section}", info.description or "", _settings_table(inside)]
        if section == ALIASES[0]:
            others = " and ".join(f"`{alias}`" for alias in ALIASES[1:])
            parts.append(f"In `config.yaml` the section may stand under {others} too; the first of the three counts.")
    parts += ["## At the top of config.yaml", _settings_table(alone)]
    parts += [
        "## Keys of providers",
        "They belong into `.env` or the environment: `hermes config set OPENAI_API_KEY sk-…`. The first provider in "
        "this order that has a key answers, when `model` is not set. `model.key_env` may name any other variable.",
        _table(
            ("provider", "variable", "model, unless you name one"),
            ((f"`{each.name}`", _codes(each.keys), f"`{each.default_model}`") for each in PROVIDERS),
        ),
        "`OPENAI_BASE_URL` moves the address of `openai`, `OLLAMA_HOST` that of Ollama. Servers of this machine are "
        "looked for at " + ", ".join(f"`{url}` ({name})" for name, url in LOCAL.items()) + ".",
        "## Other variables",
        _table(
            ("variable", "meaning"),
            [
                *((f"`{name}`", text[0].upper() + text[1:] + ".") for name, text in PLACES.items()),
                *((f"`{name}`", text[0].upper() + text[1:] + ".") for name, text in WITHOUT_EFFECT.items()),
            ],
        ),
    ]
    return _page(parts)


def errors_page() -> str:
    missing = sorted(set(RULES) - set(MEANINGS))
    unknown = sorted(set(MEANINGS) - set(RULES))
    if missing or unknown:
        raise SystemExit(f"MEANINGS in {__file__}: say what {missing} mean, remove {unknown}")
    retry = {None: "", True: "yes", False: "no"}
    rows = (
        (f"`{code}`", str(rule.status), f"`{rule.type}`", retry[rule.may_retry], MEANINGS[code])
        for code, rule in RULES.items()
    )
    example = {
        "error": {
            "message": "no run 'run_1x'",
            "type": RULES["run_not_found"].type,
            "param": None,
            "code": "run_not_found",
        }
    }
    return _page(
        [
            "# Errors",
            MADE_BY,
            "Every error of the HTTP API, whatever the route, has OpenAI's envelope:",
            f"```json\n{json.dumps(example)}\n```",
            "`code` is stable: match on it. `message` is for a person, names the thing and the way out, and may "
            "change. `param` is the field of the request, where one is to blame. 429 and 503 carry `Retry-After` "
            "where waiting helps. The column *again?* is the header `x-should-retry`, which the OpenAI SDKs follow; "
            "empty leaves it to the client.",
            _table(("code", "status", "type", "again?", "meaning"), rows),
            "In a stream that has begun, the same envelope comes as a chunk, and the stream ends without `[DONE]`. A "
            "run that failed keeps the error in `error` of `GET /v1/runs/{id}` and of its event "
            "[`run.failed`](events.md#runfailed).",
            "The command line prints the message after `hermes:` on stderr. It exits with 2 when the command or the "
            "configuration is wrong, 1 for any other error, 130 after Ctrl+C; `HERMES_DEBUG=1` shows the traceback.",
        ]
    )


def events_page() -> str:
    parts = [
        "# Events",
        MADE_BY,
        "A run writes a list of events; every protocol shows that list in its own form. Each event is kept before it "
        "is sent: who joins late or comes back sees the same events under the same numbers, each once, in order.",
        "An event has "
        + _listed(_fields(KeptEvent))
        + ". `seq` counts from 1 within the run, without gaps; `timestamp` is in "
        "unix seconds. The fields below come on top. The last event of a run is "
        + " or ".join(f"`{name}`" for name, kind in EVENT_TYPES.items() if is_final(_blank(kind)))
        + ".",
        "`usage` is " + _listed(_fields(Usage)) + "; `cost_usd` is null where the price is unknown.",
    ]
    for name, kind in EVENT_TYPES.items():
        doc = (kind.__doc__ or "").strip()
        parts.append(f"## {name}")
        if doc and not doc.startswith(f"{kind.__name__}("):  # a dataclass without a docstring gets its signature
            parts.append(re.sub(r"\s+", " ", doc))
        rows = [(f"`{field}`", kind_of) for field, kind_of in _fields(kind)]
        parts.append(_table(("field", "type"), rows))
    return _page(parts)


MEANINGS = {
    "invalid_request": "The request is wrong; `param` names the field.",
    "invalid_json": "The body is not JSON.",
    "invalid_host": "The `Host` header is missing, double or no host.",
    "invalid_session_id": "`X-Hermes-Session-Id` is not 1 to 256 letters, digits, `.`, `_`, `:` or `-`.",
    "invalid_session_key": "`X-Hermes-Session-Key` has control characters, or more than 256.",
    "invalid_idempotency_key": "`Idempotency-Key` is not 1 to 255 visible ASCII characters.",
    "invalid_content_part": "A part of a message's content is not as its type wants it.",
    "invalid_image_url": "An image is neither an https nor a data:image URL.",
    "unsupported_content_type": "A part of a message's content, or its file, is of a type that cannot be read.",
    "unsupported_parameter": "A parameter asks for what this server does not do, such as `n` above 1.",
    "unknown_toolset": "There is no toolset of this name.",
    "context_length_exceeded": "The conversation is longer than the model takes.",
    "invalid_approval_choice": "The choice is not among those that the question offers.",
    "invalid_schedule": "The schedule of a job cannot be read, or its time has passed; the message has examples.",
    "invalid_timezone": "`timezone` is no name of the IANA list, such as Europe/Berlin.",
    "invalid_delivery": "`deliver` is none of local, webhook:URL and session:ID, or leads where it may not.",
    "job_not_found": "No job of this key has the id.",
    "job_completed": "The job has no more times; give it another `schedule` or `repeat`.",
    "invalid_callback_url": "`callback_url` is no URL that this server may send to; the message says why.",
    "address_refused": "A URL leads to an address that this server does not fetch from.",
    "invalid_api_key": "The API key is missing or wrong.",
    "forbidden": "The key may not do this.",
    "insufficient_scope": "The key's scope does not reach to this route.",
    "origin_not_allowed": "A web page of another origin tried to write; `API_SERVER_CORS_ORIGINS` allows it.",
    "not_found": "There is no such thing, or it is somebody else's.",
    "model_not_found": "The request names a model that nothing serves.",
    "previous_response_not_found": "There is no response of this id, or it is somebody else's.",
    "run_not_found": "There is no such run, or it is somebody else's.",
    "session_busy": "The session has an open run: it cannot be deleted, nor another process of its home go on with it.",
    "invalid_title": "A session's title is one line of at most 200 characters.",
    "invalid_system_prompt": "A session's system prompt is text of at most 100,000 characters.",
    "invalid_system_message": "`system_message` or `instructions` of a session chat is text.",
    "missing_message": "A session chat says nothing: send `message`.",
    "unsupported_session_field": "Only `title` and `end_reason` of a session can be changed; `param` names the other.",
    "session_not_found": "There is no such session, or it is somebody else's.",
    "response_not_found": "There is no such response, it is somebody else's, or it was made with `store: false`.",
    "response_not_background": "Only a response made with `background` can be cancelled by its id.",
    "response_in_progress": "The response cannot be deleted while it runs.",
    "conversation_taken": "The conversation's name belongs to another session.",
    "file_not_found": "There is no such uploaded file, or it is somebody else's; `param` names the part that asks.",
    "method_not_allowed": "The route has other methods; `Allow` names them.",
    "request_timeout": "The body did not come in time.",
    "conflict": "The thing is not in a state for this.",
    "idempotency_key_conflict": "The `Idempotency-Key` was used with another body.",
    "approval_not_pending": "The run waits for no such approval.",
    "approval_not_active": "The run has ended, or never asked.",
    "clarify_not_pending": "The run waits for no answer to this question.",
    "clarify_not_active": "The run has ended, or its model asked nothing.",
    "run_not_active": "The run has ended, or is stopping already.",
    "run_not_accepting_steer": "The run has ended, or cannot be steered now.",
    "session_exists": "There is a session of this id.",
    "run_cancelled": "The run was stopped before it could answer.",
    "body_too_large": "The body is larger than the route takes.",
    "file_quota_exceeded": "The key's files take all the room they may; delete some, or raise `uploads.total_mb`.",
    "range_not_satisfiable": "The `Range` asked for begins behind the file's end.",
    "unsupported_media_type": "The body must be `application/json`.",
    "host_not_allowed": "This `Host` is not known; `API_SERVER_ALLOWED_HOSTS` adds it.",
    "limit_reached": "The run reached a limit; `param` says which: see `limits` in [Settings](settings.md#limits).",
    "too_many_attempts": "Too many wrong API keys came from this address.",
    "rate_limit_exceeded": "The line of waiting requests is full, or the wait was too long.",
    "budget_exceeded": "The key has spent its budget; it can still read.",
    "upstream_rate_limited": "The model's provider limits the rate, and so did the fallbacks.",
    "internal_error": "A mistake of this server; the log has it under the request's id.",
    "config_error": "A setting is wrong; the message names it.",
    "tool_failed": "A tool could not do its work.",
    "upstream_error": "The model's server failed.",
    "upstream_auth": "The model's server does not take the key it was given.",
    "upstream_rejected": "The model's server rejects the request; 400 where a parameter of yours is to blame.",
    "upstream_unreachable": "The model's server cannot be reached.",
    "upstream_stream_cut": "The model's server broke off in the middle of its answer.",
    "no_model": "No language model is connected; the message says how to connect one.",
    "embedded_model_missing": "The built-in model is not installed.",
    "embedded_model_no_room": "The built-in model needs more disk or memory than there is.",
    "embedded_model_wrong": "The parts of the built-in model are damaged.",
    "gateway_draining": "The gateway is stopping.",
    "profile_elsewhere": "The profile has a gateway of its own that runs; the message says where.",
    "run_interrupted": "The gateway stopped in the middle of the run; what was said is kept.",
    "store_unavailable": "The database cannot be reached.",
    "store_corrupt": "The database is damaged.",
}

PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "errors.md": errors_page,
    "events.md": events_page,
    "approvals.md": lambda: approvals_page(MADE_BY),
    "tools.md": lambda: tools_page(MADE_BY),
    "http.md": lambda: http_page(MADE_BY),
    "link-http.md": lambda: link_page(MADE_BY),
    "scopes.md": lambda: scopes_page(MADE_BY),
}


def _settings_table(settings: Iterable[Setting]) -> str:
    rows = []
    for setting in settings:
        default = "" if setting.default is None else f"`{json.dumps(setting.default)}`"
        kind = setting.expected.removeprefix("a ").removeprefix("one of ")
        if setting.takes_commas:
            kind += ", or one text with commas"
        secret = " A secret." if setting.is_secret else ""
        variable = f"`{setting.env}`" if setting.env else ""
        rows.append((f"`{setting.name}`", kind, default, variable, setting.description + secret))
    return _table(("name", "type", "default", "variable", "meaning"), rows)


def _fields(kind: type) -> list[tuple[str, str]]:
    hints = get_type_hints(kind)
    return [
        (field.name, _json_type(hints[field.name]))
        for field in fields(kind)
        if not str(hints[field.name]).startswith("typing.ClassVar") and field.name != "event"
    ]


def _json_type(hint: Any) -> str:
    simple = {str: "string", int: "integer", float: "number", bool: "true or false", type(None): "null"}
    if hint in simple:
        return simple[hint]
    text = str(hint)
    if text.startswith("tuple["):
        return f"list of {_json_type(get_args(hint)[0])}s"
    if "Mapping[" in text or text.startswith("dict["):
        return "object"
    return " or ".join(_json_type(part) for part in get_args(hint)) or "any"


def _blank(kind: type) -> Any:
    """An event with nothing in it: only its type is looked at."""
    return kind(**{field.name: None for field in fields(kind) if field.default is MISSING})


def _listed(pairs: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"`{name}` ({kind})" for name, kind in pairs)


def _codes(names: Iterable[str]) -> str:
    return " or ".join(f"`{name}`" for name in names)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _page(parts: list[str]) -> str:
    return "\n\n".join(part for part in parts if part) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
