"""`convert`: upstream's files into ours, of whichever kind they are: a model, identities, or a direction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from latent_reenact.errors import OutputError, UsageError
from latent_reenact.models.convert import ConvertReport
from latent_reenact.models.convert import convert as convert_model
from latent_reenact.systems.latent import LatentReenactor
from latent_reenact.systems.plan import IDENTITY_SUFFIX, output_folder
from latent_reenact.third_party.recognise import read_upstream
from latent_reenact.weights.direction import Direction

Kind = Literal["auto", "model", "identity", "direction"]
_ARRAY_SUFFIXES = {".npy", ".pkl", ".pt", ".pth"}
_SMALL_BYTES = 64 << 20  # latents are looked for in files up to this size


@dataclass(frozen=True)
class LatentsReport:
    """The identities or the direction that were written."""

    outputs: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {"outputs": list(self.outputs), "shapes": [list(shape) for shape in self.shapes]}


def convert(
    files: Sequence[str | Path],
    out: str | Path,
    *,
    kind: Kind = "auto",
    model: str | Path | None = None,
    name: str | None = None,
    device: str = "auto",
) -> ConvertReport | LatentsReport:
    """Convert checkpoint files, latents or a direction. Nothing in them is run.

    Args:
        files: checkpoints that belong together; or one file of W+ latents (`.npy`, `.pkl`, `.pt`), or of a direction.
        out: a new folder for a model, or for several identities; a `.safetensors` file else.
        kind: "auto" tells networks from arrays, and a direction [D] from latents [L, D]; a direction [L, D] must be
            called one.
        model: the model whose latents they are; identities need it.

    Raises:
        LatentReenactError: of the kind that says what is wrong; then nothing was written.
    """
    if kind == "model" or len(files) != 1 or not _may_hold_arrays(Path(files[0])):
        return convert_model(files, out, name=name)
    arrays = read_upstream(files[0]).arrays
    if not arrays and kind == "auto":
        return convert_model(files, out, name=name)
    if not arrays:
        raise UsageError(f"{files[0]} holds networks, not a {kind}; leave out --as, or give a file of arrays")
    squeezed = {key: _squeezed(array) for key, array in arrays.items()}
    if kind == "auto":
        kind = _guess(squeezed, model, str(files[0]))
    if kind == "direction":
        return _write_direction(squeezed, Path(out), str(files[0]))
    if model is None:
        raise UsageError(f"{files[0]} holds latents: say whose with --model NAME")
    from latent_reenact.systems.loading import load

    reenactor = load(model, device=device)
    if not isinstance(reenactor, LatentReenactor):
        raise UsageError(f"{model} runs the linear baseline, whose identities come from clips; name a latent model")
    return _write_identities(squeezed, Path(out), reenactor, Path(files[0]).stem)


def _may_hold_arrays(path: Path) -> bool:
    return path.suffix.lower() in _ARRAY_SUFFIXES and path.is_file() and path.stat().st_size <= _SMALL_BYTES


def _squeezed(array: np.ndarray) -> np.ndarray:
    """[1, D] -> [D], [1, L, D] -> [L, D]."""
    while array.ndim > 1 and array.shape[0] == 1:
        array = array[0]
    return array


def _guess(arrays: dict[str, np.ndarray], model: str | Path | None, where: str) -> Kind:
    if all(array.ndim == 1 for array in arrays.values()):
        return "direction"
    if model is not None:
        return "identity"
    shape = next(iter(arrays.values())).shape
    raise UsageError(
        f"{where} holds an array of shape {shape}, which may be an identity or a direction: "
        "say --model NAME for an identity of that model, or --as direction"
    )


def _check_file(out: Path) -> None:
    if out.suffix != IDENTITY_SUFFIX:
        raise OutputError(f"cannot write {out}: expected a name that ends in {IDENTITY_SUFFIX}")
    if not out.parent.is_dir():
        raise OutputError(f"cannot write {out}: no folder {out.parent}; make it first")


def _write_direction(arrays: dict[str, np.ndarray], out: Path, where: str) -> LatentsReport:
    if len(arrays) != 1:
        raise UsageError(f"{where} holds {len(arrays)} arrays, expected one direction; save each in a file of its own")
    _check_file(out)
    direction = Direction(next(iter(arrays.values())))
    try:
        direction.save(out)
    except OSError as error:
        raise OutputError(f"cannot write {out}: {error.strerror}") from None
    return LatentsReport((str(out),), (direction.values.shape,))


def _write_identities(arrays: dict[str, np.ndarray], out: Path, reenactor: LatentReenactor, stem: str) -> LatentsReport:
    latents = {}
    for key, array in arrays.items():
        rows = array if array.ndim == 3 else array[None]
        for i, w_plus in enumerate(rows):
            latents[(Path(key).stem or stem) + (f"-{i}" if len(rows) > 1 else "")] = w_plus
    people = {name: reenactor.identity_from_latent(w_plus) for name, w_plus in latents.items()}
    if len(people) == 1:
        _check_file(out)
        person = next(iter(people.values()))
        person.save(out)
        return LatentsReport((str(out),), (person.w_plus.shape,))
    outputs = []
    with output_folder(out):
        for name, person in people.items():
            person.save(out / f"{name}{IDENTITY_SUFFIX}")
            outputs.append(str(out / f"{name}{IDENTITY_SUFFIX}"))
    return LatentsReport(tuple(outputs), tuple(person.w_plus.shape for person in people.values()))
