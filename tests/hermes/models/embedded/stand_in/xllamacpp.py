"""Stands where the real library stands, on PYTHONPATH of the child process: the "model file" is its script as JSON.

`answers` are written in order, a character a token. Of them `!die` ends the process, `!endless` writes until the
connection breaks. Like the real one it aborts on a slot file that is not whole. What it was asked is in `asked.jsonl`
in the folder of the slots.
"""

from __future__ import annotations

import json
import os
import socketserver
import threading
import time
from http.server import BaseHTTPRequestHandler
from itertools import takewhile
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

__version__ = "0.stand-in"

START, END = 1_200_000, 1_200_001


class CommonParams(SimpleNamespace):
    def __init__(self) -> None:
        super().__init__(model=SimpleNamespace(), cpuparams=SimpleNamespace(), cpuparams_batch=SimpleNamespace())


class Server:
    def __init__(self, params: CommonParams) -> None:
        script = json.loads(Path(params.model.path).read_text())
        if "load_error" in script:
            raise RuntimeError(script["load_error"])
        print("the library prints what it likes")
        self.listening_address = f"unix://{params.hostnames[0]}"
        server = socketserver.ThreadingUnixStreamServer(params.hostnames[0], Handler)
        server.daemon_threads = True
        server.state = State(script, Path(params.slot_save_path), params.api_keys[0])  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()


class State:
    def __init__(self, script: dict[str, Any], slots: Path, key: str) -> None:
        self.answers = script.get("answers", [])
        self.slots = slots
        self.key = key
        self.held: list[int] = []

    def note(self, **what: Any) -> None:
        with (self.slots / "asked.jsonl").open("a") as file:
            file.write(json.dumps({"pid": os.getpid(), **what}) + "\n")

    def next_answer(self) -> str:
        noted = self.slots / "answered"
        number = int(noted.read_text()) if noted.exists() else 0
        noted.write_text(str(number + 1))
        return self.answers[number % len(self.answers)]


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        state: State = self.server.state  # type: ignore[attr-defined]
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        url = urlsplit(self.path)
        if self.headers["Authorization"] != f"Bearer {state.key}":
            self.reply(401, {"error": {"message": "Invalid API Key"}})
        elif url.path == "/tokenize":
            self.reply(200, {"tokens": tokens(body["content"], body["parse_special"])})
        elif url.path == "/slots/0":
            self.slot(state, parse_qs(url.query)["action"][0], state.slots / body["filename"])
        else:
            self.complete(state, body)

    def slot(self, state: State, action: str, path: Path) -> None:
        state.note(slot=action)
        if action == "save":
            path.write_text(json.dumps(state.held))
            self.reply(200, {"n_saved": len(state.held)})
            return
        try:
            state.held = json.loads(path.read_text())
        except ValueError:
            os._exit(134)  # GGML_ASSERT(nread <= state_size)
        self.reply(200, {"n_restored": len(state.held)})

    def complete(self, state: State, body: dict[str, Any]) -> None:
        prompt = body["prompt"]
        cached = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(prompt, state.held, strict=False)))
        state.held = prompt
        state.note(prompt="".join(map(shown, prompt)), cached=cached, body={k: body[k] for k in body if k != "prompt"})
        answer = state.next_answer() if body["n_predict"] else ""
        self.send_response(200)
        self.end_headers()
        self.event(
            {"content": "", "prompt_progress": {"total": len(prompt), "cache": cached, "processed": len(prompt)}}
        )
        if answer == "!die":
            os._exit(1)
        written = 0
        try:
            while answer == "!endless":
                self.event({"content": '{"say": "' if not written else "x"})
                written += 1
                time.sleep(0.01)
            for character in answer[: body["n_predict"]]:
                self.event({"content": character})
                written += 1
        except OSError:
            state.note(broken_off=True)
            return
        self.event(
            {
                "content": "",
                "stop": True,
                "stop_type": "eos" if written == len(answer) else "limit",
                "tokens_evaluated": len(prompt),
                "tokens_predicted": written,
                "timings": {"cache_n": cached},
            }
        )

    def event(self, event: dict[str, Any]) -> None:
        self.wfile.write(f"data: {json.dumps({'stop': False, **event})}\n\n".encode())

    def reply(self, status: int, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        pass


def tokens(text: str, has_control: bool) -> list[int]:
    """A token a character; the two marks of a message are one each where control tokens count."""
    if has_control:
        text = text.replace("<|im_start|>", chr(0xE000)).replace("<|im_end|>", chr(0xE001))
        return [{0xE000: START, 0xE001: END}.get(ord(character), ord(character)) for character in text]
    return [ord(character) for character in text]


def shown(token: int) -> str:
    return {START: "⟨", END: "⟩"}.get(token) or chr(token)
