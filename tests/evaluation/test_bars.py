"""The measures of the embedded model's bars, on arrays whose answer is known, and the whole protocol at toy size."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytest.importorskip("numba")

from tiny import BODY, CentreDetector, D, networks

from latent_reenact.errors import ConfigError, UsageError
from latent_reenact.evaluation.inversion import pairs, recognition
from latent_reenact.evaluation.judges import Judges, OutsideJudge, Reading, enlarged, truth
from latent_reenact.evaluation.looks import compare, detail_ratio, frechet_ratio, inner_error, measure_frechet
from latent_reenact.evaluation.report import Bar, Report, Row
from latent_reenact.evaluation.synthetic import SyntheticConfig, measure
from latent_reenact.evaluation.transfer import CONTROLS, control_values, following, measure_transfer, transfer
from latent_reenact.evaluation.world import Artist, World, calm
from latent_reenact.media import read_provenance
from latent_reenact.models import (
    GeneratorConfig,
    IdentityEmbedder,
    IdentityEmbedderConfig,
    StyleGAN2Generator,
    save_networks,
)
from latent_reenact.models.face_reader import FaceReader, FaceReaderConfig
from latent_reenact.models.factors import FactorMapping, FactorMappingConfig
from latent_reenact.synthface import LATENT_DIM, Renderer, conditioning, factors_from_latent, tiny_mesh
from latent_reenact.synthface.factors import EXPRESSION_NAMES
from latent_reenact.systems import LatentReenactor

SIZE = 32
WATCH = lambda done, total, unit: None  # noqa: E731


@pytest.fixture(scope="module")
def world() -> World:
    return World(Renderer(tiny_mesh()), SIZE)


@pytest.fixture(scope="module")
def artist(world: World) -> Artist:
    torch.manual_seed(0)
    channels = {4: 8, 8: 8, 16: 8, 32: 4}
    sizes = GeneratorConfig(resolution=SIZE, z_dim=LATENT_DIM, w_dim=D, mapping_layers=2, channels=channels)
    inputs = len(conditioning(world.factors("looks", 1)[0], world.renderer.mesh))
    mapping = FactorMapping(FactorMappingConfig(inputs=inputs, w_dim=D, layers=2))
    return Artist(StyleGAN2Generator(sizes).eval(), mapping.eval(), world)


@pytest.fixture(scope="module")
def judges() -> Judges:
    torch.manual_seed(1)
    reader = FaceReader(FaceReaderConfig(input_size=SIZE, body=BODY, heat_width=4, bottleneck=8))
    identity = IdentityEmbedder(IdentityEmbedderConfig(input_size=SIZE, embedding=8, body=BODY))
    return Judges(reader.eval(), identity.eval(), batch=3)


def outside() -> OutsideJudge:
    """Finds a face in every picture that is not black; people differ in their mean colour and its spread."""
    return OutsideJudge(CentreDetector(), lambda image, landmarks: np.r_[image.mean((0, 1)), image.std((0, 1))])


# ---------------------------------------------------------------- looks


def test_feature_perfect_pictures(world: World) -> None:
    portraits = [world.render(one) for one in world.factors("looks", 4)]
    looks = compare(outside(), np.stack([p.image for p in portraits]), portraits)
    assert looks.psnr_db == float("inf")
    assert (looks.detail, looks.faces, looks.render_faces, looks.inner_error) == (1, 1, 1, 0)


def test_feature_blur_and_lost_faces_are_seen(world: World) -> None:
    from scipy.ndimage import gaussian_filter

    portraits = [world.render(one) for one in world.factors("looks", 8)]
    portraits = [p for p in portraits if abs(p.yaw_deg) <= 30]
    blurred = np.stack([gaussian_filter(p.image, (1, 1, 0)) for p in portraits])
    assert detail_ratio(blurred, portraits) < 0.5
    blurred[0] = 0  # black: the detector finds nothing
    looks = compare(outside(), blurred, portraits)
    assert looks.faces == pytest.approx(1 - 1 / len(portraits))
    assert looks.render_faces == 1
    assert looks.psnr_db < 30


def test_feature_inner_error_by_hand() -> None:
    """Eyes 10 apart; every inner point off by 1, the jaw by 50, which does not count."""
    points = np.random.default_rng(0).random((68, 2))
    points[36:42], points[42:48] = [20, 30], [30, 30]
    moved = points + np.array([0.6, 0.8])
    moved[:17] += 50
    assert inner_error(moved, points) == pytest.approx(0.1)


def test_feature_frechet_ratio() -> None:
    rng = np.random.default_rng(0)
    one, other, near = rng.standard_normal((3, 500, 4))
    own, between, ratio = frechet_ratio(near, one, other)
    assert ratio == pytest.approx(own / between)
    assert 0.2 < ratio < 5  # three sets of one distribution
    assert frechet_ratio(near + 1, one, other)[2] > 20


def test_feature_z_is_the_worlds_own_latent(world: World, artist: Artist) -> None:
    z = world.latents("looks", 2, LATENT_DIM, skip=3)
    assert [factors_from_latent(row) for row in z] == world.factors("looks", 2, skip=3)


def test_shapes_artist_draws_in_batches(world: World, artist: Artist) -> None:
    factors = world.factors("looks", 3)
    drawn = artist.from_factors(factors)
    assert (drawn.shape, drawn.dtype) == ((3, SIZE, SIZE, 3), np.uint8)
    assert np.abs(drawn.astype(int) - replace(artist, batch=2).from_factors(factors)).max() <= 1
    assert not np.array_equal(drawn[0], drawn[1])
    with pytest.raises(ValueError, match="network for factors"):
        replace(artist, factors=None).from_factors(factors)


def test_feature_frechet_of_a_model_takes_other_portraits(artist: Artist, judges: Judges) -> None:
    rows = measure_frechet(artist, judges, 6, WATCH)
    assert [row.key for row in rows] == ["looks.frechet_ratio", "looks.frechet_factors"]
    for row in rows:
        assert row.value is not None
        assert row.value > 1  # an untrained generator
        assert "no Inception" in row.note
    assert [row.key for row in measure_frechet(replace(artist, factors=None), judges, 4, WATCH)] == [rows[0].key]


def test_feature_frechet_of_true_factors_is_the_synthesis_own(world: World, artist: Artist, judges: Judges) -> None:
    """Where true factors give the very renders, nothing is left of the distance but that of two sets of renders."""

    class Perfect(Artist):
        def from_factors(self, factors, noise_mode="const") -> np.ndarray:
            return world.pictures(factors)

    rows = measure_frechet(Perfect(artist.generator, artist.factors, world), judges, 6, WATCH)
    assert rows[1].value == pytest.approx(1)


# ---------------------------------------------------------------- inversion


def test_feature_recognition_by_hand() -> None:
    """Two people at right angles; A and B are 60 degrees apart, the inversion lies half way."""

    def at(*degrees: float) -> np.ndarray:
        planes = np.zeros((2, 4))
        for i, angle in enumerate(np.radians(degrees)):
            planes[i, 2 * i : 2 * i + 2] = np.cos(angle), np.sin(angle)
        return 3 * planes  # length does not count

    scores = recognition(at(30, 30), at(0, 0), at(60, 60))
    assert scores.same == pytest.approx(np.cos(np.pi / 6))
    assert scores.renders == pytest.approx(0.5)
    assert scores.different == pytest.approx(0)
    assert scores.ratio == pytest.approx(np.sqrt(3))
    assert (scores.rank1, scores.render_rank1, scores.own_rank1) == (1, 1, 1)
    swapped = recognition(at(30, 30)[::-1], at(0, 0), at(60, 60))
    assert (swapped.rank1, swapped.own_rank1, swapped.render_rank1) == (0, 0, 1)
    assert swapped.ratio == pytest.approx(0)


def test_exception_recognition() -> None:
    with pytest.raises(ValueError, match="two people or more"):
        recognition(*np.ones((3, 1, 4)))


def test_feature_pairs_are_one_person_in_two_pictures(world: World) -> None:
    seen = []
    renders = World(SimpleNamespace(render=lambda f, size: seen.append(f) or world.render(f)), SIZE)  # type: ignore
    found = list(pairs(renders, outside(), 2, at_rest=True))
    assert len(found) == 2
    assert [seen[0].identity, seen[2].identity] == [seen[1].identity, seen[3].identity]
    assert seen[0].identity != seen[2].identity
    assert seen[0].scene != seen[1].scene
    assert not any(one.motion.expression for one in seen)


def test_exception_no_faces_to_be_found(world: World) -> None:
    blind = OutsideJudge(SimpleNamespace(detect=lambda image, thorough: []), lambda image, landmarks: image)  # type: ignore
    with pytest.raises(UsageError, match="0 people only, expected 2"):
        list(pairs(world, blind, 2, at_rest=False))


def test_feature_calm_keeps_the_person(world: World) -> None:
    factors = world.factors("looks", 1)[0]
    rested = calm(factors)
    assert (rested.identity, rested.scene) == (factors.identity, factors.scene)
    assert rested.motion.yaw_deg == pytest.approx(0.4 * factors.motion.yaw_deg)


# ---------------------------------------------------------------- transfer


def reading(seed: int, count: int = 40) -> Reading:
    rng = np.random.default_rng(seed)
    return Reading(rng.normal(0, 10, (count, 3)), rng.random((count, 68, 2)), rng.random((count, 53)))


def test_feature_controls_by_name() -> None:
    one = reading(0, 2)
    values = dict(zip(CONTROLS, control_values(one)[0], strict=True))
    assert [values["yaw"], values["pitch"]] == one.pose_deg[0, :2].tolist()
    assert values["jaw_open"] == one.expression[0, EXPRESSION_NAMES.index("jawOpen")]
    left, right = (EXPRESSION_NAMES.index(f"eyeBlink_{side}") for side in "LR")
    assert values["blink"] == pytest.approx(one.expression[0, [left, right]].mean())
    assert len(CONTROLS) == 12


def test_feature_following_the_truth() -> None:
    true = reading(0)
    exact = following(true, true)
    assert (exact.pose_mae_deg, exact.landmark_error) == (0, 0)
    assert [exact.mean_control, exact.mean_ratio] == pytest.approx([1, 1])
    off = following(true, replace(true, pose_deg=true.pose_deg + np.array([3, -1, 50]), expression=-true.expression))
    assert off.pose_mae_deg == pytest.approx(2)  # roll does not count
    assert [off.controls["yaw"], off.controls["smile"]] == pytest.approx([1, -1])
    assert off.mean_control == pytest.approx((2 - 10) / 12)


def test_feature_a_control_that_never_moves_is_the_worst() -> None:
    true = reading(0)
    stiff = true.expression.copy()
    stiff[:, EXPRESSION_NAMES.index("jawOpen")] = 0.3
    got = following(true, replace(true, expression=stiff))
    assert got.least_control[0] == "jaw_open"
    assert not Bar(at_least=0.5).met(got.least_control[1])


def test_feature_transfer_pairs_and_their_right_answers(world: World) -> None:
    """A reenactor that copies the driver's picture answers with the wrong person, one that knows answers exactly."""
    factors = world.factors("transfer", 4)
    done = transfer(world, lambda identity, driving: driving, 3, WATCH)
    assert np.array_equal(done.identities, world.pictures(factors[:3]))
    assert np.array_equal(done.outputs, world.pictures(factors[1:]))
    assert [a.factors.identity for a in done.answers] == [f.identity for f in factors[:3]]
    assert [a.factors.motion for a in done.answers] == [f.motion for f in factors[1:]]
    rows, details = measure_transfer(replace(done, outputs=done.renders), outside(), None)
    values = {row.key: row.value for row in rows}
    assert values["transfer.psnr_db"] == float("inf")
    assert values["transfer.dlib_faces"] == 1
    assert (values["transfer.pose_mae_deg"], details) == (None, {})


def test_feature_truth_of_renders(world: World) -> None:
    portrait = world.render(world.factors("transfer", 1)[0])
    known = truth([portrait])
    assert known.pose_deg[0].tolist() == [portrait.yaw_deg, portrait.pitch_deg, portrait.roll_deg]
    assert np.allclose(known.landmarks[0] * SIZE, portrait.landmarks)
    assert known.expression.shape == (1, 53)


def test_shapes_judges(judges: Judges) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE, 3)).astype(np.uint8)
    read = judges.read(pictures)
    assert (read.pose_deg.shape, read.landmarks.shape, read.expression.shape) == ((5, 3), (5, 68, 2), (5, 53))
    assert judges.features(pictures).shape == (5, 2 * BODY.widths[-1])
    assert np.allclose(judges.features(pictures[3:]), judges.features(pictures)[3:], atol=1e-5)
    assert enlarged(pictures[0]).shape == (256, 256, 3)


def test_feature_judges_come_back_from_their_folder(judges: Judges, tmp_path: Path) -> None:
    about = {"name": "judges", "licence": "CC0"}
    save_networks(tmp_path / "judges", {"face_reader": judges.reader, "identity": judges.identity}, about)
    pictures = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3)).astype(np.uint8)
    again = Judges.load(tmp_path / "judges")
    assert np.allclose(again.read(pictures).pose_deg, judges.read(pictures).pose_deg, atol=0.02)
    assert np.allclose(again.features(pictures), judges.features(pictures), atol=0.02)


def test_exception_judges_of_another_kind(tmp_path: Path) -> None:
    save_networks(tmp_path / "wrong", {"generator": networks().generator}, {"name": "wrong", "licence": "CC0"})
    with pytest.raises(ConfigError, match=r"generator \(StyleGAN2Generator\); expected face_reader"):
        Judges.load(tmp_path / "wrong")


# ---------------------------------------------------------------- the report


def rows() -> list[Row]:
    return [
        Row(key="a", text="good", value=2.0, bar=Bar(at_most=3), ceiling=1.0),
        Row(key="b", text="short", value=0.5, bar=Bar(at_least=0.7, at_most=1.3)),
        Row(key="c", text="unread", value=None, bar=Bar(at_least=1), note="no judges"),
        Row(key="d", text="broken", value=float("nan"), bar=Bar(at_least=1)),
        Row(key="e", text="extra", value=7.0),
    ]


def test_feature_report_says_what_missed(tmp_path: Path) -> None:
    report = Report(protocol="synthetic", model="m", settings={"people": 3}, rows=rows(), sheets=["looks.png"])
    assert [row.key for row in report.missed] == ["b", "c", "d"]
    assert "| good | ≤ 3 | 2 | 1 | met |" in report.table()
    assert "| short | 0.7 – 1.3 | 0.5 |  | **missed** |" in report.table()
    assert "| unread | ≥ 1 | not available |" in report.table()
    report.save(tmp_path)
    saved = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert [row["met"] for row in saved["rows"]] == [True, False, None, False, None]
    assert "![looks](looks.png)" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_feature_whole_protocol_at_toy_size(artist: Artist, judges: Judges, tmp_path: Path) -> None:
    reenactor = LatentReenactor(networks(), name="tiny", framing=1.12)
    config = SyntheticConfig(portraits=3, samples=4, people=2, pairs=3)
    found: list[Row] = []
    names = []
    for part, sheets, _ in measure(reenactor, artist, outside(), judges, config, WATCH):
        found += part
        names += [sheet.save(tmp_path, "tiny") for sheet in sheets]
    assert {"looks.png", "inversion.png", "transfer.png"} <= set(names)
    assert "render" in read_provenance(tmp_path / "looks.png").operation  # type: ignore[union-attr]
    measured = {row.key: row.value for row in found}
    barred = {row.key for row in found if row.bar is not None}
    assert barred == {
        *(f"looks.{name}" for name in ("psnr_db", "faces", "inner_error", "detail")),
        *("inversion.ratio", "inversion.rank1", "inversion.free.ratio"),
        *(f"transfer.{name}" for name in ("pose_mae_deg", "control_mean_r", "control_least_r", "ratio_r")),
    }
    assert all(measured[key] is not None for key in barred)
    assert measured["looks.frechet_ratio"] is not None  # and no bar: four samples prove nothing
    assert len(measured) == len(found)


def test_feature_without_factors_and_judges(artist: Artist) -> None:
    reenactor = LatentReenactor(networks(), name="tiny", framing=1.12)
    config = SyntheticConfig(portraits=2, samples=2, people=2, pairs=2)
    parts = measure(reenactor, replace(artist, factors=None), outside(), None, config, WATCH)
    values = {row.key: row for part, _, _ in parts for row in part}
    for key in ("looks.psnr_db", "looks.frechet_ratio", "transfer.control_least_r"):
        assert (values[key].value, values[key].met) == (None, None)
        assert values[key].note
        assert values[key].bar is not None
    assert values["looks.z_psnr_db"].value is not None


@pytest.mark.parametrize("sizes", [{"portraits": 0}, {"people": 1}, {"samples": 1}, {"pairs": 1}])
def test_exception_sizes(sizes: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="expected at least"):
        SyntheticConfig(**sizes)
