"""Pair lists, intervals, published figures, estimators' names: cases worked by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import BODY, networks

from latent_reenact.errors import ConfigError, UsageError
from latent_reenact.evaluation.estimators import FaceReading, NetworkEstimator, Units, load_estimator
from latent_reenact.evaluation.html import interval_plot
from latent_reenact.evaluation.measures import Estimate, Measure, bootstrap, frechet_of, id_threshold, measure_reading
from latent_reenact.evaluation.pairs import draw_pairs, read_pairs, write_pairs
from latent_reenact.evaluation.published import TABLE_4_1, agreements, published_row
from latent_reenact.models import HopeNet, IdentityEmbedder, IdentityEmbedderConfig, save_networks
from latent_reenact.models.head_pose import HopeNetConfig
from latent_reenact.models.resnet import ResNetConfig

PEOPLE = {f"{person}/{clip}": person for person in "abcd" for clip in range(3)}


def test_smoke() -> None:
    pairs = draw_pairs(PEOPLE, "cross", 4, seed=3)
    assert len({PEOPLE[pair.identity] for pair in pairs}) == 4


@pytest.mark.parametrize("count", [2, 4, 7, 12, 40])
def test_feature_cross_pairs(count: int) -> None:
    """Different people, no pair twice, the same for the same seed; every clip is as often identity as driving."""
    pairs = draw_pairs(PEOPLE, "cross", count, seed=5)
    assert len({*pairs}) == len(pairs) == count
    assert all(PEOPLE[pair.identity] != PEOPLE[pair.driving] for pair in pairs)
    assert pairs == draw_pairs(PEOPLE, "cross", count, seed=5)
    assert pairs != draw_pairs(PEOPLE, "cross", count, seed=6)
    if count == 4:
        assert sorted(p.identity for p in pairs) == sorted(p.driving for p in pairs)


def test_feature_self_pairs() -> None:
    pairs = draw_pairs(PEOPLE, "self", 99, seed=0)
    assert sorted(pair.identity for pair in pairs) == sorted(PEOPLE)
    assert all(pair.identity == pair.driving for pair in pairs)


def test_exception_one_person() -> None:
    with pytest.raises(UsageError, match="got 2 clips of 1 people"):
        draw_pairs({"a/0": "a", "a/1": "a"}, "cross", 5, seed=0)
    with pytest.raises(UsageError, match="got 0 clips"):
        draw_pairs({}, "self", 5, seed=0)


def test_feature_pairs_come_back_from_their_file(tmp_path: Path) -> None:
    pairs = draw_pairs(PEOPLE, "cross", 6, seed=1)
    write_pairs(tmp_path / "pairs.json", pairs, "cross", 1)
    assert read_pairs(tmp_path / "pairs.json", PEOPLE) == pairs


@pytest.mark.parametrize(
    ("content", "why"),
    [("[1]", "no list of pairs"), ('{"pairs": [["a/0"]]}', "no list of pairs"), ('{"pairs": []}', "names no pairs")],
)
def test_exception_pairs_file(tmp_path: Path, content: str, why: str) -> None:
    (tmp_path / "pairs.json").write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=why):
        read_pairs(tmp_path / "pairs.json", PEOPLE)
    (tmp_path / "pairs.json").write_text(json.dumps({"pairs": [["a/0", "x"]]}), encoding="utf-8")
    with pytest.raises(ConfigError, match="the clip 'x', which is not here"):
        read_pairs(tmp_path / "pairs.json", PEOPLE)


# ---------------------------------------------------------------- numbers


def test_feature_bootstrap() -> None:
    assert bootstrap([2.0, 2.0, float("nan")]) == Estimate(2.0, 2.0, 2.0, 2)
    assert bootstrap([float("nan")]).n == 0
    values = np.random.default_rng(0).normal(5, 1, 100).tolist()
    found = bootstrap(values, seed=4)
    assert found == bootstrap(values, seed=4)
    # The standard error is 0.1: the interval is about 3.92 of it wide.
    assert found.high - found.low == pytest.approx(0.392, rel=0.25)
    assert found.low < found.mean < found.high


def test_feature_measures_of_one_pair_by_hand() -> None:
    """Yaw is 3° off in the five frames that show a face; a sixth shows none. Half of the cosines are 0."""
    driving = FaceReading(
        pose_deg=np.zeros((6, 3)),
        units=np.stack([np.arange(6.0), np.arange(6.0) / 1000], 1),
        identity=np.ones((6, 2)),
    )
    pose = np.tile([3.0, 0, 0], (6, 1))
    pose[5] = np.nan
    identity = np.array([[1.0, 0], [0, 1], [1, 0], [0, 1], [np.nan, np.nan], [np.nan, np.nan]])
    generated = FaceReading(pose_deg=pose, units=np.stack([2 * np.arange(6.0), np.zeros(6)], 1), identity=identity)
    units = Units(word="blendshapes", names=("a", "b"), least_deviation=0.1)
    values = measure_reading("t", units, generated, driving, np.array([1.0, 0]), None, 0.5)
    assert values == pytest.approx(
        {
            **{"t.pose_mae": 1.5, "t.prmse": np.sqrt(3), "t.faces": 500 / 6, "t.units_r": 1.0},
            **{"t.csim": 0.5, "t.id_percent": 50.0},
        }
    )
    flat = FaceReading(landmarks=np.full((6, 68, 2), 0.5), identity=np.zeros((6, 2)))  # a reader that sees nothing
    nothing = measure_reading("t", None, flat, flat, np.array([1.0, 0]), flat, 0.5)
    assert nothing.pop("t.fl") == 0
    assert nothing.pop("t.faces") == 100
    assert np.isnan([*nothing.values()]).all()
    blind = FaceReading(pose_deg=np.full((6, 3), np.nan))
    assert np.isnan(measure_reading("t", None, blind, driving, None, None, None)["t.pose_mae"])


def test_feature_frechet_and_threshold() -> None:
    features = np.random.default_rng(0).normal(size=(20, 3))
    readings = [FaceReading(features=features[:10]), FaceReading(features=features[10:])]
    assert frechet_of(readings, readings) == pytest.approx(0, abs=1e-6)
    assert frechet_of([], readings) is None
    assert id_threshold({"a": np.array([1.0, 0]), "b": np.array([0.0, 1]), "c": np.array([np.nan, 0])}) == 0
    assert id_threshold({"a": np.array([1.0, 0])}) is None


def test_feature_published_order() -> None:
    pose = Measure(key="p", text="Pose MAE", reader="dlib", unit="°", better="less", published="Pose MAE")
    values = {
        "latent": [{"p": 5.0}, {"p": 6.0}, {"p": 7.0}],
        "linear-psp": [{"p": 6.0}, {"p": 7.1}, {"p": 8.0}],  # worse in every pair, as published
        "linear-e4e": [{"p": 1.0}, {"p": 1.0}, {"p": 2.0}],  # the best here, the worst there
        "mine": [{"p": 0.0}] * 3,
    }
    found = {(a.better, a.worse): a.ours for a in agreements([pose], values)}
    assert found == {
        ("latent", "linear-psp"): True,
        ("latent", "linear-e4e"): False,
        ("linear-psp", "linear-e4e"): False,
    }
    values["linear-psp"] = [{"p": 4.0}, {"p": 7.0}, {"p": 7.5}]
    assert agreements([pose], values)[0].ours is None
    assert published_row("Latent") == TABLE_4_1["latent"] == (7.673, 0.620, 0.142, 0.801)
    assert published_row("mine") is None


def test_feature_plot_shows_every_system() -> None:
    drawn = interval_plot(
        Measure(key="k", text="<PSNR>", unit="dB"), {"a": Estimate(1, 0.5, 1.5, 3), "b": Estimate(2, 2, 2, 1)}
    )
    assert drawn.count("<circle") == 2
    assert "&lt;PSNR&gt;, dB" in drawn
    assert interval_plot(Measure(key="k", text="x"), {"a": Estimate(float("nan"), 0, 0, 0)}) == ""


# ---------------------------------------------------------------- estimators


def hopenet() -> HopeNet:
    return HopeNet(HopeNetConfig(input_size=32, backbone=ResNetConfig(num_classes=None, depths=(1, 1, 1, 1)))).eval()


def pictures(count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3)).astype(np.uint8)


def test_feature_hopenets_signs_become_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    network = hopenet()
    monkeypatch.setattr(HopeNet, "forward", lambda self, images: torch.tensor([[10.0, 5, -3]]).repeat(len(images), 1))
    read = NetworkEstimator({"pose": network}, name="x", fingerprint="").read(pictures())
    assert read.pose_deg is not None
    assert read.pose_deg.tolist() == [[-10, 5, 3]] * 3
    assert (read.landmarks, read.identity) == (None, None)


def embedder() -> IdentityEmbedder:
    return IdentityEmbedder(IdentityEmbedderConfig(input_size=32, embedding=8, body=BODY)).eval()


def test_feature_official_names_are_for_published_files(tmp_path: Path) -> None:
    about = {"name": "arcface-ir-se50", "licence": "MIT"}
    save_networks(tmp_path / "ours", {"identity": embedder()}, about)
    ours = load_estimator(tmp_path / "ours")
    assert ours.name == "arcface-ir-se50"  # the folder's own name, whatever it is; not "ArcFace (...)"
    published = {**about, "converted_from": [{"file": "model_ir_se50.pth", "bytes": 175367323}]}
    save_networks(tmp_path / "theirs", {"identity": embedder()}, published)
    theirs = load_estimator(tmp_path / "theirs")
    assert theirs.name == "ArcFace (arcface-ir-se50)"
    assert (theirs.distance(), theirs.units) == (None, None)
    other = {**about, "converted_from": [{"file": "model_ir_se50.pth", "bytes": 7}]}
    save_networks(tmp_path / "altered", {"identity": embedder()}, other)
    assert load_estimator(tmp_path / "altered").name == "arcface-ir-se50"
    assert ours.fingerprint != theirs.fingerprint


def test_feature_distance_is_named_as_what_it_is() -> None:
    found = NetworkEstimator({"identity": embedder()}, name="mine", fingerprint="").distance()
    assert found is not None
    assert found[0] == "feature distance, networks of mine"


def test_exception_nothing_reads_faces(tmp_path: Path) -> None:
    save_networks(tmp_path / "g", {"generator": networks().generator}, {"name": "g", "licence": "CC0"})
    with pytest.raises(ConfigError, match="none of which reads faces"):
        load_estimator(tmp_path / "g")
