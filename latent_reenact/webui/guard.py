"""What stands before Gradio: it refuses strangers' pages, addresses in place of files, and bodies too large or slow.

Plain ASGI (https://asgi.readthedocs.io), so that it can be read and tested alone.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any
from urllib.parse import urlsplit

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
API = "/gradio_api/"
_JSON_BYTES = 2 << 20
_OVERHEAD_BYTES = 64 << 10  # of a multipart body around its file
_ADDRESS = re.compile(r"\s*[a-z][a-z0-9+.-]*:", re.IGNORECASE)  # http:, data:, file:, ...
_MULTIPART = re.compile(r"multipart/form-data;.*boundary=\"?[^\s;\"]{1,70}\"?\s*(;|$)", re.IGNORECASE)
_CLOSED = ("/gradio_api/proxy", "/gradio_api/deep_link", "/gradio_api/vibe", "/gradio_api/dev", "/monitoring", "/proxy")
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (
        b"content-security-policy",  # what a page shows is from here: nothing is fetched from elsewhere
        b"default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; object-src 'none'; base-uri 'self'; "
        b"frame-ancestors 'self' https://huggingface.co https://*.hf.space",
    ),
)


class Refused(Exception):
    """status: of HTTP. words: for whoever asked."""

    def __init__(self, status: int, words: str) -> None:
        self.status, self.words = status, words


class Guard:
    """ASGI middleware.

    Args:
        loopback: the server listens to this machine alone; then only its own names are answered to, so that no other
            site can lead a browser here under a name of its own (DNS rebinding).
        max_bytes: of an uploaded file.
        holds: whether a path is that of a file that was uploaded or made here.
        body_s: how long a body may take to arrive.
    """

    def __init__(
        self,
        app: App,
        *,
        loopback: bool,
        max_bytes: int,
        holds: Callable[[str], bool],
        body_s: float = 120.0,
    ) -> None:
        self.app, self.loopback, self.max_bytes, self.holds, self.body_s = app, loopback, max_bytes, holds, body_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            self._check_head(scope)
            receive = await self._checked_body(scope, receive)
        except Refused as refused:
            await _answer(send, refused.status, refused.words)
            return
        if _is_upload(scope):
            await _answered(self.app, scope, receive, _with_headers(send))
        else:
            await self.app(scope, receive, _with_headers(send))

    def _check_head(self, scope: Scope) -> None:
        headers = _headers(scope)
        host = _name(headers.get("host", ""))
        if self.loopback and host not in LOOPBACK:
            raise Refused(403, "this app answers to this machine's own names only")
        origin = headers.get("origin")
        forwarded = _name(headers.get("x-forwarded-host", "").split(",")[0])
        if origin is not None and urlsplit(origin).hostname not in _same(host, forwarded if not self.loopback else ""):
            raise Refused(403, "another site may not use this app")
        path = scope["path"]
        if path.startswith(_CLOSED):
            raise Refused(404, "nothing here")
        if path.startswith((API + "file=", "/file=")):
            wanted = path.split("file=", 1)[1]
            if not self.holds(wanted) or _ADDRESS.match(wanted):
                raise Refused(403, "no such file, or not yours")

    async def _checked_body(self, scope: Scope, receive: Receive) -> Receive:
        if scope["method"] not in ("POST", "PUT", "PATCH"):
            return receive
        headers = _headers(scope)
        is_upload = _is_upload(scope)
        limit = self.max_bytes + _OVERHEAD_BYTES if is_upload else _JSON_BYTES
        most = f"{self.max_bytes >> 20} MB" if is_upload else f"{_JSON_BYTES >> 20} MB"
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > limit:
            raise Refused(413, f"too large: at most {most}")
        deadline = asyncio.get_running_loop().time() + self.body_s
        if is_upload:
            if not _MULTIPART.match(headers.get("content-type", "")):
                raise Refused(400, "expected multipart/form-data with a boundary")
            return _bounded(receive, limit, deadline)
        body = await _whole(_bounded(receive, limit, deadline))
        self._check_files(body)
        return _replay(body, receive)

    def _check_files(self, body: bytes) -> None:
        """Raises Refused where a JSON body names a file that was not uploaded here."""
        try:
            content = json.loads(body or b"null")
        except (ValueError, RecursionError):
            return  # no JSON: a form, or nonsense that is refused further on
        for found in _files_in(content):
            path = found.get("path")
            if path is not None and not (isinstance(path, str) and self.holds(path)):
                raise Refused(403, "files are taken as uploads only: send it to /gradio_api/upload first")
            url = found.get("url")
            if path is None and url is not None:
                raise Refused(403, "nothing is fetched from addresses: upload the file")


def _is_upload(scope: Scope) -> bool:
    return scope["method"] == "POST" and scope["path"].rstrip("/").endswith("/upload")


async def _answered(app: App, scope: Scope, receive: Receive, send: Send) -> None:
    """Whatever a parser trips over in somebody's form is theirs, not an error of the server."""
    begun = False

    async def noting(message: Message) -> None:
        nonlocal begun
        begun = True
        await send(message)

    try:
        await app(scope, receive, noting)
    except Exception:
        if begun:
            raise
        await _answer(send, 400, "this is not the upload of a file")


def _files_in(content: Any) -> Iterator[dict[str, Any]]:
    """Every object that could be a file to Gradio, however deep."""
    waiting = [content]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            meta = value.get("meta")
            if "path" in value or (isinstance(meta, dict) and "_type" in meta):
                yield value
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _same(host: str, forwarded: str) -> set[str | None]:
    names: set[str | None] = {name for name in (host, forwarded) if name}
    return names | LOOPBACK if host in LOOPBACK else names


def _name(host: str) -> str:
    """`[::1]:7860` -> `::1`"""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].split("]", 1)[0]
    return host.rsplit(":", 1)[0] if host.count(":") == 1 else host


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


def _bounded(receive: Receive, limit: int, deadline: float) -> Receive:
    """`receive` that ends a body which is too long or too late."""
    seen, over = 0, False

    async def bounded() -> Message:
        nonlocal seen, over
        if over:
            return await receive()
        left = deadline - asyncio.get_running_loop().time()
        try:
            message = await asyncio.wait_for(receive(), max(0.001, left))
        except asyncio.TimeoutError:
            return {"type": "http.disconnect"}
        seen += len(message.get("body", b""))
        over = not message.get("more_body", False)
        return message if seen <= limit else {"type": "http.disconnect"}

    return bounded


async def _whole(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(408, "the request did not arrive in time, or is too large")
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *_HEADERS]}
        await send(message)

    return sending


async def _answer(send: Send, status: int, words: str) -> None:
    body = json.dumps({"detail": words, "error": words}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *_HEADERS]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, (b"connection", b"close")]})
    await send({"type": "http.response.body", "body": body})
