"""The synthetic world into shards: people with a few frames each, every frame with the z that it was drawn from."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from latent_reenact.errors import ConfigError
from latent_reenact.synthface import (
    LATENT_DIM,
    LATENT_SLOTS,
    Factors,
    Portrait,
    Renderer,
    factors_from_latent,
    load_mesh,
    sample_latent,
)
from latent_reenact.training.preparation.cluster import Executor
from latent_reenact.training.preparation.plan import Plan, Progress, Unit, carry_out, make_units
from latent_reenact.training.shards.format import Sample, ShardWriter

_SHARD_SAMPLES = 512
_FRAMES_PER_CLIP = 2  # before the scene changes: enough for a driving and an identity frame
_PNG_BYTES_PER_PIXEL = 1.35  # of renders at 128 px; a little less at more
_TRUTH_BYTES = 2_600
_MOTION = slice(LATENT_SLOTS["yaw"].start, LATENT_SLOTS["eye_asymmetry"].stop)
_SCENE = slice(LATENT_SLOTS["light_azimuth"].start, LATENT_DIM)


@dataclass(frozen=True, kw_only=True)
class SyntheticConfig:
    """Which synthetic people, and how they are drawn. Person i of a seed is the same in every data set."""

    seed: int = 1
    people: int = 40_000
    frames: int = 1  # a person; a single one suffices where targets are exact
    size: int = 256  # pixels
    val: float = 0.0  # share of people, or their number from 1 on; another seed does as well
    test: float = 0.0

    def __post_init__(self) -> None:
        if self.seed < 0 or self.people < 1 or not 1 <= self.frames <= 9999:
            raise ConfigError(
                f"got seed {self.seed}, {self.people} people, {self.frames} frames; "
                "expected a seed of 0 or more, at least one person, and 1 to 9999 frames"
            )
        if not 16 <= self.size <= 2048:
            raise ConfigError(f"size: got {self.size}, expected 16 to 2048 pixels")


def prepare_synthetic(
    mesh: str | Path,
    out: str | Path,
    config: SyntheticConfig,
    *,
    run: Executor | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Render what `config` says into shards below `out`, those that are there already excepted.

    Args:
        mesh: the archive that `latent-reenact synthface build-mesh` makes.
        run, progress: as `carry_out` takes them.

    Returns:
        The manifest.

    Raises:
        WeightsNotFoundError, CorruptFileError: the mesh cannot be read. The rest as `carry_out`.
    """
    return carry_out(plan_synthetic(mesh, out, config), run, progress)


def plan_synthetic(mesh: str | Path, out: str | Path, config: SyntheticConfig) -> Plan[int]:
    """What `prepare_synthetic` will write."""
    mesh, out = Path(mesh), Path(out)
    units = make_units(
        range(config.people),
        partial(person_name, config.seed),
        shares=(config.val, config.test),
        per_shard=max(1, _SHARD_SAMPLES // config.frames),
        samples=lambda person: config.frames,
        fingerprint=["synthetic", config.seed, config.frames, config.size],
    )
    return Plan(
        kind="synthetic",
        out=out,
        config=config,
        units=units,
        clips=config.people * min(2, -(-config.frames // _FRAMES_PER_CLIP)),
        sample_bytes=config.size**2 * _PNG_BYTES_PER_PIXEL + _TRUTH_BYTES,
        work=partial(_write_people, config=config, mesh=mesh, out=out),
        warm_up=partial(_compile, mesh),
    )


def person_name(seed: int, person: int) -> str:
    return f"{seed}-{person:07d}"


def frame_latent(seed: int, person: int, frame: int) -> tuple[str, np.ndarray]:
    """The clip, "0" or "1", and z float64 [LATENT_DIM] of one frame of a person.

    Frame 0 is sample `person` of the seed. Every other frame keeps its identity and has its own motion. Frames 0, 1,
    4, 5, ... are clip "0" and keep its scene too; frames 2, 3, 6, 7, ... are clip "1", the same person elsewhere.
    """
    z = sample_latent(seed, person)
    clip = frame // _FRAMES_PER_CLIP % 2
    if frame > 0:
        z[_MOTION] = np.random.default_rng((seed, person, frame)).standard_normal(LATENT_DIM)[_MOTION]
    if clip == 1:
        z[_SCENE] = np.random.default_rng((seed, person, 0, 1)).standard_normal(LATENT_DIM)[_SCENE]
    return str(clip), z


def synthetic_sample(
    image: np.ndarray, landmarks: np.ndarray, z: np.ndarray, *, person: str, clip: str = "0", frame: int = 0
) -> Sample:
    """A rendered portrait as a sample.

    Args:
        image: uint8 [S, S, 3]. landmarks: [68, 2] as `Portrait` has them, pixel centres at +0.5.
        z: float64 [LATENT_DIM], of which `factors_from_latent` makes the portrait.
    """
    motion = factors_from_latent(z).motion
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return Sample(
        person=person,
        clip=clip,
        frame=frame,
        picture=buffer.getvalue(),
        suffix="png",
        time_s=0.0,
        landmarks=np.asarray(landmarks, np.float64) - 0.5,
        pose_deg=(motion.yaw_deg, motion.pitch_deg, motion.roll_deg),
        z=z,
    )


def _write_people(unit: Unit[int], *, config: SyntheticConfig, mesh: Path, out: Path) -> None:
    """One shard; frames of a clip lie together."""
    renderer = _renderer(mesh)
    with ShardWriter(out / unit.name, unit=unit.digest) as shard:
        for person in unit.people:
            frames = [(*frame_latent(config.seed, person, frame), frame) for frame in range(config.frames)]
            for clip, z, frame in sorted(frames, key=lambda item: item[0]):
                portrait: Portrait = renderer.render(factors_from_latent(z), config.size)
                name = person_name(config.seed, person)
                shard.add(synthetic_sample(portrait.image, portrait.landmarks, z, person=name, clip=clip, frame=frame))


@lru_cache(maxsize=1)
def _renderer(mesh: Path) -> Renderer:
    """One for each process: it holds the mesh."""
    return Renderer(load_mesh(mesh))


def _compile(mesh: Path) -> None:
    """Once for all processes, which find the machine code on disk; also tells early of a mesh that cannot be read."""
    _renderer(mesh).render(Factors(), 16)
