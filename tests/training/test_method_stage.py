"""The method's stage at toy size: what it draws, what it leaves out, what it selects by."""

from __future__ import annotations

import copy
import io
from collections import Counter
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from torch import Tensor, nn

from latent_reenact.config import from_dict
from latent_reenact.errors import ConfigError, UsageError
from latent_reenact.training.clips import ClipSet, ClipStream, load_clips
from latent_reenact.training.identities import IdentityCache, InversionCacheConfig, Portion, invert_portions
from latent_reenact.training.shards.format import Sample, write_shard
from latent_reenact.training.stage import Setup
from latent_reenact.training.stages.reenactment import ReenactmentConfig, ReenactmentStage, Slots

BODY = {"widths": [4, 4, 8], "depths": [1, 1, 1], "se_reduction": 2}
COSFACE = {"losses": {"cosface": 1.0}}
UNITS = {"units": {"n_units": 3, "n_angles": 2, "n_styles": tiny.L, "motion_dim": tiny.N, "hidden": [8]}}


class Reading(NamedTuple):
    landmarks: Tensor
    pose_deg: Tensor


class Reader(nn.Module):
    """Landmarks that move with the colours of the picture: the face opens its mouth and eyes in bright ones."""

    def forward(self, images: Tensor) -> Reading:
        means = images.mean((2, 3))  # [B, 3]
        points = torch.from_numpy(tiny.frontal_landmarks()).float().repeat(len(images), 1, 1)
        points[:, [43, 44, 37, 38, 62], 1] -= 0.1 * (1 + means[:, :1]).clamp(min=0)
        points[:, 17:27, 1] -= 0.1 * means[:, 1:2]
        return Reading(points, 10 * means)


class Embedder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 5, 4)

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.normalize(self.conv(images).mean((2, 3)), dim=1)


class Units(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([images.mean((2, 3)), 30 * images.flatten(2).std(2)[:, :2]], dim=1)


def perceptual(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).abs().mean((1, 2, 3))


def config(**changes) -> ReenactmentConfig:
    base = {
        "encoder": {"input_size": 32, "n_styles": tiny.L, "motion_dim": tiny.N, "bottleneck": 8, "body": BODY},
        "mapper": {"form": "separate", "n_styles": tiny.L, "w_dim": tiny.D, "motion_dim": tiny.N},
        "optimizer": {"kind": "ranger", "lr": 1e-3},
    }
    return from_dict(ReenactmentConfig, {**base, **changes})


def clips(people: str, seed: int) -> ClipSet:
    random = torch.Generator().manual_seed(seed)
    keys = [f"{person}/c{clip}/{frame:04d}" for person in people for clip in range(2) for frame in range(3)]
    pictures = torch.randint(0, 256, (len(keys), 3, 8, 8), generator=random).float()
    pictures = nn.functional.interpolate(pictures, 32, mode="bilinear").round().to(torch.uint8)
    return ClipSet(pictures, keys)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    train, held_out = clips("abc", 0), clips("xyz", 1)
    portions = [
        Portion(name, name, lambda part=part: iter(zip(part.keys, part.pictures, strict=True)))
        for name, part in (("train", train), ("held_out", held_out))
    ]
    restyle = tiny.networks().inversion
    folder = invert_portions(tmp_path_factory.mktemp("identities"), restyle, portions, InversionCacheConfig())
    return train, held_out, IdentityCache(folder)


def stage(world, reads_units: bool = False, **changes) -> ReenactmentStage:
    train, held_out, identities = world
    torch.manual_seed(0)
    slots = Slots(perceptual, Embedder(), Reader(), Units() if reads_units else None)
    made = ReenactmentStage(config(**changes), tiny.networks().generator, slots, train, identities, held_out)
    made.start(Setup(batch=4))
    return made


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def count_calls(modules: dict[str, nn.Module]) -> tuple[Counter[str], dict[str, list[int]]]:
    """Calls of each module, and the batch sizes that they were given."""
    calls: Counter[str] = Counter()
    sizes: dict[str, list[int]] = {name: [] for name in modules}
    for name, module in modules.items():

        def hook(module, inputs, output, name=name):
            calls[name] += 1
            sizes[name].append(len(inputs[0]))

        module.register_forward_hook(hook)
    return calls, sizes


def watched(made: ReenactmentStage):
    parts = {"encoder": made.module.encoder, "mapper": made.module.mapper, "embedder": made.slots.embedder}
    return count_calls({**parts, "synthesis": made._frozen.synthesis})


def test_smoke_it_learns(world) -> None:
    """A manual loop on one batch: the loss falls."""
    made = stage(world)
    optimizers = [o for prefix, c in made.optimizers.items() for o in c.build(made.module, prefix)]
    losses = []
    for _ in range(25):
        loss, _ = made.loss(random(3), 4, "main")
        made.module.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.97 * losses[0]


def test_shapes_batch(world) -> None:
    batch = world[0].draw(random(), 5)
    assert batch.driving_a.shape == batch.driving_r.shape == (5, 3, 32, 32)
    assert batch.driving_a.dtype == torch.uint8
    assert len(batch.driving_a_keys) == len(batch.identity_a_keys) == len(batch.identity_r_keys) == 5


def test_feature_two_clips_a_sample(world) -> None:
    """A's driver and identity are two frames of one clip; R is another person, and everybody is met."""
    batch = world[0].draw(random(), 400)
    pairs = Counter()
    for driving, identity, other in zip(
        batch.driving_a_keys, batch.identity_a_keys, batch.identity_r_keys, strict=True
    ):
        assert driving.rpartition("/")[0] == identity.rpartition("/")[0]
        assert driving != identity
        assert driving[0] != other[0]
        pairs[driving[0] + other.rpartition("/")[0]] += 1
    assert len(pairs) == 3 * 4
    assert max(pairs.values()) < 3 * min(pairs.values())


def test_feature_pictures_go_with_their_keys(world) -> None:
    train = world[0]
    batch = train.draw(random(), 4)
    rows = [train.keys.index(key) for key in batch.driving_a_keys]
    assert torch.equal(batch.driving_a, train.pictures[rows])


def test_feature_a_step_does_no_work_twice(world) -> None:
    """One motion code per driving picture, one mapper and synthesis call for both outputs, no inversion."""
    made = stage(world)
    calls, sizes = watched(made)
    made.loss(random(), 4, "main")
    assert calls == {"encoder": 1, "mapper": 1, "synthesis": 1, "embedder": 2}
    assert sizes["encoder"] == [4]
    assert sizes["synthesis"] == [8]


def test_feature_cosface_reads_outputs_once(world) -> None:
    made = stage(world, **COSFACE)
    calls, sizes = watched(made)
    _, scalars = made.loss(random(), 4, "main")
    assert "cosface" in scalars
    assert calls["synthesis"] == 1
    assert sizes["encoder"] == [8, 8]  # the drivers of A and R; then both outputs


def test_feature_what_no_loss_looks_at_is_not_drawn(world) -> None:
    made = stage(world, losses={"identity": 0.0})
    calls, sizes = watched(made)
    made.loss(random(), 4, "main")
    assert sizes["synthesis"] == [4]
    assert calls["embedder"] == 0


def test_feature_frozen_networks_get_no_gradient(world) -> None:
    made = stage(world)
    made.loss(random(), 4, "main")[0].backward()
    frozen = [*made._frozen.parameters(), *made.slots.embedder.parameters()]
    assert not any(p.requires_grad or p.grad is not None for p in frozen)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in made.module.mapper.parameters())
    assert any(p.grad.abs().sum() > 0 for p in made.module.encoder.parameters())
    assert not any(name.startswith("generator") for name in made.module.state_dict())


def test_feature_identity_is_the_others(world) -> None:
    """The identity term compares the cross output with the picture of R's inversion, which the cache holds."""
    made = stage(world, losses={"lpips": 0.0, "l2_crop": 0.0, "lpips_crop": 0.0, "identity": 1.0})
    loss, _ = made.loss(random(), 4, "main")
    batch = world[0].draw(random(), 4)
    motion = made.module.encoder(batch.driving_a / 127.5 - 1)
    output = made._frozen.synthesis(made.module.mapper(world[2].latents(batch.identity_r_keys), motion))
    wanted = world[2].pictures(batch.identity_r_keys) / 127.5 - 1
    cosine = (made.slots.embedder(output) * made.slots.embedder(wanted)).sum(1).mean()
    torch.testing.assert_close(loss, 1 - cosine)


def test_feature_gen_trains_synthesis_too(world) -> None:
    made = stage(world, train_generator=True)
    made.loss(random(), 4, "main")[0].backward()
    generator = made.module.generator
    assert generator.synthesis.const.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in generator.mapping.parameters())


def test_feature_gen_is_measured_with_its_own_generator(world) -> None:
    made = stage(world, train_generator=True)
    average = copy.deepcopy(made.module)
    before = made.evaluate(average)
    with torch.no_grad():
        average.generator.synthesis.blocks[0].to_rgb.bias.add_(1.0)
    assert made.evaluate(average).scalars["csim"] != before.scalars["csim"]


def test_feature_fau_sees_units_alone(world) -> None:
    made = stage(world, reads_units=True, **UNITS, **COSFACE)
    seen = []
    made.module.encoder.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape))
    made.loss(random(), 4, "main")[0].backward()
    assert seen == [(8, 5), (8, 5)]
    assert all(p.grad is not None for p in made.module.parameters())


def test_feature_a_step_is_a_function_of_its_random_numbers(world) -> None:
    losses = [float(stage(world).loss(random(seed), 4, "main")[0].detach()) for seed in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]


def test_feature_evaluation_selects_by_expression(world) -> None:
    made = stage(world)
    average = copy.deepcopy(made.module)
    average.train()
    measures = made.evaluate(average)
    assert set(measures.scalars) == {"fl_correlation", "pose_mae_deg", "csim"}
    assert measures.score == measures.scalars["fl_correlation"]
    assert -1 <= measures.score <= 1
    assert measures.pictures["cross"].shape == (6 * 64, 6 * 32, 3)
    assert average.training
    assert made.evaluate(average).scalars == measures.scalars


def test_feature_held_out_clips_may_differ_in_length(world) -> None:
    """A frame without a face is dropped."""
    train, held_out, identities = world
    shorter = ClipSet(held_out.pictures[:-1], held_out.keys[:-1])
    measures = stage((train, shorter, identities)).evaluate(copy.deepcopy(stage(world).module))
    assert measures.pictures["cross"].shape == (6 * 64, 6 * 32, 3)


def test_feature_evaluation_of_a_perfect_copy(world) -> None:
    """A method that returned the driving frames themselves would have correlation 1 and no pose error."""
    made = stage(world)
    cross = made._cross
    made._cross = lambda networks, clip: (lambda d, i, o: (d, i, d))(*cross(networks, clip))
    scalars = made.evaluate(copy.deepcopy(made.module)).scalars
    assert scalars["fl_correlation"] == pytest.approx(1.0, abs=1e-5)
    assert scalars["pose_mae_deg"] == pytest.approx(0.0, abs=1e-4)


def test_feature_held_out_drivers_are_read_once(world) -> None:
    made = stage(world)
    calls, _ = count_calls({"reader": made.slots.reader})
    average = copy.deepcopy(made.module)
    made.evaluate(average)
    assert calls["reader"] == 12
    made.evaluate(average)
    assert calls["reader"] == 18


def test_feature_names_of_the_last_batch(world) -> None:
    made = stage(world)
    assert made.sample_names() == ()
    made.loss(random(), 4, "main")
    batch = world[0].draw(random(), 4)
    assert set(batch.driving_a_keys) | set(batch.identity_r_keys) <= set(made.sample_names())


def test_exception_one_person_or_one_frame() -> None:
    pictures = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    with pytest.raises(ConfigError, match="got 1 people"):
        ClipSet(pictures, ["a/c/0", "a/c/1"])
    with pytest.raises(ConfigError, match="clip a/c: got one frame"):
        ClipSet(pictures, ["a/c/0", "b/c/0"])
    with pytest.raises(ConfigError, match="2 pictures and 1 keys"):
        ClipSet(pictures, ["a/c/0"])


def test_exception_networks_that_do_not_fit(world) -> None:
    with pytest.raises(ConfigError, match=r"mapper.n_styles, w_dim: got \(8, 16\), expected the generator's \(8, 8\)"):
        stage(world, mapper={"form": "shared", "n_styles": tiny.L, "w_dim": 16, "motion_dim": tiny.N})
    with pytest.raises(ConfigError, match="motion_dim"):
        stage(world, mapper={"form": "shared", "n_styles": tiny.L, "w_dim": tiny.D, "motion_dim": 9})
    with pytest.raises(ConfigError, match="nothing that reads them"):
        stage(world, **UNITS)


def test_feature_published_defaults() -> None:
    published = ReenactmentConfig()
    assert (published.optimizer.kind, published.optimizer.lr) == ("ranger", 1e-5)
    assert published.noise == "const"
    assert published.mapper.form == "full"
    assert replace(published, train_generator=True).motion is published.encoder
    assert np.isclose(published.encoder.input_size, 256)


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> list:
    folder = tmp_path_factory.mktemp("shards")
    for number, people in enumerate(("abc", "de")):
        part = clips(people, number)
        write_shard(folder / f"{number:05d}.tar", [sample(k, p) for k, p in zip(part.keys, part.pictures, strict=True)])
    return sorted(folder.glob("*.tar"))


def sample(key: str, picture: Tensor) -> Sample:
    buffer = io.BytesIO()
    Image.fromarray(picture.permute(1, 2, 0).numpy()).save(buffer, "PNG")
    person, clip, frame = key.split("/")
    return Sample(
        person=person,
        clip=clip,
        frame=int(frame),
        picture=buffer.getvalue(),
        suffix="png",
        time_s=0.5 * int(frame),
        landmarks=tiny.frontal_landmarks(),
        pose_deg=(0.0, 0.0, 0.0),
    )


def test_feature_clips_of_shards_in_memory(shards) -> None:
    loaded, first = load_clips(shards), clips("abc", 0)
    assert len(loaded) == 10
    assert torch.equal(loaded.pictures[: len(first.keys)], first.pictures)
    assert load_clips(shards, size=16).pictures.shape == (30, 3, 16, 16)
    assert len(load_clips(shards, limit=20).keys) == 20
    assert len(load_clips(shards, limit=22).keys) == 21  # of the eighth clip there is one frame, so it stays out


def test_feature_stream_goes_on_where_it_stopped(shards) -> None:
    """Two micro-steps a step: what comes after step 2 is the same whether the stream was opened then or before."""
    whole = ClipStream(shards, seed=3)
    whole.start(Setup(batch=2, accumulate=2))
    drawn = [whole.draw(random(), 2) for _ in range(6)]
    again = ClipStream(shards, seed=3)
    again.start(Setup(batch=2, accumulate=2, step=2))
    for expected in drawn[4:]:
        got = again.draw(random(), 2)
        assert got.identity_r_keys == expected.identity_r_keys
        assert torch.equal(got.driving_a, expected.driving_a)
    assert again.counters() == {"truncated_shards": 0, "unreadable_samples": 0}


def test_exception_stream_that_is_not_open(shards) -> None:
    with pytest.raises(UsageError, match="not open"):
        ClipStream(shards, seed=0).draw(random(), 2)


def test_exception_no_clips(shards) -> None:
    with pytest.raises(ConfigError, match="got pictures of"):
        load_clips(shards, limit=1)
