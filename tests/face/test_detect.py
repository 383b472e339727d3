from __future__ import annotations

import builtins
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from latent_reenact.errors import LatentReenactError, ManyFacesError, MissingDependencyError, NoFaceError, UsageError
from latent_reenact.face import DlibDetector, Face, Which, alignment_from_landmarks, choose_face, detect, parse_which

FACES = [Face((10.0 * i, 0.0, 90.0, 90.0), 1.0, np.zeros((68, 2))) for i in range(3)]  # largest first


def placed(portrait: np.ndarray, size: int, canvas: tuple[int, int], at: tuple[int, int]) -> np.ndarray:
    """The portrait, `size` pixels wide, on a grey canvas [H, W]."""
    image = np.full((*canvas, 3), 120, np.uint8)
    small = np.array(Image.fromarray(portrait).resize((size, size), Image.Resampling.LANCZOS))
    image[at[1] : at[1] + size, at[0] : at[0] + size] = small
    return image


def test_smoke(detector: DlibDetector, portrait: np.ndarray) -> None:
    (face,) = detector.detect(portrait)
    assert face.landmarks.shape == (68, 2)
    assert face.score > 0
    left, top, right, bottom = face.box
    inside = (face.landmarks > (left, top)) & (face.landmarks < (right, bottom))
    assert inside.all(1).mean() > 0.7


@pytest.mark.parametrize("fill", [0, 255, None])
def test_feature_nothing_there(detector: DlibDetector, fill: int | None) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3)).astype(np.uint8)
    assert detector.detect(noise if fill is None else np.full_like(noise, fill)) == []


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 2), (79, 80)])
def test_feature_tiny_pictures(detector: DlibDetector, shape: tuple[int, int]) -> None:
    assert detector.detect(np.full((*shape, 3), 128, np.uint8)) == []


@pytest.mark.parametrize("size", [100, 600])
def test_feature_place_and_size(detector: DlibDetector, portrait: np.ndarray, size: int) -> None:
    (face,) = detector.detect(portrait)
    scene = placed(portrait, size, (800, 1000), (250, 120))
    found = choose_face(detector.detect(scene))[0]
    expected = (face.landmarks + 0.5) * size / len(portrait) - 0.5 + (250, 120)
    error = np.linalg.norm(found.landmarks - expected, axis=1).mean()
    assert error < 0.05 * (found.box[2] - found.box[0])


def test_feature_small_faces_only_when_thorough(detector: DlibDetector, portrait: np.ndarray) -> None:
    scene = placed(portrait, 150, (1100, 1400), (700, 600))
    assert detector.detect(scene, thorough=False) == []
    (face,) = detector.detect(scene)
    assert 700 < face.box[0] < face.box[2] < 850


def test_feature_several_largest_first(
    detector: DlibDetector, portrait: np.ndarray, other_portrait: np.ndarray
) -> None:
    scene = placed(portrait, 200, (320, 640), (10, 50))
    scene[:300, 320:620] = np.array(Image.fromarray(other_portrait).resize((300, 300)))
    faces = detector.detect(scene)
    assert len(faces) == 2
    assert faces[0].box[0] > 300 > faces[1].box[2]
    with pytest.raises(ManyFacesError, match="got 2 faces"):
        choose_face(faces, "only")


def test_feature_profile_is_found_or_refused(detector: DlibDetector, portrait: np.ndarray) -> None:
    """Whatever a side-on, sheared or half-hidden face gives, it is a usable face or none."""
    width = portrait.shape[1]
    for spoiled in (portrait[:, : width // 2], np.rot90(portrait).copy(), portrait[:, :: max(1, width // 90)].copy()):
        try:
            face = choose_face(detector.detect(spoiled))[0]
        except NoFaceError:
            continue
        assert np.isfinite(face.landmarks).all()
        assert alignment_from_landmarks(face.landmarks).side > 8


def test_feature_threads_agree(detector: DlibDetector, portrait: np.ndarray) -> None:
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(detector.detect, [portrait] * 8))
    assert all((faces[0].landmarks == results[0][0].landmarks).all() for faces in results)


def test_feature_input_untouched(detector: DlibDetector, portrait: np.ndarray) -> None:
    before = portrait.copy()
    detector.detect(portrait)
    assert (portrait == before).all()


def test_feature_views_are_welcome(detector: DlibDetector, portrait: np.ndarray) -> None:
    """Slices and flips, which numpy does not copy, are read as they look."""
    flipped = portrait[:, ::-1]
    assert detector.detect(flipped)[0].box == detector.detect(flipped.copy())[0].box


@pytest.mark.parametrize(("which", "expected"), [("largest", [0]), ("all", [0, 1, 2]), (0, [0]), (2, [2])])
def test_feature_choose(which: Which, expected: list[int]) -> None:
    assert choose_face(FACES, which) == [FACES[i] for i in expected]


def test_feature_choose_the_only_one() -> None:
    assert choose_face(FACES[:1], "only") == FACES[:1]


def test_exception_no_face_says_where_and_what_to_do() -> None:
    with pytest.raises(NoFaceError, match=r"no face found in dog\.jpg; expected .*crop closer"):
        choose_face([], "largest", name="dog.jpg")


@pytest.mark.parametrize("which", [3, -1, "only"])
def test_exception_choice_lists_the_faces(which: Which) -> None:
    with pytest.raises(ManyFacesError, match=r"3 faces .*0: \(0, 0, 90, 90\), 1: \(10, 0, 90, 90\)") as caught:
        choose_face(FACES, which)
    assert "\n" not in str(caught.value)


def test_exception_a_crowd_is_listed_briefly() -> None:
    with pytest.raises(ManyFacesError, match="60 faces") as caught:
        choose_face(FACES * 20, "only")
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("which", ["biggest", "", "1", 1.0, True, None])
def test_exception_unknown_choice(which: object) -> None:
    with pytest.raises(UsageError, match="expected largest, only, all or a number"):
        choose_face(FACES, which)  # type: ignore[arg-type]


@pytest.mark.parametrize(("text", "expected"), [("largest", "largest"), ("all", "all"), ("0", 0), ("12", 12)])
def test_feature_parse_which(text: str, expected: Which) -> None:
    assert parse_which(text) == expected


@pytest.mark.parametrize("text", ["", "-1", "1.5", "²", "١", "LARGEST", "9" * 50])
def test_exception_parse_which(text: str) -> None:
    with pytest.raises(UsageError, match="expected largest, only, all or a number"):
        parse_which(text)


@pytest.mark.parametrize(
    "image", [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 4), np.uint8), np.zeros((9, 9, 3)), None]
)
def test_exception_not_a_picture(detector: DlibDetector, image: object) -> None:
    with pytest.raises(ValueError, match=r"got .*, expected"):
        detector.detect(image)  # type: ignore[arg-type]


def test_exception_max_side() -> None:
    with pytest.raises(UsageError, match="max_side: got 10"):
        DlibDetector(max_side=10)


def test_exception_without_dlib(monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def no_dlib(name: str, *args: object, **kwargs: object) -> object:
        if name == "dlib":
            raise ImportError(name)
        return real_import(name, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.delitem(sys.modules, "dlib", raising=False)
    monkeypatch.setattr(builtins, "__import__", no_dlib)
    with pytest.raises(MissingDependencyError, match="pip install dlib-bin"):
        DlibDetector()


def test_exception_without_the_landmark_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detect.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="pip install face_recognition_models"):
        detect._landmark_model.__wrapped__()


def test_feature_one_error_tree() -> None:
    for kind in (NoFaceError, ManyFacesError, MissingDependencyError, UsageError):
        assert issubclass(kind, LatentReenactError)
