"""One person and one driving picture or clip through several systems, side by side, with what a judge reads of each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from latent_reenact.errors import LatentReenactError, NoFaceError, UsageError
from latent_reenact.evaluation.clips import reframed
from latent_reenact.evaluation.estimators import DlibEstimator, Estimator, FaceReading
from latent_reenact.evaluation.measures import Measure
from latent_reenact.face import align
from latent_reenact.media import VideoReader, is_video_path
from latent_reenact.metrics import aspect_ratios, csim, pose_mae
from latent_reenact.systems import Reenactor, Result
from latent_reenact.systems.names import named
from latent_reenact.weights import list_models

_READ_FRAMES = 8  # of a clip, evenly spaced: a judge takes a tenth of a second for each
_JUDGED_PX = 256
MEASURES = (
    Measure(key="pose", text="Pose error", unit="°", better="less"),
    Measure(key="expression", text="Expression error", unit="%", better="less"),
    Measure(key="person", text="Same person"),
    Measure(key="seconds", text="Time a frame", unit="s", better="less"),
)
"""pose: of yaw and pitch. expression: mean difference of five aspect ratios of eyes, brows and mouth. person: CSIM."""


@dataclass(frozen=True, eq=False)
class PairResult:
    """What one system made of the pair.

    frames: uint8 [T, R, R, 3]; one for a driving picture. driving: the same moments, [T, S, S, 3]. fps: of a clip.
    scores: key of `MEASURES` -> value, NaN where the judge saw no face. problem: why there are no frames.
    """

    system: str
    frames: np.ndarray | None = None
    driving: np.ndarray | None = None
    fps: float = 25.0
    scores: Mapping[str, float] | None = None
    problem: str = ""


def available_systems(*, clips: bool) -> list[str]:
    """Names that `systems.load` takes of all that is installed; the linear baselines only where `clips` drive."""
    found = []
    for info in list_models():
        try:
            system = named(info.name).system
        except LatentReenactError:
            continue
        if system in ("latent", "latent-units"):
            found += [info.name, *([f"linear-{info.name}"] if clips and system == "latent" else [])]
        elif system == "linear" and clips:
            found.append(info.name)
    return found


def compare_on_pair(
    systems: Iterable[tuple[str, Callable[[], Reenactor]]],
    identity: Path,
    driving: Path,
    *,
    identity_face: int = 0,
    driving_face: int = 0,
    max_frames: int = 50,
    judge: Estimator | None = None,
    tell: Callable[[float, float | None, str], None] = lambda done, total, unit: None,
) -> Iterator[PairResult]:
    """Run the pair through every system, one after another.

    Args:
        systems: name, and what loads it.
        identity: a picture; a linear baseline takes it for a clip that stands still.
        max_frames: of the driving clip, from its start.
        judge: reads the pictures; dlib by default, which no training here ever used.

    Raises:
        LatentReenactError: the pair itself cannot be used. A system's own trouble is in its result.
    """
    judge = judge or DlibEstimator(every=1)
    systems = list(systems)
    tell(0, len(systems), "systems")
    for number, (name, load) in enumerate(systems):

        def within(share: float, number: int = number) -> None:
            tell(number + share, len(systems), "systems")

        try:
            yield _through(name, load(), identity, driving, identity_face, driving_face, max_frames, judge, within)
        except NoFaceError:
            raise
        except LatentReenactError as error:
            yield PairResult(name, problem=str(error))
        tell(number + 1, len(systems), "systems")


def _through(
    name: str,
    reenactor: Reenactor,
    identity: Path,
    driving: Path,
    identity_face: int,
    driving_face: int,
    max_frames: int,
    judge: Estimator,
    within: Callable[[float], None],
) -> PairResult:
    person_cut = align(*reenactor.align(identity, face=identity_face), _JUDGED_PX)
    if reenactor.reads == "clip":
        if not is_video_path(driving):
            raise UsageError("needs a driving video: it compares frames with the mean of their clip")
        person = reenactor.identity(np.stack([person_cut] * 2), aligned=True)
    else:
        person = reenactor.identity(identity, face=identity_face)
    started, fps = time.perf_counter(), 25.0
    if is_video_path(driving):
        with VideoReader(driving) as video:
            fps = float(video.info.fps)
            frames = list(islice(video, max_frames))
        results = []
        for result in reenactor.stream(person, frames, face=driving_face):
            results.append(result)
            within(0.9 * len(results) / len(frames))
    else:
        results = [reenactor(person, driving, face=driving_face)]
    seconds = (time.perf_counter() - started) / len(results)
    images = np.stack([result.image for result in results])
    shown = np.stack([_driving_cut(result) for result in results])
    scores = {**_scores(judge, images, shown, person_cut, reenactor.framing), "seconds": seconds}
    return PairResult(name, images, shown, fps, scores)


def _driving_cut(result: Result) -> np.ndarray:
    assert result.driving_face is not None
    return align(result.driving_face.image, result.driving_face.alignment, _JUDGED_PX)


def _scores(
    judge: Estimator, images: np.ndarray, driving: np.ndarray, person: np.ndarray, framing: float
) -> dict[str, float]:
    """Of frames spread evenly; the judge looks at FFHQ's square."""
    chosen = np.unique(np.linspace(0, len(images) - 1, min(_READ_FRAMES, len(images))).round().astype(int))
    made, wanted, who = (
        judge.read(reframed(pictures, 1 / framing, _JUDGED_PX))
        for pictures in (images[chosen], driving[chosen], person[None])
    )
    return {
        "pose": _over_frames(made, wanted, "pose_deg", pose_mae),
        "expression": _over_frames(made, wanted, "landmarks", _ratio_error),
        "person": _likeness(who, made),
    }


def _ratio_error(one: np.ndarray, other: np.ndarray) -> float:
    """Mean absolute difference of the aspect ratios, in percent; landmarks [T, 68, 2]."""
    return float(100 * np.abs(aspect_ratios(one) - aspect_ratios(other)).mean())


def _over_frames(made: FaceReading, wanted: FaceReading, field: str, measure: Callable[..., float]) -> float:
    one, other = getattr(wanted, field), getattr(made, field)
    if one is None or other is None:
        return float("nan")
    seen = np.isfinite(one).reshape(len(one), -1).all(1) & np.isfinite(other).reshape(len(other), -1).all(1)
    return measure(one[seen], other[seen]) if seen.any() else float("nan")


def _likeness(who: FaceReading, made: FaceReading) -> float:
    if who.identity is None or made.identity is None or not np.isfinite(who.identity).all():
        return float("nan")
    known = np.isfinite(made.identity).all(1)
    return csim(who.identity[0], made.identity[known]) if known.any() else float("nan")
