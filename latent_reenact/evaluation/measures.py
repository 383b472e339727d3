"""From readings to numbers: what is measured of one pair, and how pairs become a mean with its interval.

The interval is the percentile bootstrap over pairs (Efron 1979): the same seed gives the same interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from latent_reenact.evaluation.estimators import Estimator, FaceReading, Units
from latent_reenact.metrics import (
    GaussianFit,
    au_correlation,
    aucon,
    csim,
    fl_correlation,
    frechet_distance,
    id_percent,
    nmse_landmarks,
    perceptual_distance,
    pose_mae,
    prmse,
    psnr,
    ssim,
    stranger_threshold,
)

_LEAST_FOUND = 4  # frames with a face in both clips, below which a pair has no value


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One column of a report.

    key: for programs. text: for people. reader: who read the pictures, "" where nobody had to. unit: such as "dB".
    better: which way is good. published: its column in the thesis's Table 4.1, where it has one.
    """

    key: str
    text: str
    reader: str = ""
    unit: str = ""
    better: str = "more"
    published: str = ""

    @property
    def arrow(self) -> str:
        return "↑" if self.better == "more" else "↓"

    @property
    def title(self) -> str:
        unit = f", {self.unit}" if self.unit else ""
        return f"{self.text}{unit} {self.arrow}" + (f" [{self.reader}]" if self.reader else "")

    def as_dict(self) -> dict[str, Any]:
        about = {"unit": self.unit, "better": self.better, "published": self.published}
        return {"key": self.key, "measure": self.text, "reader": self.reader, **about}


def reading_measures(estimator: Estimator, tag: str, reading: FaceReading, *, has_answer: bool) -> list[Measure]:
    """The measures that an estimator's readings give; `tag` keeps the keys of two estimators apart."""
    name, found = estimator.name, reading.arrays().keys()

    def of(key: str, text: str, **about: str) -> Measure:
        return Measure(key=f"{tag}.{key}", text=text, reader=name, **about)  # type: ignore[arg-type]

    measures = []
    if "pose_deg" in found:
        measures += [
            of("pose_mae", "Pose MAE", unit="°", better="less", published="Pose MAE"),
            of("prmse", "PRMSE", unit="°", better="less"),
        ]
    if "landmarks" in found:
        measures.append(of("fl", "FL", published="FL"))
        if has_answer:
            measures.append(of("nmse", "NMSE to the right answer", unit="%", better="less"))
    if (units := estimator.units) is not None and "units" in found:
        fau = "FAU" if units.word == "action units" else f"correlation of {units.word}"
        measures.append(of("units_r", fau, published="FAU"))
        if units.threshold is not None:
            measures.append(of("aucon", "AUCON"))
    if "identity" in found:
        measures += [of("csim", "CSIM", published="CSIM"), of("id_percent", "Id", unit="%")]
    if "pose_deg" in found or "landmarks" in found:
        measures.append(of("faces", "frames with a face", unit="%"))
    return measures


def measure_reading(
    tag: str,
    units: Units | None,
    generated: FaceReading,
    driving: FaceReading,
    identity: np.ndarray | None,
    answer: FaceReading | None,
    threshold: float | None,
) -> dict[str, float]:
    """The values of one pair; NaN where too few frames show a face.

    Args:
        identity: embedding [D] of the identity's picture.
        answer: reading of the right answer, where it is known.
        threshold: cosine that Id % asks for.
    """
    values: dict[str, float] = {}
    if generated.pose_deg is not None and driving.pose_deg is not None:
        seen = _both(generated.pose_deg, driving.pose_deg)
        values["pose_mae"] = _or_nan(seen, pose_mae, driving.pose_deg, generated.pose_deg)
        values["prmse"] = _or_nan(seen, prmse, driving.pose_deg, generated.pose_deg)
        values["faces"] = _share(generated.pose_deg)
    if generated.landmarks is not None and driving.landmarks is not None:
        seen = _both(generated.landmarks, driving.landmarks)
        values["fl"] = _or_nan(seen, fl_correlation, driving.landmarks, generated.landmarks)
        values.setdefault("faces", _share(generated.landmarks))
        if answer is not None and answer.landmarks is not None:
            eyes = answer.landmarks[:, 36:42].mean(1) - answer.landmarks[:, 42:48].mean(1)
            seen = _both(generated.landmarks, answer.landmarks) & (np.abs(eyes).max(1) > 0)
            values["nmse"] = 100 * _or_nan(seen, nmse_landmarks, answer.landmarks, generated.landmarks)
    if units is not None and generated.units is not None and driving.units is not None:
        least = units.least_deviation
        values["units_r"] = au_correlation(driving.units, generated.units, least_deviation=least)
        if units.threshold is not None:
            values["aucon"] = aucon(driving.units, generated.units, threshold=units.threshold)
    if generated.identity is not None and identity is not None:
        known = _has_direction(generated.identity) & _has_direction(identity)
        shown = generated.identity[known]
        values["csim"] = csim(identity, shown) if len(shown) else float("nan")
        if threshold is not None:
            asked = id_percent(identity, shown, threshold=threshold) if len(shown) else float("nan")
            values["id_percent"] = asked
    return {f"{tag}.{key}": value for key, value in values.items()}


PICTURE_MEASURES = (
    Measure(key="psnr", text="PSNR to the right answer", unit="dB"),
    Measure(key="ssim", text="SSIM to the right answer"),
)


def distance_measure(name: str) -> Measure:
    return Measure(key="distance", text=f"{name}, to the right answer", better="less")


def measure_pictures(
    generated: np.ndarray, answer: np.ndarray, distance: tuple[str, nn.Module] | None
) -> dict[str, float]:
    """Frames uint8 [T, R, R, 3] against the right answer's."""
    pairs = list(zip(generated, answer, strict=True))
    values = {
        "psnr": float(np.mean([min(psnr(a, b), 99.0) for a, b in pairs])),  # equal pictures are infinitely alike
        "ssim": float(np.mean([ssim(a, b) for a, b in pairs])),
    }
    if distance is not None:
        values["distance"] = float(perceptual_distance(generated, answer, distance[1]).mean())
    return values


def frechet_of(generated: Sequence[FaceReading], real: Sequence[FaceReading]) -> float | None:
    """Fréchet distance of all frames' features from the real clips'; None where there are none, or too few."""
    sets = [[r.features for r in readings if r.features is not None] for readings in (generated, real)]
    if not all(sets) or min(sum(map(len, one)) for one in sets) < 2:
        return None
    return frechet_distance(*(GaussianFit.of(np.concatenate(one)) for one in sets))


def id_threshold(pictures: Mapping[str, np.ndarray]) -> float | None:
    """The cosine that 1 in 100 pairs of different people pass; person -> embedding [D]. None below two people."""
    known = [vector for vector in pictures.values() if _has_direction(vector)]
    return stranger_threshold(np.stack(known)) if len(known) >= 2 else None


@dataclass(frozen=True)
class Estimate:
    """A mean over pairs with its 95 % interval. n: pairs that have a value."""

    mean: float
    low: float
    high: float
    n: int

    def as_dict(self) -> dict[str, float | int | None]:
        values = {"mean": self.mean, "low": self.low, "high": self.high}
        return {**{k: float(v) if np.isfinite(v) else None for k, v in values.items()}, "n": self.n}


def bootstrap(values: Sequence[float], *, rounds: int = 2000, seed: int = 0) -> Estimate:
    """The mean of the finite values and the middle 95 % of the means of `rounds` draws with replacement."""
    known = np.array([v for v in values if np.isfinite(v)], np.float64)
    if not len(known):
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    drawn = np.random.default_rng(seed).integers(0, len(known), (rounds, len(known)))
    low, high = np.quantile(known[drawn].mean(1), [0.025, 0.975])
    return Estimate(float(known.mean()), float(low), float(high), len(known))


def _both(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Rows that are finite in both: bool [T]."""
    return np.isfinite(a).reshape(len(a), -1).all(1) & np.isfinite(b).reshape(len(b), -1).all(1)


def _has_direction(embeddings: np.ndarray) -> np.ndarray:
    """Rows [..., D] that cosines can be taken of: bool [...]."""
    return np.isfinite(embeddings).all(-1) & np.any(embeddings != 0, axis=-1)


def _share(rows: np.ndarray) -> float:
    return float(100 * np.isfinite(rows).reshape(len(rows), -1).all(1).mean())


def _or_nan(seen: np.ndarray, measure: Any, one: np.ndarray, other: np.ndarray) -> float:
    return measure(one[seen], other[seen]) if seen.sum() >= _LEAST_FOUND else float("nan")
