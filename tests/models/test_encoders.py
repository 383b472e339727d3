"""Encoders and the ReStyle loop against upstream's numbers on procedural weights, and their own promises."""

from __future__ import annotations

import pytest
import torch

from golden_set import Case, assert_close, assert_summary_close, img
from latent_reenact.errors import ConfigError
from latent_reenact.models import (
    BodyConfig,
    EncoderConfig,
    GeneratorConfig,
    ReStyleEncoder,
    StyleEncoder,
    StyleGAN2Generator,
)
from latent_reenact.models.restyle import face_pool
from latent_reenact.third_party import restyle

CODES = {"rel_l2": 2e-5, "max_abs_over_std": 2e-4}
IMAGES = {"rel_l2": 1e-4, "max_abs_over_std": 2e-3}
TINY_BODY = BodyConfig(widths=(4, 4, 8, 8), depths=(1, 1, 1, 1), se_reduction=2)


def tiny(kind: str, channels: int = 6) -> StyleEncoder:
    return StyleEncoder(
        EncoderConfig(kind=kind, input_channels=channels, input_size=32, n_styles=6, w_dim=8, body=TINY_BODY)
    ).eval()


def tiny_generator() -> StyleGAN2Generator:
    channels = {4: 8, 8: 8, 16: 4}
    return StyleGAN2Generator(GeneratorConfig(resolution=16, z_dim=8, w_dim=8, channels=channels)).eval()


def published(case: Case, kind: str) -> ReStyleEncoder:
    """The published encoder with a generator of 64 pixels, filled by the case."""
    state = case.state()
    latent_avg = state.pop("latent_avg")
    encoder = StyleEncoder(EncoderConfig(kind=kind, n_styles=10)).eval()
    encoder.load_state_dict(restyle.encoder_state(state))
    generator = StyleGAN2Generator(GeneratorConfig(resolution=64)).eval()
    generator.load_state_dict(restyle.generator_state(state, latent_avg))
    model = ReStyleEncoder(encoder, generator)
    model.latent_avg.copy_(latent_avg)
    return model


@torch.no_grad()
def test_golden_restyle_codes() -> None:
    case = Case("restyle_e4e_ir_64")
    model = published(case, "progressive_backbone")
    x, y0 = (img(f"restyle_e4e_ir_64/{part}", (1, 3, 256, 256)) for part in ("x", "y0"))
    assert_close(model.encoder(torch.cat([x, y0], 1)), case["enc_codes"], **CODES)
    model.encoder.progressive_stage = 5
    assert_close(model.encoder(torch.cat([x, y0], 1)), case["enc_codes_stage_delta5"], **CODES)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind"), [("restyle_psp_ir_64", "backbone"), ("restyle_e4e_ir_64", "progressive_backbone")]
)
@torch.no_grad()
def test_golden_restyle_loop(name, kind) -> None:
    case = Case(name)
    model = published(case, kind)
    shape = case.info["inputs"][0]["shape"]
    x, y0 = img(f"{name}/x", shape), img(f"{name}/y0", shape)
    assert_close(model.encoder(torch.cat([x, y0], 1)), case["enc_codes"], **CODES)
    assert_summary_close(model.average_image(), case, "avg_image", **IMAGES)
    history = model.trajectory(x)
    kept = [0, 1, 4] if shape[0] == 1 else [0, 4]
    images = [model.generator.synthesis(w_plus) for w_plus in history]
    for sample in range(shape[0]):
        latents = torch.stack([history[i][sample] for i in kept])
        assert_close(latents, case[f"loop.latents_b{sample}"], **CODES)
        for i, image in enumerate(images):
            assert_summary_close(image[sample : sample + 1], case, f"loop.img_b{sample}_it{i}", **IMAGES)
    assert_summary_close(face_pool(images[-1][:1], 256), case, "loop.face_pool_b0_it4", **IMAGES)


@pytest.mark.parametrize("kind", ["backbone", "progressive_backbone", "gradual", "progressive_gradual"])
def test_shapes(kind) -> None:
    assert tiny(kind)(torch.randn(2, 6, 32, 32)).shape == (2, 6, 8)


def test_feature_progressive_stage_zero_gives_one_style() -> None:
    encoder = tiny("progressive_backbone")
    encoder.progressive_stage = 0
    w_plus = encoder(torch.randn(1, 6, 32, 32))
    assert torch.equal(w_plus, w_plus[:, :1].expand(-1, 6, -1))


def test_feature_inversion_starts_at_the_average_and_steps_add_up() -> None:
    model = ReStyleEncoder(tiny("backbone"), tiny_generator())
    model.latent_avg.normal_()
    images = torch.randn(2, 3, 48, 48).clamp(-1, 1)
    with torch.no_grad():
        first, second = model.trajectory(images, steps=2)
        pooled = face_pool(images, 32)
        expected = model.step(pooled, model.average_image().expand(2, -1, -1, -1), model.latent_avg.expand(2, -1, -1))
    torch.testing.assert_close(first, expected)
    torch.testing.assert_close(model.invert(images, steps=2), second)
    assert not any("generator" in name for name in model.state_dict())


def test_exception_input_size() -> None:
    with pytest.raises(ConfigError, match="times a power of two"):
        EncoderConfig(input_size=100)
