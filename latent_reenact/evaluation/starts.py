"""`latent-reenact` in processes of its own: how long a start takes, and how much memory."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from latent_reenact import samples
from latent_reenact.errors import BackendError
from latent_reenact.weights import resolve

_STARTS = 3
_LIBRARIES = ("torch", "numpy", "cv2", "av", "PIL", "face_recognition_models", "latent_reenact")


def start_seconds(model: str | Path, device: str, folder: Path) -> tuple[float, list[float]]:
    """`reenact` on one picture, from nothing to a file: (with files evicted from memory, several with them there)."""
    words = ["reenact", samples.path("portrait_a.png"), samples.path("driving.png"), "-o", folder / "start.png"]
    words += ["--model", model, "--device", device]
    _forget_files(model)
    cold, *warm = (_seconds(words) for _ in range(1 + _STARTS))
    return cold, warm


def peak_megabytes(model: str | Path, device: str, clip: Path, out: Path) -> float:
    """The most memory that a process held which made a video of `clip`."""
    words = ["reenact", samples.path("portrait_a.png"), clip, "-o", out, "--model", model, "--device", device]
    return run_program(words)


def run_program(words: Sequence[object]) -> float:
    """`latent-reenact` with these words in a process of its own; its peak memory in MB.

    Raises:
        BackendError: it failed; with its last line.
    """
    command = [sys.executable, "-m", "latent_reenact", *map(str, words)]
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            last = errors.read().decode(errors="replace").strip().splitlines()[-1:]
            raise BackendError(f"a process that bench started failed: {''.join(last) or process.returncode}")
    return usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def _forget_files(model: str | Path) -> None:
    """Ask the system to drop libraries and weights from its file cache; what another process uses stays there."""
    if not hasattr(os, "posix_fadvise"):
        return
    folders = [resolve(model)]
    for name in _LIBRARIES:
        spec = importlib.util.find_spec(name)
        folders += map(Path, spec.submodule_search_locations or [] if spec else [])
    for path in itertools.chain.from_iterable(folder.rglob("*") for folder in folders):
        if path.is_file():
            with contextlib.suppress(OSError), open(path, "rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _seconds(words: Sequence[object]) -> float:
    start = time.perf_counter()
    run_program(words)
    return time.perf_counter() - start
