"""The archive: what is loaded, and what is refused in one line."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from latent_reenact.errors import CorruptFileError, LimitExceededError, WeightsNotFoundError
from latent_reenact.synthface import Mesh, load_mesh
from latent_reenact.synthface import mesh as mesh_module
from latent_reenact.synthface.mesh import LASH
from latent_reenact.synthface.tiny import tiny_arrays


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    np.savez_compressed(tmp_path / "mesh.npz", **tiny_arrays())
    return tmp_path / "mesh.npz"


def test_smoke(archive: Path, mesh: Mesh) -> None:
    loaded = load_mesh(archive)
    assert np.array_equal(loaded.basis.rest, mesh.basis.rest)
    assert np.array_equal(loaded.triangles, mesh.triangles)
    assert (loaded.materials == LASH).any()


def test_exception_missing(tmp_path: Path) -> None:
    with pytest.raises(WeightsNotFoundError, match="build-mesh"):
        load_mesh(tmp_path / "none.npz")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not really", b"\x93NUMPY"])
def test_exception_not_an_archive(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mesh.npz").write_bytes(content)
    with pytest.raises(CorruptFileError):
        load_mesh(tmp_path / "mesh.npz")


def test_exception_truncated(archive: Path) -> None:
    archive.write_bytes(archive.read_bytes()[:-5000])
    with pytest.raises(CorruptFileError):
        load_mesh(archive)


def test_exception_altered(archive: Path) -> None:
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 0xFF
    archive.write_bytes(bytes(data))
    with pytest.raises(CorruptFileError):
        load_mesh(archive)


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("neutral", None, "missing"),
        ("neutral", np.zeros((3, 3), np.float32), "shape"),
        ("neutral", np.full((1808, 3), np.nan, np.float32), "finite"),
        ("triangles", np.full((10, 3), 60000, np.uint16), "shape"),
        ("landmarks68", np.full(68, 60000, np.int32), "outside"),
        ("landmarks68", np.full(68, -1, np.int32), "outside"),
        ("expression_names", np.array(["x"] * 53), "names"),
        ("eye_radius", np.array([object(), object()]), "cannot be read"),
    ],
)
def test_exception_bad_arrays(tmp_path: Path, name: str, value: np.ndarray | None, complaint: str) -> None:
    arrays = tiny_arrays()
    arrays[name] = value if value is not None else arrays.pop(name)
    if value is None:
        del arrays[name]
    np.savez_compressed(tmp_path / "mesh.npz", **arrays)
    with pytest.raises(CorruptFileError, match=complaint) as caught:
        load_mesh(tmp_path / "mesh.npz")
    assert "\n" not in str(caught.value)


def test_exception_too_large(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(archive) as file:
        size = sum(member.file_size for member in file.infolist())
    monkeypatch.setattr(mesh_module, "MAX_ARCHIVE_BYTES", size - 1)
    with pytest.raises(LimitExceededError):
        load_mesh(archive)


def test_feature_subset_is_the_same_model(mesh: Mesh) -> None:
    shape = np.linspace(-1, 1, 40, dtype=np.float32)
    whole = (shape @ mesh.basis.identity).reshape(-1, 3)[mesh.landmarks]
    part = (shape @ mesh.landmark_basis.identity).reshape(-1, 3)
    assert np.allclose(whole, part, atol=1e-5)
    assert np.allclose(mesh.basis.feminine_warp[1][mesh.landmarks], mesh.landmark_basis.feminine_warp[1])
