"""The estimators at toy size: margin losses, pairs of pictures, both stages, and the recipe that saves a folder."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("numba")

import latent_reenact.training
from latent_reenact.config import from_dict, load_yaml
from latent_reenact.errors import ConfigError
from latent_reenact.models import FactorGenerator, GeneratorConfig, load_networks
from latent_reenact.models.face_reader import FaceReading
from latent_reenact.models.factors import FactorMapping, FactorMappingConfig
from latent_reenact.models.identity import id_crop
from latent_reenact.models.stylegan2 import SynthesisNetwork
from latent_reenact.synthface import conditioning_names
from latent_reenact.training.estimators import EstimatorsConfig, EstimatorsDataConfig, EstimatorsRecipeConfig
from latent_reenact.training.estimators import train_estimators as train_both
from latent_reenact.training.losses.margin import MarginClassifier, MarginConfig, pair_margin_loss, with_margin
from latent_reenact.training.machine import RunConfig
from latent_reenact.training.shards.portraits import PortraitSet
from latent_reenact.training.stage import Setup
from latent_reenact.training.stages.face_reader import FaceReaderStage, FaceReaderStageConfig, reading_errors
from latent_reenact.training.stages.identity import (
    IdentityStage,
    IdentityStageConfig,
    PersonPairs,
    crop_matrices,
    exchange_surroundings,
    in_id_crop,
    verification,
)
from latent_reenact.training.targets import Teacher

CONFIGS = Path(latent_reenact.training.__file__).parent / "configs"
BODY = {"widths": [8, 8, 8], "depths": [1, 1, 1], "se_reduction": 2}
LOOP = {"images": 32, "batch": 8, "report_images": 16, "warmup_steps": 0}
READER = {
    "network": {"input_size": 16, "fold": 1, "body": BODY, "heat_stage": 0, "heat_width": 8, "bottleneck": 8},
    "optimizer": {"kind": "adam", "lr": 1e-2},
    "loop": LOOP,
    "shade": 0.0,  # it would hide the toy world's yaw
}
IDENTITY = {
    "network": {"input_size": 16, "embedding": 8, "body": BODY},
    "optimizer": {"kind": "adam", "lr": 1e-2},
    "loop": LOOP,
    "drawn_share": 0.0,
    "evaluated": 48,
}


def world(people: int = 12, frames: int = 2, size: int = 16, seed: int = 0) -> PortraitSet:
    """Flat pictures: everybody has a colour, and yaw makes one side brighter."""
    random = torch.Generator().manual_seed(seed)
    n = people * frames
    person = torch.arange(people).repeat_interleave(frames)
    colour = torch.rand(people, 3, 1, 1, generator=random)[person] * 160 + 40
    yaw = torch.rand(n, 1, 1, 1, generator=random) * 2 - 1
    images = (colour + 40 * yaw * torch.linspace(-1, 1, size)).clamp(0, 255).expand(-1, -1, size, -1)
    motion = torch.zeros(n, 58)
    motion[:, 0] = 20 * yaw[:, 0, 0, 0]
    landmarks = size * (0.5 + 0.25 * (torch.rand(68, 2, generator=random) * 2 - 1)).expand(n, -1, -1).contiguous()
    landmarks = landmarks + torch.randn(n, 68, 2, generator=random) * 0.1
    inputs = conditioning_names()["landmarks"].stop
    partners = torch.randint(n, (n, 2), generator=random)
    return PortraitSet(
        images=images.to(torch.uint8).contiguous(memory_format=torch.channels_last),
        landmarks=landmarks,
        conditioning=torch.rand(n, inputs, generator=random),
        motion=motion,
        partners=partners,
        swapped=torch.rand(n, 2, inputs, generator=random) - 0.5,
        person=person,
    )


def tiny_teacher(portraits: PortraitSet) -> Teacher:
    sizes = GeneratorConfig(resolution=16, w_dim=8, channels={4: 4, 8: 4, 16: 4})
    factors = FactorMapping(FactorMappingConfig(inputs=portraits.conditioning.shape[1], w_dim=8, layers=1))
    return Teacher.build(FactorGenerator(factors, SynthesisNetwork(sizes)), portraits.conditioning)


def reader_stage() -> FaceReaderStage:
    torch.manual_seed(0)
    return FaceReaderStage(from_dict(FaceReaderStageConfig, READER), world(), world(seed=1))


def identity_stage(**changes) -> IdentityStage:
    torch.manual_seed(0)
    return IdentityStage(from_dict(IdentityStageConfig, {**IDENTITY, **changes}), world(), world(seed=1))


def train(stage, steps: int, batch: int = 8) -> list[float]:
    """A bare loop."""
    stage.start(Setup())
    optimizers = [o for prefix, config in stage.optimizers.items() for o in config.build(stage.module, prefix)]
    losses = []
    for step in range(steps):
        loss, _ = stage.loss(torch.Generator().manual_seed(step), batch, "main")
        stage.module.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def test_smoke_reader_learns() -> None:
    stage = reader_stage()
    before = stage.evaluate(stage.averaged)
    losses = train(stage, 40)
    after = stage.evaluate(stage.averaged)
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    assert after.scalars["yaw_mae_deg"] < 0.8 * before.scalars["yaw_mae_deg"]
    assert after.pictures["landmarks"].shape == (32, 12 * 32, 3)


@pytest.mark.parametrize("form", ["pairs", "classes"])
def test_smoke_embedder_learns(form) -> None:
    stage = identity_stage(form=form, margin={"scale": 16.0, "margin": 0.2})
    losses = train(stage, 30)
    measures = stage.evaluate(stage.averaged)
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    assert measures.scalars["auc"] > 0.7
    assert measures.scalars["same_cos"] > measures.scalars["different_cos"] + 0.1
    assert measures.score == measures.scalars["auc"]


def test_feature_the_average_of_the_embedder_alone_is_kept() -> None:
    stage = identity_stage(form="classes")
    assert stage.averaged is stage.module.embedder
    assert stage.module.classifier.weight.shape == (12, 8)


def test_feature_losses_depend_on_the_random_numbers_alone() -> None:
    for stage in (reader_stage(), identity_stage()):
        stage.module.eval()
        twice = [float(stage.loss(torch.Generator().manual_seed(3), 4, "main")[0].detach()) for _ in range(2)]
        assert twice[0] == twice[1]


def test_feature_evaluation_leaves_the_mode_as_it_was() -> None:
    for stage in (reader_stage(), identity_stage()):
        stage.averaged.train()
        stage.evaluate(stage.averaged)
        assert stage.averaged.training


def test_feature_rare_expressions_are_worth_reading() -> None:
    """Where one portrait in ten frowns and nothing tells which, the best constant is their mean and not zero."""
    stage = reader_stage()
    stage.train.motion[:, 20] = torch.where(torch.arange(24) % 12 == 0, 1.0, 0.0)
    stage.module.motion_std[20] = 1.0
    index, points = torch.arange(24), stage.train.landmarks / stage.train.resolution

    def loss(constant: float) -> float:
        m = torch.full((24, 58), constant)
        reading = FaceReading(m[:, :3], points, m[:, 5:], m[:, 3:5])
        return float(stage._losses(reading, index)["expression"] * 53 - 52 * constant**2)

    assert loss(1 / 12) < loss(0.0)


def test_feature_reading_errors_of_the_truth_are_none() -> None:
    portraits = world()
    points = portraits.landmarks / portraits.resolution
    m = torch.randn(len(points), 58)
    exact = reading_errors(FaceReading(m[:, :3], points, m[:, 5:], m[:, 3:5]), m, points)
    assert exact["controls_r"] == pytest.approx(1, abs=1e-6)
    assert exact["nme_inner"] == exact["yaw_mae_deg"] == exact["gaze_mae_deg"] == 0
    shifted = reading_errors(FaceReading(m[:, :3] + 2, points, m[:, 5:], m[:, 3:5]), m, points)
    assert shifted["pitch_mae_deg"] == pytest.approx(2, abs=1e-4)


def test_feature_pairs_are_two_frames_of_one_person() -> None:
    portraits = world(people=6, frames=3)
    shuffled = torch.randperm(18, generator=torch.Generator().manual_seed(0))
    portraits = PortraitSet(**{name: getattr(portraits, name)[shuffled] for name in PortraitSet.__dataclass_fields__})
    a, b, person = PersonPairs(portraits, None, 0.0).draw(64, torch.Generator().manual_seed(1))

    def rows(view):
        same = (view.landmarks[:, None] * portraits.resolution - portraits.landmarks[None]).abs().amax((2, 3)) < 1e-4
        return same.float().argmax(1)

    first, second = rows(a), rows(b)
    assert torch.equal(portraits.person[first], person)
    assert torch.equal(portraits.person[second], person)
    assert (first != second).all()
    assert len(set(zip(first.tolist(), second.tolist(), strict=True))) > 20


def test_feature_drawn_pairs_show_the_partner_with_another_motion() -> None:
    portraits = world(frames=1)
    teacher = tiny_teacher(portraits)
    a, b, person = PersonPairs(portraits, teacher, 1.0).draw(6, torch.Generator().manual_seed(1))
    for i in range(6):
        assert torch.equal(a.images[i], portraits.pictures(person[i : i + 1])[0])  # one frame each: person is the row
        wearing = portraits.swapped[portraits.partners == person[i]]
        drawn = teacher.draw(teacher.generator.broadcast(teacher.w(wearing)))
        assert ((drawn - b.images[i]).abs().amax((1, 2, 3)) < 1e-4).any()


def test_shapes_drawn_pairs() -> None:
    portraits = world(frames=2)
    a, b, person = PersonPairs(portraits, tiny_teacher(portraits), 0.5).draw(8, torch.Generator().manual_seed(1))
    assert a.images.shape == b.images.shape == (8, 3, 16, 16)
    assert a.landmarks.shape == b.landmarks.shape == (8, 68, 2)
    assert person.shape == (8,)


def test_exception_pairs_that_cannot_be_had() -> None:
    with pytest.raises(ConfigError, match="without a generator"):
        PersonPairs(world(), None, 0.5)
    with pytest.raises(ConfigError, match="nobody has two frames"):
        PersonPairs(world(frames=1), None, 0.0)


def test_feature_crop_matrices_are_the_identity_crop() -> None:
    images = torch.rand(2, 3, 48, 48)
    rows, columns = crop_matrices(48, 16)
    torch.testing.assert_close(rows @ images @ columns.T, id_crop(images, 16), atol=1e-5, rtol=0)


def test_feature_crop_moves_landmarks_with_the_picture() -> None:
    corners = torch.tensor([[[32 / 256, 35 / 256], [220 / 256, 223 / 256]]])
    torch.testing.assert_close(in_id_crop(corners), torch.tensor([[[0.0, 0.0], [1.0, 1.0]]]))


def test_feature_surroundings_change_and_the_face_stays() -> None:
    faces = torch.rand(3, 3, 20, 20)
    landmarks = 0.5 + 0.2 * (torch.rand(3, 68, 2) * 2 - 1)
    changed = exchange_surroundings(faces, landmarks, 1.0, torch.Generator().manual_seed(0))
    assert torch.equal(changed[:, :, 9:11, 9:11], faces[:, :, 9:11, 9:11])
    assert torch.equal(changed[:, :, 0, 0], faces.roll(1, 0)[:, :, 0, 0])
    same = exchange_surroundings(faces, landmarks, 0.0, torch.Generator().manual_seed(0))
    assert torch.equal(same, faces)


def test_feature_verification_counts_pairs_in_order() -> None:
    person = torch.tensor([0, 1, 1])
    first = F.normalize(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]), dim=1)
    assert verification(first, first, person) == {"auc": 1.0, "same_cos": 1.0, "different_cos": 0.0}
    assert verification(first, first[[1, 0, 0]], person)["auc"] == 0.0


def test_feature_arcface_adds_an_angle() -> None:
    angles = torch.linspace(0.1, math.pi - 0.6, 7, dtype=torch.float64)
    torch.testing.assert_close(with_margin(angles.cos(), MarginConfig(margin=0.5)), (angles + 0.5).cos())


def test_feature_arcface_falls_with_the_angle_to_the_end() -> None:
    angles = torch.linspace(0, math.pi, 400, dtype=torch.float64)
    moved = with_margin(angles.cos(), MarginConfig(margin=0.5))
    assert (moved.diff() <= 1e-9).all()
    assert moved.diff().abs().max() < 0.02  # and nowhere jumps


def test_feature_cosface_subtracts() -> None:
    cosines = torch.tensor([-0.5, 0.9])
    torch.testing.assert_close(with_margin(cosines, MarginConfig(kind="cosface", margin=0.35)), cosines - 0.35)


@pytest.mark.parametrize("kind", ["arcface", "cosface"])
def test_gradcheck_margin_is_safe_where_pictures_are_alike_or_opposite(kind) -> None:
    cosines = torch.tensor([1.0, -1.0, 1.0 + 1e-6], requires_grad=True)
    with_margin(cosines, MarginConfig(kind=kind, margin=0.4)).sum().backward()
    assert cosines.grad.isfinite().all()
    inside = torch.tensor([0.7, -0.2], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda c: with_margin(c, MarginConfig(kind=kind, margin=0.4)), inside)


def test_feature_classifier_is_equation_3() -> None:
    torch.manual_seed(0)
    head = MarginClassifier(5, 4, MarginConfig(scale=8.0, margin=0.3))
    x, y = torch.randn(3, 4), torch.tensor([0, 4, 2])
    angles = (F.normalize(x, dim=1) @ F.normalize(head.weight, dim=1).T).acos()
    logits = 8 * (angles + 0.3 * F.one_hot(y, 5)).cos()
    torch.testing.assert_close(head(x, y), F.cross_entropy(logits, y))


def test_feature_sampled_classes_hold_those_of_the_batch() -> None:
    torch.manual_seed(0)
    whole = MarginClassifier(50, 4)
    part = MarginClassifier(50, 4, sampled=6)
    part.load_state_dict(whole.state_dict())
    x, y = torch.randn(4, 4), torch.tensor([3, 49, 3, 20])
    loss = part(x, y, torch.Generator().manual_seed(0))
    loss.backward()
    touched = part.weight.grad.abs().sum(1) > 0
    assert touched.sum() <= 6
    assert touched[[3, 20, 49]].all()
    assert loss < whole(x, y)  # fewer wrong classes to be told from


def test_feature_pair_loss_is_the_classifier_of_the_batch() -> None:
    torch.manual_seed(0)
    a, b = F.normalize(torch.randn(2, 3, 4), dim=2)
    config = MarginConfig(scale=5.0, margin=0.2)
    both = torch.cat([a, b])
    total = 0.0
    for i, query in enumerate(both):
        j = (i + 3) % 6
        others = [k for k in range(6) if k not in (i, j)]
        right = 5 * with_margin((query @ both[j])[None], config)
        total += -F.log_softmax(torch.cat([right, 5 * both[others] @ query]), 0)[0]
    torch.testing.assert_close(pair_margin_loss(a, b, torch.arange(3), config), total / 6)


def test_feature_pair_loss_does_not_part_pictures_of_one_person() -> None:
    a = F.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.1]]), dim=1)
    config = MarginConfig(scale=20.0, margin=0.0)
    together = pair_margin_loss(a, a, torch.tensor([7, 7]), config)
    assert together < 1e-6 < pair_margin_loss(a, a, torch.tensor([7, 8]), config)


def test_feature_recipe_writes_a_model_folder(tmp_path) -> None:
    config = from_dict(EstimatorsConfig, {"face_reader": READER, "identity": IDENTITY})
    fabric = RunConfig(accelerator="cpu", precision="32-true").launch()
    folder = tmp_path / "estimators"
    made = train_both(config, world(), world(seed=1), None, folder, fabric)
    read = load_networks(folder)
    assert list(read) == ["face_reader", "identity"]
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    torch.testing.assert_close(read["identity"](images), made["identity"](images), atol=5e-3, rtol=0)


@pytest.mark.parametrize("name", ["estimators", "judges"])
def test_smoke_the_shipped_configs(name) -> None:
    config = load_yaml(EstimatorsRecipeConfig, CONFIGS / f"{name}.yaml")
    assert config.data.frames > 1
    assert config.estimators.identity.drawn_share == 0


def test_feature_judges_share_nothing_with_the_estimators() -> None:
    ours, judges = (load_yaml(EstimatorsRecipeConfig, CONFIGS / f"{n}.yaml") for n in ("estimators", "judges"))
    seeds = (ours.data.seed, ours.data.held_out_seed, judges.data.seed, judges.data.held_out_seed)
    assert len(set(seeds)) == 4
    assert ours.estimators.seed != judges.estimators.seed
    for name in ("face_reader", "identity"):
        assert getattr(ours.estimators, name).network != getattr(judges.estimators, name).network


def test_exception_held_out_people_are_others() -> None:
    with pytest.raises(ConfigError, match="held-out"):
        EstimatorsDataConfig(mesh="x.npz", seed=998)


@pytest.mark.parametrize(
    ("cls", "values", "words"),
    [
        (MarginConfig, {"margin": 1.5}, "margin 1.5"),
        (IdentityStageConfig, {**IDENTITY, "surroundings": 2.0}, "surroundings"),
    ],
)
def test_exception_numbers_out_of_range(cls, values, words) -> None:
    with pytest.raises(ConfigError, match=words):
        from_dict(cls, values)
