"""Does the output wear the driver's pose and expression? Against the true picture, which the world can render.

Pair k: the identity of portrait k, read from its own picture, driven by the picture of portrait k + 1; the right answer
is the render of person and scene k with motion k + 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from latent_reenact.evaluation.judges import Judges, OutsideJudge, Reading, truth
from latent_reenact.evaluation.report import Bar, Row
from latent_reenact.evaluation.sheets import Sheet
from latent_reenact.evaluation.world import Progress, World
from latent_reenact.face import head_pose
from latent_reenact.metrics import RATIO_NAMES, aspect_ratios, nmse_landmarks, pearson, pose_mae, psnr
from latent_reenact.synthface import Portrait
from latent_reenact.synthface.factors import EXPRESSION_INDEX, EXPRESSION_SLIDERS

_BLINKS = ("blink_left", "blink_right")
EXPRESSION_CONTROLS = {
    **{name: shapes for name, shapes in EXPRESSION_SLIDERS.items() if name not in _BLINKS},
    "blink": EXPRESSION_SLIDERS["blink_left"] + EXPRESSION_SLIDERS["blink_right"],
}
"""Name -> the blendshapes whose mean it is."""
CONTROLS = ("yaw", "pitch", *EXPRESSION_CONTROLS)
"""The twelve that a transfer is judged by."""

POSE_BAR, MEAN_BAR, LEAST_BAR, RATIO_BAR = Bar(at_most=4), Bar(at_least=0.7), Bar(at_least=0.5), Bar(at_least=0.75)

Reenact = Callable[[np.ndarray, np.ndarray], np.ndarray]


def control_values(reading: Reading) -> np.ndarray:
    """float [N, 12], in the order of `CONTROLS`."""
    columns = [[EXPRESSION_INDEX[name] for name in names] for names in EXPRESSION_CONTROLS.values()]
    expression = [reading.expression[:, index].mean(1) for index in columns]
    return np.stack([reading.pose_deg[:, 0], reading.pose_deg[:, 1], *expression], axis=1)


@dataclass(frozen=True, eq=False)
class Following:
    """How pictures follow the truth.

    pose_mae_deg: mean absolute error of yaw and pitch. controls: correlation of each of the twelve over the pictures,
    NaN where one never moves. ratios: the same of the five aspect ratios of landmarks. landmark_error: mean distance of
    the 68 over the inter-ocular distance.
    """

    pose_mae_deg: float
    controls: dict[str, float]
    ratios: dict[str, float]
    landmark_error: float

    @property
    def mean_control(self) -> float:
        return float(np.mean(list(self.controls.values())))

    @property
    def least_control(self) -> tuple[str, float]:
        """The control that follows worst; one that never moves is worse than all."""
        return min(self.controls.items(), key=lambda item: -2.0 if np.isnan(item[1]) else item[1])

    @property
    def mean_ratio(self) -> float:
        return float(np.mean(list(self.ratios.values())))


def following(true: Reading, read: Reading) -> Following:
    """What was read of N pictures against what is true of them."""
    wanted, got = control_values(true), control_values(read)
    true_ratios, ratios = aspect_ratios(true.landmarks), aspect_ratios(read.landmarks)
    return Following(
        pose_mae_deg=pose_mae(true.pose_deg[:, :2], read.pose_deg[:, :2]),
        controls={name: pearson(wanted[:, i], got[:, i]) for i, name in enumerate(CONTROLS)},
        ratios={name: pearson(true_ratios[:, i], ratios[:, i]) for i, name in enumerate(RATIO_NAMES)},
        landmark_error=nmse_landmarks(true.landmarks, read.landmarks),
    )


def outside_pose_mae(judge: OutsideJudge, pictures: np.ndarray, pose_deg: np.ndarray) -> tuple[float, float]:
    """(mean absolute error of yaw and pitch as read by dlib, share of pictures in which it finds a face)."""
    faces = [judge.find(picture) for picture in pictures]
    found = [i for i, face in enumerate(faces) if face is not None]
    if not found:
        return float("nan"), 0.0
    read = np.array([head_pose(face.landmarks)[:2] for face in faces if face is not None])
    return pose_mae(pose_deg[found, :2], read), len(found) / len(faces)


# ---------------------------------------------------------------- a model's rows and pictures


@dataclass(frozen=True, eq=False)
class Transfers:
    """N pairs: the pictures that went in, what came out, and the right answers."""

    identities: np.ndarray  # uint8 [N, R, R, 3], as are the next two
    drivings: np.ndarray
    outputs: np.ndarray
    answers: Sequence[Portrait]

    @property
    def renders(self) -> np.ndarray:
        """Pictures of the right answers."""
        return np.stack([answer.image for answer in self.answers])


def transfer(world: World, reenact: Reenact, count: int, progress: Progress) -> Transfers:
    """reenact: aligned pictures of identity and driver, uint8 [R, R, 3] -> the output, [R, R, 3]."""
    factors = world.factors("transfer", count + 1)
    pictures = world.pictures(factors)
    outputs, answers = [], []
    for k in range(count):
        answers.append(world.render(replace(factors[k], motion=factors[k + 1].motion)))
        outputs.append(reenact(pictures[k], pictures[k + 1]))
        progress(k + 1, count, "pairs")
    return Transfers(pictures[:-1], pictures[1:], np.stack(outputs), answers)


def measure_transfer(transfers: Transfers, outside: OutsideJudge, judges: Judges | None) -> tuple[list[Row], dict]:
    """Rows, and the correlation of each control and ratio; without judges only what needs none."""
    true, renders = truth(transfers.answers), transfers.renders
    fidelity = float(np.mean([psnr(a, b) for a, b in zip(transfers.outputs, renders, strict=True)]))
    (error, found), (render_error, render_found) = (
        outside_pose_mae(outside, pictures, true.pose_deg) for pictures in (transfers.outputs, renders)
    )
    rows = [
        Row(key="transfer.psnr_db", text="transfer: PSNR to the right answer, dB", value=fidelity),
        Row(
            key="transfer.dlib_pose_mae_deg", text="transfer: pose error by dlib, °", value=error, ceiling=render_error
        ),
        Row(key="transfer.dlib_faces", text="transfer: dlib finds a face", value=found, ceiling=render_found),
    ]
    if judges is None:
        return _unread_rows() + rows, {}
    ours, theirs = (following(true, judges.read(pictures)) for pictures in (transfers.outputs, renders))
    details = {
        name: {"controls": f.controls, "ratios": f.ratios} for name, f in (("outputs", ours), ("renders", theirs))
    }
    return _read_rows(ours, theirs) + rows, details


_BARRED = {
    "pose_mae_deg": ("transfer: error of yaw and pitch, °", POSE_BAR),
    "control_mean_r": ("transfer: correlation of twelve controls, mean", MEAN_BAR),
    "control_least_r": ("transfer: correlation of twelve controls, least", LEAST_BAR),
    "ratio_r": ("transfer: correlation of five landmark ratios, mean", RATIO_BAR),
}


def _unread_rows() -> list[Row]:
    why = "no judges were given"
    return [Row(key=f"transfer.{k}", text=text, value=None, bar=bar, note=why) for k, (text, bar) in _BARRED.items()]


def _read_rows(ours: Following, theirs: Following) -> list[Row]:
    values = [
        [f.pose_mae_deg, f.mean_control, f.least_control[1], f.mean_ratio] for f in (ours, theirs)
    ]  # in the order of _BARRED
    notes = {"control_least_r": f"{ours.least_control[0]}; in the renders {theirs.least_control[0]}"}
    rows = [
        Row(key=f"transfer.{key}", text=text, value=value, bar=bar, ceiling=ceiling, note=notes.get(key, ""))
        for (key, (text, bar)), value, ceiling in zip(_BARRED.items(), *values, strict=True)
    ]
    landmarks = "transfer: landmark error / inter-ocular distance"
    return [
        *rows,
        Row(key="transfer.landmark_error", text=landmarks, value=ours.landmark_error, ceiling=theirs.landmark_error),
        *(
            Row(
                key=f"transfer.{name}_r",
                text=f"transfer: correlation of {name}",
                value=r,
                ceiling=theirs.controls[name],
            )
            for name, r in ours.controls.items()
        ),
    ]


def transfer_sheet(transfers: Transfers, width: int = 12) -> Sheet:
    rows = (transfers.identities, transfers.drivings, transfers.outputs, transfers.renders)
    return Sheet("transfer", ("identity", "driving", "output", "right answer"), tuple(list(r[:width]) for r in rows))
