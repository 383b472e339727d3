"""Latents and directions from other programs' files, and the rule that tells them from networks."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

import latent_reenact as lr
from latent_reenact.errors import ConfigError, CorruptFileError, OutputError, UnsafeCheckpointError, UsageError
from latent_reenact.models.convert import ConvertReport
from latent_reenact.models.convert import convert as convert_model
from latent_reenact.systems.conversion import convert
from latent_reenact.weights import Direction
from toy_upstream import D, L, jahoda_file, restyle_file


@pytest.fixture
def model(tmp_path):
    """A toy of the method's whole system, converted."""
    convert_model([jahoda_file(tmp_path / "best.pt"), restyle_file(tmp_path / "restyle.pt")], tmp_path / "toy")
    return tmp_path / "toy"


def latent(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((L, D)).astype(np.float32)


def write(path, value) -> None:
    if path.suffix == ".npy":
        np.save(path, value, allow_pickle=True)
    elif path.suffix == ".pt":
        torch.save(torch.from_numpy(value), path)
    else:
        path.write_bytes(pickle.dumps(value, protocol=2))


@pytest.mark.parametrize("suffix", [".npy", ".pkl", ".pt"])
def test_feature_identity_latents(tmp_path, model, suffix) -> None:
    path = tmp_path / f"person{suffix}"
    write(path, latent())
    report = convert([path], tmp_path / "person.safetensors", model=model, device="cpu")
    assert report.outputs == (str(tmp_path / "person.safetensors"),)
    person = lr.Identity.load(report.outputs[0])
    np.testing.assert_array_equal(person.w_plus, latent())
    assert person.model == "toy"
    result = lr.load(model, device="cpu")(person, driving=np.zeros((32, 32, 3), np.uint8), aligned=True)
    assert result.image.shape == (16, 16, 3)


def test_feature_restyle_latents_of_several_pictures(tmp_path, model) -> None:
    """ReStyle saves {picture: [latent of every step]} with np.save: the last step counts."""
    write(tmp_path / "latents.npy", {"a.jpg": [latent(0), latent(1)], "b.jpg": [latent(2), latent(3)]})
    report = convert([tmp_path / "latents.npy"], tmp_path / "people", model=model, device="cpu")
    assert [path.rpartition("/")[2] for path in report.outputs] == ["a.safetensors", "b.safetensors"]
    np.testing.assert_array_equal(lr.Identity.load(report.outputs[1]).w_plus, latent(3))


@pytest.mark.parametrize("shape", [(D,), (1, D)])
def test_feature_directions(tmp_path, shape) -> None:
    values = np.random.default_rng(0).standard_normal(shape)
    np.save(tmp_path / "smile.npy", values)
    report = convert([tmp_path / "smile.npy"], tmp_path / "smile.safetensors")
    np.testing.assert_allclose(Direction.load(report.outputs[0]).values, values.reshape(D).astype(np.float32))


def test_feature_direction_per_style(tmp_path) -> None:
    torch.save(torch.ones(L, D), tmp_path / "age.pt")
    convert([tmp_path / "age.pt"], tmp_path / "age.safetensors", kind="direction")
    assert Direction.load(tmp_path / "age.safetensors").values.shape == (L, D)


def test_feature_networks_in_small_files_are_told_apart(tmp_path) -> None:
    report = convert([restyle_file(tmp_path / "r.pt")], tmp_path / "model")
    assert isinstance(report, ConvertReport)


def test_exception_latent_or_direction(tmp_path) -> None:
    np.save(tmp_path / "x.npy", latent())
    with pytest.raises(UsageError, match=r"--model NAME for an identity of that model, or --as direction"):
        convert([tmp_path / "x.npy"], tmp_path / "x.safetensors")


def test_exception_latent_of_another_model(tmp_path, model) -> None:
    np.save(tmp_path / "x.npy", np.zeros((18, 512)))
    with pytest.raises(UsageError, match=r"expected finite numbers \[6, 8\]"):
        convert([tmp_path / "x.npy"], tmp_path / "x.safetensors", model=model, device="cpu")
    assert not (tmp_path / "x.safetensors").exists()


def test_exception_out_name(tmp_path) -> None:
    np.save(tmp_path / "x.npy", np.zeros(D))
    with pytest.raises(OutputError, match=r"ends in \.safetensors"):
        convert([tmp_path / "x.npy"], tmp_path / "x.npz")


def test_exception_pickle_of_code(tmp_path) -> None:
    (tmp_path / "x.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(UnsafeCheckpointError, match=r"os\.system"):
        convert([tmp_path / "x.pkl"], tmp_path / "x.safetensors")


def test_exception_direction_file(tmp_path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"nothing")
    with pytest.raises(CorruptFileError, match="not a safetensors file"):
        Direction.load(tmp_path / "x.safetensors")


def test_exception_relative_picture_needs_sliders(tmp_path, model) -> None:
    """The published network has no sliders, so no neutral face for one picture to differ from."""
    np.save(tmp_path / "p.npy", latent())
    convert([tmp_path / "p.npy"], tmp_path / "p.safetensors", model=model, device="cpu")
    person = lr.Identity.load(tmp_path / "p.safetensors")
    with pytest.raises(ConfigError, match="use a driving"):
        lr.load(model, device="cpu")(person, driving=np.zeros((8, 8, 3), np.uint8), aligned=True, relative=True)
