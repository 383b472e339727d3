"""The conditioning vector: the renderer's own truth, in a frozen order, quickly."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from latent_reenact.synthface import Mesh, Renderer, conditioning, conditioning_names, sample
from latent_reenact.synthface.condition import projected_landmarks
from latent_reenact.synthface.factors import Clothes

SIZES = {  # trained generators rely on this order
    **{"shape": 40, "expression": 53, "rotation": 9, "pose": 3, "gaze": 3, "light_in_head": 3, "light_across": 3},
    **{"parameters": 104, "hair_style": 19, "hair_side": 19, "hair": 5, "collar": 4, "pattern": 3, "glasses": 4},
    **{"beard": 3, "person": 4, "background": 15, "framing": 3},
    **{"stripes": 10, "landmarks": 136},
}


def test_smoke(mesh: Mesh) -> None:
    vector = conditioning(sample(1, 0), mesh)
    assert vector.dtype == np.float32
    assert vector.shape == (443,)
    assert np.isfinite(vector).all()


def test_feature_names_are_frozen() -> None:
    names = conditioning_names()
    assert {name: piece.stop - piece.start for name, piece in names.items()} == SIZES
    assert list(names) == list(SIZES)
    assert [piece.start for piece in names.values()][1:] == [piece.stop for piece in names.values()][:-1]


@pytest.mark.parametrize("i", range(6))
def test_feature_landmarks_are_the_renderers(mesh: Mesh, renderer: Renderer, i: int) -> None:
    drawn = renderer.render(sample(2, i), 64).landmarks
    vector = conditioning(sample(2, i), mesh)
    assert np.allclose((vector[-136:].reshape(68, 2) + 1) * 32, drawn, atol=1e-3)
    assert np.allclose(projected_landmarks(sample(2, i), mesh) * 64, drawn, atol=1e-3)


def test_feature_values(mesh: Mesh) -> None:
    factors, names = sample(2, 0), conditioning_names()
    vector = conditioning(factors, mesh)
    assert np.allclose(vector[names["shape"]], factors.identity.shape)
    assert vector[names["pose"]][0] == pytest.approx(factors.motion.yaw_deg / 20)
    rotation = vector[names["rotation"]].reshape(3, 3)
    assert np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-6)
    assert vector[names["hair_style"]].sum() == 1


def test_feature_stripes_lie_where_they_are_drawn(mesh: Mesh, renderer: Renderer) -> None:
    """The second colour shows where the sine that the vector holds is above 0."""
    start, names = sample(2, 0), conditioning_names()
    striped = Clothes(colour=2, second_colour=3, pattern="stripes", collar="turtle_neck")
    shirts = (striped, replace(striped, pattern="plain"), replace(striped, pattern="plain", colour=3))
    agreed = []
    for yaw_deg, pitch_deg in [(0, 0), (15, 5), (-20, -8), (5, 12), (-10, 9), (25, -4), (0, 8), (-30, 0)]:
        motion = replace(start.motion, yaw_deg=float(yaw_deg), pitch_deg=float(pitch_deg))
        scenes = [replace(start.scene, clothes=shirt) for shirt in shirts]
        world = [replace(start, motion=motion, scene=scene) for scene in scenes]
        pictures = [renderer.render(factors, 128).image.astype(float) for factors in world]
        sines = conditioning(world[0], mesh)[names["stripes"]][5:]
        for column, sine in ((32, sines[1]), (96, sines[3])):
            drawn, first, second = (picture[121, column] for picture in pictures)
            if np.linalg.norm(first - second) > 20 and abs(sine) > 0.4:
                agreed.append((np.linalg.norm(drawn - second) < np.linalg.norm(drawn - first)) == (sine > 0))
    assert len(agreed) >= 6
    assert np.mean(agreed) >= 0.8


def test_feature_quick(mesh: Mesh) -> None:
    """Under a millisecond on a free core; the bound is loose for busy machines."""
    world = [sample(4, i) for i in range(50)]
    conditioning(world[0], mesh)
    start = time.process_time()
    for factors in world:
        conditioning(factors, mesh)
    assert (time.process_time() - start) / len(world) < 0.005


def test_feature_real_mesh_landmarks(real_mesh: Mesh) -> None:
    drawn = Renderer(real_mesh).render(sample(2, 1), 64).landmarks
    assert np.allclose(projected_landmarks(sample(2, 1), real_mesh) * 64, drawn, atol=1e-3)
