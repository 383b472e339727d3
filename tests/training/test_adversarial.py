"""The adversarial losses by hand, and both stages at toy size."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor

import latent_reenact
from latent_reenact.config import from_dict
from latent_reenact.errors import ConfigError
from latent_reenact.models.discriminator import DiscriminatorConfig
from latent_reenact.models.factors import FactorGenerator, FactorMapping, FactorMappingConfig
from latent_reenact.models.stylegan2 import GeneratorConfig, SynthesisNetwork
from latent_reenact.training.ada import AugmentationConfig
from latent_reenact.training.loop import Loop, LoopConfig
from latent_reenact.training.losses.adversarial import (
    discriminator_loss,
    generator_loss,
    lazy_optimizer,
    path_length_penalty,
    path_lengths,
    r1_penalty,
)
from latent_reenact.training.optim import OptimizerConfig
from latent_reenact.training.shards.portraits import PortraitSet
from latent_reenact.training.stage import Setup
from latent_reenact.training.stages.adversarial import AdversarialConfig, AdversarialStage
from latent_reenact.training.stages.game import Game, laplacian_ratio
from latent_reenact.training.stages.mixed import MixedConfig, MixedStage

SIZES = {4: 8, 8: 8, 16: 4}
GENERATOR = GeneratorConfig(resolution=16, z_dim=8, w_dim=8, mapping_layers=2, channels=SIZES)
LOOP = LoopConfig(images=24, batch=4, warmup_steps=0, flat=1.0, report_images=8)
FROM_NOISE = AdversarialConfig(
    generator=GENERATOR,
    discriminator=DiscriminatorConfig(resolution=16, channels=SIZES),
    loop=LOOP,
    augmentation=AugmentationConfig(p=0.2, every=2, ramp_images=100),
    r1_gamma=1.0,
    r1_every=4,
)
MIXED = MixedConfig(
    discriminator=DiscriminatorConfig(resolution=8, channels=SIZES, patch=True),
    loop=LOOP,
    augmentation=AugmentationConfig(kinds=("flip",), target=None),
    crop=8,
)


def random_numbers(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


class Blobs:
    """Real pictures: a bright square on grey at a random place."""

    def __init__(self) -> None:
        self.calls, self.started_at = 0, -1

    def start(self, setup: Setup) -> None:
        self.started_at = setup.step

    def pictures(self, random: torch.Generator, batch: int) -> Tensor:
        self.calls += 1
        images = torch.full((batch, 3, 16, 16), -0.5)
        for image, (x, y) in zip(images, torch.randint(2, 10, (batch, 2), generator=random).tolist(), strict=True):
            image[:, y : y + 4, x : x + 4] = 0.8
        return images

    def names(self) -> list[str]:
        return ["a blob"]

    def counters(self) -> dict[str, int]:
        return {"unreadable": 2}


def portraits(count: int = 12) -> PortraitSet:
    """Factors are the square's place."""
    place = torch.randint(2, 10, (count, 2), generator=random_numbers(5))
    images = torch.full((count, 3, 16, 16), 64, dtype=torch.uint8)
    for image, (x, y) in zip(images, place.tolist(), strict=True):
        image[:, y : y + 4, x : x + 4] = 230
    known = {
        "images": images,
        "landmarks": place[:, None].float() + torch.rand(count, 68, 2, generator=random_numbers(6)) * 4,
        "conditioning": place.float(),
    }
    others = {field.name: torch.zeros(count, 0) for field in fields(PortraitSet) if field.name not in known}
    return PortraitSet(**known, **others)


def noise_stage(config: AdversarialConfig = FROM_NOISE, held_out: Tensor | None = None) -> AdversarialStage:
    torch.manual_seed(0)
    return AdversarialStage(config, Blobs(), held_out)


def mixed_stage(config: MixedConfig = MIXED) -> MixedStage:
    torch.manual_seed(0)
    factors = FactorMapping(FactorMappingConfig(inputs=2, w_dim=8, layers=2))
    generator = FactorGenerator(factors, SynthesisNetwork(GENERATOR))
    generator.factors.fit(portraits().conditioning)
    return MixedStage(config, generator, portraits(), portraits(4))


def gradients(stage: Game, phase: str, seed: int = 0) -> dict[str, Tensor]:
    """What a phase gives to the parameters that it trains."""
    trains = next(p.trains for p in stage.phases if p.name == phase)
    named = {n: p for n, p in stage.module.named_parameters() if n.startswith(trains) and p.requires_grad}
    loss, _ = stage.loss(random_numbers(seed), 4, phase)
    got = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    return {n: g for n, g in zip(named, got, strict=True) if g is not None}


def test_smoke_from_noise(tmp_path) -> None:
    stage = noise_stage(held_out=Blobs().pictures(random_numbers(), 16))
    average = Loop(stage, LOOP, tmp_path).run()
    assert all(torch.isfinite(p).all() for p in average.parameters())
    measures = stage.evaluate(average)
    assert measures.scalars["laplacian_ratio"] > 0
    assert measures.pictures["sheet"].shape == (4 * 16, 12 * 16, 3)


def test_smoke_mixed(tmp_path) -> None:
    stage = mixed_stage()
    measures = stage.evaluate(Loop(stage, LOOP, tmp_path).run())
    assert {"psnr_db", "eye_mouth_psnr_db", "laplacian_ratio"} <= set(measures.scalars)
    assert all(math.isfinite(value) for value in measures.scalars.values())
    assert "sheet" in measures.pictures


def test_feature_logistic_losses_by_hand() -> None:
    logits, real = torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [-1.0]])
    assert float(generator_loss(logits)) == pytest.approx((math.log(2) + math.log1p(math.exp(-2))) / 2)
    drawn_part = (math.log(2) + math.log1p(math.exp(2))) / 2
    real_part = (math.log1p(math.exp(-1)) + math.log1p(math.exp(1))) / 2
    assert float(discriminator_loss(real, logits)) == pytest.approx(drawn_part + real_part)


def test_feature_r1_by_hand() -> None:
    """D(x) = a · x²: the gradient is 2 a x, at each picture."""
    a = torch.tensor(3.0, requires_grad=True)
    pictures = torch.randn(2, 3, 4, 4).requires_grad_(True)
    penalty = r1_penalty((a * pictures.square()).sum((1, 2, 3))[:, None], pictures)
    by_hand = (2 * 3 * pictures).square().sum((1, 2, 3)).mean()
    torch.testing.assert_close(penalty, by_hand)
    (slope,) = torch.autograd.grad(penalty, a)
    torch.testing.assert_close(slope, 2 * by_hand / 3)  # quadratic in a


def test_feature_r1_of_a_map_is_that_of_its_mean() -> None:
    pictures = torch.randn(2, 3, 4, 4).requires_grad_(True)
    logits = pictures.square().mean(1, keepdim=True)  # [2, 1, 4, 4]
    torch.testing.assert_close(r1_penalty(logits, pictures), r1_penalty(logits.mean((1, 2, 3))[:, None], pictures))


def test_feature_path_lengths_by_hand() -> None:
    """G(w) = A w, the same for each style: J^T y = A^T y / L a style, whatever w."""
    matrix = torch.randn(3 * 4 * 4, 5)
    w_plus = torch.randn(2, 6, 5).requires_grad_(True)
    images = (w_plus.mean(1) @ matrix.T).reshape(2, 3, 4, 4)
    y = torch.randn(2, 3, 4, 4, generator=random_numbers(4)) / 4  # sqrt(H W)
    by_hand = (y.flatten(1) @ matrix / 6).norm(dim=1)
    torch.testing.assert_close(path_lengths(images, w_plus, random_numbers(4)), by_hand)


def test_feature_path_length_penalty_by_hand() -> None:
    assert float(path_length_penalty(torch.tensor([1.0, 4.0]), torch.tensor(2.0))) == pytest.approx((1 + 4) / 2)


def test_feature_lazy_optimizer_by_hand() -> None:
    """One more update every 4: c = 4 / 5."""
    lazy = lazy_optimizer(OptimizerConfig(kind="adam", lr=0.002, betas=(0.0, 0.99)), 4)
    assert lazy.lr == pytest.approx(0.0016)
    assert lazy.betas == pytest.approx((0.0, 0.99**0.8))
    stage = noise_stage()
    assert stage.optimizers["generator"] == lazy
    assert noise_stage(replace(FROM_NOISE, path_weight=0.0)).optimizers["generator"].lr == 0.002


@pytest.mark.parametrize("phase", ["path_length", "r1"])
def test_gradcheck_of_the_regularisers(phase) -> None:
    """The step along the gradient changes the loss as the gradient says; both differentiate twice."""
    config = replace(FROM_NOISE, augmentation=AugmentationConfig(p=0.5, target=None), path_decay=0.0)
    stage = noise_stage(config)
    stage.module.double()
    stage.judged.append(Blobs().pictures(random_numbers(1), 4).double())
    with torch.no_grad():
        real = stage.judged[0]

    def value() -> Tensor:
        stage.judged.append(real)
        return double_loss(stage, phase)

    trained = "generator.synthesis.blocks.1.conv.conv.weight" if phase == "path_length" else "discriminator.conv.weight"
    parameter = stage.module.get_parameter(trained)
    (gradient,) = torch.autograd.grad(value(), parameter)
    direction, step = gradient / gradient.norm(), 1e-5
    with torch.no_grad():
        parameter += step * direction
    above = value()
    with torch.no_grad():
        parameter -= 2 * step * direction
    slope = float((above - value()).detach()) / (2 * step)
    assert slope == pytest.approx(float(gradient.norm()), rel=1e-4)


def double_loss(stage: AdversarialStage, phase: str) -> Tensor:
    """The penalty in float64, past the stage's own casts to float32."""
    random = random_numbers(2)
    if phase == "r1":
        pictures = stage.judged.popleft().clone().requires_grad_(True)
        return r1_penalty(stage.module.discriminator(stage.module.ada(pictures, random)), pictures)
    w_plus = stage.module.generator.map_to_w_plus(torch.randn(2, 8, generator=random, dtype=torch.float64))
    images = stage.module.generator.synthesis(w_plus, noise_mode="const")
    return path_length_penalty(path_lengths(images, w_plus, random), torch.tensor(0.3, dtype=torch.float64))


def test_feature_each_phase_trains_its_own_network() -> None:
    stage = noise_stage()
    for phase in stage.phases:
        got = gradients(stage, phase.name)
        assert got, phase.name
        assert all(name.startswith(phase.trains) for name in got)
        assert all(torch.isfinite(g).all() for g in got.values())
        assert max(float(g.abs().max()) for g in got.values()) > 0


def test_feature_regulariser_of_no_weight_is_left_out() -> None:
    stage = noise_stage(replace(FROM_NOISE, r1_gamma=0.0, path_weight=0.0))
    assert [phase.name for phase in stage.phases] == ["generator", "discriminator"]


@pytest.mark.parametrize("make", [noise_stage, mixed_stage])
def test_feature_discriminator_learns_to_tell(make) -> None:
    stage = make()
    optimizer = torch.optim.Adam(stage.module.discriminator.parameters(), 0.01)
    losses = []
    for step in range(30):
        loss, _ = stage.loss(random_numbers(step), 8, "discriminator")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-5:]) < 0.75 * sum(losses[:5])


def test_feature_generator_learns_to_fool() -> None:
    stage = noise_stage(replace(FROM_NOISE, augmentation=AugmentationConfig(target=None)))
    optimizer = torch.optim.Adam(stage.module.generator.parameters(), 0.01)
    losses = []
    for step in range(20):
        loss, _ = stage.loss(random_numbers(step), 8, "generator")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


def test_feature_mixed_training_comes_nearer_to_the_right_picture(tmp_path) -> None:
    config = replace(MIXED, loop=replace(LOOP, images=320, batch=8, report_images=10_000, ema_decay=0.9))
    stage = mixed_stage(config)
    before = stage.evaluate(stage.averaged).scalars["psnr_db"]
    after = stage.evaluate(Loop(stage, config.loop, tmp_path).run()).scalars["psnr_db"]
    assert after > before + 2


def test_feature_loss_is_a_function_of_its_random_numbers() -> None:
    """Noise inputs and augmentation too, and the global generator is left as it was."""
    stage = noise_stage()
    with torch.no_grad():
        for strength in (p for n, p in stage.module.named_parameters() if n.endswith("noise_strength")):
            strength.fill_(0.5)
    state = torch.random.get_rng_state()
    first, again, other = (float(stage.loss(random_numbers(seed), 4, "generator")[0].detach()) for seed in (1, 1, 2))
    assert first == again != other
    assert torch.equal(state, torch.random.get_rng_state())


def test_feature_resumed_run_ends_with_the_same_weights(tmp_path) -> None:
    """State of the augmentation, the path mean and the mean w lie in buffers."""
    unbroken = Loop(noise_stage(), LOOP, tmp_path / "unbroken")
    unbroken.run()
    Loop(noise_stage(), replace(LOOP, images=12), tmp_path / "broken").run()
    resumed = Loop(noise_stage(), LOOP, tmp_path / "broken")
    resumed.run()
    state = resumed.stage.module.state_dict()
    assert all(torch.equal(state[name], value) for name, value in unbroken.stage.module.state_dict().items())
    assert float(state["path_mean"]) > 0
    assert float(state["ada.p"]) != FROM_NOISE.augmentation.p
    assert state["generator.mapping.w_avg"].abs().max() > 0
    assert resumed.stage.train.started_at == 3


def test_feature_non_finite_path_lengths_leave_their_mean() -> None:
    stage = noise_stage()
    with torch.no_grad():
        stage.module.get_parameter("generator.synthesis.const").fill_(float("nan"))
    stage.loss(random_numbers(), 4, "path_length")
    assert float(stage.module.path_mean) == 0


def test_feature_style_mixing_takes_the_rest_of_the_layers_from_another_z() -> None:
    stage = noise_stage(replace(FROM_NOISE, mixing=1.0))
    w_plus = stage.draw(random_numbers(), 16).w_plus.detach()
    changes = (w_plus[:, 1:] != w_plus[:, :-1]).any(2).sum(1)
    assert changes.tolist() == [1] * 16
    stage = noise_stage(replace(FROM_NOISE, mixing=0.0))
    w_plus = stage.draw(random_numbers(), 16).w_plus
    assert torch.equal(w_plus, w_plus[:, :1].expand_as(w_plus))


def test_feature_crops_of_drawing_and_render_are_at_the_same_place() -> None:
    stage = mixed_stage()
    images = torch.arange(2 * 3 * 16 * 16, dtype=torch.float32).reshape(2, 3, 16, 16)
    one, other = stage.cropped(random_numbers(3), images, images + 1000)
    assert one.shape == (2, 3, 8, 8)
    assert torch.equal(one + 1000, other)
    top = int(one[0, 0, 0, 0]) // 16, int(one[1, 0, 0, 0] - 768) // 16
    assert torch.equal(one[0, 0, :, 0].diff(), torch.full((7,), 16.0))
    assert all(0 <= t <= 8 for t in top)


def test_feature_mixed_pictures_are_those_of_the_drawn_rows() -> None:
    stage = mixed_stage()
    drawn = stage.draw(random_numbers(), 4)
    assert torch.equal(stage.real(random_numbers(9), 4, drawn), portraits().pictures(drawn.rows))
    assert stage.sample_names() == [f"portrait {row}" for row in drawn.rows.tolist()]


def test_feature_r1_reads_the_pictures_of_its_own_step() -> None:
    """A stream gives one batch for each micro-step, whether R1 is due or not."""
    stage = noise_stage()
    stage.start(Setup(accumulate=2))
    for number in range(2):
        stage.loss(random_numbers(number), 4, "discriminator")
    first, second = stage.judged
    assert not torch.equal(first, second)
    for left in (1, 0):
        stage.loss(random_numbers(9), 4, "r1")
        assert len(stage.judged) == left
    assert stage.train.calls == 2
    assert stage.sample_names() == ["a blob"]
    assert stage.counters() == {"unreadable": 2}


def test_feature_noise_strengths_are_trained_where_noise_is_drawn() -> None:
    for noise_mode, trained in (("const", True), ("none", False)):
        stage = mixed_stage(replace(MIXED, noise_mode=noise_mode))
        strengths = [p for n, p in stage.module.named_parameters() if n.endswith("noise_strength")]
        assert strengths
        assert all(p.requires_grad is trained for p in strengths)


def test_feature_laplacian_ratio_of_fainter_detail() -> None:
    """Energy is quadratic in contrast."""
    images = torch.rand(4, 3, 16, 16, generator=random_numbers()) - 0.5
    assert laplacian_ratio(images / 2, images) == pytest.approx(0.25, rel=0.02)


def test_feature_published_recipe_is_readable() -> None:
    path = Path(latent_reenact.__file__).parent / "training" / "configs" / "stylegan2.yaml"
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert values["recipe"] == "generator"
    config = from_dict(AdversarialConfig, values["stage"])
    assert config.generator.resolution == 1024
    assert (config.r1_gamma, config.path_weight, config.mixing, config.augmentation.target) == (10, 2, 0.9, 0.6)
    assert config.generator_optimizer.betas == (0.0, 0.99)
    assert (config.loop.ema_half_life, config.loop.batch) == (10_000, 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mixing": 1.2}, "mixing: got 1.2"),
        ({"r1_every": 0}, "r1_every: got 0"),
        ({"path_weight": -1.0}, "path_weight: got -1"),
        ({"crop": 8}, "crop: got 8, expected the discriminator's 16"),
    ],
)
def test_exception_config(changes, message) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(FROM_NOISE, **changes)


def test_exception_discriminator_of_another_size() -> None:
    with pytest.raises(ConfigError, match="expected the generator's 16"):
        noise_stage(replace(FROM_NOISE, discriminator=DiscriminatorConfig(resolution=32, channels={**SIZES, 32: 4})))
    with pytest.raises(ConfigError, match="regression_weight: got -1"):
        replace(MIXED, regression_weight=-1.0)
