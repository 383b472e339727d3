"""A server on this machine that cuts, lies and stalls as a test tells it to.

    with serve(content, plan=[cut(1000), answer(503)]) as server:
        download(server.url("weights.bin"), ...)

Each connection takes the next behaviour of the plan; when none is left the server is honest: ranges, strong entity
tags and `If-Range` included.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Behaviour = Callable[["Handler"], None]


class LyingServer(ThreadingHTTPServer):
    """What it serves, what it is still to do, and what it was asked: the `requests` are their headers."""

    daemon_threads = True

    def __init__(self, content: bytes, plan: Sequence[Behaviour]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.plan = list(plan)
        self.requests: list[dict[str, str]] = []
        self.released = threading.Event()  # ends every stall

    def url(self, name: str = "weights.bin") -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"

    @property
    def ranges(self) -> list[str | None]:
        return [headers.get("Range") for headers in self.requests]

    def handle_error(self, *arguments: object) -> None:
        """Clients that hang up are what is tested."""


class Handler(BaseHTTPRequestHandler):
    server: LyingServer

    def do_GET(self) -> None:
        self.server.requests.append(dict(self.headers))
        (self.server.plan.pop(0) if self.server.plan else honest)(self)

    def log_message(self, *arguments: object) -> None:
        """Quiet."""

    def begin(self, status: int, headers: dict[str, object]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()

    def hang_up(self) -> None:
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True


def tag(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()[:16]}"'


def reply(handler: Handler, *, ranges: bool = True, version: str | None = None, longer: int = 0) -> bytes:
    """Send an answer's head; return the bytes that belong under it."""
    content = handler.server.content
    version = version or tag(content)
    start = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
    headers = {"ETag": version, "Content-Type": "application/octet-stream"}
    if start and ranges and handler.headers.get("If-Range", version) == version:
        at = int(start[1])
        if at >= len(content):
            handler.begin(416, {"Content-Range": f"bytes */{len(content)}", "Content-Length": 0})
            return b""
        place = f"bytes {at}-{len(content) - 1}/{len(content)}"
        handler.begin(206, {**headers, "Content-Range": place, "Content-Length": len(content) - at})
        return content[at:]
    handler.begin(200, {**headers, "Content-Length": len(content) + longer})
    return content


def honest(handler: Handler) -> None:
    handler.wfile.write(reply(handler))


def cut(after: int) -> Behaviour:
    """Hang up after so many bytes of the body; below zero, before any answer."""

    def behave(handler: Handler) -> None:
        if after >= 0:
            handler.wfile.write(reply(handler)[:after])
        handler.hang_up()

    return behave


def stall(after: int) -> Behaviour:
    """Say nothing more after so many bytes."""

    def behave(handler: Handler) -> None:
        handler.wfile.write(reply(handler)[:after])
        handler.server.released.wait(30)
        handler.hang_up()

    return behave


def trickle(handler: Handler) -> None:
    """A byte every now and then."""
    for byte in reply(handler):
        if handler.server.released.wait(0.05):
            break
        handler.wfile.write(bytes([byte]))


def slow(seconds: float) -> Behaviour:
    def behave(handler: Handler) -> None:
        time.sleep(seconds)
        honest(handler)

    return behave


def answer(status: int, **headers: object) -> Behaviour:
    def behave(handler: Handler) -> None:
        handler.begin(status, {"Content-Length": 0, **{n.replace("_", "-"): v for n, v in headers.items()}})

    return behave


def redirect(to: str) -> Behaviour:
    return answer(302, Location=to)


def of_length(difference: int, *, after: int | None = None) -> Behaviour:
    """Announce a length that is not that of the file."""

    def behave(handler: Handler) -> None:
        handler.wfile.write(reply(handler, ranges=False, longer=difference)[:after])
        handler.hang_up()

    return behave


def no_length(handler: Handler) -> None:
    handler.begin(200, {"Connection": "close"})
    handler.wfile.write(handler.server.content)
    handler.hang_up()


def chunked(pieces: int, *, end: bool = True) -> Behaviour:
    """Without a length, in pieces; a whole body says where it ends."""

    def behave(handler: Handler) -> None:
        handler.protocol_version = "HTTP/1.1"
        handler.begin(200, {"Transfer-Encoding": "chunked"})
        content = handler.server.content
        for i in range(pieces if end else pieces - 1):
            piece = content[i * len(content) // pieces : (i + 1) * len(content) // pieces]
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        handler.wfile.write(b"0\r\n\r\n" if end else b"")
        handler.hang_up()

    return behave


def ignore_range(handler: Handler) -> None:
    handler.wfile.write(reply(handler, ranges=False))


def become(content: bytes, then: Behaviour = honest) -> Behaviour:
    """The file is another one from now on."""

    def behave(handler: Handler) -> None:
        handler.server.content = content
        then(handler)

    return behave


def under_tag(version: str, after: int | None = None) -> Behaviour:
    """Claim that this is that version of the file."""

    def behave(handler: Handler) -> None:
        handler.wfile.write(reply(handler, version=version)[:after])
        handler.hang_up()

    return behave


def another_part(handler: Handler) -> None:
    """206 with a part that nobody asked for."""
    content = handler.server.content
    place = f"bytes 0-{len(content) - 1}/{len(content)}"
    handler.begin(206, {"ETag": tag(content), "Content-Range": place, "Content-Length": len(content)})
    handler.wfile.write(content)


def web_page(handler: Handler, kind: str = "text/html; charset=utf-8") -> None:
    page = b"<!DOCTYPE html><html><title>Google Drive - Virus scan warning</title></html>" * 20
    handler.begin(200, {"Content-Type": kind, "Content-Length": len(page)})
    handler.wfile.write(page)


def disguised_web_page(handler: Handler) -> None:
    web_page(handler, "application/octet-stream")


@contextlib.contextmanager
def serve(content: bytes, plan: Sequence[Behaviour] = ()) -> Iterator[LyingServer]:
    server = LyingServer(content, plan)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
