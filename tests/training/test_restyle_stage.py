"""The ReStyle stage at toy size: 32 px, an unseen generator's own pictures."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import tiny
import torch
from torch import Tensor, nn

from latent_reenact.errors import ConfigError
from latent_reenact.models import EncoderConfig, StyleGAN2Generator
from latent_reenact.models.latent_discriminator import LatentDiscriminatorConfig
from latent_reenact.training.losses.inversion import InversionLoss, InversionWeights
from latent_reenact.training.optim import OptimizerConfig
from latent_reenact.training.stage import Setup
from latent_reenact.training.stages.restyle import AdversaryConfig, ReStyleConfig, ReStyleStage

BATCH = 4
ENCODER = EncoderConfig(input_size=32, n_styles=tiny.L, w_dim=tiny.D, body=tiny.BODY)
PLAIN = ReStyleConfig(
    encoder=ENCODER, steps=3, optimizer=OptimizerConfig(kind="adam", lr=1e-2, betas=(0.9, 0.99)), flip=False
)
E4E = replace(
    PLAIN,
    encoder=replace(ENCODER, kind="progressive_backbone"),
    weights=InversionWeights(delta=2e-4),
    adversary=AdversaryConfig(discriminator=LatentDiscriminatorConfig(w_dim=tiny.D, pool=6), r1_every=2),
    progressive_start=2,
    progressive_every=1,
)


class Pictures:
    """The generator's own pictures of random codes."""

    def __init__(self, generator: StyleGAN2Generator) -> None:
        with torch.no_grad():
            self.images = generator(torch.randn(16, 8, generator=torch.Generator().manual_seed(1))).clamp(-1, 1)
        self.started_at = -1

    def start(self, setup: Setup) -> None:
        self.started_at = setup.step

    def pictures(self, random: torch.Generator, batch: int) -> Tensor:
        return self.images[torch.randint(len(self.images), (batch,), generator=random)]

    def names(self) -> list[str]:
        return ["first", "second"]

    def counters(self) -> dict[str, int]:
        return {"unreadable": 3}


class Colours(nn.Module):
    """An embedder: the mean colours of 16 squares."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones([]))

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.normalize(nn.functional.adaptive_avg_pool2d(images, 4).flatten(1) * self.scale, dim=1)


def mean_distance(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).abs().mean((1, 2, 3))


def stage(config: ReStyleConfig = PLAIN, step: int = 0) -> ReStyleStage:
    generator = tiny.networks().generator
    generator.requires_grad_(True)  # the stage itself must freeze it
    pictures = Pictures(generator)
    torch.manual_seed(0)
    made = ReStyleStage(
        config,
        generator,
        generator.mapping.w_avg,
        InversionLoss(config.weights, mean_distance, Colours()),
        pictures,
        pictures.images[:6],
    )
    made.start(Setup(step=step, batch=BATCH))
    return made


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def train(made: ReStyleStage, steps: int) -> dict[str, list[float]]:
    """The loop, in small: each phase's losses."""
    optimizers = {prefix: config.build(made.module, prefix) for prefix, config in made.optimizers.items()}
    history: dict[str, list[float]] = {phase.name: [] for phase in made.phases}
    for step in range(steps):
        for phase in made.phases:
            if step % phase.every:
                continue
            made.module.zero_grad(set_to_none=True)
            loss, _ = made.loss(seeded(step), BATCH, phase.name)
            loss.backward()
            for optimizer in optimizers[phase.trains]:
                optimizer.step()
            history[phase.name].append(loss.item())
        made.finish_step(step)
    return history


def count_calls(made: ReStyleStage) -> Counter[str]:
    calls: Counter[str] = Counter()
    parts = {
        "encoder": made.module.encoder,
        "synthesis": made.generator.synthesis,
        "mapping": made.generator.mapping,
        "embedder": made.losses.embedder,
    }
    for name, part in parts.items():
        part.register_forward_hook(lambda *_, name=name: calls.update([name]))
    return calls


@pytest.mark.parametrize("config", [PLAIN, E4E], ids=["psp", "e4e"])
def test_smoke_training_lowers_the_loss(config) -> None:
    made = stage(config)
    before = made.evaluate(made.averaged)
    losses = train(made, 24)["main"]
    assert sum(losses[-6:]) < 0.75 * sum(losses[:6])
    assert made.evaluate(made.averaged).scalars["loss_1"] < 0.75 * before.scalars["loss_1"]


def test_shapes() -> None:
    made = stage()
    measures = made.evaluate(made.averaged)
    assert measures.pictures["inversion"].shape == (4 * 32, 6 * 32, 3)
    for name in ("loss", "l2", "perceptual", "similarity", "psnr_db"):
        assert [f"{name}_{t}" in measures.scalars for t in (1, 2, 3, 4)] == [True, True, True, False]
    assert measures.score == -measures.scalars["loss_3"]
    assert made.restyle(made.averaged).invert(made.held_out).shape == (6, tiny.L, tiny.D)


def test_feature_begins_at_the_average_latent() -> None:
    made = stage()
    for w_plus, picture in made.refine(made.averaged, made.held_out):
        torch.testing.assert_close(w_plus, made.average.expand(6, -1, -1))
        torch.testing.assert_close(picture, made.average_picture.expand(6, -1, -1, -1))


def test_feature_inference_takes_the_steps_of_training() -> None:
    made = stage()
    train(made, 3)
    made.averaged.eval()
    with torch.no_grad():
        steps = [w_plus for w_plus, _ in made.refine(made.averaged, made.held_out)]
        torch.testing.assert_close(steps, made.restyle(made.averaged).trajectory(made.held_out))


def test_feature_nothing_frozen_gets_a_gradient() -> None:
    made = stage(E4E, step=9)
    for phase in made.phases:
        made.loss(seeded(0), BATCH, phase.name)[0].backward()
    frozen = [*made.generator.parameters(), *made.losses.embedder.parameters()]
    assert all(p.grad is None and not p.requires_grad for p in frozen)
    assert all(p.grad is not None for p in made.module.parameters())


def test_gradcheck_the_sum_over_the_steps_is_that_of_separate_backward_passes() -> None:
    made = stage()
    train(made, 2)
    made.module.eval()  # batch norm without memory, so that both ways see the same network
    made.module.zero_grad(set_to_none=True)
    made.loss(seeded(5), BATCH, "main")[0].backward()
    got = torch.cat([p.grad.flatten() for p in made.module.parameters()])
    made.module.zero_grad(set_to_none=True)
    truth = made._truth(seeded(5), BATCH)
    for _, picture in made.refine(made.averaged, truth):
        made.losses.pictures(picture, truth, made.losses.reference(truth))[0].backward()
    expected = torch.cat([p.grad.flatten() for p in made.module.parameters()])
    assert (got - expected).norm() < 1e-5 * expected.norm()


def test_feature_no_work_is_done_twice() -> None:
    """N passes of the encoder, N pictures, and the truth embedded once; the average picture was drawn at the start."""
    made = stage(E4E)
    calls = count_calls(made)
    made.loss(seeded(0), BATCH, "main")
    assert calls == {"encoder": 3, "synthesis": 3, "embedder": 4}
    made.loss(seeded(1), BATCH, "discriminator")
    made.loss(seeded(2), BATCH, "r1")
    assert calls == {"encoder": 3, "synthesis": 3, "embedder": 4, "mapping": 2}


def test_feature_half_of_the_pictures_are_flipped() -> None:
    straight, flipped = stage(), stage(replace(PLAIN, flip=True))
    straight.train.images = flipped.train.images = straight.train.images[:1]  # so that the draws are of one picture
    ours = flipped._truth(seeded(0), 64)
    theirs = straight._truth(seeded(0), 64)
    same = (ours == theirs).flatten(1).all(1)
    assert 20 < int(same.sum()) < 44
    assert torch.equal(ours[~same], theirs[~same].flip(3))


def test_feature_the_same_random_numbers_give_the_same_loss() -> None:
    first, second = stage(E4E), stage(E4E)
    assert train(first, 4) == train(second, 4)
    assert all(torch.equal(a, b) for a, b in zip(first.module.buffers(), second.module.buffers(), strict=True))
    assert first.loss(seeded(7), BATCH, "main")[0] != first.loss(seeded(8), BATCH, "main")[0]


def test_feature_a_resumed_run_goes_on_as_the_unbroken_one() -> None:
    unbroken, stopped = stage(E4E), stage(E4E)
    train(unbroken, 5)
    train(stopped, 5)
    resumed = stage(E4E, step=5)
    resumed.module.load_state_dict(stopped.module.state_dict())
    for phase in ("main", "discriminator"):
        assert unbroken.loss(seeded(9), BATCH, phase)[0] == resumed.loss(seeded(9), BATCH, phase)[0]
    assert resumed.train.started_at == 5


def test_feature_offsets_come_one_by_one() -> None:
    """With none, all styles move as one; a head whose turn has not come is not trained."""
    made = stage(E4E)
    train(made, 2)
    assert [head.linear.weight.any().item() for head in made.module.encoder.styles] == [True] + [False] * 7
    assert made.module.encoder.progressive_stage == 1
    train(made, 1)
    assert [head.linear.weight.any().item() for head in made.module.encoder.styles] == [True, True] + [False] * 6
    assert stage(E4E, step=4).module.encoder.progressive_stage == 3


def test_feature_the_discriminator_judges_as_many_styles_as_differ() -> None:
    made = stage(E4E, step=3)
    seen = []
    made.module.discriminator.register_forward_hook(lambda _, inputs, __: seen.append(tuple(inputs[0].shape)))
    made.loss(seeded(0), BATCH, "main")
    made.loss(seeded(0), BATCH, "discriminator")
    assert seen == [(BATCH, 3, tiny.D)] * 3 + [(BATCH, tiny.D), (BATCH, 3, tiny.D)]


def test_feature_the_pool_keeps_what_the_discriminator_has_seen() -> None:
    made = stage(E4E)
    train(made, 3)
    assert int(made.module.pool.filled) == 6
    assert "pool.codes" in made.module.state_dict()
    assert set(made.averaged.state_dict()) == set(made.module.encoder.state_dict())


def test_feature_r1_stands_for_the_steps_between() -> None:
    made = stage(E4E)
    penalty, _ = made.loss(seeded(3), BATCH, "r1")
    real = made._real(seeded(3), BATCH).requires_grad_(True)
    (gradient,) = torch.autograd.grad(made.module.discriminator(real).sum(), real)
    torch.testing.assert_close(penalty, 10 / 2 * 2 * gradient.square().sum(1).mean())
    assert [phase.every for phase in made.phases] == [1, 1, 2]


def test_feature_one_step_on_the_picture_alone_is_psp() -> None:
    made = stage(replace(PLAIN, encoder=replace(ENCODER, input_channels=3), steps=1))
    calls = count_calls(made)
    made.loss(seeded(0), BATCH, "main")
    assert calls == {"encoder": 1, "synthesis": 1, "embedder": 2}


def test_feature_names_and_counters_are_the_sources() -> None:
    made = stage()
    assert made.sample_names() == ["first", "second"]
    assert made.counters() == {"unreadable": 3}


def test_exception_sizes_that_do_not_fit() -> None:
    with pytest.raises(ConfigError, match=r"n_styles, w_dim = \(6, 8\), expected the generator's \(8, 8\)"):
        stage(replace(PLAIN, encoder=replace(ENCODER, n_styles=6)))
    with pytest.raises(ConfigError, match="discriminator: got w_dim 512"):
        stage(replace(E4E, adversary=AdversaryConfig()))


def test_exception_many_steps_that_cannot_see_the_estimate() -> None:
    with pytest.raises(ConfigError, match="steps: got 3"):
        replace(PLAIN, encoder=replace(ENCODER, input_channels=3))


def test_exception_an_adversary_of_no_weight() -> None:
    with pytest.raises(ConfigError, match="leave it out"):
        AdversaryConfig(weight=0.0)
