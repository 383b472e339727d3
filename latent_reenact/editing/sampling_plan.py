"""What a data set of random people shall be: the settings, the plan in its folder, and what belongs to each shard."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from latent_reenact.config import to_dict
from latent_reenact.errors import ConfigError, CorruptFileError
from latent_reenact.media import Provenance, atomic_write_json, clean_leftovers
from latent_reenact.media.shards import load_index_file, shard_files
from latent_reenact.weights import resolve, sha256

PLAN = "plan.json"
Suffix = Literal["png", "jpg", "webp"]


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """What is drawn. Controls that have no range are 0: a frontal face at rest."""

    model: str = "builtin"
    count: int  # pictures
    seed: int = 0  # of the first person, the others follow; and of what they do
    identities: int | None = None  # people; by default as many as pictures. Each has the same number of them, in a row
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # control -> where its values lie, evenly
    suffix: Suffix = "png"
    shard_size: int = 500  # pictures; a run that is killed loses no more than one
    latents: bool = False  # keep each picture's w_plus beside it, float32 [L, D] as .npy
    truncation_psi: float = 0.8
    refine_steps: int | None = None  # of inversions; by default as many as the model asks for

    def __post_init__(self) -> None:
        least = {"count": 1, "seed": 0, "shard_size": 1, "identities": 1, "refine_steps": 0}
        for name, minimum in least.items():
            value = getattr(self, name)
            if value is not None and value < minimum:
                raise ConfigError(f"{name}: got {value}, expected at least {minimum}")
        if self.identities is not None and self.identities > self.count:
            raise ConfigError(f"identities: got {self.identities}, expected at most {self.count}, the pictures")
        if self.suffix not in get_args(Suffix):
            raise ConfigError(f"format: got {self.suffix!r}, expected one of {', '.join(get_args(Suffix))}")
        for name, (low, high) in self.ranges.items():
            if not (math.isfinite(low) and math.isfinite(high) and low <= high):
                raise ConfigError(f"{name}: got {low:g}:{high:g}, expected two numbers, the lower one first")

    @property
    def shards(self) -> int:
        return -(-self.count // self.shard_size)

    @property
    def each(self) -> int:
        """Pictures of a person; of the last one perhaps fewer."""
        return -(-self.count // (self.identities or self.count))

    def person(self, index: int) -> int:
        """The seed of the person in a picture."""
        return self.seed + index // self.each

    def controls(self, index: int) -> dict[str, float]:
        """What the person in a picture does: the controls that have a range, to a thousandth."""
        random = np.random.default_rng((self.seed, index))
        drawn = {name: float(random.uniform(*self.ranges[name])) for name in sorted(self.ranges)}
        return {name: round(value, 3) for name, value in drawn.items()}


@dataclass(frozen=True)
class Plan:
    """A folder and what shall be in it.

    created: the time in all marks, that of the first run. weights: a digest of the model's.
    """

    out: Path
    config: SamplingConfig
    created: str
    weights: str

    @classmethod
    def open(cls, out: Path, config: SamplingConfig) -> Plan:
        """Read the folder's plan or write it. Raises ConfigError where another is there: it may only grow."""
        clean_leftovers(out)
        path, weights = out / PLAN, sha256(resolve(config.model) / "manifest.json")[:16]
        wanted = {**json.loads(json.dumps(to_dict(config))), "each": config.each, "weights": weights}
        if path.is_file():
            known = _read_plan(path)
            created = str(known.get("created", ""))
            changed = [k for k in wanted if known.get(k) != wanted[k] and k not in ("count", "identities")]
            changed += ["count"] if known.get("count", 0) > config.count else []
            if changed:
                words = "; ".join(f"{k} {known.get(k)}, now {wanted[k]}" for k in changed)
                raise ConfigError(f"{out} holds another data set ({words}); choose another folder, or remove it")
        elif strangers := shard_files(out):
            raise ConfigError(f"{strangers[0]} is not part of this data set; give another folder, or remove that file")
        else:
            created = Provenance().dated().created
        atomic_write_json(path, {"created": created, **wanted})
        return cls(out, config, created, weights)

    def path(self, number: int) -> Path:
        return self.out / f"{number:05d}.tar"

    def indices(self, number: int) -> range:
        """Pictures in a shard."""
        size = self.config.shard_size
        return range(number * size, min((number + 1) * size, self.config.count))

    def digest(self, number: int) -> str:
        """Of all that decides a shard's content."""
        settings = {k: v for k, v in to_dict(self.config).items() if k not in ("count", "identities")}
        indices = self.indices(number)
        parts = [settings, self.config.each, self.weights, self.created, indices.start, indices.stop]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    def is_done(self, number: int) -> bool:
        index = load_index_file(self.path(number))
        return index is not None and index.get("unit") == self.digest(number)


def _read_plan(path: Path) -> dict[str, Any]:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(known, dict):
            raise ValueError("not an object")
    except (OSError, ValueError) as error:
        raise CorruptFileError(f"{path} cannot be read ({error}); remove it and the shards, and run again") from None
    return known
