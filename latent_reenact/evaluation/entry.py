"""`evaluate --protocol cross | self`: from names and folders to a finished report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from latent_reenact.errors import UsageError
from latent_reenact.evaluation.clips import ClipSource, ShardClips, SyntheticClips, VideoClips
from latent_reenact.evaluation.comparison import Comparison
from latent_reenact.evaluation.contestants import Contestant, SystemSpec, open_commands, open_system
from latent_reenact.evaluation.estimators import Estimator, load_estimator
from latent_reenact.evaluation.protocols import ProtocolConfig, compare
from latent_reenact.evaluation.world import Progress
from latent_reenact.weights import ModelFolder, resolve

_LARGEST = 256  # pixels: what the literature measures on
_READERS = ("FaceReader", "IdentityEmbedder")


def evaluate(
    model: str,
    folder: Path,
    *,
    config: ProtocolConfig,
    size: int | None = None,
    systems: str | None = None,
    commands: Sequence[str] = (),
    mesh: Path | None = None,
    shards: Path | None = None,
    videos: Path | None = None,
    framing: float | None = None,
    estimators: Sequence[str | Path] = (),
    pairs_file: Path | None = None,
    time_limit_s: float = 300.0,
    device: str = "auto",
    progress: Progress = lambda done, total, unit: None,
) -> Comparison:
    """Compare systems on clips and write the report into `folder`, which holds all that is needed to go on with it.

    Args:
        model: what `latent` and `linear` in `systems` mean, and whose networks read faces where no estimator is named.
        size: of clips in pixels; by default the systems' largest resolution, 256 at most.
        systems: as `SystemSpec.parse` takes it; by default `latent`, or nothing where there are commands.
        commands: outside programs, as `open_commands` takes them.
        mesh, shards, videos: the one source of clips: a synthetic world, a prepared folder, or a folder of videos.
        framing: how wide shards were, and videos are to be, cut; by default as the model's world is.
        estimators: as `load_estimator` takes them; by default the model's own networks, and dlib.

    Raises:
        UsageError, ConfigError, WeightsNotFoundError, CorruptFileError, MissingDependencyError, OutputError.
    """
    specs = SystemSpec.parse(systems or "latent", model) if systems or not commands else []
    folders = [ModelFolder(resolve(name)) for name in {spec.model: None for spec in specs}]
    config = replace(config, size=size or _size(folders))
    cut = framing or next((float(f.config.get("framing", 1.0)) for f in folders), 1.0)
    source = _source(config, mesh, shards, videos, cut)
    contestants: list[Contestant] = [
        open_system(spec, framing=source.framing, size=config.size, device=device) for spec in specs
    ]
    contestants += open_commands(commands, time_limit_s=time_limit_s, size=config.size)
    readers = _estimators(estimators, model, device)
    own = {f.name for f in folders} & {reader.name for reader in readers}
    remarks = [
        f"{name} is compared by its own networks, which its training may have used: trust other readers more."
        for name in sorted(own)
    ]
    return compare(
        contestants, source, readers, folder, config, pairs_file=pairs_file, remarks=remarks, progress=progress
    )


def _size(folders: Sequence[ModelFolder]) -> int:
    sides = [int(f.networks.get("generator", {}).get("config", {}).get("resolution", _LARGEST)) for f in folders]
    return min(_LARGEST, max(sides, default=_LARGEST))


def _source(
    config: ProtocolConfig, mesh: Path | None, shards: Path | None, videos: Path | None, framing: float
) -> ClipSource:
    if [mesh, shards, videos].count(None) != 2:
        raise UsageError("where from: give one of --mesh (synthetic clips), --shards and --videos")
    if shards is not None:
        return ShardClips(shards, frames=config.frames, size=config.size, framing=framing)
    if videos is not None:
        return VideoClips(videos, frames=config.frames, fps=config.fps, size=config.size, framing=framing)
    from latent_reenact.synthface import Renderer, load_mesh

    assert mesh is not None
    renderer = Renderer(load_mesh(mesh))
    return SyntheticClips(renderer, count=config.pairs, frames=config.frames, fps=config.fps, size=config.size)


def _estimators(named: Sequence[str | Path], model: str, device: str) -> list[Estimator]:
    if not named:
        kinds = {entry.get("class") for entry in ModelFolder(resolve(model)).networks.values()}
        named = [*([model] if kinds & {*_READERS} else []), "dlib"]
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return [load_estimator(where, device=device) for where in named]
