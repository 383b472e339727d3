"""Directions that others have published, from their files; nothing that a file names is imported or run.

| published by | file | holds |
|---|---|---|
| STIT, generators-with-stylegan2 | `.npy` | [L, D] |
| e4e, ReStyle, PTI (InterFaceGAN's method) | `.pt` | [D], or [L, D] with equal rows |
| InterFaceGAN, GenForce | `.npy` | [1, D], of unit length |
| GANSpace's components | `.npz` | `lat_comp` [K, 1, D] with `lat_stdev` [K] |
| GANSpace's named directions | `.pkl` | `lat_comp`, `lat_stdev`, `name`, `edit_start`, `edit_end` |
| e4e's and PTI's `ffhq_pca.pt` | `.pt` | `comp` [K, 1, D] with `std` [K] |
| this package | `.safetensors` | see `LatentDirection.save` |
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from latent_reenact.editing.direction import LatentDirection
from latent_reenact.errors import CorruptFileError, LimitExceededError
from latent_reenact.third_party.containers import read_checkpoint

PUBLISHED_STD = 0.5
"""Standard deviation of the codes of StyleGAN2-FFHQ's W, and of e4e's: what published directions were found among."""

_MAX_BYTES = 256 << 20
_COMPONENTS = (("lat_comp", "lat_stdev"), ("comp", "std"))


def read_directions(path: str | Path, *, latent_std: float | None = PUBLISHED_STD) -> list[LatentDirection]:
    """The directions in a file: one, or as many as it has principal components, each of whose steps is its deviation.

    Equal rows become [D], which fits a generator of any resolution.

    Args:
        latent_std: the scale of the latents that they were found among, which the files do not say.

    Raises:
        CorruptFileError: missing, damaged, or none of the known forms.
        UnsafeCheckpointError: a pickle that asks for more than numbers.
        LimitExceededError.
    """
    path = Path(path)
    if path.suffix.lower() == ".safetensors":
        return [LatentDirection.load(path)]
    tree = _read_npz(path) if path.suffix.lower() == ".npz" else read_checkpoint(path)
    if isinstance(tree, Mapping):
        return _from_mapping(tree, path, latent_std)
    return [LatentDirection(name=path.stem, values=_compact(_array(tree, path), path), latent_std=latent_std)]


def _from_mapping(tree: Mapping[str, Any], path: Path, latent_std: float | None) -> list[LatentDirection]:
    """GANSpace's two forms, and a mapping from names to arrays."""
    for key, deviations in _COMPONENTS:
        if key in tree and deviations in tree:
            components = _array(tree[key], path)
            sizes = np.atleast_1d(_array(tree[deviations], path))
            break
    else:
        return [
            LatentDirection(name=str(name), values=_compact(_array(value, path), path), latent_std=latent_std)
            for name, value in tree.items()
        ]
    if components.ndim < 2 or sizes.shape != components.shape[:1]:
        raise CorruptFileError(
            f"{path}: got components {list(components.shape)} and deviations {list(sizes.shape)}, expected [K, 1, D] "
            "and one deviation each"
        )
    styles = _styles(tree, path)
    names = [str(tree["name"])] if "name" in tree and len(sizes) == 1 else [f"component-{k}" for k in range(len(sizes))]
    return [
        LatentDirection(name=name, values=size * _compact(axis, path), styles=styles, latent_std=latent_std)
        for name, size, axis in zip(names, sizes, components, strict=True)
    ]


def _styles(tree: Mapping[str, Any], path: Path) -> tuple[int, int] | None:
    """The styles that a named direction of GANSpace moves; the end is exclusive."""
    if "edit_start" not in tree or "edit_end" not in tree:
        return None
    first, end = tree["edit_start"], tree["edit_end"]
    if not (isinstance(first, int) and isinstance(end, int) and 0 <= first < end):
        raise CorruptFileError(f"{path}: got styles {first!r} to {end!r}, expected whole numbers that increase")
    return first, end


def _compact(array: np.ndarray, path: Path) -> np.ndarray:
    """[1, ..., D] -> [D]; [L, D] with equal rows -> [D]."""
    while array.ndim > 1 and array.shape[0] == 1:
        array = array[0]
    if array.ndim not in (1, 2):
        raise CorruptFileError(f"{path} holds an array {list(array.shape)}, expected a direction [D] or [L, D]")
    return array[0] if array.ndim == 2 and (array == array[0]).all() else array


def _array(value: Any, path: Path) -> np.ndarray:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().float().numpy()
    if isinstance(value, float | int):
        value = np.asarray(value, np.float32)
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        raise CorruptFileError(f"{path} holds {type(value).__name__}, expected a direction: an array of numbers")
    return value.astype(np.float32)


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > _MAX_BYTES:
            raise LimitExceededError(f"{path} unpacks to {size >> 20} MB, expected {_MAX_BYTES >> 20} at most")
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files if arrays[name].dtype.kind == "f"}
    except OSError as error:
        raise CorruptFileError(f"cannot read {path}: {error.strerror or error}") from None
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError, NotImplementedError) as error:
        raise CorruptFileError(f"{path} is no archive of arrays ({error}); get the file again") from None
