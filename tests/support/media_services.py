"""Stand-ins for services with OpenAI's wire format: pictures, transcripts, speech, as strict as the real ones."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from email import message_from_bytes
from email.policy import HTTP
from typing import Any

from tests.support.stand_in import Answer, Asked, StandIn

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + b"\x00" * 20 + b"\xff\xd9"
WAV = (
    b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x40\x1f\x00\x00\x80\x3e\x00\x00\x02\x00\x10\x00data"
)
MP3 = b"ID3\x04\x00\x00\x00\x00\x00\x00\xff\xfb\x90\x00"
KEY = "sk-media-0123456789abcdef"


@dataclass(frozen=True)
class Part:
    """A field of a form; `name` is its file name, if it is a file."""

    name: str | None
    media_type: str
    data: bytes


def form_of(asked: Asked) -> dict[str, Part]:
    head = f"Content-Type: {asked.headers['content-type']}\r\n\r\n".encode()
    message = message_from_bytes(head + asked.body, policy=HTTP)
    parts = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        data = part.get_payload(decode=True)
        assert isinstance(name, str) and isinstance(data, bytes) and name not in parts
        parts[name] = Part(part.get_filename(), part.get_content_type(), data)
    return parts


def refusal(status: int, message: str, code: str | None = None) -> Answer:
    return Answer.of({"error": {"message": message, "type": "invalid_request_error", "code": code}}, status)


class MediaServices(StandIn):
    """`picture` is what a picture looks like in an answer; `says` what is heard."""

    def __init__(self) -> None:
        super().__init__()
        self.picture: dict[str, Any] = {"b64_json": base64.b64encode(PNG).decode()}
        self.says = "Hello there."
        self.pages: dict[str, Answer] = {}

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    def answer(self, asked: Asked) -> Answer:
        if asked.method == "GET":
            return self.pages.get(asked.path, Answer(404))
        if asked.headers.get("authorization") != f"Bearer {KEY}":
            return refusal(401, "Incorrect API key provided.", "invalid_api_key")
        handler = {
            "/v1/images/generations": self._picture,
            "/v1/audio/transcriptions": self._transcript,
            "/v1/audio/speech": self._speech,
        }.get(asked.path)
        return handler(asked) if handler else refusal(404, f"Invalid URL (POST {asked.path})")

    def _picture(self, asked: Asked) -> Answer:
        if problem := _checked(asked, {"model": str, "prompt": str}, {"n": int, "size": str}):
            return problem
        if asked.json["model"] != "painter":
            return refusal(404, f"The model `{asked.json['model']}` does not exist", "model_not_found")
        return Answer.of({"created": 1, "data": [self.picture]})

    def _transcript(self, asked: Asked) -> Answer:
        if not asked.headers["content-type"].startswith("multipart/form-data; boundary="):
            return refusal(400, "a form is wanted")
        form = form_of(asked)
        if extra := form.keys() - {"file", "model", "response_format", "language"}:
            return refusal(400, f"Unknown parameter: '{min(extra)}'.")
        file, model = form.get("file"), form.get("model")
        if file is None or not file.name or model is None or form["response_format"].data != b"json":
            return refusal(400, "Missing required parameter.")
        if not file.name.endswith((".wav", ".mp3", ".ogg", ".m4a", ".flac", ".webm")):
            return refusal(400, "Invalid file format.")
        return Answer.of({"text": self.says})

    def _speech(self, asked: Asked) -> Answer:
        if problem := _checked(asked, {"model": str, "input": str, "voice": str}, {"response_format": str}):
            return problem
        if asked.json["response_format"] == "wav":
            return Answer(200, WAV, "audio/wav")
        return Answer(200, MP3 + asked.json["input"].encode(), "audio/mpeg")


def _checked(asked: Asked, required: dict[str, type], optional: dict[str, type]) -> Answer | None:
    if asked.headers["content-type"] != "application/json":
        return refusal(400, "JSON is wanted")
    fields = required | optional
    for name, value in asked.json.items():
        if name not in fields:
            return refusal(400, f"Unknown parameter: '{name}'.")
        if type(value) is not fields[name] or value == "":
            return refusal(400, f"Invalid type for '{name}'.")
    missing = [name for name in required if name not in asked.json]
    return refusal(400, f"Missing required parameter: '{missing[0]}'.") if missing else None
