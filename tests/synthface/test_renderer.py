"""Pictures: deterministic, with truth that fits them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from latent_reenact.errors import UsageError
from latent_reenact.synthface import Factors, Mesh, Renderer, eye_mouth_mask, render_sample, sample
from latent_reenact.synthface.factors import HAIR_STYLES, Clothes, Glasses, Hair, Identity, Motion, Scene

NOSE_TIP, LEFT_EYE, INNER_LIPS = 30, slice(36, 42), [62, 66]


def with_motion(**motion) -> Factors:
    return Factors(motion=Motion(**motion))


def test_smoke(mesh: Mesh) -> None:
    portrait = render_sample(mesh, 1, 0, 64)
    assert portrait.image.shape == (64, 64, 3)
    assert portrait.image.dtype == np.uint8
    assert portrait.image.std() > 20
    assert portrait.landmarks.shape == (68, 2)
    assert portrait.landmarks.dtype == np.float32
    assert portrait.identity_id == sample(1, 0).identity.id
    assert portrait.expression == sample(1, 0).motion.expression
    assert (portrait.yaw_deg, portrait.pitch_deg, portrait.roll_deg) == (
        portrait.factors.motion.yaw_deg,
        portrait.factors.motion.pitch_deg,
        portrait.factors.motion.roll_deg,
    )


@pytest.mark.parametrize("size", [0, 7, -64, 4096])
def test_exception_size(renderer: Renderer, size: int) -> None:
    with pytest.raises(UsageError, match="size"):
        renderer.render(Factors(), size)


def test_feature_same_picture_twice(mesh: Mesh, renderer: Renderer) -> None:
    """Whatever was drawn in between, and by whichever renderer."""
    first = renderer.render(sample(1, 3), 48).image
    renderer.render(sample(1, 4), 48)
    assert np.array_equal(first, renderer.render(sample(1, 3), 48).image)
    assert np.array_equal(first, Renderer(mesh).render(sample(1, 3), 48).image)


def test_feature_same_person_new_clothes(mesh: Mesh, renderer: Renderer) -> None:
    """The remembered person is not used for another collar, nor another style."""
    for factors in (
        Factors(),
        Factors(scene=Scene(clothes=Clothes(collar="turtle_neck"))),
        Factors(identity=Identity(hair=Hair(style="bob"))),
    ):
        assert np.array_equal(renderer.render(factors, 32).image, Renderer(mesh).render(factors, 32).image)


def test_feature_yaw_turns_to_the_viewers_right(renderer: Renderer) -> None:
    left, ahead, right = (renderer.render(with_motion(yaw_deg=yaw), 64).landmarks for yaw in (-25, 0, 25))
    eyes = [lm[36:48, 0].mean() for lm in (left, ahead, right)]
    offset = [lm[NOSE_TIP, 0] - e for lm, e in zip((left, ahead, right), eyes, strict=True)]
    assert offset[0] < offset[1] - 1 < offset[2] - 2


def test_feature_pitch_looks_up_and_roll_tilts_left(renderer: Renderer) -> None:
    down, up = (renderer.render(with_motion(pitch_deg=pitch), 64).landmarks for pitch in (-15, 15))
    assert (up[NOSE_TIP] - up[36:48].mean(0))[1] < (down[NOSE_TIP] - down[36:48].mean(0))[1]
    rolled = renderer.render(with_motion(roll_deg=10), 64).landmarks
    assert rolled[42:48, 1].mean() < rolled[36:42, 1].mean() - 1  # the eye on the right goes up


def test_feature_landmarks_inside_and_scale_with_size(renderer: Renderer) -> None:
    for i in range(6):
        small, large = (renderer.render(sample(2, i), size).landmarks for size in (32, 64))
        assert np.allclose(large, 2 * small, atol=0.01)
        inner = large[17:]
        assert inner.min() > 0
        assert inner.max() < 64


def test_feature_open_mouth_shows(renderer: Renderer) -> None:
    shut, wide = (renderer.render(with_motion(expression={"jawOpen": jaw}), 96) for jaw in (0.0, 1.0))
    gap_shut, gap_wide = (np.ptp(p.landmarks[INNER_LIPS, 1]) for p in (shut, wide))
    assert gap_wide > gap_shut + 3
    changed = np.abs(shut.image.astype(int) - wide.image).sum(-1) > 30
    lower = np.arange(96) > wide.landmarks[NOSE_TIP, 1]
    assert changed[lower].sum() > 5 * changed[~lower].sum()


@pytest.mark.parametrize("style", HAIR_STYLES)
def test_feature_every_hair_style(renderer: Renderer, style: str) -> None:
    bald = renderer.render(Factors(identity=Identity(hair=Hair(style="bald"))), 32).image
    picture = renderer.render(Factors(identity=Identity(hair=Hair(style=style, hat_colour=1))), 32).image
    assert np.isfinite(picture).all()
    assert (style == "bald") == np.array_equal(bald, picture)


@pytest.mark.parametrize("style", ["round", "rectangular", "wide"])
def test_feature_glasses(renderer: Renderer, style: str) -> None:
    bare = renderer.render(Factors(), 64)
    glasses = renderer.render(Factors(identity=Identity(glasses=Glasses(style=style))), 64)
    difference = np.abs(bare.image.astype(int) - glasses.image).sum(-1)
    rows = np.flatnonzero((difference > 60).any(1))
    assert len(rows)
    assert abs(rows.mean() - bare.landmarks[36:48, 1].mean()) < 8


def test_feature_mask_covers_eyes_and_mouth(renderer: Renderer) -> None:
    portrait = renderer.render(Factors(), 64)
    mask = portrait.eye_mouth_mask
    assert mask.shape == (64, 64)
    assert mask.dtype == np.float32
    assert np.array_equal(mask, eye_mouth_mask(portrait.landmarks, 64))
    column, row = portrait.landmarks[LEFT_EYE].mean(0).astype(int)
    assert mask[row, column] == 1
    assert mask[0, 0] == 0
    assert 0.01 < mask.mean() < 0.4


def test_feature_motion_swap_draws_the_same_person(renderer: Renderer) -> None:
    a, b = sample(1, 0), sample(1, 5)
    swapped = renderer.render(replace(a, motion=b.motion), 64)
    assert swapped.identity_id == a.identity.id
    assert swapped.yaw_deg == b.motion.yaw_deg


def test_feature_real_mesh(real_mesh: Mesh) -> None:
    portrait = render_sample(real_mesh, 7, 27, 128)
    assert portrait.image.std() > 30
    assert 0 < portrait.landmarks.min() < portrait.landmarks.max() < 128
    red, _, blue = portrait.image[
        portrait.landmarks[NOSE_TIP, 1].astype(int), portrait.landmarks[NOSE_TIP, 0].astype(int)
    ]
    assert red > blue  # skin
