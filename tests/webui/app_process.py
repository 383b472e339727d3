"""The app as a process of its own, as users run it, and what tests ask of it from outside."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPO = Path(__file__).parents[2]
STUB = Path(__file__).with_name("serve_stub.py")


@dataclass
class AppProcess:
    url: str
    pid: int
    lines: list[str]

    @property
    def folder(self) -> Path:
        """Where it keeps files; the stub prints it."""
        found = re.search(r"files in (\S+)", "".join(self.lines))
        assert found, "only the stub tells where its files are"
        return Path(found[1])

    def rss_mb(self) -> float:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024

    def threads(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/task").iterdir()))

    def open_files(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))


@contextlib.contextmanager
def started(words: list[str], **environment: str) -> Iterator[AppProcess]:
    """Run until the block ends; what it prints is kept in `lines`."""
    process = subprocess.Popen(
        [sys.executable, *words],
        cwd=REPO,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
    )
    lines: list[str] = []
    ready = threading.Event()
    url: list[str] = []

    def listen() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if found := re.search(r"open (http://\S+?:\d+)", line):
                url.append(found[1])
                ready.set()
        ready.set()

    threading.Thread(target=listen, daemon=True).start()
    try:
        assert ready.wait(300), "the app did not start"
        assert url, "".join(lines)
        yield AppProcess(url[0], process.pid, lines)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


@contextlib.contextmanager
def stub(**wanted: Any) -> Iterator[AppProcess]:
    with started([str(STUB), json.dumps(wanted)]) as app:
        yield app
