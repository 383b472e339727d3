"""z -> factors: each slot its own factor, the documented distributions, and samples that do not depend on order."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from latent_reenact.errors import UsageError
from latent_reenact.synthface import LATENT_DIM, LATENT_SLOTS, factors_from_latent, sample, sample_latent


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        return {k: v for key, child in value.items() for k, v in flat(child, f"{prefix}.{key}").items()}
    return {prefix.lstrip("."): value}


def changed(slot: str, base: np.ndarray, to: float) -> set[str]:
    z = base.copy()
    z[LATENT_SLOTS[slot]] = to
    before, after = (flat(asdict(factors_from_latent(v))) for v in (base, z))
    return {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}


def test_smoke() -> None:
    assert sample_latent(1, 2).shape == (LATENT_DIM,)
    assert sample(1, 2) == factors_from_latent(sample_latent(1, 2))


@pytest.mark.parametrize("z", [np.zeros(LATENT_DIM - 1), np.zeros((1, LATENT_DIM)), np.full(LATENT_DIM, np.nan)])
def test_exception_bad_latent(z: np.ndarray) -> None:
    with pytest.raises(UsageError, match="latent"):
        factors_from_latent(z)


def test_feature_samples_do_not_depend_on_order() -> None:
    assert [sample(3, i) for i in (5, 0)] == [sample(3, i) for i in range(6)][5::-5]
    assert sample(3, 0) != sample(4, 0) != sample(4, 1)


def test_feature_slots_cover_z_once() -> None:
    """Trained generators rely on the order: the size and some places are frozen."""
    covered = np.concatenate([np.arange(LATENT_DIM)[piece] for piece in LATENT_SLOTS.values()])
    assert covered.tolist() == list(range(LATENT_DIM))
    assert LATENT_DIM == 132
    places = {"shape": 0, "feminine": 40, "hair_tint": 50, "yaw": 79, "mouth_asymmetry": 92, "collar": 131}
    assert {name: LATENT_SLOTS[name].start for name in places} == places


@pytest.mark.parametrize(
    ("slot", "factor"),
    [
        ("yaw", "motion.yaw_deg"),
        ("roll", "motion.roll_deg"),
        ("shape", "identity.shape"),
        ("redness", "identity.skin.redness"),
        ("hair_style", "identity.hair.style"),
        ("hair_colour", "identity.hair.colour"),
        ("hair_tint", "identity.hair.tint"),
        ("iris", "identity.eyes.iris"),
        ("glasses_colour", "identity.glasses.colour"),
        ("has_glasses", "identity.glasses.style"),
        ("background_angle", "scene.background.angle_deg"),
        ("sky", "scene.light.sky"),
        ("cloth_colour", "scene.clothes.colour"),
        ("collar", "scene.clothes.collar"),
    ],
)
def test_feature_one_slot_one_factor(slot: str, factor: str) -> None:
    assert changed(slot, np.full(LATENT_DIM, 0.1), to=-2.5) == {factor}


def test_feature_slots_stay_in_their_group() -> None:
    base = sample_latent(1, 1)
    groups = [set() for _ in range(3)]
    for k, slot in enumerate(LATENT_SLOTS):
        part = 0 if k < list(LATENT_SLOTS).index("yaw") else 2 if k >= list(LATENT_SLOTS).index("light_azimuth") else 1
        groups[part] |= {key.split(".")[0] for to in (-2.0, 2.0) for key in changed(slot, base, to)}
    assert groups == [{"identity"}, {"motion"}, {"scene"}]


def test_feature_distributions() -> None:
    world = [sample(9, i) for i in range(1500)]
    yaw = np.array([f.motion.yaw_deg for f in world])
    assert abs(yaw.mean()) < 1.5
    assert 13.5 < yaw.std() < 16
    assert np.abs(yaw).max() <= 42
    shape = np.array([f.identity.shape for f in world])
    assert np.abs(shape).max() <= 2.2
    assert np.allclose(shape[:, 10:20].std(), 0.95 * 0.88, atol=0.03)  # a standard normal cut at 2 has std 0.88
    assert np.mean([f.identity.glasses.style != "none" for f in world]) == pytest.approx(0.16, abs=0.04)
    assert np.mean([f.identity.skin.tone for f in world]) == pytest.approx(1.4 / 3.1, abs=0.03)
    assert not any(f.identity.facial_hair.beard for f in world if f.identity.feminine)
    smiles = np.mean(["mouthSmile_L" in f.motion.expression for f in world])
    assert smiles == pytest.approx(0.18 + 0.38 + 0.025, abs=0.05)
    shut = np.mean([f.motion.expression.get("eyeBlink_L", 0) > 0.8 for f in world])
    assert shut == pytest.approx(0.06 + 0.025, abs=0.03)
    assert {f.scene.clothes.pattern for f in world} == {"plain", "stripes", "collar"}


@settings(max_examples=30, deadline=None)
@given(arrays(np.float64, LATENT_DIM, elements=st.floats(-1e6, 1e6)))
def test_property_any_latent_is_a_portrait(z: np.ndarray) -> None:
    factors = factors_from_latent(z)
    assert np.abs(factors.identity.shape).max() <= 2.2
    assert all(0 <= value <= 1 for value in factors.motion.expression.values())
    assert abs(factors.motion.pitch_deg) <= 22
