"""From a model and the name of a measure to a calibrated direction in the model's own latents.

random z -> picture -> inversion -> w_plus [N, L, D], each picture measured -> direction -> calibrated on some of them

Only inverted latents are used: the mapper and the inversion know no others (Jahoda 2023, on random identities).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from latent_reenact.editing.calibration import calibrate, measure_latents
from latent_reenact.editing.direction import LatentDirection
from latent_reenact.editing.direction_files import read_directions
from latent_reenact.editing.directions import latent_difference, principal_directions, svm_boundary
from latent_reenact.editing.measures import generator_draw, reader_estimator
from latent_reenact.errors import ConfigError, WeightsNotFoundError
from latent_reenact.metrics.faces import pearson
from latent_reenact.models import FaceReader, ReStyleEncoder, load_network
from latent_reenact.systems import LatentReenactor

Method = Literal["boundary", "difference", "component"]
METHODS: tuple[Method, ...] = ("boundary", "difference", "component")
_ENDS = 0.3  # share of the latents at each end that a boundary or a difference is taken between

Progress = Callable[[float, float | None, str], None]


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """How a direction is found.

    method: a boundary between low and high, the difference of their means, or the principal component that follows
    the measure most closely. published: a file of directions to take instead; of several, the one that follows most.
    people: random faces looked at. calibration: how many of them are moved to learn what a step does.
    """

    method: Method = "boundary"
    published: Path | None = None
    people: int = 200
    calibration: int = 32
    components: int = 40
    seed: int = 0
    batch: int = 8

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ConfigError(f"method: got {self.method!r}, expected one of {', '.join(METHODS)}")
        if self.people < 16 or self.calibration < 8 or self.components < 1 or self.batch < 1 or self.seed < 0:
            raise ConfigError(
                f"people {self.people}, calibration {self.calibration}, components {self.components}, batch "
                f"{self.batch}, seed {self.seed}: expected at least 16, 8, 1, 1 and 0"
            )


@dataclass(frozen=True)
class FitReport:
    """A direction and how well it does.

    correlation: of the random faces' place along it with the measure. accuracy: of a boundary on held-out faces.
    """

    direction: LatentDirection
    correlation: float
    accuracy: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        calibration = self.direction.calibration
        assert calibration is not None
        return {
            "name": self.direction.name,
            "measure": calibration.measure,
            "range": list(calibration.range),
            "deviation": calibration.deviation,
            "correlation": self.correlation,
            "accuracy": self.accuracy,
        }


def fit_direction(
    reenactor: LatentReenactor,
    reader: FaceReader,
    measure: str,
    options: FitOptions | None = None,
    *,
    progress: Progress | None = None,
) -> FitReport:
    """Find, or take from a file, the direction of a measure, and calibrate it on this model's latents.

    Args:
        reader: reads the measure in aligned pictures of the model's framing.
        measure: one of `editing.MEASURES`.
        progress: told after every batch of random faces.

    Raises:
        UsageError: an unknown measure, a published direction of another generator, one that changes nothing.
        ConfigError, CorruptFileError.
    """
    options = options or FitOptions()
    estimator = reader_estimator(reader, measure)
    draw = generator_draw(reenactor.networks.generator)
    published = read_directions(options.published) if options.published else None
    inversion = reenactor.networks.inversion
    w_plus = sample_w_plus(inversion, options.people, options.seed, batch=options.batch, progress=progress)
    scores = measure_latents(draw, estimator, w_plus, batch=options.batch)
    accuracy = None
    if published is not None:
        direction = _closest(published, w_plus, scores)
    elif options.method == "component":
        direction = _closest(principal_directions(w_plus, min(options.components, len(w_plus) - 1)), w_plus, scores)
    elif options.method == "difference":
        order, count = np.argsort(scores), round(_ENDS * len(scores))
        direction = latent_difference(measure, w_plus[order[:count]], w_plus[order[-count:]])
    else:
        boundary = svm_boundary(measure, w_plus, scores, share=_ENDS)
        direction, accuracy = boundary.direction, boundary.accuracy
    some = w_plus[: options.calibration]
    direction = calibrate(direction, some, draw, estimator, measure=measure, batch=options.batch)
    return FitReport(direction, _correlation(direction, w_plus, scores), accuracy)


def sample_w_plus(
    inversion: ReStyleEncoder, count: int, seed: int = 0, *, batch: int = 8, progress: Progress | None = None
) -> np.ndarray:
    """Inverted latents of random faces, float32 [count, L, D]; the same for the same seed, whatever the batch."""
    generator, random = inversion.generator, torch.Generator().manual_seed(seed)
    device = next(generator.parameters()).device
    parts: list[np.ndarray] = []
    z = torch.randn(count, generator.config.z_dim, generator=random)
    with torch.inference_mode():
        for chunk in z.split(batch):
            parts.append(inversion.invert(generator(chunk.to(device))).float().cpu().numpy())
            if progress is not None:
                progress(sum(map(len, parts)), count, "faces")
    return np.concatenate(parts)


def model_reader(model: str | Path, device: torch.device | str = "cpu") -> FaceReader:
    """A model's own face reader, which measures its pictures.

    Raises:
        WeightsNotFoundError: it has none.
    """
    reader = load_network(model, "face_reader", device=device)
    if not isinstance(reader, FaceReader):
        raise WeightsNotFoundError(f"model {model}: its face_reader is a {type(reader).__name__}, no FaceReader")
    return reader


def _closest(directions: list[LatentDirection], w_plus: np.ndarray, scores: np.ndarray) -> LatentDirection:
    return max(directions, key=lambda direction: abs(_correlation(direction, w_plus, scores)))


def _correlation(direction: LatentDirection, w_plus: np.ndarray, scores: np.ndarray) -> float:
    """Of the latents' place along the direction with their scores; 0 where either is all one."""
    step = direction.at(*w_plus.shape[1:]).ravel()
    return float(np.nan_to_num(pearson(w_plus.reshape(len(w_plus), -1) @ step, scores)))
