"""The protocol `control`: random people, every slider through its range, asked against measured by the judges."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from latent_reenact.errors import ConfigError, UsageError
from latent_reenact.evaluation.control_sweeps import Person, Settings, Sweeps, likeness_kept, run_sweeps
from latent_reenact.evaluation.judges import Judges, OutsideJudge
from latent_reenact.evaluation.report import Bar, Report, Row
from latent_reenact.evaluation.sheets import Sheet
from latent_reenact.evaluation.world import TEST_SEED, Progress
from latent_reenact.synthface import Factors, Renderer, load_mesh, sample
from latent_reenact.synthface.controls import motion_of
from latent_reenact.synthface.factors import Motion
from latent_reenact.systems import Identity, LatentReenactor, load
from latent_reenact.weights import resolve

FIRST_RENDER = 480_000  # of the test seed: a range that no other measure draws from
ANGLE_BAR, R_BAR, LEAK_BAR, LIKENESS_BAR = Bar(at_most=3), Bar(at_least=0.9), Bar(at_most=0.1), Bar(at_least=0.8)
_BARRED_ANGLES = ("yaw_deg", "pitch_deg")

RandomPerson = Callable[[LatentReenactor, int], Identity]
"""(model, seed) -> somebody who does not exist."""


@dataclass(frozen=True, kw_only=True)
class ControlConfig:
    """How much is measured, and from where the sliders start."""

    people: int = 24
    values: int = 7  # of every slider, from one end of its range to the other
    seed: int = 0  # of the first person; the others follow
    own: bool = False  # start from every person's own picture rather than from a frontal face at rest

    def __post_init__(self) -> None:
        for name, least in {"people": 2, "values": 3, "seed": 0}.items():
            if getattr(self, name) < least:
                raise ConfigError(f"{name}: got {getattr(self, name)}, expected at least {least}")


QUICK = ControlConfig(people=4, values=3)


def evaluate(
    model: str | Path,
    folder: Path,
    random_person: RandomPerson,
    *,
    judges: Path | None = None,
    mesh: Path | None = None,
    config: ControlConfig | None = None,
    outside: OutsideJudge | None = None,
    device: str = "auto",
    progress: Progress = lambda done, total, unit: None,
) -> Report:
    """Measure a model's sliders and write report.json, report.md and contact sheets into `folder`.

    Args:
        random_person: as `editing.sample_identity`.
        judges: a model folder with `face_reader` and `identity`; without it the model's own networks read.
        mesh: the archive to render the same sweeps from, which is what the judges' own errors leave to reach.

    Raises:
        UsageError: a model of another system. ConfigError: no sliders, sliders of another world, or no judges.
        WeightsNotFoundError, CorruptFileError, BackendError, MissingDependencyError, OutputError.
    """
    config = config or ControlConfig()
    reenactor = load(model, device=device)
    if not isinstance(reenactor, LatentReenactor):
        raise UsageError(
            f"{model} runs the linear baseline, which has no sliders; this protocol measures latent models"
        )
    if not reenactor.controls:
        raise ConfigError(f"model {reenactor.name} has no sliders to measure; name another, such as builtin")
    people = {"drawn": _drawn_people(reenactor, random_person, config)}
    if mesh is not None:
        people["renders"] = _rendered_people(Renderer(load_mesh(mesh)), reenactor.resolution, config)
    panel = Judges.load(resolve(model) if judges is None else judges, device=reenactor.device)
    outside = outside or OutsideJudge()
    sweeps: dict[str, Sweeps] = {}
    sheets: list[Sheet] = []
    for name, group in people.items():

        def show(person: int, pictures: np.ndarray, name: str = name) -> None:
            if person == 0:
                sheets.append(Sheet(name, reenactor.controls, tuple(list(row) for row in pictures)))

        sweeps[name] = run_sweeps(reenactor.controls, group, panel, outside, config.values, progress, show)
    reader = f"{reenactor.name}'s own networks" if judges is None else judges.name
    report = Report(
        protocol="control",
        model=reenactor.name,
        settings={**asdict(config), "reader": reader},
        rows=rows(sweeps["drawn"], sweeps.get("renders")),
        details={name: details(one) for name, one in sweeps.items()},
        tables=[leakage_table(one, name) for name, one in sweeps.items()],
        sheets=[sheet.save(folder, reenactor.name) for sheet in sheets],
    )
    report.save(folder)
    return report


# ---------------------------------------------------------------- people


def _drawn_people(
    reenactor: LatentReenactor, random_person: RandomPerson, config: ControlConfig
) -> list[Callable[[], Person]]:
    def person(seed: int) -> Person:
        identity = random_person(reenactor, seed)

        def draw(settings: Settings) -> np.ndarray:
            results = reenactor.poses(identity, settings, at_rest=not config.own)
            return np.stack([result.image for result in results])

        return draw

    return [lambda seed=config.seed + i: person(seed) for i in range(config.people)]  # type: ignore[misc]


def _rendered_people(renderer: Renderer, size: int, config: ControlConfig) -> list[Callable[[], Person]]:
    def person(number: int) -> Person:
        factors = sample(TEST_SEED, FIRST_RENDER + config.seed + number)

        def draw(settings: Settings) -> np.ndarray:
            moved = [replace(factors, motion=_motion(factors, one, config.own)) for one in settings]
            return np.stack([renderer.render(one, size).image for one in moved])

        return draw

    return [lambda number=i: person(number) for i in range(config.people)]  # type: ignore[misc]


def _motion(factors: Factors, controls: Mapping[str, float], own: bool) -> Motion:
    """A person's motion with some sliders set, from their own or from rest."""
    wanted = motion_of(controls)
    if not own:
        return wanted
    angles = {name: value for name, value in controls.items() if name.endswith("_deg")}
    expression = {**factors.motion.expression, **wanted.expression}
    return replace(factors.motion, expression=expression, **angles)


# ---------------------------------------------------------------- what is said of them


def rows(drawn: Sweeps, renders: Sweeps | None) -> list[Row]:
    """Correlation, error, leakage and likeness, slider by slider."""
    made: list[Row] = []
    for k, name in enumerate(drawn.names):
        made += _slider_rows(drawn, renders, k, name)
    note = f"cosines: along the sweeps {drawn.same():.4f}, strangers {drawn.strangers():.4f}"
    if renders is not None:
        note += f"; renders {renders.same():.4f} and {renders.strangers():.4f}"
    made.append(
        Row(
            key="control.likeness",
            text="likeness kept along all sweeps",
            value=likeness_kept(drawn, renders),
            bar=LIKENESS_BAR,
            ceiling=None if renders is None else 1.0,
            note=f"{note}; no face found in {drawn.faceless} pictures",
        )
    )
    made.append(
        Row(
            key="control.rank1",
            text=f"ends of sweeps: rank-1 among {len(drawn.rest)} people at rest",
            value=drawn.rank1(),
            ceiling=None if renders is None else renders.rank1(),
        )
    )
    return made


def _slider_rows(drawn: Sweeps, renders: Sweeps | None, k: int, name: str) -> list[Row]:
    def ceiling(measure: Callable[[Sweeps], float]) -> float | None:
        return None if renders is None else measure(renders)

    other, leak = drawn.worst_leakage(k)
    note = f"into {other}"
    beyond: list[Row] = []
    if renders is not None:
        most, _ = renders.worst_leakage(k)
        note += f"; in the renders {renders.leakage()[k, drawn.names.index(other)]:.3f}, most into {most}"
        row = drawn.leakage_beyond(renders)[k]
        beyond = [
            Row(
                key=f"control.{name}.leakage_beyond",
                text=f"{name}: largest leakage that the renders do not show",
                value=float(row.max()),
                bar=LEAK_BAR,
                note=f"into {drawn.names[int(row.argmax())]}",
            )
        ]
    return [
        Row(
            key=f"control.{name}.r",
            text=f"{name}: correlation along the sweep",
            value=drawn.correlation(k),
            bar=R_BAR,
            ceiling=ceiling(lambda s: s.correlation(k)),
        ),
        Row(
            key=f"control.{name}.r_over_people",
            text=f"{name}: the same over all people at once",
            value=drawn.correlation_over_people(k),
            ceiling=ceiling(lambda s: s.correlation_over_people(k)),
        ),
        Row(
            key=f"control.{name}.error",
            text=f"{name}: mean absolute error{', °' if name.endswith('_deg') else ''}",
            value=drawn.error(k),
            bar=ANGLE_BAR if name in _BARRED_ANGLES else None,
            ceiling=ceiling(lambda s: s.error(k)),
        ),
        Row(
            key=f"control.{name}.leakage",
            text=f"{name}: largest leakage, share of the other's range",
            value=leak,
            bar=LEAK_BAR,
            ceiling=ceiling(lambda s: s.worst_leakage(k)[1]),
            note=note,
        ),
        *beyond,
    ]


def details(sweeps: Sweeps) -> dict:
    """The curves and the whole matrix, for programs."""
    names = sweeps.names
    return {
        "asked": {name: sweeps.asked[k].round(4).tolist() for k, name in enumerate(names)},
        "measured": {name: sweeps.own(k).mean(0).round(4).tolist() for k, name in enumerate(names)},
        "leakage": {
            name: dict(zip(names, row.round(4).tolist(), strict=True))
            for name, row in zip(names, sweeps.leakage(), strict=True)
        },
        "likeness": {name: round(sweeps.same(k), 4) for k, name in enumerate(names)},
    }


def leakage_table(sweeps: Sweeps, of: str) -> str:
    """Rows: the slider that moves. Columns: in hundredths of its range, how far each other one is seen to move."""
    numbers = range(1, len(sweeps.names) + 1)
    lines = [
        f"Leakage ({of}), hundredths of the range. Rows move, columns are read:",
        "",
        f"| | {' | '.join(map(str, numbers))} |",
        "|---|" + "---|" * len(sweeps.names),
    ]
    for k, (name, row) in enumerate(zip(sweeps.names, sweeps.leakage(), strict=True)):
        cells = ["·" if j == k else f"{100 * value:.0f}" for j, value in enumerate(row)]
        lines.append(f"| {k + 1} {name} | {' | '.join(cells)} |")
    return "\n".join(lines)
