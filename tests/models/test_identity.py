"""Who somebody is: the crop, the sphere and the loss; ArcFace's numbers are compared in `test_golden.py`."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from meta_tensors import meta_state
from torch.nn import functional as F

from latent_reenact.errors import CorruptFileError, MissingDependencyError
from latent_reenact.models import BodyConfig, IdentityEmbedder, IdentityEmbedderConfig, OnnxIdentityEmbedder
from latent_reenact.models.build import describe_differences
from latent_reenact.models.identity import id_crop, identity_loss

BODY = BodyConfig(widths=(4, 8, 12, 16), depths=(1, 1, 1, 1), se_reduction=2)
TINY = IdentityEmbedderConfig(input_size=32, embedding=6, body=BODY)


@pytest.fixture
def embedder() -> IdentityEmbedder:
    torch.manual_seed(0)
    return IdentityEmbedder(TINY).eval()


def test_published_names() -> None:
    with torch.device("meta"):
        network = IdentityEmbedder()
    assert describe_differences(network, meta_state("arcface_irse50")) == []


@torch.no_grad()
@pytest.mark.parametrize("size", [(64, 64), (256, 256), (300, 200)])
def test_shapes(embedder, size) -> None:
    found = embedder(torch.rand(2, 3, *size) * 2 - 1)
    assert found.shape == (2, 6)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(2))


def test_feature_crop_is_that_of_the_published_loss() -> None:
    """Rows 35..223, columns 32..220 of 256: what lies outside does not count, what lies inside does."""
    images = torch.zeros(1, 3, 256, 256)
    images[:, :, 35:223, 32:220] = 1
    torch.testing.assert_close(id_crop(images), torch.ones(1, 3, 112, 112))
    for row, column in ((34, 100), (223, 100), (100, 31), (100, 220)):
        spot = torch.zeros(1, 3, 256, 256)
        spot[:, :, row, column] = 1
        assert not id_crop(spot).any()
    for row, column in ((35, 32), (222, 219)):
        spot = torch.zeros(1, 3, 256, 256)
        spot[:, :, row, column] = 1
        assert id_crop(spot).any()


def test_feature_large_pictures_are_averaged_first() -> None:
    small = torch.rand(1, 3, 256, 256)
    torch.testing.assert_close(id_crop(small.repeat_interleave(4, 2).repeat_interleave(4, 3)), id_crop(small))


def test_feature_loss_is_zero_for_the_same_picture_and_trains_the_first_alone(embedder) -> None:
    images = torch.rand(2, 3, 64, 64, requires_grad=True)
    assert identity_loss(embedder, images, images).item() == pytest.approx(0, abs=1e-6)
    reference = torch.rand(2, 3, 64, 64, requires_grad=True)
    loss = identity_loss(embedder, images, reference)
    loss.backward()
    assert loss.item() > 1e-4
    assert images.grad.abs().sum() > 0
    assert reference.grad is None


class Session:
    """An `onnxruntime.InferenceSession` of a linear network."""

    def __init__(self, batch: Any = "None", shape=(3, 112, 112), outputs=((1, 512),)) -> None:
        self.batch, self.shape, self.outputs = batch, shape, outputs
        self.weight = np.random.default_rng(0).standard_normal((12, 512), dtype=np.float32)

    def get_inputs(self) -> list[Any]:
        return [SimpleNamespace(name="input.1", shape=[self.batch, *self.shape])]

    def get_outputs(self) -> list[Any]:
        return [SimpleNamespace(name=str(i), shape=list(shape)) for i, shape in enumerate(self.outputs)]

    def run(self, outputs: Any, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        assert outputs is None
        assert inputs.keys() == {"input.1"}
        faces = inputs["input.1"]
        assert faces.dtype == np.float32
        assert faces.shape[1:] == (3, 112, 112)
        assert self.batch == "None" or len(faces) == self.batch
        return [self.linear(faces)]

    def linear(self, faces: np.ndarray) -> np.ndarray:
        return faces[:, :, ::56, ::56].reshape(len(faces), -1) @ self.weight


@pytest.mark.parametrize("batch", ["None", 1])
def test_feature_onnx_embedder_has_the_same_interface(batch) -> None:
    """Also where the file fixes the batch to one face."""
    session = Session(batch)
    embedder = OnnxIdentityEmbedder(session)
    faces = torch.rand(3, 3, 112, 112, dtype=torch.float64) * 2 - 1
    expected = F.normalize(torch.from_numpy(session.linear(faces.float().numpy())), dim=1)
    torch.testing.assert_close(embedder.embed(faces), expected)
    images = torch.rand(2, 3, 256, 256) * 2 - 1
    torch.testing.assert_close(embedder(images), embedder.embed(id_crop(images)))
    assert identity_loss(embedder, images, images).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    "session",
    [
        Session(shape=(3, 192, 192), outputs=((1, 212),)),  # landmarks
        Session(shape=(3, "?", "?"), outputs=((1, 1),) * 9),  # a detector
        Session(outputs=((1, 512), (1, 512))),
        Session(outputs=((1, 512, 7, 7),)),
        Session(batch=4),
    ],
)
def test_exception_onnx_of_another_network(session) -> None:
    with pytest.raises(CorruptFileError, match="choose a recognition network") as caught:
        OnnxIdentityEmbedder(session)
    assert "\n" not in str(caught.value)


def test_exception_onnxruntime_is_missing(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'latent-reenact\[insightface\]'"):
        OnnxIdentityEmbedder.load(tmp_path / "w600k_r50.onnx")


def test_exception_not_an_onnx_file(tmp_path, monkeypatch) -> None:
    def refuse(path: str, providers: list[str]) -> Session:
        raise ValueError("Protobuf parsing failed.\nin line 1")

    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace(InferenceSession=refuse))
    with pytest.raises(CorruptFileError, match="check the path"):
        OnnxIdentityEmbedder.load(tmp_path / "nothing.onnx")
    (tmp_path / "x.onnx").write_bytes(b"x")
    with pytest.raises(CorruptFileError, match=r"is not an ONNX network .* parsing failed\.$"):
        OnnxIdentityEmbedder.load(tmp_path / "x.onnx")


def test_feature_load_opens_the_file(tmp_path, monkeypatch) -> None:
    opened = []

    def session(path: str, providers: list[str]) -> Session:
        opened.append(path)
        return Session()

    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace(InferenceSession=session))
    path = tmp_path / "w600k_r50.onnx"
    path.write_bytes(b"x")
    assert OnnxIdentityEmbedder.load(path).embed(torch.zeros(1, 3, 112, 112)).shape == (1, 512)
    assert opened == [str(path)]
