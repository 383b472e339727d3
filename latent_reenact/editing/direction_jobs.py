"""Whole jobs with directions, from files to files: fit one and save it, and draw a face moved along one."""

from __future__ import annotations

import time
import warnings
from pathlib import Path

from latent_reenact.editing.direction import LatentDirection
from latent_reenact.editing.direction_files import read_directions
from latent_reenact.editing.fitting import FitOptions, FitReport, Progress, fit_direction, model_reader
from latent_reenact.editing.measures import check_measure
from latent_reenact.errors import UsageError
from latent_reenact.face import Which
from latent_reenact.media import Provenance, write_image
from latent_reenact.systems import Identity, LatentReenactor, load
from latent_reenact.systems.plan import (
    IDENTITY_SUFFIX,
    IMAGE_SUFFIXES,
    check_identity,
    check_outputs,
    is_saved_identity,
)
from latent_reenact.systems.reenactment import Report, check_one_face


def fit(
    model: str | Path,
    measure: str,
    out: str | Path,
    options: FitOptions | None = None,
    *,
    reader: str | Path | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> FitReport:
    """Fit the direction of a measure in a model's latents, calibrate it and save it as `.safetensors`.

    Args:
        reader: the model whose face reader measures; by default the same one.

    Raises:
        LatentReenactError: of the kind that says what is wrong; then nothing was written.
    """
    check_measure(measure)
    options, out = options or FitOptions(), Path(out)
    inputs = [] if options.published is None else [options.published]
    if options.published is not None:
        read_directions(options.published)  # before anything slow
    check_outputs([out], inputs, (IDENTITY_SUFFIX,))
    reenactor = latent_reenactor(model, device)
    report = fit_direction(
        reenactor, model_reader(reader or model, reenactor.device), measure, options, progress=progress
    )
    report.direction.save(out)
    return report


def apply(
    model: str | Path,
    identity: str | Path,
    direction: str | Path,
    amount: float,
    out: str | Path,
    *,
    face: Which = "largest",
    aligned: bool = False,
    device: str = "auto",
) -> Report:
    """Draw a person moved along a direction and save the picture.

    Args:
        identity: a picture or a saved identity.
        direction: a file of one direction, ours or published.
        amount: a change in the measure's unit where the direction is calibrated, else steps.

    Raises:
        LatentReenactError: of the kind that says what is wrong; then nothing was written.
    """
    check_one_face(face, "is the identity")
    path, out = Path(identity), Path(out)
    check_identity(path)
    step = one_direction(direction)
    check_outputs([out], [path, Path(direction)], IMAGE_SUFFIXES)
    reenactor = latent_reenactor(model, device)
    person = Identity.load(path) if is_saved_identity(path) else reenactor.identity(path, face=face, aligned=aligned)
    started = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        moved = reenactor.identity_from_latent(step.apply(person.w_plus, amount))
    write_image(out, moved.picture, marks=Provenance(model=reenactor.name, operation="edit"))
    seconds = time.perf_counter() - started
    said = tuple(str(w.message) for w in caught if issubclass(w.category, UserWarning))
    return Report((str(out),), warnings=said, frames=1, seconds=round(seconds, 3), fps=round(1 / max(seconds, 1e-6), 2))


def one_direction(path: str | Path) -> LatentDirection:
    """The direction of a file that holds one. Raises UsageError where it holds more."""
    found = read_directions(path)
    if len(found) != 1:
        raise UsageError(
            f"{path} holds {len(found)} directions ({found[0].name}, ...), expected one: let directions fit choose and "
            "calibrate the one that follows a measure, with --from"
        )
    return found[0]


def latent_reenactor(model: str | Path, device: str) -> LatentReenactor:
    """A model of the latent system. Raises UsageError where it runs another."""
    reenactor = load(model, device=device)
    if not isinstance(reenactor, LatentReenactor):
        raise UsageError(f"{model} runs the linear baseline, which reads clips; name a latent model")
    return reenactor
