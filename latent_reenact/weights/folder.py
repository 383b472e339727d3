"""A model on disk: a folder of `config.json`, one safetensors file per network, and a manifest of hashes.

builtin/
  config.json              what the networks are: classes and sizes
  generator.safetensors    tensors, half or single precision
  ...
  manifest.json            bytes and SHA-256 of every other file
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latent_reenact.errors import CorruptFileError, LimitExceededError, OutputError, WeightsNotFoundError

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1
CONFIG, MANIFEST = "config.json", "manifest.json"
MAX_JSON_BYTES = 4 << 20
MAX_TENSOR_BYTES = 8 << 30


class ModelFolder:
    """Reads a model folder; nothing in it is executed.

    Args:
        path: the folder.

    Raises:
        WeightsNotFoundError: no such folder, or no config.json in it.
        CorruptFileError: a JSON file that is not one, or of another format.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not (self.path / CONFIG).is_file():
            raise WeightsNotFoundError(f"{self.path} is not a model folder: expected a {CONFIG} in it")
        self.config = self._json(CONFIG)
        if self.config.get("format") != FORMAT:
            raise CorruptFileError(f"{self.path}: got format {self.config.get('format')!r}, expected {FORMAT}")

    @property
    def name(self) -> str:
        """The model's own name."""
        return str(self.config.get("name", self.path.name))

    @property
    def networks(self) -> dict[str, dict[str, Any]]:
        """Network name -> {"class": ..., "config": ...}."""
        return dict(self.config.get("networks", {}))

    def verify(self) -> None:
        """Compare every file with the manifest.

        Raises:
            CorruptFileError: naming the first file that is missing, unlisted, or not what was written.
        """
        listed = self._json(MANIFEST).get("files", {})
        for name in [CONFIG, *(f"{network}.safetensors" for network in self.networks)]:
            if name not in listed:
                raise CorruptFileError(f"{self.path}: {name} is not in {MANIFEST}; fetch or convert the model again")
        for name in listed:
            self._verify_file(name, listed[name])

    def tensors(self, network: str, *, verify: bool = True) -> dict[str, Tensor]:
        """The tensors of one network, in the precision they are stored in.

        Raises:
            CorruptFileError: the file is missing, altered or not safetensors.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        name = f"{network}.safetensors"
        if verify:
            self._verify_file(name, self._json(MANIFEST).get("files", {}).get(name, {}))
        try:
            return load_file(self.path / name)
        except (SafetensorError, OSError, ValueError) as error:
            raise CorruptFileError(f"{self.path / name} cannot be read: {_first_line(error)}") from None

    def _verify_file(self, name: str, entry: Mapping[str, Any]) -> None:
        path = self.path / name
        if Path(name).name != name or not path.is_file():
            raise CorruptFileError(f"{self.path}: {name} is missing; fetch or convert the model again")
        size = path.stat().st_size
        if size > MAX_TENSOR_BYTES:
            raise LimitExceededError(f"{path}: got {size} bytes, expected {MAX_TENSOR_BYTES} at most")
        if size != entry.get("bytes") or sha256(path) != entry.get("sha256"):
            raise CorruptFileError(
                f"{path} is not the file that {MANIFEST} describes (it was cut or altered); fetch or convert it again"
            )

    def _json(self, name: str) -> dict[str, Any]:
        path = self.path / name
        try:
            if path.stat().st_size > MAX_JSON_BYTES:
                raise LimitExceededError(f"{path}: got {path.stat().st_size} bytes, expected {MAX_JSON_BYTES} at most")
            value = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise CorruptFileError(f"{path} cannot be read: {error.strerror}") from None
        except (ValueError, RecursionError) as error:
            raise CorruptFileError(f"{path} is not valid JSON: {_first_line(error)}") from None
        if not isinstance(value, dict):
            raise CorruptFileError(f"{path}: got a {type(value).__name__}, expected an object")
        return value


def write_model(
    path: str | Path,
    config: Mapping[str, Any],
    states: Mapping[str, Mapping[str, Tensor]],
    *,
    half_precision: bool = True,
) -> None:
    """Write a model folder.

    Args:
        config: everything but `format`; its `networks` must name the same networks as `states`.
        states: network -> tensor name -> tensor.
        half_precision: store floating-point tensors as float16.
    """
    import torch
    from safetensors.torch import save

    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for network, state in states.items():
            tensors = {name: t.detach().cpu().contiguous() for name, t in state.items()}
            if half_precision:
                tensors = {n: t.to(torch.float16) if t.is_floating_point() else t for n, t in tensors.items()}
            (folder / f"{network}.safetensors").write_bytes(save(tensors))  # as readable as any other file
        (folder / CONFIG).write_text(json.dumps({"format": FORMAT, **config}, indent=1) + "\n", encoding="utf-8")
        names = [CONFIG, *(f"{network}.safetensors" for network in states)]
        files = {n: {"bytes": (folder / n).stat().st_size, "sha256": sha256(folder / n)} for n in names}
        (folder / MANIFEST).write_text(json.dumps({"files": files}, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write the model to {folder}: {error.strerror}") from None


def sha256(path: Path) -> str:
    """Hex digest of a file, read in pieces."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
