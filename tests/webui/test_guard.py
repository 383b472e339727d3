"""What stands before Gradio, alone."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from latent_reenact.webui.guard import Guard

MINE = "/app/files/mine.png"


async def inner(scope: Any, receive: Any, send: Any) -> None:
    """Answers with what it was given."""
    body = b""
    while scope["method"] == "POST":
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError("gone")
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def ask(
    path: str,
    *,
    method: str = "GET",
    body: bytes = b"",
    parts: int = 1,
    loopback: bool = True,
    pause_s: float = 0.0,
    **headers: str,
) -> tuple[int, bytes, dict[bytes, bytes]]:
    guard = Guard(inner, loopback=loopback, max_bytes=1000, holds=lambda p: p == MINE, body_s=0.3)
    given = {"host": "127.0.0.1:7860", **{name.replace("_", "-"): value for name, value in headers.items()}}
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
    }
    step = max(1, -(-len(body) // parts))
    pieces = [body[i : i + step] for i in range(0, len(body), step)] or [b""]
    sent: list[Any] = []

    async def receive() -> Any:
        if pause_s:
            await asyncio.sleep(pause_s)
        if not pieces:
            return {"type": "http.disconnect"}
        piece = pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    async def send(message: Any) -> None:
        sent.append(message)

    with ThreadPoolExecutor(1) as pool:  # a thread of its own: tests of the page keep a loop in this one
        pool.submit(asyncio.run, guard(scope, receive, send)).result()
    return sent[0]["status"], b"".join(m.get("body", b"") for m in sent), dict(sent[0]["headers"])


def post(content: Any, **how: Any) -> tuple[int, bytes]:
    return ask("/gradio_api/call/x", method="POST", body=json.dumps(content).encode(), **how)[:2]


def test_smoke() -> None:
    status, _, headers = ask("/config")
    assert status == 200
    assert headers[b"x-content-type-options"] == b"nosniff"
    content = {"data": [1, {"path": MINE, "meta": {"_type": "gradio.FileData"}}]}
    assert post(content, parts=7) == (200, json.dumps(content).encode())


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7860", "", "127.0.0.1.evil.example", "10.0.0.1"])
def test_exception_other_names(host: str) -> None:
    assert ask("/config", host=host)[0] == 403
    assert ask("/config", host=host, loopback=False)[0] == 200


@pytest.mark.parametrize("host", ["localhost:1", "[::1]:7860", "127.0.0.1", "LOCALHOST"])
def test_feature_own_names(host: str) -> None:
    assert ask("/config", host=host)[0] == 200


@pytest.mark.parametrize(
    ("origin", "host", "forwarded", "status"),
    [
        ("http://127.0.0.1:7860", "127.0.0.1:7860", "", 200),
        ("http://localhost:7860", "127.0.0.1:7860", "", 200),
        ("null", "127.0.0.1:7860", "", 403),
        ("http://evil.example", "127.0.0.1:7860", "", 403),
        ("http://evil.example", "127.0.0.1:7860", "evil.example", 403),
        ("https://me.hf.space", "10.1.2.3:7860", "me.hf.space", 200),
        ("https://evil.example", "me.hf.space", "", 403),
        ("", "me.hf.space", "", 403),
    ],
)
def test_feature_origin(origin: str, host: str, forwarded: str, status: int) -> None:
    loopback = host.startswith("127.")
    extra = {"x_forwarded_host": forwarded} if forwarded else {}
    assert ask("/config", origin=origin, host=host, loopback=loopback, **extra)[0] == status


@pytest.mark.parametrize("path", ["/etc/passwd", "http://127.0.0.1/x", "", MINE + "x", "data:,x"])
def test_exception_files_of_nobody(path: str) -> None:
    assert ask(f"/gradio_api/file={path}")[0] == 403
    assert post({"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}]})[0] == 403
    assert post({"data": [[{"deep": {"path": path}}]]})[0] == 403
    assert ask(f"/gradio_api/file={MINE}")[0] == 200


def test_exception_file_by_address_alone() -> None:
    assert post({"data": [{"url": "http://127.0.0.1/x", "meta": {"_type": "gradio.FileData"}}]})[0] == 403
    assert post({"data": [{"url": "http://127.0.0.1/x"}]})[0] == 200, "a word in settings is no file"


@pytest.mark.parametrize("path", ["/gradio_api/proxy=http://x", "/monitoring", "/monitoring/summary", "/proxy=x"])
def test_exception_closed_doors(path: str) -> None:
    assert ask(path)[0] == 404


def test_exception_too_large() -> None:
    form = {"content_type": "multipart/form-data; boundary=x"}
    large = b"x" * 70_000
    assert ask("/gradio_api/upload", method="POST", content_length="70000", **form)[0] == 413
    assert ask("/gradio_api/upload", method="POST", content_length="-1", **form)[0] == 413
    assert ask("/gradio_api/upload", method="POST", content_length="1e9", **form)[0] == 413
    assert ask("/gradio_api/upload", method="POST", body=large, parts=9, **form)[0] == 400, "without a length"
    assert ask("/gradio_api/upload", method="POST", body=large[:1000], **form)[0] == 200
    assert post({"data": ["x" * (3 << 20)]}, parts=9)[0] == 408


def test_exception_too_slow() -> None:
    assert post({"data": [1, 2, 3]}, parts=9, pause_s=0.1)[0] == 408


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data", "multipart/form-data; boundary=" + "x" * 99])
def test_exception_no_form(kind: str) -> None:
    assert ask("/gradio_api/upload", method="POST", body=b"x", content_type=kind)[0] == 400


def test_feature_nonsense_goes_on_to_whoever_knows() -> None:
    for body in (b"", b"{", b"\xff\xfe", b"[" * 100_000):
        assert ask("/login", method="POST", body=body)[0] == 200
