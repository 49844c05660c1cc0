"""The pages about tools and approvals for `generate_docs.py`: tables from the code, sentences from here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hermes.agent.file_rules import FileRule
from hermes.agent.home_rules import ASKING, HARMLESS, RUNS_CODE
from hermes.agent.judge import FOR_PEOPLE
from hermes.agent.rule import Rule, Scope, exact, host, program
from hermes.agent.rules import DANGEROUS, HARD_BLOCKED, READ_RULES, WRITE_RULES
from hermes.core.injection import RULES as INJECTIONS
from hermes.core.toolset import COMPOSITES, TOOLS, TOOLSETS, CompositeInfo
from hermes.home.memory import MemoryLimits
from hermes.toolsets.browser import browser_toolset
from hermes.toolsets.clarify import clarify_toolset
from hermes.toolsets.code_execution import CodeSettings, code_execution_toolset
from hermes.toolsets.cronjob import cronjob_toolset
from hermes.toolsets.delegation import delegation_toolset
from hermes.toolsets.homeassistant import homeassistant_toolset
from hermes.toolsets.image_gen import image_gen_toolset
from hermes.toolsets.paths import SECRET_FILES, SECRET_IN_HOME, Reach
from hermes.toolsets.registry import build_registry
from hermes.toolsets.settings import FileSettings, TerminalSettings, WebSettings
from hermes.toolsets.stt import stt_toolset
from hermes.toolsets.todo import MOST_TODOS
from hermes.toolsets.tts import LONGEST_TEXT, tts_toolset
from hermes.toolsets.vision import vision_toolset
from hermes.toolsets.web import web_toolset

FURTHER = (
    web_toolset(),
    browser_toolset(),
    delegation_toolset(None),
    cronjob_toolset(None),
    clarify_toolset(None),
    code_execution_toolset(CodeSettings()),
    vision_toolset(None, Reach()),
    image_gen_toolset(None, Reach()),
    stt_toolset(None, Reach()),
    tts_toolset(None, Reach()),
    homeassistant_toolset(None),
)
"""Toolsets that `hermes.app` adds to those of the registry."""

SCOPES: dict[Scope, str] = {
    exact: "this very command",
    program: "the program and its subcommand",
    host: "the program and the host, where its words name one alone; else this very command",
}

GATE = """\
Every tool call of every way in passes one gate (`agent/approval.py`) before it runs. A call is allowed, dangerous
(somebody is asked) or blocked. The gate asks in this order; the first that speaks decides:

1. **Blocked** by a rule below, or named by `approvals.deny`: refused, whatever the mode, the lists and the answers.
   A deny pattern is a glob (`*`, `?`) over the whole text, over each single command in it after quotes are taken off,
   and over the paths of a file tool: `npm publish*`, `*/production/*`.
2. **Allowed**: no rule names it. It runs.
3. **Mode off** (`approvals.mode`): what is dangerous runs without a question. Not what is blocked.
4. **Allowed before**: for this session, or for always (`command_allowlist`).
5. **Who is asked** depends on the way in: a run, a session's chat and a streamed chat wait for a person
   (`approvals.timeout`, 60 s, then it is a no); a plain JSON call is denied at once; a job follows
   `approvals.cron_mode`.

The answers: `once`; `session`, until the session is deleted, on every node; `always`, which writes the pattern into
`command_allowlist` of the node where the run is; `deny`. The model is told why a call did not run."""

SMART = """\
`approvals.mode: smart` puts a model before the person: `approvals.model`, or the one that answers. It is shown the
action, its rule and the working directory as JSON, and nothing else: neither what the user said nor what tools gave
back, since both may hold somebody else's words. It answers allow, deny or ask. What is no such answer, comes after
10 s, or fails, is asked like in `manual`. Its usage counts in the run's. The run's events say who decided:
`approval.responded` with `by` `smart` and `outcome` `policy`, without an `approval.request` before it.

It never judges what is blocked or on the deny list; where nobody could be asked after it (a plain JSON call, a job
with `cron_mode: deny`), which stays denied; actions whose text speaks to a reader (`core/injection.py`) or is longer
than 4,000 characters; the rules {for_people}; and nothing more in a run in which it or a person has said no. The
built-in model judges nothing: all is asked. A model can be wrong; `manual` is the default."""

READING = """\
A command is read as a shell reads it, so the way it is written does not matter: quotes, `$'\\x72m'`, backslashes,
`${IFS}`, constant variables, brace lists, here-documents, pipes, `;`, subshells, `$(…)`; `sudo`, `env`, `nice`,
`timeout`, `xargs`, `find -exec`, `bash -c`, `eval`, `echo … | base64 -d | sh` and programs in the text of `python -c`
are looked through, and so are options that hold a command (`git -c alias.x=!…`, `tar --to-command`, `vim -c :!…`,
`make SHELL=…`), variables that do (`GIT_SSH_COMMAND`, `PAGER`), what `python -c` and its like do to files, scripts that
the same text writes and runs, and the last words of programs that no table names; full-width and look-alike letters
count as the letters they look like; paths are judged without `.`, `..`, `//` and symbolic links, and a pattern as what
it may mean. What is shown to a person is the real text, with invisible characters and those that turn the reading
direction written out as escapes, and with secrets hidden.

This is no sandbox. A program that the agent wrote itself, a Makefile, or text that is only made while it runs cannot
be read beforehand: the last kind asks (`unknown-code`), the others run with your rights. Where that is too much, give
the agent a user, a container or a machine of its own.

More than 1,400 commands, 350 of them harmless, are the test of these rules: `tests/hermes/agent/commands.py` and
`attacks.py`."""

ALLOWING = """\
What `session` and `always` allow is in the last column: for most rules this very command. An entry of
`command_allowlist` is such a pattern, or the id of a rule (`git-loses-work`: all of it), or the beginning of a pattern
and a `*` (`becomes-root: sudo apt*`). A command in which two rules speak needs both allowed."""

PACKAGES = """\
Installing into a project (`pip install`, `npm install`, `uv add`) is allowed: it runs other people's code with your
rights, but so do the tests that the agent runs anyway, and a question a minute is answered without reading. Installing
into the machine asks."""

TERMINAL = """\
`terminal` starts a fresh shell for each call: bash, where it is missing sh. The working directory, exported variables
and functions carry over to the next call of the session, also over a restart of the server; other variables and `set`
options do not. A call that is killed loses what it changed itself, and nothing else. Calls of one session run one after
another. Standard input is empty and there is no terminal device.

Standard output and error come back together, in order, with the exit code; escape sequences are taken out, a line that
was written over (a progress bar) is shown as it stood at the end, secrets are hidden. Of more than
{output_characters:,} characters the beginning and the end are shown, and the rest is kept in a file that the result
names; of very long output the first and the newest {piece_mb} MB pieces are kept. A result is marked as failed when
the exit code is not 0.

After `timeout` seconds (default {timeout_seconds:g}, at most {max_timeout_seconds:g}) the command is ended: SIGTERM,
after {kill_grace_seconds:g} s SIGKILL, to everything it started, `setsid` and double forks included. The same happens
at once when a run is stopped, when a session is closed, and when the server ends, even by `kill -9`. What a command
leaves running when it ends itself (`server &`) goes on, and is listed by `process`.

Commands get the server's environment without secrets: names that look like a secret's, everything from `.env`, our own
settings, and every variable that carries a known key. `terminal.env_passthrough` lists exceptions.

On Linux this holds whole. Where there is no `PR_SET_CHILD_SUBREAPER` (macOS), a process that leaves its group and its
parent can stay."""

FILES = """\
Relative paths start at the working directory of the run, not at the terminal's. A path is resolved once, links and `..`
included; what is then opened is that path, component by component and without following links. Directories, devices,
pipes and binary files are refused with a word on what to do; a missing file names files of nearly the same name.
Writing puts the whole file in place at once and keeps its mode.

`patch` wants `old_string` to stand in the file exactly once, or `replace_all`. Where it does not stand there exactly,
white space is forgiven, and the result says so. Line ends (CRLF) and a byte order mark stay. A patch of several files
is applied wholly or not at all.

`search_files` is ripgrep: Rust's regular expressions, `.gitignore` respected, hidden files included, `.git` not."""

MEMORY = """\
What is kept stands in the instructions of every later session, under a head that says how full it is (`MEMORY (your
notes) [67%, 1,474/2,200 characters]`). It is in two files of the home, `memories/MEMORY.md` and `memories/USER.md`:
text in entries, parted by lines of a single `§`, at most {memory:,} and {user:,} characters
(`memory.memory_char_limit`, `memory.user_char_limit`). A session is told what was there when it began, so that its
instructions stay the same to its end.

A call changes one file: `action` with `content` or `old_text`, or several `operations`, of which all are made or
none; the limit is looked at when all are done. `old_text` is a part of the one entry that is meant; when several
have it, the error shows their beginnings. Writing holds the home's lock for files and replaces the file whole. Edit
the files by hand if you like, or with `hermes memory edit`; what is no UTF-8 text, or larger than 1 MiB, is told
and never written over.

With `X-Hermes-Session-Key` each visitor has two files of its own, in `memories/visitors/` under a hash; an API key
other than the owner's has its own as well. Visitors see neither the owner's memory nor each other's. That holds for
this tool: who has the terminal or the file tools reads what you can read (but `memories/visitors/`), so give
visitors a key and toolsets without them.

Not kept are secrets, and text of the following kinds, which tells its reader what to do: memory is in every prompt,
and something that was read on a web page must not get there as an order. An entry of these kinds that came into a
file another way stays there and is left out of the prompt, with a word. The list is not whole, no such list can be:
the notes are also marked as notes, and no text passes the [gate](approvals.md) by itself."""

SESSION_SEARCH = """\
Everything that people and the agent said under the same API key, in sessions and single chats, the newest first;
not what tools returned. A run with a session key finds what was said with that session key alone. The running
session is left out unless `session_id` is `current`, and what belongs to the running turn always is. Without a
`query` it shows the end of the session that `session_id` names or, without one, the latest sessions."""

TODO = """\
The list is the session's: it is kept in the database, outlives a restart, is copied when the whole session is
forked, and goes with the session. `merge` changes items by their `id` and adds new ones behind them; without it,
`todos` is the whole list. At most {most_todos} items of 500 characters."""

SKILLS = """\
A skill is a folder `skills/[category/]NAME/` with a SKILL.md: a front matter with `name` and `description`, then
what to do (the [Agent Skills](https://agentskills.io) format). Beside it may lie `references/`, `templates/` and
`scripts/`. The names and descriptions of those that are enabled stand in the instructions of a session, as they
were when it began; the agent reads one with `skill_view` when it fits. `hermes skills` lists, installs and switches
them: [Skills](../skills.md).

`skill_manage` is for the owner alone, and passes the [gate](approvals.md) as writing the file would (`own-files`):
what is in a skill is told to later sessions. Text of the kinds that [memory](#memory-memory) refuses is refused
here, too. Built-in skills stay as they came; one of the home with the same name takes its place."""

DELEGATION = """\
Each task is a [run of its own](../runs.md#sub-agents) in a session of its own, told by `subagent.start` and
`subagent.complete` among the run's events. At most `delegation.max_children` work at once. A sub-agent has the run's
tools, but neither `delegate_task`, `clarify`, `memory` nor `cronjob`; what it does that is dangerous is asked at the
run."""

CRONJOB = """\
The [jobs](../jobs.md) of the key that asks, with the checks and the words of `/api/jobs`, and for whom that is open:
the owner, and keys with the scope `admin`; not for visitors with a session key. To create, update or remove one
passes the [gate](approvals.md) (`job`), as `crontab` does: it would act with nobody there. A run of a job can list,
pause and remove jobs, and neither make nor wake any."""

CLARIFY = """\
The question is `clarify.request` among the run's events. `POST /v1/runs/{run_id}/clarify` answers it, and so does
whatever is said to the run with `…/steer` while it waits; after `approvals.timeout` the model is told that nobody
answered. Runs, session chats, background responses and what is streamed can be asked; in a plain chat, a job and a
library call without a `clarify_callback` the model is told at once to put the question into its answer."""

WEB = """\
`web_search` asks search engines that need no key, or a SearXNG of your own; `web_extract` reads up to five pages at
once: HTML as markdown, text and JSON as they are, PDF and Office documents as text. Of more than {characters:,}
characters in a call (`web.output_characters`) the result says at which `offset` it goes on. Only public addresses are
asked, of redirects too, and those that `web.allow_private_hosts` names: [The web](../web.md)."""


VISION = """\
The picture is got by this server, from an https address of the internet, a data: URL, or a file that the file tools may
read, and shown to `vision.model`, else to the model that answers, where that takes pictures. At most {most_mb} MiB
(`vision.max_mb`). Addresses of your own network are refused unless `web.allow_private_hosts` names them. What it
uses counts with the run, its limits and its key's budget."""

IMAGE_GEN = """\
`POST {{base_url}}/images/generations` of OpenAI or of any server with that API. There from the moment that
`image_gen.model` is set (with `image_gen.base_url`, or `OPENAI_API_KEY` in `.env`). The picture is saved under a new
name in the working directory, or at `path`; that passes the [gate](approvals.md) as `write_file` does, before
anything is asked for."""

STT = """\
`POST {{base_url}}/audio/transcriptions`, from the moment that `stt.model` is set. The recording is a file that the file
tools may read, or is got from an https address as [pictures](#vision-vision) are (at most `stt.max_mb`)."""

TTS = """\
`POST {{base_url}}/audio/speech`, from the moment that `tts.model` is set. Saved like a
[picture](#image-generation-image_gen), as `tts.format`. At most {longest:,} characters at once."""

HOMEASSISTANT = """\
[Home Assistant](https://www.home-assistant.io)'s REST API, from the moment that `homeassistant.url` and `HASS_TOKEN` (a
long-lived access token, in `.env`) are set. Filtering by `area` needs the token of an administrator. What
`ha_call_service` may do without a question is said in [Approvals](approvals.md#services-of-a-home); the values of
`code` and `pin` are hidden in questions and events."""

HOME_SERVICES = """\
By `ha_call_service`. Lights, fans, what is playing and what only reads passes; code and commands for Home Assistant's
machine are blocked (`home-code`): there this gate cannot look. **Everything else asks** (`home-service`), and what is
allowed is this very call. Allow more in `command_allowlist`: `home-service: climate.*`. `homeassistant.turn_on` and
its like are judged as the domains of what they are called for."""


JOBS = """`job` asks before the tool `cronjob` creates, updates or removes a job. `session` and `always` allow that very
call; `job` in `command_allowlist` allows all of them."""

MCP_CALLS = """`mcp-call` asks before each call of a tool `mcp_NAME_TOOL`, unless `mcp_servers.NAME.trust` says that
it needs no question. `session` and `always` allow that tool; in `command_allowlist`, `mcp-call: mcp_NAME_*` allows all
of a server. Patterns of `approvals.deny` are matched with the tool's name, and with the name, a space and the arguments
as JSON."""

BROWSER = """\
For pages that need JavaScript or clicks; where it is not installed it is not offered: [how to switch it
on](../web.md#the-browser). Each session has pages of its own, without cookies of others; what a link opens in a new
window is the page from then on, and `browser_back` closes it. Every action gives the page as it is then: a tree of
what is on it, in which a `[ref=e12]` names what can be clicked. A page that nobody uses is closed after
`browser.idle_timeout`."""


def approvals_page(made_by: str) -> str:
    return _page(
        "# Approvals",
        made_by,
        GATE,
        "## Mode smart",
        SMART.format(for_people=", ".join(f"`{rule}`" for rule in sorted(FOR_PEOPLE))),
        "## How a command is read",
        READING,
        f"## Blocked: nothing lifts these {len(HARD_BLOCKED)}",
        _rules(HARD_BLOCKED, with_scope=False),
        f"## Dangerous: these {len(DANGEROUS)} ask",
        ALLOWING,
        PACKAGES,
        _rules(DANGEROUS, with_scope=True),
        "## Tools of MCP servers",
        MCP_CALLS,
        "## Jobs",
        JOBS,
        "## Files that are written",
        "By `write_file`, `patch`, and commands that write (`>`, `tee`, `cp`, …). The first that fits counts.",
        _file_rules(WRITE_RULES),
        "## Services of a home",
        HOME_SERVICES,
        _home_services(),
        "## Files that are read",
        _file_rules(READ_RULES),
        "The file tools refuse these whatever the gate says; a command that names one is blocked (the agent's own) or "
        "asks (`reads-secrets`):",
        _table(("path", "what it holds"), ((f"`{path}`", what) for path, what in _secret_files())),
    )


CODE_EXECUTION = """\
The code runs in [Monty](https://github.com/pydantic/monty), an interpreter for a part of Python that has no way to
files, network, environment or other processes. It gets {code.seconds:g} seconds of its own (what it waits for
tools does not count), 256 MiB and {code.recursion} nested calls; stopping the run ends it at once. Of what it
prints, of its value and of an error {code.output_characters:,} characters each are shown. The settings are
`code_execution.*`. It is the same whatever `terminal.backend` says.

The other tools of the run are functions of the code, but for those that ask the person or begin something of their
own (`clarify`, `delegate_task`). Arguments go by name, or by position in the order of the tool's table. Each call
passes the approval rules and is told of in events, with an id that begins with that of `execute_code`; at most
{code.max_calls} are made. Their results go to the code alone: the model sees what the code prints."""


def tools_page(made_by: str) -> str:
    registry = build_registry()
    for toolset in FURTHER:
        registry.add(toolset)
    tools = registry.tools
    terminal = TerminalSettings()
    facts = {name: getattr(terminal, name) for name in terminal.__slots__} | {"piece_mb": terminal.piece_bytes >> 20}
    limits, files = MemoryLimits(), FileSettings()
    most = (
        f"A read shows at most {files.read_lines:,} lines and {files.read_characters:,} characters; a search ends "
        f"after {files.search_timeout_seconds:g} seconds."
    )
    prose = {
        "terminal": TERMINAL.format(**facts),
        "file": f"{FILES}\n\n{most}",
        "memory": "\n\n".join([MEMORY.format(memory=limits.memory, user=limits.user), _injections()]),
        "session_search": SESSION_SEARCH,
        "todo": TODO.format(most_todos=MOST_TODOS),
        "skills": SKILLS,
        "delegation": DELEGATION,
        "cronjob": CRONJOB,
        "clarify": CLARIFY,
        "browser": BROWSER,
        "code_execution": CODE_EXECUTION.format(code=CodeSettings()),
        "web": WEB.format(characters=WebSettings().output_characters),
        "vision": VISION.format(most_mb=20),
        "image_gen": IMAGE_GEN.format(),
        "stt": STT.format(),
        "tts": TTS.format(longest=LONGEST_TEXT),
        "homeassistant": HOMEASSISTANT,
    }
    parts = [
        "# Tools",
        made_by,
        "What the agent can do, under the names that clients show. `toolsets` in `config.yaml`, or in a run, chooses "
        "among the toolsets. What is dangerous asks first: [Approvals](approvals.md).",
        *(_composite(composite) for composite in COMPOSITES.values()),
    ]
    for listed in TOOLSETS.values():
        parts += [f"## {listed.label} (`{listed.name}`)", listed.description + ".", prose[listed.name]]
        for info in listed.tools:
            spec = tools[info.name].spec
            again = "yes" if tools[info.name].is_idempotent else "no"
            parts += [
                f"### {TOOLS[info.name].emoji} `{info.name}`",
                f"{spec.description} Risk: {info.risk}. May be run again when its outcome was lost: {again}.",
                _table(("parameter", "type", "default", "meaning"), _parameters(spec.parameters)),
            ]
    return _page(*parts)


def _composite(composite: CompositeInfo) -> str:
    there = ", ".join(f"`{name}`" for name in composite.members if name in TOOLSETS)
    about = composite.description[0].lower() + composite.description[1:]
    return (
        f"`{composite.name}` is a name for several of them ({about}): "
        f"it gives what is there of {there}, as far as the owner has it on, and shows what is remembered without the "
        "tool that changes it. It goes wherever a toolset's name goes: `toolsets`, `platform_toolsets`, a run, a job, "
        "`AIAgent`."
    )


def _injections() -> str:
    return _table(
        ("not kept: it …", "for example"),
        (
            ("holds an invisible or control character", "zero-width spaces, direction overrides, escapes"),
            *((rule.description, ", ".join(f"`{text}`" for text in rule.examples[:2])) for rule in INJECTIONS),
        ),
    )


def _rules(rules: Iterable[Rule], *, with_scope: bool) -> str:
    head = ("rule", "this …", "for example", *(("allowing it allows",) if with_scope else ()))
    return _table(
        head,
        (
            (
                f"`{rule.id}`",
                rule.description,
                ", ".join(f"`{example}`" for example in rule.examples[:4]),
                *((_scope(rule),) if with_scope else ()),
            )
            for rule in rules
        ),
    )


def _scope(rule: Rule) -> str:
    return (
        SCOPES.get(rule.scope)
        or {
            "recursive-delete": "`rm` of anything in the working directory, else this very command",
            "becomes-root": "the program and the next two words",
            "git-loses-work": "the program and its subcommand; of `git config`, this very command",
            "remote-code": "what is run, from the same machine",
        }[rule.id]
    )


def _file_rules(rules: Iterable[FileRule]) -> str:
    return _table(
        ("rule", "level", "this …", "for example"),
        ((f"`{r.id}`", r.level, r.description, ", ".join(f"`{path}`" for path in r.examples)) for r in rules),
    )


def _home_services() -> str:
    return _table(
        ("level", "service", ""),
        (
            *(("blocked", f"`{domain}.*`", f"reaches {what}") for domain, what in RUNS_CODE.items()),
            *(
                ("allowed", f"`{domain}`: {', '.join(f'`{name}`' for name in names)}", "")
                for domain, names in HARMLESS.items()
            ),
            *(("asks, for example", f"`{service}`", why) for service, why in ASKING.items()),
        ),
    )


def _secret_files() -> Iterable[tuple[str, str]]:
    yield from SECRET_FILES.items()
    for path, what in SECRET_IN_HOME.items():
        yield f"HERMES_HOME/{path}", what


def _parameters(schema: Mapping[str, Any]) -> Iterable[tuple[str, ...]]:
    required = schema.get("required", ())
    for name, about in schema["properties"].items():
        kinds = [about, *about.get("anyOf", ())]
        words = [_kind(kind) for kind in kinds if "type" in kind or "enum" in kind]
        default = "required" if name in required else "" if about.get("default") is None else f"`{about['default']}`"
        yield f"`{name}`", ", ".join(word for word in words if word != "null"), default, about.get("description", "")


def _kind(kind: Mapping[str, Any]) -> str:
    return ", ".join(f"`{value}`" for value in kind["enum"]) if "enum" in kind else str(kind["type"])


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _page(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part) + "\n"
