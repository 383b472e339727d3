"""Synthetic portraits whole: pictures, landmarks, conditioning vectors, motion and swaps, mapped from disk.

What shards hold as z and PNG is worked out once, by all cores, into .npy files in a folder `cache` beside them, and
mapped from there: processes on one machine share the memory.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latent_reenact.errors import ConfigError, CorruptFileError, WeightsNotFoundError
from latent_reenact.media import atomic_path
from latent_reenact.models.pixels import from_pixels
from latent_reenact.synthface import Factors, Mesh, conditioning, factors_from_latent
from latent_reenact.training.preparation.cluster import core_count, run_locally
from latent_reenact.training.shards.format import ShardIndex, person_of, read_index
from latent_reenact.training.shards.motion import MOTION_SIZE, motion_vector
from latent_reenact.training.shards.reading import Face, decode, read_raw

_VERSION = 1  # of what is derived: another number makes all caches anew
_PARTNERS = 6
_SHARED_WORK = 2048  # portraits from which on starting processes pays


@dataclass(frozen=True)
class PortraitSet:
    """N portraits at one resolution R, each with P partners that wear its motion."""

    images: Tensor  # uint8 [N, 3, R, R], channels last
    landmarks: Tensor  # float32 [N, 68, 2], pixels, pixel centres at +0.5 as the renderer has them
    conditioning: Tensor  # float32 [N, K]
    motion: Tensor  # float32 [N, 58]
    partners: Tensor  # int64 [N, P], rows of this set
    swapped: Tensor  # float32 [N, P, K]
    person: Tensor  # int64 [N], the same for all frames of a person

    def __len__(self) -> int:
        return len(self.images)

    @property
    def resolution(self) -> int:
        return self.images.shape[-1]

    def pictures(self, index: Tensor) -> Tensor:
        """float [B, 3, R, R] in [-1, 1], where the set is. index: int64 [B] on the CPU or there."""
        return from_pixels(self.images[index])

    def to(self, device: torch.device) -> PortraitSet:
        """The whole set in a device's memory, where that has room for it four times; else the set as it is."""
        tensors = {field.name: getattr(self, field.name) for field in fields(self)}
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        if device.type != "cuda" or torch.cuda.mem_get_info(device)[0] < 4 * size:
            return self
        return PortraitSet(**{name: tensor.to(device) for name, tensor in tensors.items()})


def load_portraits(
    shards: Sequence[Path],
    resolution: int,
    mesh: Mesh,
    limit: int | None = None,
    *,
    partners: int = _PARTNERS,
    jobs: int | None = None,
) -> PortraitSet:
    """Portraits of synthetic shards (see `prepare_synthetic`), pictures averaged to `resolution`.

    Args:
        mesh: the one that the portraits were rendered with.
        limit: stop after the shard with which there are so many.
        partners: swaps a portrait, of random other people of its shard (of its own person where there is no other);
            with 0 there are none, which is quicker.
        jobs: processes that fill the cache; all cores by default.

    Raises:
        WeightsNotFoundError: no shards.
        CorruptFileError: a shard is damaged, or its portraits have no z.
        ConfigError: a shard of a single portrait.
    """
    indices = _chosen([Path(path) for path in shards], limit)
    cache = _Cache.of(indices, mesh, resolution, partners)
    cache.fill(mesh, jobs or core_count())
    arrays = {name: torch.from_numpy(np.load(path, mmap_mode="c")) for name, path in cache.files.items()}
    none = arrays["conditioning"].new_zeros(len(cache.person), 0, arrays["conditioning"].shape[1])
    return PortraitSet(
        images=arrays["images"].permute(0, 3, 1, 2),
        landmarks=arrays["landmarks"] * resolution,
        conditioning=arrays["conditioning"],
        motion=arrays["motion"],
        partners=torch.from_numpy(cache.partners),
        swapped=arrays.get("swapped", none),
        person=torch.from_numpy(cache.person),
    )


@dataclass(frozen=True)
class _Cache:
    """The derived arrays of some shards, and where they are kept.

    files: images uint8 [N, R, R, 3]; landmarks float32 [N, 68, 2], in 0 .. 1; the rest as in `PortraitSet`.
    """

    indices: tuple[ShardIndex, ...]
    resolution: int
    partners: np.ndarray  # int64 [N, P]
    person: np.ndarray  # int64 [N]
    files: dict[str, Path]

    @classmethod
    def of(cls, indices: tuple[ShardIndex, ...], mesh: Mesh, resolution: int, partners: int) -> _Cache:
        person: list[np.ndarray] = []
        for index in indices:
            within = np.unique([person_of(key) for key in index.keys], return_inverse=True)[1]
            person.append(within + (person[-1].max() + 1 if person else 0))
        starts = np.cumsum([0, *(len(index) for index in indices)])
        drawn = [_partners(p, partners, number) + starts[number] for number, p in enumerate(person)]
        key = _key(indices, mesh)
        names = {
            "landmarks": f"{key}-landmarks.npy",
            "conditioning": f"{key}-conditioning.npy",
            "motion": f"{key}-motion.npy",
            "images": f"{key}-images-{resolution}.npy",
            **({"swapped": f"{key}-swapped-{partners}.npy"} if partners else {}),
        }
        folder = indices[0].path.parent / "cache"
        files = {name: folder / file for name, file in names.items()}
        return cls(indices, resolution, np.concatenate(drawn), np.concatenate(person), files)

    def fill(self, mesh: Mesh, jobs: int) -> None:
        """Make the files that are missing; another process that asks meanwhile waits for them."""
        folder = self.files["images"].parent
        folder.mkdir(exist_ok=True)
        with _locked(folder / "lock"), ExitStack() as stack:
            missing = [name for name, path in self.files.items() if not path.exists()]
            if not missing:
                return
            shapes = self._shapes(mesh)
            drafts = {name: stack.enter_context(atomic_path(self.files[name])) for name in missing}
            for name, draft in drafts.items():
                _allocate(draft, *shapes[name])
            work = partial(_derive, drafts=drafts, resolution=self.resolution, mesh=landmarks_only(mesh))
            jobs = jobs if len(self.person) >= _SHARED_WORK else 1
            for _ in run_locally(work, list(self._parts()), jobs=jobs):
                pass

    def _shapes(self, mesh: Mesh) -> dict[str, tuple[type, tuple[int, ...]]]:
        n, p, k = *self.partners.shape, len(conditioning(Factors(), mesh))
        return {
            "images": (np.uint8, (n, self.resolution, self.resolution, 3)),
            "landmarks": (np.float32, (n, 68, 2)),
            "conditioning": (np.float32, (n, k)),
            "motion": (np.float32, (n, MOTION_SIZE)),
            "swapped": (np.float32, (n, p, k)),
        }

    def _parts(self) -> Iterator[_Part]:
        start = 0
        for index in self.indices:
            yield _Part(index, start, self.partners[start : start + len(index)] - start)
            start += len(index)


@dataclass(frozen=True)
class _Part:
    """The rows that one shard fills."""

    index: ShardIndex
    start: int
    partners: np.ndarray  # [n, P], rows of the shard


def _derive(part: _Part, *, drafts: dict[str, Path], resolution: int, mesh: Mesh) -> None:
    """Write one shard's rows of the arrays that are missing."""
    faces = list(_faces(part.index, resolution))
    factors = [factors_from_latent(face.z) for face in faces]  # type: ignore[arg-type]  # _faces sees to it
    makers: dict[str, Callable[[int], np.ndarray]] = {
        "images": lambda i: faces[i].picture,
        "landmarks": lambda i: (faces[i].landmarks + 0.5) / resolution,
        "conditioning": lambda i: conditioning(factors[i], mesh),
        "motion": lambda i: motion_vector(factors[i]),
        "swapped": lambda i: swapped_conditioning(factors[i], [factors[j] for j in part.partners[i]], mesh),
    }
    for name, draft in drafts.items():
        rows = np.load(draft, mmap_mode="r+")
        for i in range(len(faces)):
            rows[part.start + i] = makers[name](i)
        rows.flush()


def _allocate(path: Path, dtype: type, shape: tuple[int, ...]) -> None:
    """An array of zeros on disk, with its room taken now: a full disk is an error here and a crash later."""
    np.lib.format.open_memmap(path, "w+", dtype, shape)
    with open(path, "r+b") as file:
        os.posix_fallocate(file.fileno(), 0, os.path.getsize(path))


def landmarks_only(mesh: Mesh) -> Mesh:
    """All that `conditioning` reads of a mesh: small enough to travel."""
    none = np.zeros(0, np.int32)
    return replace(
        mesh,
        basis=mesh.landmark_basis,
        landmarks=np.arange(68, dtype=np.int32),
        triangles=none,
        materials=none,
        attributes=none,
        anchor_index=none,
        anchor_weight=none,
    )


def swapped_conditioning(driving: Factors, partners: Sequence[Factors], mesh: Mesh) -> np.ndarray:
    """Conditioning of each partner with the driving portrait's motion, float32 [P, K]."""
    return np.stack([conditioning(replace(partner, motion=driving.motion), mesh) for partner in partners])


def _faces(index: ShardIndex, resolution: int) -> Iterator[Face]:
    count = 0
    for raw in read_raw(index.path, 0, int(index.offsets[-1])):
        face = decode(raw, resolution)
        if face.z is None:
            raise CorruptFileError(f"{index.path}: sample {face.key} has no z (.npy); expected synthetic portraits")
        count += 1
        yield face
    if count != len(index):
        raise CorruptFileError(f"{index.path} holds {count} samples, expected {len(index)}; prepare it again")


def _chosen(shards: list[Path], limit: int | None) -> tuple[ShardIndex, ...]:
    """The shards to read, `limit` samples or a few more; empty ones left out."""
    if not shards:
        raise WeightsNotFoundError(
            "no shards of synthetic portraits found; `latent-reenact prepare --synthetic` makes them"
        )
    chosen: list[ShardIndex] = []
    for path in shards:
        index = read_index(path)
        if index.truncated or not len(index):
            raise CorruptFileError(f"{path} is empty or cut off ({index.truncated}); prepare it again")
        chosen.append(index)
        if limit is not None and sum(map(len, chosen)) >= limit:
            break
    return tuple(chosen)


def _partners(person: np.ndarray, count: int, seed: int) -> np.ndarray:
    """For each of the n portraits of a shard `count` random others, of other people where there are any, [n, count]."""
    rows = np.arange(len(person))
    if len(rows) < 2:
        raise ConfigError("a shard holds a single portrait, which has nobody to swap with; prepare more people")
    rng = np.random.default_rng(seed)
    alone = (person == person[0]).all()
    others = (rows[rows != i] if alone else rows[person != person[i]] for i in rows)
    return np.stack([rng.choice(other, count) for other in others])


def _key(indices: Sequence[ShardIndex], mesh: Mesh) -> str:
    """A digest of what the cached arrays depend on: the shards by name and size, and the mesh by its landmarks."""
    shards = [(index.path.name, index.path.stat().st_size) for index in indices]
    digest = hashlib.sha256(json.dumps([_VERSION, shards]).encode())
    for modes in (mesh.landmark_basis.rest, mesh.landmark_basis.identity, mesh.landmark_basis.expression):
        digest.update(np.ascontiguousarray(modes).tobytes())
    return digest.hexdigest()[:16]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time; the lock goes with the process."""
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
