"""Data sets of people who do not exist, each picture with the pose and expression that it was asked to have.

folder/
  plan.json        what was asked; another plan in the same folder is refused
  00000.tar        pictures 0 .. 499 as webdataset reads them: 00000000.png, 00000000.json, ...
  00000.json       its index, written last: a shard that has one is finished

Picture i is a function of the plan and of i alone: neither the number of processes matters nor where a run was stopped.
"""

from __future__ import annotations

import io
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from itertools import groupby, islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from latent_reenact.editing.random_identity import sample_identity
from latent_reenact.editing.sampling_plan import Plan, SamplingConfig
from latent_reenact.errors import OutputError, UsageError
from latent_reenact.media import Provenance, encode_image
from latent_reenact.media.shards import ShardFile
from latent_reenact.systems import LatentReenactor, Result, load

_KINDS = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}
_BYTES_PER_PIXEL = {"png": 1.4, "jpg": 0.25, "webp": 0.25}  # of a face, with its label and the tar's headers on top
_LABEL_BYTES = 3_000
_BATCH = 16  # pictures drawn together
_PATIENCE_S = 600.0  # for operators to be built

T = TypeVar("T")
Run = Callable[[Callable[[T], None], Sequence[T]], Iterator[None]]
"""Does a function on every unit, here or in other processes, and yields as each is done."""
Progress = Callable[[float, "float | None", str], None]


def sample_shards(
    out: str | Path,
    config: SamplingConfig,
    *,
    run: Run[int] | None = None,
    device: str = "auto",
    progress: Progress = lambda done, total, unit: None,
) -> dict[str, Any]:
    """Write labelled shards into a folder, those that are there already excepted.

    Args:
        out: a folder that is there; what another run of the same plan left in it is kept.
        run: where; in this process by default.
        progress: told of (shards done, of, "shards").

    Returns:
        {"folder", "shards", "pictures", "people", "drawn", "seconds"}: drawn, those of this run.

    Raises:
        ConfigError: the folder holds another plan, or the model lacks a control. UsageError: a range that no face
            fills, or a model that reads people from clips. OutputError: the disk is too small, checked first.
        InterruptedRunError: a process died; what is finished stays.
    """
    out = Path(out)
    reenactor = check(loaded(config.model, device), config)
    plan = Plan.open(out, config)
    waiting = [number for number in range(config.shards) if not plan.is_done(number)]
    _check_disk(out, config, len(waiting), reenactor.resolution)
    work = partial(write_shard, plan=plan, device=device)
    started, done = time.perf_counter(), config.shards - len(waiting)
    for _ in (run or _here)(work, waiting):
        done += 1
        progress(done, config.shards, "shards")
    return {
        "folder": str(out),
        "shards": config.shards,
        "pictures": config.count,
        "people": config.person(config.count - 1) - config.seed + 1,
        "drawn": sum(len(plan.indices(number)) for number in waiting),
        "seconds": round(time.perf_counter() - started, 2),
    }


def check(reenactor: Any, config: SamplingConfig) -> LatentReenactor:
    """The model, after making sure that it can draw what is asked. Errors as `sample_shards`."""
    if not isinstance(reenactor, LatentReenactor):
        raise UsageError(f"{config.model} reads people from clips; random ones need a latent model, such as builtin")
    for end in (0, 1):
        reenactor.sliders.check({name: ends[end] for name, ends in config.ranges.items()})
    return reenactor


def write_shard(number: int, *, plan: Plan, device: str = "auto") -> None:
    """One shard, whole or not at all."""
    config = plan.config
    reenactor = check(loaded(config.model, device), config)
    reenactor.video_synthesis.start(_PATIENCE_S)  # the same drawer for every picture, or the bytes would differ
    marks = Provenance(model=reenactor.name, operation="sample", created=plan.created)
    with ShardFile(plan.path(number), unit=plan.digest(number)) as shard:
        for index, result in _drawn(reenactor, config, plan.indices(number)):
            members = {
                config.suffix: encode_image(result.image, _KINDS[config.suffix], marks=marks),
                "json": json.dumps(label(config, index, reenactor)).encode(),
            }
            if config.latents:
                members["npy"] = _npy(result.w_plus)
            shard.write(f"{index:08d}", members)


def label(config: SamplingConfig, index: int, reenactor: LatentReenactor) -> dict[str, Any]:
    """What is known of a picture: {"index", "seed", "person", "model", "controls"}; controls has every one of them."""
    at_rest = dict.fromkeys(reenactor.controls, 0.0)
    return {
        "index": index,
        "seed": config.seed,
        "person": config.person(index),
        "model": reenactor.name,
        "controls": {**at_rest, **config.controls(index)},
    }


@lru_cache(maxsize=1)
def loaded(model: str, device: str) -> Any:
    """One for each process."""
    return load(model, device=device)


def _drawn(reenactor: LatentReenactor, config: SamplingConfig, indices: range) -> Iterator[tuple[int, Result]]:
    """Every picture with its index; a person is inverted once, and their pictures are drawn some at a time."""
    for seed, group in groupby(indices, config.person):
        person = sample_identity(
            reenactor, seed, truncation_psi=config.truncation_psi, refine_steps=config.refine_steps
        )
        while part := list(islice(group, _BATCH)):
            results = reenactor.poses(person, [config.controls(i) for i in part], at_rest=True, fast=True)
            yield from zip(part, results, strict=True)


def _here(function: Callable[[T], None], units: Sequence[T]) -> Iterator[None]:
    for unit in units:
        function(unit)
        yield


def _check_disk(out: Path, config: SamplingConfig, shards: int, resolution: int) -> None:
    each = resolution**2 * _BYTES_PER_PIXEL[config.suffix] + _LABEL_BYTES
    needed, free = int(min(shards * config.shard_size, config.count) * each), shutil.disk_usage(out).free
    if needed > free:
        raise OutputError(
            f"cannot write {out}: about {needed:,} bytes needed, {free:,} bytes free; free some space, choose another "
            "place, or --format jpg"
        )


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(array, np.float32), allow_pickle=False)
    return buffer.getvalue()
