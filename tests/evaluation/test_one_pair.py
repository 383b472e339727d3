"""One pair through several systems."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny
from fake_reenactor import SKIN, FakeReenactor

from latent_reenact.errors import LatentReenactError, NoFaceError
from latent_reenact.evaluation.estimators import FaceReading
from latent_reenact.evaluation.one_pair import MEASURES, available_systems, compare_on_pair
from latent_reenact.media import VideoWriter, write_image


class Judge:
    name, fingerprint, units = "judge", "1", None

    def read(self, pictures: np.ndarray) -> FaceReading:
        """Yaw is how red a picture is; the first of several shows no face."""
        yaw = pictures.reshape(len(pictures), -1, 3).mean(1)[:, 0]
        pose = np.stack([yaw, np.zeros_like(yaw), np.zeros_like(yaw)], 1)
        if len(pictures) > 1:
            pose[0] = np.nan
        points = np.tile(tiny.frontal_landmarks(), (len(pictures), 1, 1))
        return FaceReading(pose_deg=pose, landmarks=points, identity=np.ones((len(pictures), 4)))

    def distance(self) -> None:
        return None


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path, Path]:
    """An identity, a driving picture, a driving clip."""
    picture = np.full((96, 96, 3), 30, np.uint8)
    picture[24:72, 24:72] = SKIN
    write_image(tmp_path / "a.png", picture, marks=None)
    with VideoWriter(tmp_path / "b.mp4", fps=10, crf=1) as out:
        for _ in range(5):
            out.write(picture)
    return tmp_path / "a.png", tmp_path / "a.png", tmp_path / "b.mp4"


def test_smoke_picture(pair: tuple[Path, Path, Path]) -> None:
    (result,) = compare_on_pair([("fake", FakeReenactor)], pair[0], pair[1], judge=Judge())
    assert result.frames is not None
    assert result.frames.shape == (1, 64, 64, 3)
    assert set(result.scores) == {m.key for m in MEASURES}
    assert result.scores["pose"] < 2, "the result has the colour of the driving"
    assert result.scores["expression"] == 0
    assert result.scores["person"] == pytest.approx(1)


def test_feature_clip_and_a_system_that_fails(pair: tuple[Path, Path, Path]) -> None:
    def broken() -> FakeReenactor:
        raise LatentReenactError("no weights")

    told: list[float] = []
    systems = [("broken", broken), ("fake", FakeReenactor)]
    results = list(
        compare_on_pair(
            systems, pair[0], pair[2], judge=Judge(), max_frames=3, tell=lambda done, total, unit: told.append(done)
        )
    )
    assert (results[0].problem, results[0].frames) == ("no weights", None)
    assert results[1].frames is not None
    assert len(results[1].frames) == 3
    assert results[1].fps == 10
    assert np.isfinite(list(results[1].scores.values())).all()
    assert told == sorted(told)
    assert told[-1] == 2


def test_exception_no_face(pair: tuple[Path, Path, Path], tmp_path: Path) -> None:
    write_image(tmp_path / "empty.png", np.zeros((64, 64, 3), np.uint8), marks=None)
    with pytest.raises(NoFaceError):
        list(compare_on_pair([("fake", FakeReenactor)], pair[0], tmp_path / "empty.png", judge=Judge()))


def test_feature_available_systems() -> None:
    assert "builtin" in available_systems(clips=False)
    assert "linear-builtin" not in available_systems(clips=False)
    assert {"builtin", "linear-builtin"} <= set(available_systems(clips=True))
