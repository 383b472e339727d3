"""`doctor`: what works on this machine, and what to do about the rest."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from latent_reenact.cli import bug_report
from latent_reenact.cli.command import Answer, Json, command
from latent_reenact.errors import LatentReenactError, MissingDependencyError

_OLDEST_PYTHON = (3, 10)
_CODECS = (("libx264", "w"), ("aac", "w"), ("h264", "r"), ("aac", "r"))
_BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # x86 and ARM


@dataclass(frozen=True)
class Finding:
    """One line of the report; where it is not ok, `detail` says what to do."""

    name: str
    ok: bool
    detail: str


def register(group: typer.Typer) -> None:
    command(group, "doctor", doctor)


def doctor(
    report: Annotated[
        bool, typer.Option("--report", help="Print what a bug report needs, without names and private folders.")
    ] = False,
    as_json: Json = False,
) -> Answer:
    """Check that reenacting can work on this machine.

    The exit code is 1 where it cannot.
    """
    findings = [_examined(name, check) for name, check in _CHECKS.items()]
    ok = all(finding.ok for finding in findings)
    if report:
        facts = bug_report.collect(findings)
        return Answer(bug_report.as_text(facts), facts, exit_code=0 if ok else 1)
    text = "\n".join(f"{'ok     ' if f.ok else 'missing'}  {f.name}: {f.detail}" for f in findings)
    return Answer(text, {"ok": ok, "checks": [asdict(f) for f in findings]}, exit_code=0 if ok else 1)


def _examined(name: str, check: Callable[[], str]) -> Finding:
    """A check returns what it found, or raises what is wrong and what to do."""
    try:
        return Finding(name, True, check())
    except LatentReenactError as error:
        return Finding(name, False, str(error))
    except ImportError as error:
        return Finding(name, False, f"{error}; install the package again: pip install latent-reenact")


def _python() -> str:
    if sys.version_info < _OLDEST_PYTHON:
        raise MissingDependencyError(f"got {platform.python_version()}, expected 3.10 or newer; install a newer one")
    return platform.python_version()


def _torch() -> str:
    import torch

    devices = f"{torch.cuda.device_count()} CUDA devices" if torch.cuda.is_available() else "CPU only"
    return f"{torch.__version__}, {torch.get_num_threads()} threads of {os.cpu_count()} cores, {devices}"


def _bf16() -> str:
    """Not needed, but it makes CPUs faster."""
    info = Path("/proc/cpuinfo")
    flags = set(info.read_text().split()) if info.is_file() else set()
    known = sorted(_BF16_FLAGS & flags)
    return ", ".join(known) if known else "not in this CPU; single precision is used"


def _operators() -> str:
    """Which back ends nothing is missing for, and what is missing for the others; compiles nothing."""
    from latent_reenact.custom_ops.dispatch import backend_report

    reasons = backend_report()
    works = ", ".join(name for name, reason in reasons.items() if not reason)
    return "; ".join([works, *(f"not {name}: {reason}" for name, reason in reasons.items() if reason)])


def _face_detector() -> str:
    import numpy as np

    from latent_reenact.face import DlibDetector

    DlibDetector().landmarks(np.zeros((64, 64, 3), np.uint8), (16.0, 16.0, 48.0, 48.0))  # loads the 68-point model
    return "dlib and its 68-point landmarks"


def _video() -> str:
    import av

    missing = [f"{name} ({mode})" for name, mode in _CODECS if not _has_codec(name, mode)]
    if missing:
        raise MissingDependencyError(f"PyAV {av.__version__} lacks {', '.join(missing)}; pip install --force av")
    return f"PyAV {av.__version__} with {', '.join(sorted({name for name, _ in _CODECS}))}"


def _has_codec(name: str, mode: str) -> bool:
    import av

    try:
        av.Codec(name, mode)  # type: ignore[arg-type]
    except ValueError:  # what PyAV raises for an unknown codec
        return False
    return True


def _model() -> str:
    from latent_reenact.weights import verify_model

    return f"all hashes are right ({verify_model('builtin')})"


_CHECKS: dict[str, Callable[[], str]] = {
    "Python": _python,
    "PyTorch": _torch,
    "bf16 of the CPU": _bf16,
    "custom operators": _operators,
    "face detector": _face_detector,
    "video codecs": _video,
    "builtin model": _model,
}
