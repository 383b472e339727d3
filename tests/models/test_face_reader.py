"""The face reader: shapes, its standardised outputs, heat maps that find points, and its place in a model folder."""

from __future__ import annotations

import pytest
import torch

from latent_reenact.errors import ConfigError
from latent_reenact.models import BodyConfig, FaceReader, FaceReaderConfig, load_network, save_networks

TINY = FaceReaderConfig(
    input_size=32,
    fold=2,
    body=BodyConfig(widths=(4, 8), depths=(1, 1), se_reduction=2),
    heat_stage=0,
    heat_width=6,
    bottleneck=8,
)


def tiny_reader() -> FaceReader:
    torch.manual_seed(0)
    return FaceReader(TINY).eval()


def examples() -> tuple[torch.Tensor, torch.Tensor]:
    """(motion [20, 58], landmarks [20, 68, 2]) of a made-up world."""
    random = torch.Generator().manual_seed(1)
    landmarks = torch.rand(68, 2, generator=random) * 0.6 + 0.2
    landmarks = landmarks + 0.03 * torch.randn(20, 68, 2, generator=random)
    return torch.randn(20, 58, generator=random) * 5 + 2, landmarks


def test_smoke() -> None:
    assert FaceReader().config.motion_size == 58


@pytest.mark.parametrize("size", [16, 32, 50])
def test_shapes(size) -> None:
    reading = tiny_reader()(torch.rand(3, 3, size, size) * 2 - 1)
    assert reading.pose_deg.shape == (3, 3)
    assert reading.landmarks.shape == (3, 68, 2)
    assert reading.expression.shape == (3, 53)
    assert reading.gaze_deg.shape == (3, 2)
    assert torch.equal(reading.motion[:, 3:5], reading.gaze_deg)
    assert torch.equal(reading.motion[:, 5:], reading.expression)


def test_shapes_features() -> None:
    maps = tiny_reader().features(torch.zeros(2, 3, 64, 64))
    assert [tuple(x.shape) for x in maps] == [(2, 4, 16, 16), (2, 4, 8, 8), (2, 8, 4, 4)]


def test_feature_reads_the_mean_face_before_training() -> None:
    reader, (motion, landmarks) = tiny_reader(), examples()
    reader.fit(motion, landmarks)
    reading = reader(torch.rand(2, 3, 32, 32))
    torch.testing.assert_close(reading.motion, motion.mean(0).expand(2, -1))
    error = (reading.landmarks - landmarks.mean(0)).abs()
    assert error.max() < 1 / 16  # half a cell, for points at the edge
    assert error.mean() < 0.005


def test_feature_landmarks_follow_the_heat_maps() -> None:
    reader, (motion, landmarks) = tiny_reader(), examples()
    reader.fit(motion, landmarks)
    heat = torch.full((1, 68, 8, 8), -1e4)
    heat[:, :, 2, 5] = 1e4  # row 2, column 5
    reader.heat = torch.nn.Sequential(Constant(heat))
    read = reader(torch.rand(1, 3, 32, 32)).landmarks
    torch.testing.assert_close(read, torch.tensor([5.5 / 8, 2.5 / 8]).expand(1, 68, 2))


class Constant(torch.nn.Module):
    def __init__(self, value: torch.Tensor) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.value


def test_feature_what_never_moves_keeps_its_scale() -> None:
    reader, (motion, landmarks) = tiny_reader(), examples()
    motion[:, 10] = 0.25
    reader.fit(motion, landmarks)
    assert reader.motion_std[10] == 1
    assert reader.motion_mean[10] == 0.25


def test_feature_saved_and_loaded(tmp_path) -> None:
    reader = tiny_reader()
    reader.fit(*examples())
    save_networks(tmp_path / "reader", {"face_reader": reader}, {"name": "reader"})
    again = load_network(tmp_path / "reader", "face_reader")
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    assert again.config == TINY
    torch.testing.assert_close(again(images).landmarks, reader(images).landmarks, atol=1e-3, rtol=0)
    torch.testing.assert_close(again(images).motion, reader(images).motion, atol=0.02, rtol=0)


def test_gradcheck_the_picture_gets_gradients() -> None:
    """Losses on readings train what draws the picture, also through the pooling."""
    reader = tiny_reader().requires_grad_(False)
    torch.nn.init.normal_(reader.get_parameter("heat.5.weight"))
    images = torch.rand(1, 3, 64, 64, requires_grad=True)
    reader(images).landmarks.square().sum().backward()
    assert images.grad.abs().sum() > 0
    assert images.grad.isfinite().all()


@pytest.mark.parametrize(("change", "words"), [({"input_size": 30}, "multiple of 8"), ({"heat_stage": 2}, "2 stages")])
def test_exception_sizes_that_do_not_fit(change, words) -> None:
    with pytest.raises(ConfigError, match=words):
        FaceReaderConfig(**{"body": TINY.body, "input_size": 32, **change})
