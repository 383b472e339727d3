from __future__ import annotations

import numpy as np
import pytest
from synthetic_face import mirrored_face

from latent_reenact.face import DlibDetector
from latent_reenact.face.descriptor import DESCRIPTOR_SIZE, FaceDescriptor


def test_feature_tells_people_apart(portrait: np.ndarray, other_portrait: np.ndarray, detector: DlibDetector) -> None:
    """The mirror image is the same person, at any size; the other portrait is not."""
    import cv2

    describe = FaceDescriptor()
    here, there = (detector.detect(picture)[0].landmarks for picture in (portrait, other_portrait))
    own = describe(portrait, here)
    assert (own.shape, own.dtype) == ((DESCRIPTOR_SIZE,), np.float64)
    mirrored = describe(np.ascontiguousarray(portrait[:, ::-1]), mirrored_face(here, portrait.shape[1]))
    half = cv2.resize(portrait, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    smaller = describe(half, here / 2 - 0.25)
    stranger = describe(other_portrait, there)
    assert np.linalg.norm(own - mirrored) < 0.35
    assert np.linalg.norm(own - smaller) < 0.2
    assert np.linalg.norm(own - stranger) > 0.4


def test_exception_shapes(portrait: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected the 68 iBUG points"):
        FaceDescriptor()(portrait, np.zeros((5, 2)))
    with pytest.raises(ValueError, match="expected an RGB picture"):
        FaceDescriptor()(portrait[..., 0], np.zeros((68, 2)))
