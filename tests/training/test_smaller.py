"""The recipe of a smaller model: a whole one in, its lower half out, that draws and inverts alike."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from latent_reenact.config import from_dict, load_yaml
from latent_reenact.errors import ConfigError
from latent_reenact.models import (
    BodyConfig,
    EncoderConfig,
    GeneratorConfig,
    ReStyleEncoder,
    StyleEncoder,
    StyleGAN2Generator,
    load_networks,
    save_networks,
)
from latent_reenact.models.restyle import face_pool
from latent_reenact.training.smaller import Codes, SmallerConfig, train_smaller

CONFIGS = Path(__file__).parents[2] / "latent_reenact" / "training" / "configs"


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    sizes = GeneratorConfig(resolution=32, z_dim=8, w_dim=16, mapping_layers=2, channel_base=256, channel_max=8)
    generator = StyleGAN2Generator(sizes).eval()
    body = BodyConfig(widths=(4, 8), depths=(1, 1), se_reduction=2)
    encoder = EncoderConfig(
        kind="backbone", input_channels=6, input_size=32, n_styles=8, w_dim=16, body=body, head_width=8
    )
    inversion = ReStyleEncoder(StyleEncoder(encoder), generator, steps=2)
    path = tmp_path_factory.mktemp("whole") / "whole"
    about = {"name": "whole", "licence": "none", "framing": 1.12}
    save_networks(path, {"generator": generator, "inversion": inversion}, about)
    return path


def config(whole: Path, folder: Path, **values) -> SmallerConfig:
    stage = {"loop": {"images": 120, "batch": 4, "report_images": 60}, "optimizer": {"kind": "adam", "lr": 1e-2}}
    run = {"accelerator": "cpu", "precision": "32-true"}
    data = {"name": "small", "folder": str(folder), "model": str(whole), "resolution": 16, "run": run}
    return from_dict(SmallerConfig, {**data, "generator": stage, "inversion": stage, **values})


def test_smoke_the_shipped_config() -> None:
    assert load_yaml(SmallerConfig, CONFIGS / "small-64.yaml").resolution == 64


def test_feature_a_smaller_model_draws_what_the_whole_one_does(whole, tmp_path) -> None:
    path = train_smaller(config(whole, tmp_path / "run"))
    teacher, small = load_networks(whole)["generator"], load_networks(path)
    assert small["generator"].config.resolution == 16
    assert small["inversion"].encoder.config.n_styles == 6
    assert small["inversion"].encoder.config.input_size == 32
    w_plus = Codes(teacher, 0.3).draw(torch.Generator().manual_seed(5), 16, torch.device("cpu"))
    with torch.no_grad():
        truth = face_pool(teacher.synthesis(w_plus), 16)
        drawn = small["generator"].synthesis(w_plus[:, :6])
        cut = StyleGAN2Generator(small["generator"].config)
        cut.synthesis.load_state_dict({n: teacher.synthesis.state_dict()[n] for n in cut.synthesis.state_dict()})
        before = (cut.synthesis(w_plus[:, :6]) - truth).square().mean()
        after = (drawn - truth).square().mean()
        assert after < 0.7 * before, (after, before)
        assert small["inversion"].invert(drawn).isfinite().all()


def test_exception_no_lower_resolution(whole, tmp_path) -> None:
    with pytest.raises(ConfigError, match="resolution: got 32, expected 8 to 16"):
        train_smaller(config(whole, tmp_path / "run", resolution=32))


def test_exception_a_model_without_inversion(whole, tmp_path) -> None:
    alone = tmp_path / "alone"
    save_networks(alone, {"generator": load_networks(whole)["generator"]}, {"name": "alone", "licence": "none"})
    with pytest.raises(ConfigError, match="expected a generator and its inversion"):
        train_smaller(config(alone, tmp_path / "run"))
