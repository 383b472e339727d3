"""Head angles from landmarks: the pose of a generic head whose points project onto them (perspective n-point).

Signs as everywhere here: yaw_deg > 0 turns the face to the viewer's right, pitch_deg > 0 looks up, roll_deg > 0
tilts the top of the head to the viewer's left. On rendered portraits with known angles, read through dlib's
landmarks, yaw is off by 2 degrees on average and pitch, where faces differ in shape, by 4.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from latent_reenact.face._arrays import check_landmarks
from latent_reenact.face.alignment import alignment_from_landmarks
from latent_reenact.face.detect import DlibDetector, FaceDetector, choose_face

# Points of an average head in cm, x to the viewer's right, y up, z towards the viewer: the neutral face of the
# ICT Face Model Light (Li and others 2020; third_party/notices/ict-facekit.md), rounded to the millimetre.
# Keys are 0-based iBUG points.
_HEAD = {
    8: (0.0, -7.6, 10.4),  # chin
    27: (0.0, 3.7, 10.7),  # nose, between the eyes
    30: (0.0, 0.4, 13.1),  # tip of the nose
    33: (0.0, -1.2, 11.6),  # under the nose
    36: (-4.5, 3.4, 8.6),  # eye corners, from the viewer's left to right
    39: (-1.8, 3.3, 9.2),
    42: (1.8, 3.3, 9.2),
    45: (4.5, 3.4, 8.6),
    48: (-2.5, -3.5, 10.2),  # corners of the mouth
    54: (2.5, -3.5, 10.2),
}
_POINTS = list(_HEAD)
_TO_CAMERA = np.array([1.0, -1.0, -1.0])  # OpenCV's camera looks along z with y down
_MODEL = np.array(list(_HEAD.values())) * _TO_CAMERA
_FOCAL_SIDES = 1.5  # a portrait lens, in sides of the aligned square


class HeadPose(NamedTuple):
    """Angles of the head in degrees; all 0 is straight into the camera."""

    yaw_deg: float
    pitch_deg: float
    roll_deg: float


def head_pose(landmarks: np.ndarray, image_size: tuple[int, int] | None = None) -> HeadPose:
    """Angles of the head that shows these landmarks.

    Args:
        landmarks: the 68 iBUG points [68, 2], in pixels.
        image_size: (height, width) of the picture, whose width is then taken as the focal length. Without it the
            camera looks straight at the face through a portrait lens, so that the angles do not depend on how the
            picture is framed: the choice for comparing two pictures.

    Raises:
        NoFaceError: the points lie together within a few pixels.
        ValueError: wrong shape, or values not finite.
    """
    import cv2

    points = check_landmarks(landmarks)
    camera = _framed_camera(points) if image_size is None else _camera(image_size[1], image_size[1], image_size[0])
    seen = np.ascontiguousarray(points[_POINTS])
    _, turn, shift = cv2.solvePnP(_MODEL, seen, camera, None, flags=cv2.SOLVEPNP_SQPNP)
    _, turn, _ = cv2.solvePnP(_MODEL, seen, camera, None, turn, shift, True, flags=cv2.SOLVEPNP_ITERATIVE)
    rotation = cv2.Rodrigues(turn)[0] * np.outer(_TO_CAMERA, _TO_CAMERA)
    return _angles(rotation)


def measure(image_or_landmarks: np.ndarray, detector: FaceDetector | None = None) -> HeadPose:
    """Angles of the head in a picture (uint8 [H, W, 3], its largest face) or of 68 landmarks [68, 2].

    Raises:
        NoFaceError: no face in the picture.
    """
    if np.ndim(image_or_landmarks) == 2:
        return head_pose(image_or_landmarks)
    faces = (detector or DlibDetector()).detect(image_or_landmarks)
    return head_pose(choose_face(faces, "largest")[0].landmarks)


def _angles(rotation: np.ndarray) -> HeadPose:
    """Of R = Ry(yaw) Rx(-pitch) Rz(roll), with x to the right, y up and z towards the viewer."""
    yaw = math.atan2(rotation[0, 2], rotation[2, 2])
    pitch = math.asin(min(1.0, max(-1.0, rotation[1, 2])))
    roll = math.atan2(rotation[1, 0], rotation[1, 1])
    return HeadPose(math.degrees(yaw), math.degrees(pitch), math.degrees(roll))


def _framed_camera(points: np.ndarray) -> np.ndarray:
    alignment = alignment_from_landmarks(points)
    camera = _camera(alignment.side * _FOCAL_SIDES, 0, 0)
    camera[:2, 2] = alignment.centre
    return camera


def _camera(focal_px: float, width: int, height: int) -> np.ndarray:
    return np.array([[focal_px, 0, (width - 1) / 2], [0, focal_px, (height - 1) / 2], [0, 0, 1]], dtype=np.float64)
