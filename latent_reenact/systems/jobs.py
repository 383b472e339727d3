"""Whole jobs, from files to files: reenact, invert, pose and sample, with a report of what was done.

Everything that can be checked cheaply is checked before a model is loaded. Outputs appear whole or not at all.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from latent_reenact.errors import UsageError
from latent_reenact.face import PasteBack, Which
from latent_reenact.media import Provenance, atomic_write_json, with_badge, write_image
from latent_reenact.systems.identity import Identity
from latent_reenact.systems.names import reads_clips
from latent_reenact.systems.plan import (
    IDENTITY_SUFFIX,
    IMAGE_SUFFIXES,
    check_identity,
    check_outputs,
    is_saved_identity,
    output_folder,
    plan_tasks,
)
from latent_reenact.systems.protocol import Reenactor, Result
from latent_reenact.systems.reenactment import (
    Progress,
    ReenactOptions,
    Report,
    Stage,
    Work,
    check_one_face,
    check_parts,
    set_stage,
)

__all__ = ["Model", "Progress", "ReenactOptions", "Report", "invert", "loaded", "pose", "reenact", "sample"]

Model = Reenactor | str | Path
"""A loaded reenactor, or the name or folder of a model to load once the cheap checks have passed."""


def reenact(
    model: Model,
    identity: str | Path | Identity,
    driving: str | Path,
    out: str | Path,
    options: ReenactOptions | None = None,
    *,
    device: str = "auto",
    progress: Progress | None = None,
) -> Report:
    """Draw the identity with the pose and expression of a driving picture, video, or folder of either.

    A video gives a video with the same frames, times and sound. A folder gives a folder with one result for each
    file, of the same stem; a file that fails is reported and the others go on.

    Args:
        identity: a picture, a saved identity, or an `Identity`; a clip for the linear baseline.
        out: the file to write, or the folder (made if need be) for a folder of driving files.
        progress: told after every frame.

    Raises:
        LatentReenactError: of the kind that says what is wrong; then nothing was written.
    """
    options = options or ReenactOptions()
    driving, out = Path(driving), Path(out)
    inputs = _checked_identity(identity, options, model)
    tasks = plan_tasks(driving, out)
    with contextlib.ExitStack() as stack:
        if driving.is_dir():
            stack.enter_context(output_folder(out))
        lent = [] if options.pose_from is None else [Path(options.pose_from)]
        check_outputs([task.out for task in tasks], [*inputs, *lent, *(task.driving for task in tasks)])
        stage = _prepare(loaded(model, device), identity, options)
        work = Work(stage, progress or _silent)
        if driving.is_dir():
            work.run_all(tasks)
        else:
            work.run(tasks[0], work.progress)
        return work.report()


def invert(
    model: Model,
    picture: str | Path,
    out: str | Path,
    *,
    face: Which = "largest",
    aligned: bool = False,
    device: str = "auto",
) -> Report:
    """Read a person from a picture and save the identity as `.safetensors`. Raises LatentReenactError."""
    picture, out = Path(picture), Path(out)
    check_one_face(face, "is the identity")
    check_identity(picture, lambda: _reads_clips(model))
    if is_saved_identity(picture):
        raise UsageError(f"{picture} is a saved identity already; give a picture to invert")
    check_outputs([out], [picture], (IDENTITY_SUFFIX,))
    reenactor = loaded(model, device)
    started = time.perf_counter()
    reenactor.identity(picture, face=face, aligned=aligned).save(out)
    return _report([out], 1, started)


def pose(
    model: Model,
    identity: str | Path | Identity,
    out: str | Path,
    controls: Mapping[str, float],
    *,
    at_rest: bool = False,
    badge: bool = False,
    face: Which = "largest",
    aligned: bool = False,
    device: str = "auto",
) -> Report:
    """Draw the identity with some controls set (`yaw_deg=20, smile=0.8`) and save the picture.

    Args:
        at_rest: controls not named are 0, a frontal face at rest; by default they stay as in the person's picture.
        badge: lay a small label over the picture, that people see.

    Raises:
        LatentReenactError: of the kind that says what is wrong; unknown controls are a ConfigError.
    """
    if not controls and not at_rest:
        raise UsageError("nothing to change: give at least one control, for example yaw_deg=20")
    for name, value in controls.items():
        if not math.isfinite(value):
            raise UsageError(f"{name}: got {value}, expected a finite number")
    out = Path(out)
    options = ReenactOptions(identity_face=face, aligned=aligned)
    check_outputs([out], _checked_identity(identity, options, model), IMAGE_SUFFIXES)
    stage = _prepare(loaded(model, device), identity, options)
    started = time.perf_counter()
    posed = _posed(stage.reenactor, stage.identity, controls, at_rest)
    write_image(out, with_badge(posed.image) if badge else posed.image, marks=posed.provenance())
    return _report([out], 1, started)


def _posed(reenactor: Reenactor, identity: Identity, controls: Mapping[str, float], at_rest: bool) -> Result:
    if not at_rest:
        return reenactor.pose(identity, **controls)
    if not hasattr(reenactor, "poses"):
        raise UsageError(f"at rest: {reenactor.name} knows no face at rest; use a latent model, such as builtin")
    return reenactor.poses(identity, [controls], at_rest=True)[0]


def sample(
    model: Model,
    draw: Callable[[Any, int], Identity],
    seeds: Iterable[int],
    out: str | Path,
    *,
    suffix: str = ".png",
    controls: Sequence[Mapping[str, float]] | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Report:
    """Save people who do not exist into a folder: a picture and an identity for each seed.

    Args:
        draw: makes the person of a seed, `editing.sample_identity`.
        suffix: of the pictures.
        controls: what each of them does in the picture, which then gets a label (.json); the others are 0. By default
            they are as they came.

    Raises:
        LatentReenactError: of the kind that says what is wrong.
    """
    seeds, folder = list(seeds), Path(out)
    if not seeds:
        raise UsageError("got no seeds, expected at least one person to sample")
    outputs: list[Path] = []
    with output_folder(folder):
        check_outputs([folder / f"person-{seeds[0]}{suffix}"], suffixes=IMAGE_SUFFIXES)
        reenactor = loaded(model, device)
        started = time.perf_counter()
        for done, seed in enumerate(seeds):
            person, picture = draw(reenactor, seed), folder / f"person-{seed}{suffix}"
            posed = None if controls is None else _posed(reenactor, person, controls[done], at_rest=True)
            marks = Provenance(model=reenactor.name, operation="sample")
            write_image(picture, person.picture if posed is None else posed.image, marks=marks)
            person.save(picture.with_suffix(IDENTITY_SUFFIX))
            outputs += [picture, picture.with_suffix(IDENTITY_SUFFIX)]
            if controls is not None:
                atomic_write_json(picture.with_suffix(".json"), {"person": seed, "controls": dict(controls[done])})
                outputs.append(picture.with_suffix(".json"))
            (progress or _silent)(done + 1, len(seeds), "people")
    return _report(outputs, len(seeds), started)


def loaded(model: Model, device: str = "auto") -> Reenactor:
    """The reenactor itself, loaded if it was given by name or folder."""
    if isinstance(model, str | Path):
        from latent_reenact import systems  # here: it imports PyTorch

        return systems.load(model, device=device)
    return model


def _checked_identity(identity: str | Path | Identity, options: ReenactOptions, model: Model) -> list[Path]:
    """The files that the identity is read from, after making sure that they may be one."""
    saved = isinstance(identity, Identity) or is_saved_identity(Path(identity))
    if options.paste_back and saved:
        raise UsageError("paste back: a saved identity has no original picture; give the picture itself as identity")
    if isinstance(identity, Identity):
        return []
    check_identity(Path(identity), lambda: _reads_clips(model))
    return [Path(identity)]


def _reads_clips(model: Model) -> bool:
    return reads_clips(model) if isinstance(model, str | Path) else model.reads == "clip"


def _prepare(reenactor: Reenactor, identity: str | Path | Identity, options: ReenactOptions) -> Stage:
    check_parts(reenactor, options)  # before a person is read, which takes time
    original = None
    if not isinstance(identity, Identity):
        path = Path(identity)
        if options.paste_back:
            original = PasteBack(*reenactor.align(path, face=options.identity_face), reenactor.resolution)
        if is_saved_identity(path):
            identity = Identity.load(path)
        else:
            identity = reenactor.identity(path, face=options.identity_face, aligned=options.aligned)
    return set_stage(reenactor, identity, options, original)


def _report(outputs: list[Path], frames: int, started: float) -> Report:
    seconds = time.perf_counter() - started
    return Report(tuple(map(str, outputs)), frames=frames, seconds=round(seconds, 3), fps=round(frames / seconds, 2))


def _silent(done: float, total: float | None, unit: str) -> None:
    """Progress that nobody watches."""
