"""Identities inverted once, beforehand: latents and the pictures they draw, on disk, looked up by key.

    folder/
      about.json                     encoder's hash, sizes
      part-<name>.safetensors        latents float32 [n, L, D], pictures uint8 [n, 3, S, S]; keys in the header

A part holds the identities of one shard. Parts are written whole or not at all, each by one of the processes, and
those that are there are not made again. They are mapped into memory: a row costs its own bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from latent_reenact.errors import ConfigError, CorruptFileError
from latent_reenact.media import atomic_path, atomic_write_json
from latent_reenact.models import ReStyleEncoder
from latent_reenact.models.pixels import from_pixels

Sample = tuple[str, Tensor]  # key, uint8 [3, H, W]


@dataclass(frozen=True, kw_only=True)
class InversionCacheConfig:
    """What is kept of each identity."""

    steps: int | None = None  # of ReStyle; the encoder's own number where it is None
    picture_size: int = 256  # side of the kept pictures: what the losses compare at
    batch: int = 16

    def __post_init__(self) -> None:
        if self.picture_size < 1 or self.batch < 1 or (self.steps is not None and self.steps < 1):
            raise ConfigError(
                f"steps {self.steps}, picture_size {self.picture_size}, batch {self.batch}: expected 1 or more"
            )


@dataclass(frozen=True)
class Portion:
    """Pictures that are inverted together into one part: a shard.

    fingerprint: changes where the pictures do.
    """

    name: str
    fingerprint: str
    samples: Callable[[], Iterable[Sample]]


def shard_portion(path: Path, read: Callable[[Path], Iterable[Sample]]) -> Portion:
    """A shard file as a portion; its fingerprint is its size and the hash of its first and last MiB."""
    size, piece = path.stat().st_size, 1 << 20
    digest = hashlib.sha256(f"{path.name} {size}".encode())
    with open(path, "rb") as file:
        digest.update(file.read(piece))
        file.seek(max(0, size - piece))
        digest.update(file.read(piece))
    return Portion(path.stem, digest.hexdigest(), lambda: read(path))


def encoder_hash(restyle: ReStyleEncoder, config: InversionCacheConfig) -> str:
    """Hash of everything that an inversion and its picture depend on: encoder, start, generator, steps, size."""
    digest = hashlib.sha256(f"{config.steps or restyle.steps} {config.picture_size}".encode())
    tensors = {**restyle.state_dict(), **restyle.generator.synthesis.state_dict(prefix="generator.")}
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(memoryview(tensor.reshape(-1).view(torch.uint8).numpy()))
    return digest.hexdigest()


def invert_portions(
    folder: Path,
    restyle: ReStyleEncoder,
    portions: Sequence[Portion],
    config: InversionCacheConfig,
    *,
    rank: int = 0,
    world_size: int = 1,
) -> Path:
    """Invert what is missing of this process's portions; return the cache's folder, named by the encoder's hash.

    The caller lets the processes wait for each other before it opens an `IdentityCache`.

    Raises:
        CorruptFileError: an inversion that is not finite.
        OutputError.
    """
    digest = encoder_hash(restyle, config)
    folder = Path(folder) / digest[:16]
    folder.mkdir(parents=True, exist_ok=True)
    if rank == 0:
        atomic_write_json(folder / "about.json", {"encoder": digest, "picture_size": config.picture_size})
    mine = [portion for portion in portions[rank::world_size] if not _is_made(folder, portion)]
    for portion in tqdm(mine, desc="inverting identities", unit="shard", disable=None if rank == 0 else True):
        _write_part(folder, portion, restyle, config)
    return folder


def part_path(folder: Path, portion: Portion) -> Path:
    """Where a portion's identities lie."""
    return folder / f"part-{portion.name}-{portion.fingerprint[:16]}.safetensors"


def _is_made(folder: Path, portion: Portion) -> bool:
    path = part_path(folder, portion)
    try:
        with safe_open(path, framework="pt") as file:
            return "keys" in (file.metadata() or {})
    except (OSError, SafetensorError):
        return False


@torch.no_grad()
def _write_part(folder: Path, portion: Portion, restyle: ReStyleEncoder, config: InversionCacheConfig) -> None:
    """In float32, as identities are inverted when the trained model is used."""
    device = restyle.latent_avg.device
    keys: list[str] = []
    latents: list[Tensor] = []
    pictures: list[Tensor] = []
    for names, pixels in _batches(portion.samples(), config.batch):
        w_plus = restyle.invert(from_pixels(pixels.to(device)), config.steps)  # [B, L, D]
        images = restyle.generator.synthesis(w_plus)
        if not w_plus.isfinite().all():
            raise CorruptFileError(f"shard {portion.name}: inversion gave no finite latent among {', '.join(names)}")
        keys += names
        latents.append(w_plus.cpu())
        pictures.append(_kept(images, config.picture_size))
    tensors = {"latents": torch.cat(latents).contiguous(), "pictures": torch.cat(pictures).contiguous()}
    with atomic_path(part_path(folder, portion)) as temporary:
        save_file(tensors, temporary, metadata={"keys": json.dumps(keys)})


def _batches(samples: Iterable[Sample], size: int) -> Iterator[tuple[list[str], Tensor]]:
    iterator = iter(samples)
    while chunk := list(islice(iterator, size)):
        yield [key for key, _ in chunk], torch.stack([picture for _, picture in chunk])


def _kept(images: Tensor, size: int) -> Tensor:
    """float [B, 3, R, R] in [-1, 1] -> uint8 [B, 3, size, size], or [B, 3, R, R] where R is smaller."""
    if images.shape[-1] > size:
        images = F.adaptive_avg_pool2d(images, (size, size))
    return (images.clamp(-1, 1) * 127.5 + 127.5).round().to(torch.uint8).cpu()


class IdentityCache:
    """Identities by key.

    Args:
        folder: what `invert_portions` returned.
        portions: whose identities to hold; all of the folder's where it is None.

    Raises:
        CorruptFileError: a part is missing or damaged.
    """

    def __init__(self, folder: Path, portions: Sequence[Portion] | None = None) -> None:
        self.folder = Path(folder)
        paths = sorted(self.folder.glob("part-*.safetensors"))
        if portions is not None:
            paths = [part_path(self.folder, portion) for portion in portions]
        self._parts: list[dict[str, Tensor]] = []
        self._places: dict[str, tuple[int, int]] = {}
        for i, path in enumerate(paths):
            keys, tensors = _open_part(path)
            self._parts.append(tensors)
            self._places |= {key: (i, row) for row, key in enumerate(keys)}

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def latents(self, keys: Sequence[str]) -> Tensor:
        """float32 [B, L, D]."""
        return torch.stack([self._row(key, "latents") for key in keys])

    def pictures(self, keys: Sequence[str]) -> Tensor:
        """The inverted pictures, uint8 [B, 3, S, S]."""
        return torch.stack([self._row(key, "pictures") for key in keys])

    def _row(self, key: str, name: str) -> Tensor:
        if key not in self._places:
            raise CorruptFileError(
                f"{self.folder} has no inverted identity for {key!r}, only {len(self)} others; were the shards changed "
                "since? Start the training again to have it made"
            )
        part, row = self._places[key]
        return self._parts[part][name][row]


def _open_part(path: Path) -> tuple[list[str], dict[str, Tensor]]:
    """Keys, and tensors that share the file's memory map."""
    try:
        with safe_open(path, framework="pt") as file:
            keys = json.loads((file.metadata() or {})["keys"])
        tensors = load_file(path)
        if not len(keys) == len(tensors["latents"]) == len(tensors["pictures"]):
            raise ValueError("its parts are of different lengths")
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise CorruptFileError(
            f"{path} cannot be read ({error}); remove it, and start again to have it made"
        ) from error
    return keys, tensors
