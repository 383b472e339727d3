"""From an OBJ release to an archive, on a tiny release that the test writes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from latent_reenact.errors import CorruptFileError, OutputError, WeightsNotFoundError
from latent_reenact.synthface import Renderer, build_mesh, load_mesh, sample
from latent_reenact.synthface.factors import EXPRESSION_NAMES
from latent_reenact.synthface.mesh import LASH, MOUTH, SKIN
from latent_reenact.synthface.person import EYE_SPHERE
from latent_reenact.synthface.release import IDENTITY_FILES, ReleaseLayout
from latent_reenact.synthface.tiny import tiny_arrays

ARRAYS = tiny_arrays()
N_HEAD, N_EYE = len(ARRAYS["neutral"]), len(EYE_SPHERE.vertices)
N_SKIN = N_HEAD - 12  # the last are the corners of the mouth and the two lashes
NOTHING = (SKIN, 0, -1)
LAYOUT = ReleaseLayout(
    parts=(
        *((SKIN, 0, N_SKIN - 1), NOTHING, (MOUTH, N_SKIN, N_SKIN + 3), *[NOTHING] * 5),
        *((LASH, N_SKIN + 4, N_SKIN + 7), (LASH, N_SKIN + 8, N_SKIN + 11)),
    ),
    eyeballs=((N_HEAD, N_HEAD + N_EYE - 1), (N_HEAD + N_EYE, N_HEAD + 2 * N_EYE - 1)),
)


def obj_text(points: np.ndarray, triangles: np.ndarray | None = None) -> str:
    lines = [f"v {x:.5f} {y:.5f} {z:.5f}" for x, y, z in points.tolist()]
    lines += [f"f {a}/1 {b}/1 {c}/1" for a, b, c in ((triangles + 1).tolist() if triangles is not None else [])]
    return "\n".join(["# a release", *lines, ""])


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("release") / "FaceXModel"
    folder.mkdir()
    eyes = [centre + EYE_SPHERE.vertices * 1.58 for centre in ARRAYS["eye_centre"]]
    neutral = np.concatenate([ARRAYS["neutral"], *eyes])

    def moved(mode: np.ndarray) -> np.ndarray:
        return np.concatenate([ARRAYS["neutral"] + mode.astype(np.float32), *eyes])

    (folder / "generic_neutral_mesh.obj").write_text(obj_text(neutral, ARRAYS["triangles"].astype(int)))
    modes = ARRAYS["identity"]
    for k in range(IDENTITY_FILES):
        (folder / f"identity{k:03d}.obj").write_text(obj_text(moved(modes[k % len(modes)])))
    for name, mode in zip(EXPRESSION_NAMES, ARRAYS["expression"], strict=True):
        (folder / f"{name}.obj").write_text(obj_text(moved(mode)))
    index = {"idx_to_landmark_verts": ARRAYS["landmarks68"].tolist()}
    (folder / "vertex_indices.json").write_text(json.dumps(index))
    (folder.parent / "LICENSE").write_text("a licence")
    return folder.parent


def test_feature_build_load_render(release: Path, tmp_path: Path) -> None:
    path = build_mesh(release, tmp_path / "mesh.npz", layout=LAYOUT, views=3)
    assert [p.name for p in tmp_path.iterdir()] == ["mesh.npz"]
    mesh = load_mesh(path)
    assert np.allclose(mesh.eyes.centre, ARRAYS["eye_centre"], atol=1e-3)
    assert np.allclose(mesh.eyes.radius, 1.58, atol=1e-3)
    assert np.allclose(mesh.basis.rest[mesh.landmarks], ARRAYS["neutral"][ARRAYS["landmarks68"]], atol=1e-4)
    occlusion, lip = mesh.attributes[:, 3], mesh.attributes[:, 4]
    assert 0.8 < np.median(occlusion) <= 1.001
    assert lip[mesh.landmarks[[62, 66]]].min() > 0 > lip[mesh.landmarks[30]]
    assert np.load(path)["licence"] == "a licence"
    assert Renderer(mesh).render(sample(1, 0), 32).image.std() > 20


def test_exception_no_release(tmp_path: Path) -> None:
    with pytest.raises(WeightsNotFoundError, match="generic_neutral_mesh"):
        build_mesh(tmp_path, tmp_path / "mesh.npz")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("generic_neutral_mesh.obj", "v 1 2 x\n"),
        ("generic_neutral_mesh.obj", "v 1 2 3\nf 1 2 3\n"),
        ("generic_neutral_mesh.obj", ""),
        ("vertex_indices.json", "{"),
        ("vertex_indices.json", "[]"),
        ("vertex_indices.json", "{}"),
        ("identity000.obj", "v 1 2 3\n"),
    ],
)
def test_exception_damaged(release: Path, tmp_path: Path, name: str, content: str) -> None:
    for path in (release / "FaceXModel").iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / name).unlink()
    (tmp_path / name).write_text(content)
    with pytest.raises(CorruptFileError) as caught:
        build_mesh(tmp_path, tmp_path / "out.npz", layout=LAYOUT, views=1)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.npz").exists()


def test_exception_wrong_layout(release: Path, tmp_path: Path) -> None:
    with pytest.raises(CorruptFileError, match="vertices"):
        build_mesh(release, tmp_path / "mesh.npz")


def test_exception_no_place_to_write(release: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        build_mesh(release, tmp_path / "none" / "mesh.npz", layout=LAYOUT, views=1)
