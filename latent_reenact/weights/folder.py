"""A model on disk: a folder of `config.json`, one safetensors file per network, and a manifest of hashes.

builtin/
  config.json              what the networks are: classes and sizes
  generator.safetensors    tensors, half or single precision
  ...
  manifest.json            bytes and SHA-256 of every other file
  verified.json            which large files were found to be so, and when they were last changed

Tensors are mapped, not read. Small files are hashed whenever they are loaded; a large one when it was changed
since it was last found whole, so that a folder of gigabytes opens at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latent_reenact.errors import CorruptFileError, LimitExceededError, OutputError, WeightsNotFoundError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

FORMAT = 1
CONFIG, MANIFEST, VERIFIED = "config.json", "manifest.json", "verified.json"
MAX_JSON_BYTES = 4 << 20
MAX_TENSOR_BYTES = 8 << 30
LARGE_BYTES = 64 << 20
_PIECE = 1 << 22
# torch's name of an element type -> safetensors' name
_TYPE_NAMES = {
    "torch.float64": "F64",
    "torch.float32": "F32",
    "torch.float16": "F16",
    "torch.bfloat16": "BF16",
    "torch.int64": "I64",
    "torch.int32": "I32",
    "torch.int16": "I16",
    "torch.int8": "I8",
    "torch.uint8": "U8",
    "torch.bool": "BOOL",
}


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
        """Network name -> {"class": ..., "config": ...}. Raises CorruptFileError where config.json has it otherwise."""
        return self._objects(CONFIG, self.config.get("networks", {}))

    def verify(self) -> None:
        """Compare every file with the manifest.

        Raises:
            CorruptFileError: naming the first file that is missing, unlisted, or not what was written.
        """
        listed = self._listed()
        for name in [CONFIG, *(f"{network}.safetensors" for network in self.networks)]:
            if name not in listed:
                raise CorruptFileError(f"{self.path}: {name} is not in {MANIFEST}; fetch or convert the model again")
        for name in listed:
            self._verify_file(name, listed[name])

    def tensors(self, network: str, *, verify: bool = True) -> dict[str, Tensor]:
        """The tensors of one network, in the precision they are stored in; they share the file's memory map.

        Raises:
            CorruptFileError: the file is missing, altered, not safetensors, or holds what is not a finite number.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        name = f"{network}.safetensors"
        entry = self._listed().get(name, {}) if verify else {}
        known = verify and self._is_known(name, entry)
        if verify and not known:
            self._verify_file(name, entry)
        try:
            tensors = load_file(self.path / name)
        except (SafetensorError, OSError, ValueError) as error:
            raise CorruptFileError(f"{self.path / name} cannot be read: {_first_line(error)}") from None
        if not known:
            for tensor_name, tensor in tensors.items():
                if not all_finite(tensor):
                    raise CorruptFileError(f"{self.path / name}: {tensor_name} has values that are not finite numbers")
            self._remember(name, entry)
        return tensors

    def mark_verified(self) -> None:
        """Take the files as they lie for what the manifest lists: for whoever has just written and checked them."""
        for name, entry in self._listed().items():
            self._remember(name, entry)

    def _is_known(self, name: str, entry: Mapping[str, Any]) -> bool:
        """Whether a large file was found whole before and was not changed since."""
        path = self.path / name
        if not (self.path / VERIFIED).is_file() or not os.path.isfile(path):
            return False
        stat = path.stat()
        stamp = [stat.st_size, stat.st_mtime_ns, entry.get("sha256")]
        return stat.st_size == entry.get("bytes") and self._json(VERIFIED).get(name) == stamp

    def _remember(self, name: str, entry: Mapping[str, Any]) -> None:
        stat = (self.path / name).stat()
        if stat.st_size < LARGE_BYTES or "sha256" not in entry:
            return
        stamps = self._json(VERIFIED) if (self.path / VERIFIED).is_file() else {}
        stamps[name] = [stat.st_size, stat.st_mtime_ns, entry["sha256"]]
        with contextlib.suppress(OSError):  # a folder that is read-only is hashed each time
            _write_whole(self.path / VERIFIED, [json.dumps(stamps, indent=1).encode()])

    def _listed(self) -> dict[str, dict[str, Any]]:
        """File name -> {"bytes": ..., "sha256": ...}, from the manifest."""
        return self._objects(MANIFEST, self._json(MANIFEST).get("files", {}))

    def _objects(self, where: str, value: Any) -> dict[str, dict[str, Any]]:
        if not isinstance(value, dict) or not all(isinstance(entry, dict) for entry in value.values()):
            raise CorruptFileError(
                f"{self.path / where}: expected an object of objects; fetch or convert the model again"
            )
        return dict(value)

    def _verify_file(self, name: str, entry: Mapping[str, Any]) -> None:
        path = self.path / name
        if Path(name).name != name or not os.path.isfile(path):  # False for any odd name
            raise CorruptFileError(f"{self.path}: {name[:100]!r} is missing; fetch or convert the model again")
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
    """Write a model folder, one tensor at a time; the manifest comes last.

    Args:
        config: everything but `format`; its `networks` must name the same networks as `states`.
        states: network -> tensor name -> tensor.
        half_precision: store floating-point tensors as float16.

    Raises:
        OutputError: the folder cannot be written.
    """
    import torch

    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / VERIFIED).unlink(missing_ok=True)
        files = {}
        for network, state in states.items():
            name = f"{network}.safetensors"
            files[name] = write_tensors(folder / name, state, torch.float16 if half_precision else None)
        text = json.dumps({"format": FORMAT, **config}, indent=1) + "\n"
        files = {CONFIG: _write_whole(folder / CONFIG, [text.encode()]), **files}
        _write_whole(folder / MANIFEST, [(json.dumps({"files": files}, indent=1) + "\n").encode()])
    except OSError as error:
        raise OutputError(f"cannot write the model to {folder}: {error.strerror}") from None


def write_tensors(path: Path, tensors: Mapping[str, Tensor], dtype: torch.dtype | None = None) -> dict[str, Any]:
    """Write a safetensors file whole or not at all, holding one tensor in memory at a time.

    The format is a length (uint64), a JSON header of types, shapes and places, and the numbers.

    Args:
        dtype: what floating-point tensors are stored as, those with numbers too large for it excepted; None leaves
            them as they are.

    Returns:
        {"bytes": ..., "sha256": ...} of the file.
    """
    import torch

    types = {name: dtype if dtype is not None and _fits(t, dtype) else t.dtype for name, t in tensors.items()}
    header: dict[str, Any] = {}
    at = 0
    for name, tensor in tensors.items():
        end = at + tensor.numel() * types[name].itemsize
        header[name] = {"dtype": _TYPE_NAMES[str(types[name])], "shape": list(tensor.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)

    def pieces() -> Iterator[bytes | memoryview]:
        yield len(text).to_bytes(8, "little") + text
        for name, tensor in tensors.items():
            plain = tensor.detach().cpu().to(types[name]).contiguous()
            yield plain.reshape(-1).view(torch.uint8).numpy().data

    return _write_whole(path, pieces())


def _fits(tensor: Tensor, dtype: torch.dtype) -> bool:
    """Whether the tensor is of floating-point numbers that the type can hold; running variances may be too large."""
    import torch

    if not tensor.is_floating_point():
        return False
    if tensor.numel() == 0:
        return True
    low, high = torch.aminmax(tensor.detach())
    return max(-float(low), float(high)) <= torch.finfo(dtype).max


def _write_whole(path: Path, pieces: Iterable[bytes | memoryview]) -> dict[str, Any]:
    """Write beside the target, then rename; as readable as any other file. Returns its size and hash."""
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    digest, size = hashlib.sha256(), 0
    try:
        with open(temporary, "wb") as file:
            for piece in pieces:
                file.write(piece)
                digest.update(piece)
                size += len(piece)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return {"bytes": size, "sha256": digest.hexdigest()}


def all_finite(tensor: Tensor) -> bool:
    """Whether every value is a finite number; looks at a few million at a time."""
    if not tensor.is_floating_point():
        return True
    return all(bool(part.isfinite().all()) for part in tensor.reshape(-1).split(_PIECE))


def sha256(path: Path) -> str:
    """Hex digest of a file, read in pieces."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
