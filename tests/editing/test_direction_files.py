"""Published direction files: every form, made here as its publisher makes it."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
import torch

from latent_reenact.editing import LatentDirection, read_directions
from latent_reenact.errors import CorruptFileError, UnsafeCheckpointError

D = 512
ROW = np.random.default_rng(0).standard_normal(D)


def equal(direction: LatentDirection, values: np.ndarray) -> bool:
    return np.array_equal(direction.values, np.asarray(values, np.float32))


@pytest.mark.parametrize(
    "array", [np.tile(ROW, (18, 1)), ROW[None], ROW.astype(np.float32)], ids=["stit", "boundary", "plain"]
)
def test_smoke_arrays_become_one_row(array, tmp_path) -> None:
    np.save(tmp_path / "yaw.npy", array)
    (direction,) = read_directions(tmp_path / "yaw.npy")
    assert equal(direction, ROW)
    assert (direction.name, direction.latent_std, direction.styles) == ("yaw", 0.5, None)


def test_feature_rows_that_differ_stay(tmp_path) -> None:
    array = np.tile(ROW, (18, 1))
    array[3] *= 2
    np.save(tmp_path / "smile.npy", array)
    (direction,) = read_directions(tmp_path / "smile.npy")
    assert equal(direction, array)
    assert direction.at(18, D).shape == (18, D)


@pytest.mark.parametrize("shape", [(D,), (18, D)])
def test_feature_torch_files(shape, tmp_path) -> None:
    torch.save(torch.tensor(ROW, dtype=torch.float32).expand(shape).clone(), tmp_path / "age.pt")
    (direction,) = read_directions(tmp_path / "age.pt")
    assert equal(direction, ROW)


def test_feature_components_of_a_torch_file(tmp_path) -> None:
    comp, std = torch.eye(D)[:80, None], torch.arange(80.0) + 1
    torch.save({"mean": torch.zeros(D), "comp": comp, "std": std}, tmp_path / "ffhq_pca.pt")
    found = read_directions(tmp_path / "ffhq_pca.pt")
    assert [d.name for d in found[:2]] == ["component-0", "component-1"]
    assert len(found) == 80
    assert equal(found[6], 7 * np.eye(D)[6])  # a step is one standard deviation


def test_feature_components_of_an_archive(tmp_path) -> None:
    comp = np.eye(D, dtype=np.float32)[:5, None]
    np.savez_compressed(
        tmp_path / "ffhq.npz", act_comp=comp, lat_comp=comp, lat_mean=comp[0], lat_stdev=np.full(5, 2.0, np.float32)
    )
    found = read_directions(tmp_path / "ffhq.npz")
    assert len(found) == 5
    assert equal(found[4], 2 * np.eye(D)[4])


def test_feature_named_direction_with_its_styles(tmp_path) -> None:
    values = np.asarray(ROW, np.float32)[None, None]
    published = {
        "name": "Light direction",
        "lat_comp": values,
        "act_comp": values,
        "lat_stdev": 1.5,
        "edit_start": 7,
        "edit_end": 9,
        "decomposition": {"components": 80},
    }
    (tmp_path / "light.pkl").write_bytes(pickle.dumps(published))
    (direction,) = read_directions(tmp_path / "light.pkl")
    assert (direction.name, direction.styles) == ("Light direction", (7, 9))
    np.testing.assert_allclose(direction.values, 1.5 * values[0, 0], rtol=1e-6)
    assert np.flatnonzero(direction.at(18, D).any(1)).tolist() == [7, 8]


def test_feature_own_files(tmp_path) -> None:
    LatentDirection(name="mine", values=ROW).save(tmp_path / "mine.safetensors")
    (direction,) = read_directions(tmp_path / "mine.safetensors")
    assert equal(direction, ROW)


def test_exception_code_is_not_run(tmp_path) -> None:
    class Bad:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/ran",)

    (tmp_path / "bad.pkl").write_bytes(pickle.dumps(Bad()))
    with pytest.raises(UnsafeCheckpointError):
        read_directions(tmp_path / "bad.pkl")
    np.savez(tmp_path / "bad.npz", lat_comp=np.array([Bad()], dtype=object), lat_stdev=np.ones(1))
    with pytest.raises(CorruptFileError):
        read_directions(tmp_path / "bad.npz")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("a.npy", np.zeros((2, 3, 4, 5))),
        ("b.npy", np.arange(D)),
        ("c.pt", {"comp": torch.ones(3, 1, 4), "std": torch.ones(2)}),
        ("d.pt", {"name": "text"}),
    ],
)
def test_exception_something_else(name, value, tmp_path) -> None:
    path = tmp_path / name
    np.save(path, value) if name.endswith("npy") else torch.save(value, path)
    with pytest.raises(CorruptFileError, match="expected"):
        read_directions(path)


def test_exception_missing_or_broken(tmp_path) -> None:
    (tmp_path / "x.npz").write_bytes(b"PK nonsense")
    for name in ("x.npz", "nothing.npz", "nothing.npy", "nothing.pt"):
        with pytest.raises(CorruptFileError):
            read_directions(tmp_path / name)
