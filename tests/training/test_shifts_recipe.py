"""What sliders do to w, fitted to a world whose factors are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba")

import tiny
import torch

import latent_reenact
from latent_reenact.config import load_yaml
from latent_reenact.errors import ConfigError
from latent_reenact.models import (
    ControlShiftsConfig,
    FaceReader,
    FaceReaderConfig,
    FactorMapping,
    FactorMappingConfig,
    MotionControl,
    MotionControlConfig,
    load_networks,
    save_networks,
)
from latent_reenact.synthface import Factors, conditioning, sample, tiny_mesh
from latent_reenact.synthface.controls import motion_of
from latent_reenact.synthface.tiny import tiny_arrays
from latent_reenact.systems import load
from latent_reenact.training.entry import train
from latent_reenact.training.shifts import (
    ShiftsConfig,
    ShiftsFitConfig,
    add_shifts,
    at_rest,
    exact_w,
    fit_curves,
    fit_drawn,
    random_settings,
    with_shifts,
)

NAMES = ("yaw_deg", "pitch_deg", "smile", "blink_left")
CONFIGS = Path(latent_reenact.__file__).parent / "training" / "configs"


def control() -> MotionControl:
    scales = (15.0, 8.0, 0.3, 0.3)
    return MotionControl(MotionControlConfig(controls=NAMES, scales=scales, n_styles=tiny.L, motion_dim=tiny.N)).eval()


def factor_mapping() -> FactorMapping:
    torch.manual_seed(3)
    mesh = tiny_mesh()
    size = len(conditioning(Factors(), mesh))
    mapping = FactorMapping(FactorMappingConfig(inputs=size, w_dim=tiny.D, layers=2))
    mapping.fit(torch.tensor(np.stack([conditioning(sample(1, i), mesh) for i in range(64)])))
    return mapping.eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("shifts")
    networks = {name: network for name, network in vars(tiny.networks()).items() if network is not None}
    save_networks(path / "tiny", {**networks, "control": control(), "factors": factor_mapping()}, tiny.ABOUT)
    np.savez(path / "mesh.npz", **tiny_arrays())
    (path / "shifts.yaml").write_text(
        f"recipe: shifts\nfolder: {path / 'out'}\nmodel: {path / 'tiny'}\nmesh: {path / 'mesh.npz'}\n"
        "fit: {people: 3, settings: 40, inverted: 2}\n"
    )
    return path


@pytest.fixture(scope="module")
def fitted(folder) -> Path:
    return train(folder / "shifts.yaml")


def test_smoke(folder, fitted) -> None:
    before, after = load_networks(folder / "tiny"), load_networks(fitted)
    assert after["control"].has_shifts
    for name in before:
        ours, theirs = before[name].state_dict(), after[name].state_dict()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours), name
    assert load(fitted, device="cpu").name == "tiny"


def test_feature_the_same_again(folder, fitted, tmp_path) -> None:
    again = train(folder / "shifts.yaml", [f"folder={tmp_path}"])
    assert (again / "config.json").read_bytes() == (fitted / "config.json").read_bytes()


def test_feature_a_model_that_reads_twice(folder, tmp_path) -> None:
    """It is written with its shifts, loads, and can be fitted again."""
    twice = {"second_reading": {"controls": ["smile"], "gains": [1.0]}}
    reader = FaceReader(FaceReaderConfig(input_size=32, body=tiny.BODY, heat_width=4, fold=1))
    networks = load_networks(folder / "tiny")
    save_networks(tmp_path / "model", {**networks, "face_reader": reader}, tiny.ABOUT)
    fit = ShiftsFitConfig(people=3, settings=40, inverted=2)
    add_shifts(tmp_path / "model", tmp_path / "model", tiny_mesh(), fit, twice)
    model = load(tmp_path / "model", device="cpu")
    assert model.identity(tiny.picture(1), aligned=True).motion.shape == (tiny.L + 1, tiny.N)
    config = (tmp_path / "model" / "config.json").read_bytes()
    add_shifts(tmp_path / "model", tmp_path / "again", tiny_mesh(), fit)
    assert (tmp_path / "again" / "config.json").read_bytes() == config
    save_networks(tmp_path / "early", {**networks, "face_reader": reader}, {**tiny.ABOUT, **twice})
    with pytest.raises(ConfigError, match="recipe shifts"):
        load(tmp_path / "early", device="cpu")
    add_shifts(tmp_path / "early", tmp_path / "early", tiny_mesh(), fit)
    assert (tmp_path / "early" / "config.json").read_bytes() == config
    save_networks(tmp_path / "blind", networks, {**tiny.ABOUT, **twice})
    with pytest.raises(ConfigError, match="a second reading needs face_reader"):
        load(tmp_path / "blind", device="cpu")


def test_feature_a_model_that_holds_expressions(folder, tmp_path) -> None:
    """Fitted before there is a table to hold them by, and opened with it."""
    about = {**tiny.ABOUT, "refinement": {"steps": 2, "hold_expressions": True}}
    save_networks(tmp_path / "model", load_networks(folder / "tiny"), about)
    with pytest.raises(ConfigError, match="recipe shifts"):
        load(tmp_path / "model", device="cpu")
    add_shifts(tmp_path / "model", tmp_path / "model", tiny_mesh(), ShiftsFitConfig(people=3, settings=40, inverted=2))
    assert load(tmp_path / "model", device="cpu").identity(tiny.picture(1), aligned=True).w_plus.any()


def test_feature_sliders_go_where_the_world_says() -> None:
    """People that the fit has not seen go, on average, where the exact w goes; this mapping is random, not trained."""
    mesh, mapping, sliders = tiny_mesh(), factor_mapping(), control()
    config = ShiftsFitConfig(people=10, settings=30)
    linear, square = fit_curves(mapping, sliders, mesh, config)
    people = [sample(2, i) for i in range(6)]
    with torch.no_grad():
        rest = exact_w(mapping, mesh, [at_rest(one) for one in people])
        for k, (name, value) in enumerate({"yaw_deg": 25, "pitch_deg": -12, "smile": 0.9, "blink_left": 1.0}.items()):
            moved = exact_w(mapping, mesh, [replace(one, motion=motion_of({name: value})) for one in people]) - rest
            x = value / sliders.scale[k]
            wrong = moved - (linear[k] * x + square[k] * x**2)
            assert wrong.mean(0).square().mean() < 0.2 * moved.square().mean(), name


def test_feature_w_shows_the_sliders() -> None:
    """Of people that the fit has not seen; this mapping is random and narrow, so that w shows a part of it."""
    mesh, mapping, sliders = tiny_mesh(), factor_mapping(), control()
    drawn = fit_drawn(mapping, sliders, mesh, ShiftsFitConfig(people=20, settings=30))
    shifts = ControlShiftsConfig.of(torch.zeros(tiny.L, tiny.D), torch.zeros(4, tiny.D), torch.zeros(4, tiny.D), drawn)
    people = [sample(2, i) for i in range(300)]
    with torch.no_grad():
        w_plus = exact_w(mapping, mesh, people)[:, None].expand(-1, tiny.L, -1)
        read = with_shifts(sliders, shifts).drawn(w_plus)
    for k, name in enumerate(("yaw_deg", "pitch_deg")):
        true = torch.tensor([getattr(one.motion, name) for one in people])
        assert torch.corrcoef(torch.stack([read[:, k], true.float()]))[0, 1] > 0.3, name


def test_feature_settings_move_one_slider_or_several() -> None:
    settings = random_settings(NAMES, (20, 30), seed=0)
    moved = (settings != 0).sum(-1)
    assert {0, 1, 2, 3} <= set(moved.ravel().tolist())
    assert np.abs(settings[..., 0]).max() <= 30
    assert settings[..., 2].min() >= 0
    assert np.array_equal(settings, random_settings(NAMES, (20, 30), seed=0))


def test_exception_models_that_have_no_factors(folder, tmp_path) -> None:
    networks = {name: network for name, network in vars(tiny.networks()).items() if network is not None}
    save_networks(tmp_path / "bare", networks, tiny.ABOUT)
    with pytest.raises(ConfigError, match="shifts need a latent model's factors"):
        train(folder / "shifts.yaml", [f"model={tmp_path / 'bare'}", f"folder={tmp_path / 'out'}"])
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match="people: got 0"):
        ShiftsFitConfig(people=0)


def test_feature_the_shipped_recipe_reads() -> None:
    config = load_yaml(ShiftsConfig, CONFIGS / "builtin-shifts.yaml")
    assert config.model == "builtin"
    assert config.fit == ShiftsFitConfig()
