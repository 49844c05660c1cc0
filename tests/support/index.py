"""A package index of the tests' own with one package, for real installers: a directory behind an HTTP server."""

from __future__ import annotations

import base64
import hashlib
import http.server
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def wheel(directory: Path, name: str, version: str, *, says: str) -> Path:
    """A wheel whose module `hermes` says its version when it is run."""
    plain = name.replace("-", "_")
    info = f"{plain}-{version}.dist-info"
    files = {
        "hermes/__init__.py": f"__version__ = {version!r}\n",
        "hermes/__main__.py": f"def main():\n    print({says!r})\n\n\nmain()\n",
        f"{info}/entry_points.txt": "[console_scripts]\nhermes = hermes.__main__:main\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = [f"{path},sha256={_digest(text)},{len(text.encode())}\n" for path, text in files.items()]
    files[f"{info}/RECORD"] = "".join([*record, f"{info}/RECORD,,\n"])
    path = directory / f"{plain}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name_inside, text in files.items():
            archive.writestr(name_inside, text)
    return path


@contextmanager
def index(directory: Path, package: str, *files: str) -> Iterator[str]:
    """The address of an index that lists `files` of the directory, whatever they are called."""
    links = "".join(f'<a href="/files/{file}">{file}</a>\n' for file in files).encode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.removeprefix("/files/").partition("#")[0]
            if self.path.rstrip("/") == f"/simple/{package}":
                self._answer(links, "text/html")
            elif name in files:
                self._answer((directory / name).read_bytes(), "application/octet-stream")
            else:
                self.send_error(404)

        def _answer(self, body: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815 the name is http.server's

        def log_request(self, code: object = "-", size: object = "-") -> None:
            pass

        def log_error(self, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/simple"
        finally:
            server.shutdown()
            thread.join()


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
