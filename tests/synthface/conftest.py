"""A tiny head and its renderer for all tests of this room; the real mesh where there is one."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("numba")

from latent_reenact.synthface import Mesh, Renderer, load_mesh, tiny_mesh

REAL_MESH = Path(__file__).resolve().parents[3] / "shared" / "synthface" / "ict_facekit.npz"


@pytest.fixture(scope="session")
def mesh() -> Mesh:
    return tiny_mesh()


@pytest.fixture
def renderer(mesh: Mesh) -> Renderer:
    return Renderer(mesh)


@pytest.fixture(scope="session")
def real_mesh() -> Mesh:
    if not REAL_MESH.is_file():
        pytest.skip("needs the ICT-FaceKit archive")
    return load_mesh(REAL_MESH)
