"""The protocol `control`: measures whose answer is known, on pictures that say what was asked of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("numba")

import tiny
import torch

from latent_reenact.cli import main
from latent_reenact.editing import sample_identity
from latent_reenact.errors import ConfigError, UsageError
from latent_reenact.evaluation import control
from latent_reenact.evaluation.control_sweeps import Sweeps, asked_values, likeness_kept, run_sweeps
from latent_reenact.evaluation.judges import OutsideJudge
from latent_reenact.face import Face
from latent_reenact.media import read_provenance
from latent_reenact.models import (
    FaceReader,
    FaceReaderConfig,
    IdentityEmbedder,
    IdentityEmbedderConfig,
    save_networks,
)
from latent_reenact.synthface.controls import control_columns
from latent_reenact.synthface.tiny import tiny_arrays
from latent_reenact.systems import LatentReenactor

NAMES = ("yaw_deg", "smile", "jaw_open")
SPANS = np.array([60.0, 1.0, 0.7])
WATCH = lambda done, total, unit: None  # noqa: E731
Answer = Callable[[int, np.ndarray], np.ndarray]
"""(person, asked [K]) -> what their picture shows, [K]."""


class TellingJudge:
    """Reads the numbers that a picture carries in its first pixels."""

    def motion(self, pictures: np.ndarray) -> np.ndarray:
        motion = np.zeros((len(pictures), 58))
        for k, name in enumerate(NAMES):
            motion[:, control_columns(name)] = pictures[:, 0, k, :1]
        return motion


def people(count: int, answer: Answer) -> list[Callable]:
    def person(number: int):
        def draw(settings: Sequence[Mapping[str, float]]) -> np.ndarray:
            pictures = np.zeros((len(settings), 4, 4, 3), np.float32)
            for picture, one in zip(pictures, settings, strict=True):
                shown = answer(number, np.array([one.get(name, 0.0) for name in NAMES]))
                picture[0, :3, 0] = shown
                picture[1, 0, 0] = number  # who it is, for the outside judge
            return pictures

        return draw

    return [lambda number=i: person(number) for i in range(count)]


class KnowingJudge(OutsideJudge):
    """Tells people by the number in their picture; a turned head is a little less like itself."""

    def __init__(self) -> None:
        super().__init__(detector=tiny.CentreDetector(), describe=lambda image, landmarks: np.zeros(3))

    def find(self, picture: np.ndarray) -> Face | None:
        return Face((0.0, 0.0, 1.0, 1.0), 1.0, np.zeros((68, 2)))

    def describe(self, picture: np.ndarray, face: Face | None, *, instead: Face) -> np.ndarray:
        who, turned = picture[1, 0, 0], abs(picture[0, 0, 0]) / 30
        return np.array([np.cos(who), np.sin(who), 0.1 * turned])


def swept(answer: Answer, count: int = 3) -> Sweeps:
    judges: object = TellingJudge()
    return run_sweeps(NAMES, people(count, answer), judges, KnowingJudge(), 5, WATCH)  # type: ignore[arg-type]


def test_smoke_perfect_sliders() -> None:
    sweeps = swept(lambda person, asked: asked)
    for k in range(len(NAMES)):
        assert sweeps.correlation(k) == pytest.approx(1)
        assert sweeps.correlation_over_people(k) == pytest.approx(1)
        assert sweeps.error(k) == pytest.approx(0, abs=1e-6)
    assert sweeps.leakage().max() == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(sweeps.spans, SPANS)


def test_feature_leakage_is_a_share_of_the_others_range() -> None:
    """A full turn to the right opens the mouth by a quarter of its range; going left does as much."""
    sweeps = swept(lambda person, asked: asked + np.array([0, 0, 0.25 * 0.7 * abs(asked[0]) / 30]))
    assert sweeps.leakage()[0].round(4).tolist() == [0, 0, 0.25]
    assert sweeps.worst_leakage(0) == ("jaw_open", pytest.approx(0.25))
    assert sweeps.worst_leakage(1)[1] == pytest.approx(0, abs=1e-6)
    assert sweeps.leakage_beyond(sweeps).max() == 0
    assert sweeps.leakage_beyond(swept(lambda person, asked: asked))[0, 2] == pytest.approx(0.25)


def test_feature_what_differs_between_people_counts_over_people_only() -> None:
    """Each person's smile is read with an offset of their own: the sweep follows all the same."""
    sweeps = swept(lambda person, asked: asked + np.array([0, 0.5 * person, 0]))
    assert sweeps.correlation(1) == pytest.approx(1)
    assert sweeps.correlation_over_people(1) < 0.8
    assert sweeps.error(1) == pytest.approx(0.5)  # 0, 0.5 and 1


def test_feature_a_slider_that_does_nothing_has_no_correlation() -> None:
    sweeps = swept(lambda person, asked: asked * np.array([1, 0, 1]))
    assert np.isnan(sweeps.correlation(1))
    row = next(row for row in control.rows(sweeps, None) if row.key == "control.smile.r")
    assert row.met is False


def test_feature_likeness() -> None:
    calm, turned = swept(lambda person, asked: asked * np.array([0, 1, 1])), swept(lambda person, asked: asked)
    assert calm.same() == pytest.approx(1)
    assert calm.rank1() == turned.rank1() == 1
    assert calm.strangers() == pytest.approx((2 * np.cos(1) + np.cos(2)) / 3)
    assert turned.same(1) == pytest.approx(1)
    assert turned.same(0) == pytest.approx(1 / np.sqrt(1.01))
    assert likeness_kept(calm, calm) == pytest.approx(1)
    assert 0.9 < likeness_kept(turned, calm) < 1
    strange = swept(lambda person, asked: asked, count=2)
    mixed = Sweeps(NAMES, strange.asked, strange.measured, strange.rest[::-1], strange.ends, 0)  # nobody is themselves
    assert mixed.rank1() == 0


def test_feature_values_run_from_end_to_end() -> None:
    assert asked_values(("yaw_deg", "smile"), 3).tolist() == [[-30, 0, 30], [0, 0.5, 1]]
    with pytest.raises(ConfigError, match="unknown control 'wink'"):
        asked_values(("wink",), 3)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """(model, judges, mesh)."""
    folder = tmp_path_factory.mktemp("control")
    torch.manual_seed(2)
    body = tiny.BODY
    reader = FaceReader(FaceReaderConfig(input_size=32, body=body, heat_stage=0, heat_width=4, bottleneck=8))
    torch.nn.init.normal_(reader.motion[2].weight)
    readers = {"face_reader": reader, "identity": IdentityEmbedder(IdentityEmbedderConfig(input_size=16, body=body))}
    model = {name: network for name, network in vars(tiny.networks()).items() if network is not None}
    save_networks(folder / "tiny", {**model, **readers}, tiny.ABOUT)
    save_networks(folder / "judges", readers, {"name": "judges"})
    np.savez(folder / "mesh.npz", **tiny_arrays())
    return folder / "tiny", folder / "judges", folder / "mesh.npz"


def outside() -> OutsideJudge:
    return OutsideJudge(tiny.CentreDetector(), lambda image, landmarks: image.mean((0, 1)).astype(float))


def test_feature_whole_protocol(folders, tmp_path) -> None:
    model, judges, mesh = folders
    config = control.ControlConfig(people=2, values=3, seed=4)
    reports = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        reports.append(
            control.evaluate(
                model, tmp_path / name, sample_identity, judges=judges, mesh=mesh, config=config, outside=outside()
            )
        )
    texts = [(tmp_path / name / "report.json").read_text() for name in ("one", "two")]
    assert texts[0] == texts[1]
    keys = {row.key for row in reports[0].rows}
    assert {"control.yaw_deg.r", "control.yaw_deg.error", "control.smile.leakage", "control.likeness"} <= keys
    assert all(row.ceiling is not None for row in reports[0].rows if row.bar is not None and "leakage" not in row.key)
    data = json.loads(texts[0])
    assert data["details"]["drawn"]["leakage"]["yaw_deg"].keys() == {"yaw_deg", "smile"}
    assert data["settings"]["reader"] == "judges"
    assert read_provenance(tmp_path / "one" / "drawn.png") is not None
    markdown = (tmp_path / "one" / "report.md").read_text()
    assert "Leakage (renders)" in markdown
    assert "| 1 yaw_deg | · |" in markdown


def test_feature_own_start_and_own_readers(folders, tmp_path) -> None:
    model, _, mesh = folders
    config = control.ControlConfig(people=2, values=3, own=True)
    report = control.evaluate(model, tmp_path, sample_identity, mesh=mesh, config=config, outside=outside())
    assert report.settings["reader"] == "tiny's own networks"
    alone = control.evaluate(model, tmp_path, sample_identity, config=config, outside=outside())
    assert all(row.ceiling is None for row in alone.rows)
    first = {row.key: row.value for row in report.rows}
    same = [row for row in alone.rows if row.key != "control.likeness"]  # which is stricter without renders
    np.testing.assert_array_equal([row.value for row in same], [first[row.key] for row in same])


def test_feature_own_start_keeps_what_is_not_asked() -> None:
    from latent_reenact.synthface import Factors
    from latent_reenact.synthface.factors import Motion

    factors = Factors(motion=Motion(yaw_deg=20, pitch_deg=5, expression={"jawOpen": 0.3}))
    moved = control._motion(factors, {"yaw_deg": -10, "smile": 1}, own=True)
    assert (moved.yaw_deg, moved.pitch_deg) == (-10, 5)
    assert moved.expression == {"jawOpen": 0.3, "mouthSmile_L": 1, "mouthSmile_R": 1}
    assert control._motion(factors, {"smile": 1}, own=False).yaw_deg == 0


def test_exception_models_without_sliders(folders, tmp_path, monkeypatch) -> None:
    model, judges, _ = folders
    for system, kind, match in (
        (SimpleNamespace(name="linear"), UsageError, "linear baseline"),
        (LatentReenactor(replace(tiny.networks(), control=None), name="bare"), ConfigError, "bare has no sliders"),
    ):
        monkeypatch.setattr(control, "load", lambda *_, system=system, **__: system)
        with pytest.raises(kind, match=match):
            control.evaluate(model, tmp_path, sample_identity, judges=judges)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [{"people": 1}, {"values": 2}, {"seed": -1}])
def test_exception_too_little_to_measure(words) -> None:
    with pytest.raises(ConfigError, match="expected at least"):
        control.ControlConfig(**words)


def test_feature_on_the_command_line(folders, tmp_path, capsys, monkeypatch) -> None:
    model, judges, _ = folders
    monkeypatch.setattr(control, "OutsideJudge", outside)
    out = tmp_path / "report"
    words = ["evaluate", model, "--protocol", "control", "--judges", judges, "--quick", "--people", 2, "-o", out]
    assert main([*map(str, words), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["settings"]["people"] == 2
    assert (out / "report.md").is_file()
