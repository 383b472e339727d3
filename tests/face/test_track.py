from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import numpy as np
import pytest
from synthetic_face import SquareDetector, frame, template

from latent_reenact.errors import ManyFacesError, NoFaceError, UsageError
from latent_reenact.face import Face, FaceTrack, Smoothing, TrackedFrame, Which, alignment_from_landmarks

EMPTY = frame()


def walk(count: int = 12, step: int = 3) -> list[np.ndarray]:
    """A face that moves to the right."""
    return [frame((40 + step * i, 60, 100 + step * i, 120)) for i in range(count)]


def track(frames: list[np.ndarray], **options: object) -> list[TrackedFrame]:
    return list(FaceTrack(SquareDetector(), **options).stream(frames))  # type: ignore[arg-type]


def centres(tracked: list[TrackedFrame]) -> np.ndarray:
    return np.array([t.alignment.centre for t in tracked])


def test_smoke() -> None:
    frames = walk()
    tracked = track(frames, smoothing="none")
    assert all(t.image is image and t.found for t, image in zip(tracked, frames, strict=True))
    assert centres(tracked)[:, 0] == pytest.approx(centres(tracked)[0, 0] + 3 * np.arange(12), abs=1.5)


def test_feature_looks_near_after_the_first_frame() -> None:
    detector = SquareDetector()
    list(FaceTrack(detector).stream(walk()))
    assert detector.shapes[0] == (240, 320)
    assert all(shape != (240, 320) for shape in detector.shapes[1:])


class FollowingDetector(SquareDetector):
    """Its landmarks find the square that is there, as dlib's find a face, and lead to the very same box."""

    def landmarks(self, image: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
        rows, columns = np.nonzero(image[..., 0])
        side = columns.max() - columns.min() + 1
        points = template() - template().mean(0)
        points *= side / (2.8 * np.sqrt(points.var(0).sum()))
        return np.add(points, [columns.mean() + 0.5, rows.mean() + 0.5 + 0.036 * side])

    def detect(self, image: np.ndarray, *, thorough: bool = True) -> list[Face]:
        found = super().detect(image, thorough=thorough)
        return [Face(face.box, face.score, self.landmarks(image, face.box)) for face in found]


@pytest.mark.parametrize(("step", "looks"), [(0, 4), (6, 13)])
def test_feature_detect_every_spares_looks_at_a_still_head(step: int, looks: int) -> None:
    detector = FollowingDetector()
    tracked = list(FaceTrack(detector, detect_every=4, smoothing="none").stream(walk(13, step=step)))
    assert len(detector.shapes) == looks
    assert centres(tracked)[:, 0] == pytest.approx(centres(tracked)[0, 0] + step * np.arange(13), abs=0.5)


def test_feature_leading_frames_get_the_first_alignment() -> None:
    tracked = track([EMPTY] * 5 + walk(3), patience=6)
    assert [t.found for t in tracked] == [False] * 5 + [True] * 3
    assert all(t.alignment == tracked[5].alignment for t in tracked[:5])


def test_feature_a_gap_holds_the_alignment() -> None:
    frames = walk(4) + [EMPTY] * 20 + walk(4)
    tracked = track(frames, smoothing="none")
    lost = [t for t in tracked if not t.found]
    assert len(tracked) == len(frames)
    assert 8 <= len(lost) <= 24
    assert all(t.face is None and t.alignment == lost[0].alignment for t in lost)
    assert tracked[-1].found


def test_feature_fixed_keeps_the_first_crop() -> None:
    tracked = track(walk(), smoothing="fixed")
    assert all(t.alignment == tracked[0].alignment for t in tracked)
    assert tracked[-1].face is not None
    assert tracked[-1].face.box[0] > tracked[0].face.box[0] + 20  # type: ignore[union-attr]


def test_feature_lowpass_follows_within_reach() -> None:
    raw, smooth = (centres(track(walk(), smoothing=s)) for s in ("none", "lowpass"))
    assert 0 < np.abs(raw - smooth).max() < 12


def test_feature_scale_reaches_the_alignment() -> None:
    plain, wide = (track(walk(1), scale=s)[0].alignment.side for s in (1.0, 1.12))
    assert wide == pytest.approx(1.12 * plain)


@pytest.mark.parametrize(("which", "left"), [("largest", 150), (0, 150), (1, 20)])
def test_feature_which(which: Which, left: int) -> None:
    both = frame((20, 20, 70, 70), (150, 60, 240, 150))
    (tracked,) = track([both], which=which, smoothing="none")
    assert abs(tracked.alignment.centre[0] - (left + (25 if left == 20 else 45))) < 10


def test_feature_stays_with_the_face_it_began_with() -> None:
    def scene(i: int) -> np.ndarray:
        newcomer = [(180, 60, 300, 180)] if i > 3 else []
        return frame((30 + i, 60, 90 + i, 120), *newcomer)

    tracked = track([scene(i) for i in range(30)], smoothing="none")
    assert all(t.found for t in tracked)
    assert centres(tracked)[:, 0].max() < 120


def test_feature_a_cut_is_followed_after_a_moment() -> None:
    tracked = track(walk(3) + [frame((220, 100, 300, 180))] * 30, smoothing="none")
    assert tracked[-1].found
    assert tracked[-1].alignment.centre[0] > 240


def test_feature_update_one_by_one() -> None:
    one = FaceTrack(SquareDetector())
    assert one.update(EMPTY) is None
    assert one.alignment is None
    face = one.update(walk(1)[0])
    assert face is not None
    assert one.alignment == alignment_from_landmarks(face.landmarks)


def test_feature_frames_are_let_go() -> None:
    alive: list[weakref.ref[np.ndarray]] = []

    def held() -> Iterator[np.ndarray]:
        for i in range(40):
            image = frame((40 + i, 60, 100 + i, 120))
            alive.append(weakref.ref(image))
            yield image

    for tracked in FaceTrack(SquareDetector()).stream(held()):
        del tracked
    gc.collect()
    assert sum(r() is not None for r in alive) <= 1


def test_feature_real_detector_follows_a_portrait(detector: object, portrait: np.ndarray) -> None:
    frames = [np.roll(portrait, 2 * i, axis=1) for i in range(8)]
    tracked = list(FaceTrack(detector, smoothing="none").stream(frames))  # type: ignore[arg-type]
    assert all(t.found for t in tracked)
    side = tracked[0].alignment.side
    assert centres(tracked)[:, 0] == pytest.approx(centres(tracked)[0, 0] + 2 * np.arange(8), abs=0.03 * side)


def test_feature_sample_clip(detector: object, driving: list[np.ndarray]) -> None:
    """The shipped clip is followed in nearly every frame, and the smoothed crop is steadier than the raw one."""
    raw, smooth = (list(FaceTrack(detector, smoothing=s).stream(driving)) for s in ("none", "lowpass"))  # type: ignore[arg-type]
    assert np.mean([t.found for t in raw]) > 0.95
    sides = [np.array([t.alignment.side for t in tracked]) for tracked in (raw, smooth)]
    unsteady_raw, unsteady_smooth = (np.abs(np.diff(s, 2)).mean() for s in sides)
    assert unsteady_smooth < 0.6 * unsteady_raw


def test_exception_no_face_at_all() -> None:
    with pytest.raises(NoFaceError, match=r"no face found in the first 6 frames of talk\.mp4"):
        track([EMPTY] * 50, patience=6, name="talk.mp4")


def test_exception_ends_before_its_first_face() -> None:
    with pytest.raises(NoFaceError, match="first 3 frames"):
        track([EMPTY] * 3)


def test_exception_gone_for_too_long() -> None:
    with pytest.raises(NoFaceError, match=r"gone since frame \d+, 5 frames ago"):
        track(walk(3) + [EMPTY] * 60, max_gap=5)


def test_exception_several_where_one_was_expected() -> None:
    both = frame((20, 20, 70, 70), (150, 60, 240, 150))
    with pytest.raises(ManyFacesError, match="frame 2 of the video, got 2 faces"):
        track([EMPTY, both], which="only")


@pytest.mark.parametrize("options", [{"smoothing": "median"}, {"which": "all"}, {"patience": 0}, {"fps": 0}])
def test_exception_options(options: dict[str, Which | Smoothing | int]) -> None:
    with pytest.raises(UsageError):
        FaceTrack(SquareDetector(), **options)  # type: ignore[arg-type]


def test_exception_not_a_picture() -> None:
    with pytest.raises(ValueError, match="expected an RGB picture"):
        FaceTrack(SquareDetector()).update(np.zeros((5, 5)))
