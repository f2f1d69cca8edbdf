"""A page's folder, served to this machine alone."""

from __future__ import annotations

import errno
import http.server
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO, cast

from ... import InvalidInputError

LOOPBACK = "127.0.0.1"
# What the system's own table may lack or have wrong; a module of another type is not run.
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".onnx": "application/octet-stream",
    ".png": "image/png",
    ".wasm": "application/wasm",
}
# A page and its worker load and run what lies beside them, and nothing else. WebAssembly is
# compiled, which browsers count as a kind of eval.
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; "
    "img-src 'self' blob:; connect-src 'self'; worker-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # Another page may be served at the same address the next time.
    "Cache-Control": "no-cache",
}


class Handler(http.server.SimpleHTTPRequestHandler):
    """Answers with the files of one folder, to whoever asks for this machine by its own name.

    A page elsewhere may let its own name mean 127.0.0.1 (DNS rebinding): its requests then say that
    name in `Host`, and are refused.
    """

    server_version, sys_version = "onnxplain", ""
    extensions_map = {**TYPES, "": "application/octet-stream"}  # noqa: RUF012

    def send_head(self) -> io.BytesIO | BinaryIO | None:
        """The file that is asked for, or None where an error was sent."""
        port = cast("_Server", self.server).server_port
        if self.headers.get("Host", "").lower() not in hosts(port):
            self.send_error(HTTPStatus.FORBIDDEN, "Unknown host")
            return None
        return super().send_head()

    def list_directory(self, path: str | os.PathLike[str]) -> None:
        """No folder is listed."""
        self.send_error(HTTPStatus.NOT_FOUND, "Not found")

    def end_headers(self) -> None:
        """Every answer says what it may be used for."""
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the terminal is the user's."""


def hosts(port: int) -> tuple[str, ...]:
    """What this machine is called by whoever reaches it at 127.0.0.1."""
    names = (LOOPBACK, "localhost")
    return tuple(f"{name}:{port}" for name in names) + (names if port == 80 else ())


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    # On Windows it would let two servers have one port.
    allow_reuse_address = os.name != "nt"

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that leaves in the middle of a file is no error."""


@contextmanager
def served(folder: str | os.PathLike[str], port: int = 0) -> Iterator[_Server]:
    """A server of a folder, bound to 127.0.0.1; `serve_forever()` lets it answer.

    Args:
        folder: of a page.
        port: 0 takes a free one, which `server_address` says.

    Raises:
        InvalidInputError: the port is taken, or not for this user.
    """
    handler = partial(Handler, directory=str(Path(folder).resolve()))
    try:
        server = _Server((LOOPBACK, port), handler)
    except OSError as error:
        reason = "it is in use" if error.errno == errno.EADDRINUSE else error.strerror
        raise InvalidInputError(
            f"cannot serve on port {port}: {reason}; give another --port, or 0 for a free one"
        ) from error
    with server:
        yield server
