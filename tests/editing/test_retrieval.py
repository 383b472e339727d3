"""Retrieval by aspect ratios, by expression or units, and by motion code."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch

from latent_reenact.editing import (
    by_expression,
    by_motion,
    by_ratios,
    by_units,
    describe,
    nearest,
    reader_estimator,
    retrieval_sheet,
)
from latent_reenact.errors import UsageError
from latent_reenact.metrics.faces import aspect_ratios
from latent_reenact.models import BodyConfig, FaceReader, FaceReaderConfig
from latent_reenact.synthface.factors import EXPRESSION_NAMES


@pytest.fixture(scope="module")
def reader() -> FaceReader:
    torch.manual_seed(0)
    body = BodyConfig(widths=(4, 8), depths=(1, 1), se_reduction=2)
    network = FaceReader(FaceReaderConfig(input_size=32, body=body, heat_stage=0, heat_width=4, bottleneck=8)).eval()
    torch.nn.init.normal_(network.motion[2].weight)
    network.landmark_mean.copy_(torch.tensor(tiny.frontal_landmarks()) / 4 + 0.5)
    return network.requires_grad_(False)


def mouths(images: torch.Tensor):
    """A reader of pictures whose brightness says how open the mouth is."""
    points = torch.tensor(tiny.frontal_landmarks()).repeat(len(images), 1, 1)
    points[:, 66, 1] += 2 + images.mean((1, 2, 3)).double()
    return SimpleNamespace(landmarks=points)


def pictures(levels: list[int]) -> list[np.ndarray]:
    return [np.full((32, 32, 3), level, np.uint8) for level in levels]


def test_smoke_the_most_alike_mouths() -> None:
    frames = pictures([10, 60, 110, 160, 210])
    described = describe(frames, by_ratios(mouths), batch=2)
    found = nearest(describe(pictures([150, 20]), by_ratios(mouths)), described, 2)
    assert found.rows.tolist() == [[3, 2], [0, 1]]
    assert (np.diff(found.distances) > 0).all()


def test_shapes(reader) -> None:
    frames = [tiny.picture(seed, 32) for seed in range(5)]
    ways = {"ratios": by_ratios(reader), "expression": by_expression(reader)}
    ways |= {"motion": by_motion(tiny.networks().motion_encoder), "units": by_units(lambda x: torch.ones(len(x), 41))}
    lengths = {name: describe(frames, by, batch=2).shape for name, by in ways.items()}
    assert lengths == {"ratios": (5, 5), "expression": (5, 53), "motion": (5, tiny.L * tiny.N), "units": (5, 27)}


def test_feature_every_frame_finds_itself() -> None:
    frames = [tiny.picture(seed, 32) for seed in range(6)]
    described = describe(frames, by_motion(tiny.networks().motion_encoder))
    found = nearest(described, described, 1)
    assert found.rows[:, 0].tolist() == list(range(6))
    np.testing.assert_allclose(found.distances, 0, atol=1e-9)
    others = nearest(described, described, 1, skip=np.eye(6, dtype=bool))
    assert (others.rows[:, 0] != np.arange(6)).all()


def test_feature_distance_is_the_mean_squared_error() -> None:
    found = nearest(np.array([[0.0, 0.0]]), np.array([[3.0, 4.0], [1.0, 1.0], [np.nan, 0.0]]), 2)
    assert found.rows.tolist() == [[1, 0]]
    np.testing.assert_allclose(found.distances, [[1.0, 12.5]])


def test_feature_sheet_is_a_row_for_each_query() -> None:
    queries, frames = pictures([150, 20]), pictures([10, 60, 110, 160, 210])
    found = nearest(describe(queries, by_ratios(mouths)), describe(frames, by_ratios(mouths)), 2)
    sheet = retrieval_sheet(queries, frames, found, height=32)
    assert sheet.shape == (64, 3 * 32 + 2 * 2, 3)
    assert sheet[16, [16, 50, 84], 0].tolist() == [150, 160, 110]


@pytest.mark.parametrize(
    "measure", ["yaw_deg", "roll_deg", "gaze_pitch_deg", "smile", "blink_left", "jawOpen", "mouth_ratio"]
)
def test_feature_estimators_read_what_they_say(reader, measure) -> None:
    images = torch.rand(3, 3, 32, 32) * 2 - 1
    read = reader(images)
    smiles = [EXPRESSION_NAMES.index(f"mouthSmile_{side}") for side in "LR"]
    expected = {
        "yaw_deg": read.pose_deg[:, 0],
        "roll_deg": read.pose_deg[:, 2],
        "gaze_pitch_deg": read.gaze_deg[:, 1],
        "smile": read.expression[:, smiles].mean(1),
        "blink_left": read.expression[:, EXPRESSION_NAMES.index("eyeBlink_L")],
        "jawOpen": read.expression[:, EXPRESSION_NAMES.index("jawOpen")],
        "mouth_ratio": torch.tensor(aspect_ratios(read.landmarks.numpy())[:, 4]).float(),
    }
    torch.testing.assert_close(reader_estimator(reader, measure)(images), expected[measure])


def test_exception_unknown_measure(reader) -> None:
    with pytest.raises(UsageError, match="'wink', expected one of yaw_deg"):
        reader_estimator(reader, "wink")


def test_exception_nothing_to_find() -> None:
    with pytest.raises(UsageError, match="no pictures"):
        describe([], by_ratios(mouths))
    with pytest.raises(UsageError, match="expected 1 to 2"):
        nearest(np.zeros((1, 2)), np.zeros((2, 2)), 3)
    with pytest.raises(UsageError, match="described the same way"):
        nearest(np.zeros((1, 2)), np.zeros((2, 3)))
    with pytest.raises(UsageError, match="those searched for"):
        retrieval_sheet(pictures([1]), pictures([1]), nearest(np.zeros((2, 1)), np.zeros((2, 1)), 1))
