"""The protocol `synthetic`: a model of the synthetic world against that world's own truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from latent_reenact.errors import ConfigError, UsageError
from latent_reenact.evaluation.inversion import measure_inversion
from latent_reenact.evaluation.judges import Judges, OutsideJudge
from latent_reenact.evaluation.looks import FRECHET_BAR, measure_frechet, measure_looks
from latent_reenact.evaluation.report import Report, Row
from latent_reenact.evaluation.sheets import Sheet
from latent_reenact.evaluation.transfer import measure_transfer, transfer, transfer_sheet
from latent_reenact.evaluation.world import TEST_SEED, Artist, Progress, World
from latent_reenact.models import load_networks
from latent_reenact.models.factors import FactorMapping
from latent_reenact.synthface import Renderer, load_mesh
from latent_reenact.systems import LatentReenactor, load
from latent_reenact.weights import resolve


@dataclass(frozen=True, kw_only=True)
class SyntheticConfig:
    """How much is measured. The defaults are what the embedded model's bars are written for."""

    portraits: int = 384  # of looks
    samples: int = 10_000  # of each of the three sets of the Fréchet distance
    people: int = 200  # of inversion
    pairs: int = 600  # of transfer; rare expressions, 1 in 20 portraits, need hundreds
    seed: int = TEST_SEED

    def __post_init__(self) -> None:
        least = {"portraits": 1, "samples": 2, "people": 2, "pairs": 2}
        for name, minimum in least.items():
            if getattr(self, name) < minimum:
                raise ConfigError(f"{name}: got {getattr(self, name)}, expected at least {minimum}")


QUICK = SyntheticConfig(portraits=48, samples=256, people=24, pairs=48)


def evaluate(
    model: str | Path,
    folder: Path,
    *,
    mesh: Path,
    judges: Path | None = None,
    config: SyntheticConfig | None = None,
    device: str = "auto",
    progress: Progress = lambda done, total, unit: None,
) -> Report:
    """Measure a model and write report.json, report.md and contact sheets into `folder`.

    Args:
        mesh: the archive that the portraits are rendered from.
        judges: a model folder with `face_reader` and `identity`; without it what they read is not available.

    Raises:
        WeightsNotFoundError, CorruptFileError, ConfigError, BackendError, MissingDependencyError, OutputError.
    """
    config = config or SyntheticConfig()
    reenactor = load(model, device=device)
    if not isinstance(reenactor, LatentReenactor):
        raise UsageError(f"{model} runs the linear baseline, which reads clips; this protocol measures latent models")
    panel = None if judges is None else Judges.load(judges, device=reenactor.device)
    world = World(Renderer(load_mesh(mesh)), reenactor.resolution, config.seed)
    factors = load_networks(resolve(model), device=reenactor.device).get("factors")
    if factors is not None and not isinstance(factors, FactorMapping):
        raise ConfigError(f"{model}: got a network factors of class {type(factors).__name__}, expected FactorMapping")
    artist = Artist(reenactor.networks.generator, factors, world)
    rows: list[Row] = []
    sheets: list[Sheet] = []
    details: dict = {}
    measured = measure(reenactor, artist, OutsideJudge(), panel, config, progress)
    for new_rows, new_sheets, new_details in measured:
        rows, sheets, details = rows + new_rows, sheets + new_sheets, details | new_details
    report = Report(
        protocol="synthetic",
        model=reenactor.name,
        settings=asdict(config),
        rows=rows,
        details=details,
        sheets=[sheet.save(folder, reenactor.name) for sheet in sheets],
    )
    report.save(folder)
    return report


def measure(
    reenactor: LatentReenactor,
    artist: Artist,
    outside: OutsideJudge,
    judges: Judges | None,
    config: SyntheticConfig,
    progress: Progress,
) -> Iterator[tuple[list[Row], list[Sheet], dict]]:
    """(rows, sheets, details) of one part after the other."""
    rows, sheets = measure_looks(artist, outside, config.portraits, progress)
    if judges is None:
        key, text = "looks.frechet_ratio", "Fréchet distance with the judges' features"
        rows.append(Row(key=key, text=text, value=None, bar=FRECHET_BAR, note="no judges were given"))
    else:
        rows += measure_frechet(artist, judges, config.samples, progress)
    yield rows, sheets, {}

    def invert(picture: np.ndarray) -> np.ndarray:
        return reenactor.identity(picture, aligned=True).reconstruction

    yield *measure_inversion(artist.world, outside, invert, config.people, progress), {}

    def reenact(identity: np.ndarray, driving: np.ndarray) -> np.ndarray:
        return reenactor(reenactor.identity(identity, aligned=True), driving, aligned=True).image

    transfers = transfer(artist.world, reenact, config.pairs, progress)
    transfer_rows, details = measure_transfer(transfers, outside, judges)
    yield transfer_rows, [transfer_sheet(transfers)], details
