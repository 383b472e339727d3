"""Checkpoints: one safetensors file a save, written whole or not at all, verified when read, the newest few kept."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from latent_reenact.errors import CorruptFileError
from latent_reenact.media import atomic_path, clean_leftovers

State = dict[str, Tensor]
_NAME = re.compile(r"checkpoint-(\d{9})\.safetensors")


class Checkpoints:
    """The saved states of one run, `folder/checkpoint-STEP.safetensors`.

    Args:
        keep: how many of the newest stay.
        say: takes the sentence about a damaged file.
    """

    def __init__(self, folder: Path, *, keep: int = 3, say: Callable[[str], None] = print) -> None:
        self.folder, self.keep, self.say = folder, keep, say

    def save(self, step: int, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> Path:
        """Write a state beside the older ones, then remove those beyond `keep`. Raises OutputError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"checkpoint-{step:09d}.safetensors"
        write_state(path, tensors, about)
        for old in self.paths()[: -self.keep]:
            old.unlink(missing_ok=True)
        return path

    def newest(self) -> tuple[State, dict[str, Any]] | None:
        """Tensors and `about` of the newest whole checkpoint, or None where there is none.

        Damaged ones are passed over, and said.

        Raises:
            CorruptFileError: there are checkpoints, and none is whole.
        """
        clean_leftovers(self.folder)
        paths = self.paths()
        for path in reversed(paths):
            try:
                return read_state(path)
            except CorruptFileError as error:
                self.say(f"{error}; going on from the one before")
        if paths:
            raise CorruptFileError(
                f"{self.folder}: all {len(paths)} checkpoints are damaged; remove them to start anew"
            )
        return None

    def paths(self) -> list[Path]:
        """Oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(path for path in self.folder.iterdir() if _NAME.fullmatch(path.name))


def write_state(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Tensors and plain values as one safetensors file with a hash of its contents. Raises OutputError."""
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(dict(about), sort_keys=True)
    size = sum(tensor.numel() * tensor.element_size() for tensor in held.values())
    with atomic_path(path, needed_bytes=size) as temporary:
        save_file(held, temporary, metadata={"about": text, "sha256": _digest(held, text)})


def read_state(path: Path) -> tuple[State, dict[str, Any]]:
    """What `write_state` wrote.

    Raises:
        CorruptFileError: truncated, altered, or another kind of file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CorruptFileError(f"{path} cannot be read as a checkpoint ({error})") from error
    text = metadata.get("about", "")
    if metadata.get("sha256") != _digest(tensors, text):
        raise CorruptFileError(f"{path} is not as it was written: its contents do not match their hash")
    return tensors, json.loads(text)


def _digest(tensors: Mapping[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
