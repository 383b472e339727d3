"""What a bug thread needs to know about a machine, and nothing about whose it is."""

from __future__ import annotations

import contextlib
import getpass
import importlib.metadata
import os
import platform
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latent_reenact import __version__

if TYPE_CHECKING:
    from latent_reenact.cli.doctor import Finding

_PACKAGES = (
    *(
        "torch",
        "triton",
        "numpy",
        "scipy",
        "pillow",
        "av",
        "opencv-python-headless",
        "opencv-python",
        "dlib-bin",
        "dlib",
    ),
    *("safetensors", "numba", "lightning-fabric", "onnxruntime"),
)
_SWITCHES = re.compile(r"LATENT_REENACT_|OMP_|MKL_|CUDA_VISIBLE|TORCH_|CXX$|TRITON_")
_SHOWN_DIGITS = 12  # of a hash: enough to tell files apart


def collect(findings: Sequence[Finding]) -> dict[str, Any]:
    """Versions, processor, operators, codecs, models and what `doctor` found, ready for JSON."""
    from latent_reenact.config import to_dict
    from latent_reenact.evaluation.machine import describe_machine

    facts = {
        "latent-reenact": __version__,
        "machine": to_dict(describe_machine()),
        "packages": _versions(),
        "switches": {name: value for name, value in sorted(os.environ.items()) if _SWITCHES.match(name)},
        "ffmpeg": _ffmpeg(),
        "models": _models(),
        "checks": {finding.name: ("ok: " if finding.ok else "missing: ") + finding.detail for finding in findings},
    }
    return without_names(facts)


def as_text(facts: Mapping[str, Any]) -> str:
    """The same to paste into a thread: one fact a line, in a code block."""
    return "\n".join(["```", *_lines(facts), "```"])


def without_names(value: Any) -> Any:
    """`value` with every folder of the user, their name and the machine's taken out of its texts."""
    if isinstance(value, Mapping):
        return {without_names(name): without_names(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [without_names(entry) for entry in value]
    if not isinstance(value, str):
        return value
    for private, word in _private().items():
        value = re.sub(rf"(?<![\w-]){re.escape(private)}(?![\w-])", word, value)
    return re.sub(r"(?<![\w.:/<>~])/(?:[^\s/:,;()]+/)+", ".../", value)


def _private() -> dict[str, str]:
    """What must not be told -> what stands for it; longer ones first."""
    words = {str(Path.home()): "~", os.getcwd(): ".", tempfile.gettempdir(): "<tmp>", platform.node(): "<machine>"}
    with contextlib.suppress(KeyError, OSError):  # an account without a name
        words[getpass.getuser()] = "<user>"
    return {p: words[p] for p in sorted(words, key=len, reverse=True) if len(p) > 1 and p != "root"}


def _versions() -> dict[str, str]:
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _ffmpeg() -> dict[str, str]:
    try:
        import av
    except ImportError as error:
        return {"PyAV": str(error)}
    libraries = {name: ".".join(map(str, version)) for name, version in av.library_versions.items()}
    codecs = ("libx264", "libvpx-vp9", "aac", "libopus")
    return libraries | {name: "there" if name in av.codecs_available else "not there" for name in codecs}


def _models() -> dict[str, str]:
    """Model -> hash of its manifest, which lists the hashes of all its files."""
    from latent_reenact.weights.catalog import list_models
    from latent_reenact.weights.folder import MANIFEST, sha256

    found = {}
    for model in list_models():
        manifest = model.path / MANIFEST
        digest = sha256(manifest)[:_SHOWN_DIGITS] if manifest.is_file() else "no manifest"
        found[model.name] = f"{digest}, {model.resolution} px, {model.bytes / 1e6:.1f} MB"
    return found


def _lines(value: Any, indent: str = "") -> list[str]:
    lines = []
    for name, entry in value.items():
        if isinstance(entry, Mapping):
            lines += [f"{indent}{name}:", *_lines(entry, indent + "  ")] if entry else []
        else:
            shown = " ".join(map(str, entry)) if isinstance(entry, list) else entry
            lines.append(f"{indent}{name}: {shown if shown != '' else 'ok'}")
    return lines
