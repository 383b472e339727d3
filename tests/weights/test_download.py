"""Downloads from a server that cuts, lies and stalls: never a bad file in place, and nothing is fetched twice."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest
from lying_server import (
    Behaviour,
    Handler,
    LyingServer,
    another_part,
    answer,
    become,
    chunked,
    cut,
    disguised_web_page,
    ignore_range,
    no_length,
    of_length,
    redirect,
    serve,
    slow,
    stall,
    trickle,
    under_tag,
    web_page,
)

from latent_reenact.errors import CorruptFileError, DownloadError, LimitExceededError, OutputError
from latent_reenact.weights import download as module
from latent_reenact.weights.connection import check_url
from latent_reenact.weights.download import download

REPO = Path(__file__).parents[2]
SIZE = 200_000
CONTENT = random.Random(0).randbytes(SIZE)
OTHER = random.Random(1).randbytes(SIZE)
SHA = hashlib.sha256(CONTENT).hexdigest()
CUTS = [-1, 0, 1, 511, 4096, 65_536, SIZE // 2, SIZE - 4096, SIZE - 2, SIZE - 1]


@pytest.fixture(autouse=True)
def hurry(monkeypatch) -> None:
    monkeypatch.setattr(module, "_BACK_OFF_S", 0.001)
    monkeypatch.delenv("LATENT_REENACT_OFFLINE", raising=False)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "files" / "weights.bin"


def left(path: Path) -> set[str]:
    """What lies in the folder of a download, but for locks."""
    return {p.name for p in path.parent.iterdir() if not p.name.startswith(".lock-")}


def test_smoke(path) -> None:
    seen = []
    with serve(CONTENT) as server:
        assert download(server.url(), path, sha256=SHA, expected_bytes=SIZE, progress=lambda *a: seen.append(a)) == path
        assert path.read_bytes() == CONTENT
        assert left(path) == {"weights.bin"}
        assert seen[-1] == (0.2, 0.2, "MB")
        download(server.url(), path, sha256=SHA)
        assert len(server.requests) == 1, "what is here is not fetched again"


@pytest.mark.parametrize("at", CUTS)
def test_feature_resumes_after_a_cut(path, at) -> None:
    with serve(CONTENT, [cut(at)]) as server:
        download(server.url(), path)
        assert path.read_bytes() == CONTENT
        assert server.ranges == [None, f"bytes={at}-" if at > 0 else None]
        assert left(path) == {"weights.bin", "hashes.json"}


def test_feature_resumes_after_ten_cuts_in_a_row(path) -> None:
    step = SIZE // 11
    with serve(CONTENT, [cut(step)] * 10) as server:
        download(server.url(), path, sha256=SHA)
        assert server.ranges == [None, *(f"bytes={i * step}-" for i in range(1, 11))]
    assert path.read_bytes() == CONTENT


def test_feature_gives_up_and_goes_on_later(path) -> None:
    with serve(CONTENT, [cut(70_000), *[cut(-1)] * 5]) as server:
        with pytest.raises(DownloadError, match=r"70,000 bytes are kept: do the same again later"):
            download(server.url(), path)
        assert not path.exists()
        assert len(server.requests) == 6
        download(server.url(), path)
        assert server.ranges[-1] == "bytes=70000-"
    assert path.read_bytes() == CONTENT


TROUBLES: dict[str, list[Behaviour]] = {
    "server errors": [answer(500), answer(502), answer(503)],
    "too many requests": [answer(429, Retry_After=1)],
    "silence": [stall(1000)],
    "silence at once": [stall(0)],
    "a trickle": [trickle],
    "ranges ignored": [cut(50_000), ignore_range],
    "another part": [cut(50_000), another_part],
    "chunks": [chunked(7)],
    "chunks that end early": [chunked(7, end=False)],
    "a length too long, once": [of_length(10)],
    "changed between": [become(OTHER, cut(50_000)), become(CONTENT)],
    "shorter than what is here": [become(CONTENT * 2, cut(SIZE + 5)), become(CONTENT)],
    "changed under the same tag": [become(OTHER, under_tag('"v"', 50_000)), become(CONTENT, under_tag('"v"'))],
}


@pytest.mark.parametrize("plan", TROUBLES.values(), ids=TROUBLES)
def test_feature_gets_there_in_spite_of(path, plan) -> None:
    with serve(CONTENT, plan) as server:
        download(server.url(), path, sha256=SHA, timeout_s=0.3)
    assert path.read_bytes() == CONTENT
    assert left(path) == {"weights.bin"}


def test_feature_halves_of_two_files_are_not_one(path) -> None:
    """The file changed under the same tag between two runs: only the hash tells."""
    with serve(CONTENT, [become(OTHER, under_tag('"v"', 50_000)), *[cut(-1)] * 5, under_tag('"v"')]) as server:
        with pytest.raises(DownloadError):
            download(server.url(), path, sha256=SHA)
        server.content = CONTENT
        download(server.url(), path, sha256=SHA)
        assert server.ranges[-2:] == ["bytes=50000-", None]
    assert path.read_bytes() == CONTENT


REFUSED: dict[str, tuple[list[Behaviour], dict, type[Exception], str]] = {
    "wrong bytes": ([become(OTHER)], {"sha256": SHA}, CorruptFileError, "as published"),
    "wrong bytes by their prefix": ([become(OTHER)], {"sha256_prefix": SHA[:8]}, CorruptFileError, SHA[:8]),
    "a length too short": ([of_length(-10)], {"sha256": SHA}, CorruptFileError, "199,990 bytes"),
    "always a length too long": ([of_length(10)] * 20, {}, DownloadError, "time and again"),
    "another length": ([], {"expected_bytes": SIZE + 1}, CorruptFileError, "its home has another file now"),
    "empty": ([become(b"")], {}, DownloadError, "an empty file"),
    "no length": ([no_length], {}, DownloadError, "does not say how long it is"),
    "compressed": ([answer(200, Content_Encoding="gzip")], {}, DownloadError, "compressed"),
    "too long": ([], {"limit_bytes": 1000}, LimitExceededError, "1,000 at most"),
    "too long in chunks": ([chunked(7)], {"limit_bytes": 1000}, LimitExceededError, "over 1,000"),
    "not there": ([answer(404)], {}, DownloadError, "404 Not Found; look for the file at its home"),
    "gone": ([answer(410)], {}, DownloadError, "410"),
    "always an error": ([answer(500)] * 9, {}, DownloadError, "500 Internal Server Error, time and again"),
    "always silent": ([stall(0)] * 9, {"timeout_s": 0.05}, DownloadError, "silent"),
    "a web page": ([web_page], {}, DownloadError, "gives a web page, not the file; open it in a browser"),
    "a web page in disguise": ([disguised_web_page], {}, DownloadError, "is a web page"),
    "to http elsewhere": ([redirect("http://weights.example/f")], {}, DownloadError, "not https"),
    "to another scheme": ([redirect("ftp://weights.example/f")], {}, DownloadError, "not https"),
    "to a file": ([redirect("file:///etc/passwd")], {}, DownloadError, "not allowed"),
    "round in circles": ([redirect("/weights.bin")] * 30, {}, DownloadError, "302"),
}


@pytest.mark.parametrize(("plan", "known", "error", "says"), REFUSED.values(), ids=REFUSED)
def test_exception_nothing_bad_is_put_in_place(path, plan, known, error, says) -> None:
    with serve(CONTENT, plan) as server, pytest.raises(error, match=says) as caught:
        download(server.url(), path, **known)
    assert "\n" not in str(caught.value)
    assert not path.exists()
    if error is CorruptFileError:
        assert left(path) == set(), "nothing of it is kept"


def test_exception_insecure_urls() -> None:
    for url in ("http://weights.example/f", "ftp://127.0.0.1/f", "file:///etc/passwd", "https:///f", "weights"):
        with pytest.raises(DownloadError, match="not https"):
            check_url(url)
    with pytest.raises(DownloadError, match="is no URL"):
        check_url("http://[::1")
    with pytest.raises(DownloadError, match=r"https://a\.example/f leads to http://127\.0\.0\.1/f"):
        check_url("http://127.0.0.1/f", "https://a.example/f")
    for url in ("https://a.example/f", "http://127.0.0.1:8000/f", "http://[::1]/f", "http://localhost/f"):
        check_url(url)


def raw(*lines: bytes) -> Behaviour:
    """An answer as it stands, header and all."""

    def behave(handler: Handler) -> None:
        handler.wfile.write(b"\r\n".join(lines))

    return behave


GARBLED: dict[str, tuple[bytes, ...]] = {
    "nothing": (b"",),
    "no HTTP": (b"rubbish\x1b[31m", b"", b""),
    "a reason that paints": (b"HTTP/1.1 404 no\x1b[31m such", b"", b""),
    "an unheard-of status": (b"HTTP/1.1 999 x", b"", b""),
    "no content": (b"HTTP/1.1 204 none", b"", b""),
    "many headers": (b"HTTP/1.1 200 OK", *[b"A: b"] * 200, b"", b""),
    "a long header": (b"HTTP/1.1 200 OK", b"A: " + b"b" * 70_000, b"", b""),
    "an enormous length": (b"HTTP/1.1 200 OK", b"Content-Length: " + b"9" * 18, b"", b"abc"),
    "a length of 6000 digits": (b"HTTP/1.1 200 OK", b"Content-Length: " + b"9" * 6000, b"", b"abc"),
    "a negative length": (b"HTTP/1.1 200 OK", b"Content-Length: -5", b"", b"abc"),
    "a length that is none": (b"HTTP/1.1 200 OK", b"Content-Length: \xb2", b"", b"abc"),
    "a chunk that is none": (b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked", b"", b"zz", b"abc"),
    "a part unasked": (b"HTTP/1.1 206 OK", b"Content-Range: bytes 0-2/3", b"Content-Length: 3", b"", b"abc"),
    "to nowhere": (b"HTTP/1.1 302 Found", b"", b""),
    "to what is no URL": (b"HTTP/1.1 302 Found", b"Location: http://[::1", b"", b""),
    "to what is no port": (b"HTTP/1.1 302 Found", b"Location: http://127.0.0.1:x/", b"", b""),
    "to another's address": (b"HTTP/1.1 302 Found", b"Location: //169.254.169.254/f", b"", b""),
    "to another in disguise": (b"HTTP/1.1 302 Found", b"Location: http://127.0.0.1@10.0.0.1/f", b"", b""),
}


@pytest.mark.parametrize("lines", GARBLED.values(), ids=GARBLED)
def test_exception_garbled_answers(path, lines) -> None:
    with serve(CONTENT, [raw(*lines)] * 9) as server, pytest.raises((DownloadError, LimitExceededError)) as caught:
        download(server.url(), path, sha256=SHA)
    assert str(caught.value).isprintable()
    assert not path.exists()


def test_feature_versions_that_cannot_be_sent_are_not(path) -> None:
    tag = b'ETag: "\xe9\x0b"'
    head = (b"HTTP/1.1 200 OK", tag, b"Content-Length: %d" % SIZE, b"", CONTENT[:1000])
    with serve(CONTENT, [raw(*head)]) as server:
        download(server.url(), path)
        assert server.ranges == [None, None]
    assert path.read_bytes() == CONTENT


def test_exception_nobody_answers(path) -> None:
    with serve(CONTENT) as server:
        url = server.url()
    with pytest.raises(DownloadError, match="refused, time and again"):
        download(url, path)


def test_exception_disk_full(path, monkeypatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: namedtuple("Usage", "free")(1234))
    with serve(CONTENT) as server, pytest.raises(OutputError, match=r"200,000 bytes needed, 1,234 bytes free"):
        download(server.url(), path)
    assert not path.exists()


def test_exception_folder_that_is_a_file(tmp_path) -> None:
    (tmp_path / "files").write_text("")
    with serve(CONTENT) as server, pytest.raises(OutputError, match="cannot write"):
        download(server.url(), tmp_path / "files" / "weights.bin")


# ---- hashes: known, or trusted on first use


def test_feature_hash_is_pinned_on_first_use(path) -> None:
    with serve(CONTENT) as server:
        download(server.url(), path)
        pinned = json.loads((path.parent / "hashes.json").read_text())
        assert pinned == {"weights.bin": {"sha256": SHA, "bytes": SIZE, "from": server.url()}}
        path.unlink()
        server.content = OTHER
        with pytest.raises(CorruptFileError, match=r"when it was first used here.*remove 'weights\.bin' from"):
            download(server.url(), path)
        assert left(path) == {"hashes.json"}
        server.content = CONTENT
        download(server.url(), path)


def test_exception_file_was_altered(path) -> None:
    with serve(CONTENT) as server:
        download(server.url(), path)
        path.write_bytes(OTHER)
        with pytest.raises(CorruptFileError, match="first used here"):
            download(server.url(), path)
        with pytest.raises(CorruptFileError, match="as published"):
            download(server.url(), path, sha256=SHA)
        assert len(server.requests) == 1


def test_feature_new_file_can_be_trusted_on_purpose(path) -> None:
    path.parent.mkdir()
    (path.parent / "hashes.json").write_text("{}")
    path.write_bytes(OTHER)
    assert download("https://nobody.example/f", path, offline=True) == path
    assert json.loads((path.parent / "hashes.json").read_text())["weights.bin"]["bytes"] == SIZE


@pytest.mark.parametrize("text", ["", "[]", "{", '{"weights.bin": 3}', '{"weights.bin": {"sha256": "x"}}', "[" * 9999])
def test_exception_broken_hashes(path, text) -> None:
    path.parent.mkdir()
    (path.parent / "hashes.json").write_text(text)
    with serve(CONTENT) as server, pytest.raises(CorruptFileError, match=r"hashes\.json cannot be read"):
        download(server.url(), path)
    assert not path.exists()


def test_exception_damaged_note_of_a_part(path) -> None:
    path.parent.mkdir()
    with serve(CONTENT) as server:
        note = {"url": server.url(), "version": '"v"', "total": SIZE}
        notes = [{**note, "url": "x"}, {**note, "version": '"v"\r\nRange: x'}, {**note, "version": '"☃"'}]
        notes += [{**note, "version": 1}, {**note, "total": -1}, {**note, "total": 3}, {**note, "total": "x"}]
        for text in ("", "[]", '{"url": 1}', "[" * 99_999, *map(json.dumps, notes)):
            path.unlink(missing_ok=True)
            path.with_name(".part-weights.bin").write_bytes(b"nonsense")
            path.with_name(".part-weights.bin.json").write_text(text)
            server.requests.clear()
            download(server.url(), path, sha256=SHA)
            assert server.ranges == [None]


# ---- processes


def start(code: str, *words: str) -> subprocess.Popen:
    env = {**os.environ, "PYTHONPATH": str(REPO)}
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", code, *words], stdout=pipe, stderr=pipe, text=True, env=env)


FETCH = "import sys; from latent_reenact.weights.download import download; download(sys.argv[1], sys.argv[2])"


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_feature_two_processes_at_once(path) -> None:
    with serve(CONTENT, [slow(0.5)]) as server:
        both = [start(FETCH, server.url(), str(path)) for _ in range(2)]
        assert [process.communicate()[1] for process in both] == ["", ""]
        assert [process.returncode for process in both] == [0, 0]
        assert len(server.requests) == 1, "the second waits and finds the file"
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("at", [1, 100_000, SIZE - 1])
def test_feature_killed_process(path, at) -> None:
    part = path.with_name(".part-weights.bin")
    with serve(CONTENT, [stall(at)]) as server:
        child = start(FETCH, server.url(), str(path))
        wait_for(lambda: part.is_file() and part.stat().st_size == at)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        assert not path.exists()
        download(server.url(), path)
        assert server.ranges == [None, f"bytes={at}-"]
    assert path.read_bytes() == CONTENT
    assert left(path) == {"weights.bin", "hashes.json"}


AUDITED = """
import sys
events = []
sys.addaudithook(lambda event, _: events.append(event) if event.startswith("socket.") else None)
from latent_reenact.errors import DownloadError
from latent_reenact.weights.download import download
try:
    download(sys.argv[1], sys.argv[2], offline=sys.argv[3] == "argument")
except DownloadError as error:
    print(error, file=sys.stderr)
print("socket.connect" in events, len(events))
"""


def test_feature_offline_makes_no_connection(path, monkeypatch) -> None:
    def audited(server: LyingServer, word: str) -> tuple[str, str]:
        return start(AUDITED, server.url(), str(path), word).communicate()

    with serve(CONTENT) as server:
        out, said = audited(server, "argument")
        assert out == "False 0\n"
        assert f"offline, and weights.bin is not here; put it into {path.parent}" in said
        monkeypatch.setenv("LATENT_REENACT_OFFLINE", "1")
        assert audited(server, "environment")[0] == "False 0\n"
        assert server.requests == []
        monkeypatch.delenv("LATENT_REENACT_OFFLINE")
        assert audited(server, "")[0].startswith("True "), "the hook sees connections"
        assert audited(server, "argument") == ("False 0\n", ""), "a file that is here is used"
