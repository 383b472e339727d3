"""How well a generated face follows the driving one, from landmarks, head angles and embeddings.

Definitions are those of Jahoda and Čech, "Pose and Facial Expression Transfer by using StyleGAN" (2025), with
what the paper leaves open fixed here, and of the works named at each function. Landmarks are the 68 iBUG points,
[..., 68, 2], in pixels; all ratios are free of size, place and tilt.
"""

from __future__ import annotations

import numpy as np

RATIO_NAMES = ("right_eye", "left_eye", "right_brow", "left_brow", "mouth")
"""The five aspect ratios, in order. Right and left are the person's own."""


def aspect_ratios(landmarks: np.ndarray) -> np.ndarray:
    """Five numbers for the expression: how open the eyes are, how high the brows, how open the mouth.

    With 1-based iBUG points: each eye (|p2 - p6| + |p3 - p5|) / (2 |p1 - p4|) of its six points; each brow the
    distance from the mean of its five points to the mean of that eye's six, over that eye's width |p1 - p4|;
    the mouth's inner height |63 - 67| over its outer width |49 - 55|.

    Args:
        landmarks: [..., 68, 2].

    Returns:
        float64 [..., 5], in the order of `RATIO_NAMES`; NaN or infinite where a width is 0.
    """
    points = _landmarks(landmarks)
    right_eye, left_eye = points[..., 36:42, :], points[..., 42:48, :]
    right_brow, left_brow = points[..., 17:22, :], points[..., 22:27, :]
    mouth_height = _distance(points[..., 62, :], points[..., 66, :])
    mouth_width = _distance(points[..., 48, :], points[..., 54, :])
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = (
            _eye_ratio(right_eye),
            _eye_ratio(left_eye),
            _brow_ratio(right_brow, right_eye),
            _brow_ratio(left_brow, left_eye),
            mouth_height / mouth_width,
        )
    return np.stack(ratios, axis=-1)


def fl_correlation(driving: np.ndarray, generated: np.ndarray) -> float:
    """FL: Pearson correlation over a clip's frames of each aspect ratio, averaged over the five. 1 is best.

    A ratio that never changes in either clip has no correlation and counts as 0.

    Args:
        driving, generated: [T, 68, 2], frame by frame; T at least 2.
    """
    one, other = aspect_ratios(driving), aspect_ratios(generated)
    if one.ndim != 2 or one.shape != other.shape or len(one) < 2:
        raise ValueError(
            f"got {list(np.shape(driving))} and {list(np.shape(generated))}, expected two [T, 68, 2], T > 1"
        )
    values = [pearson(one[:, i], other[:, i]) for i in range(len(RATIO_NAMES))]
    return float(np.mean(np.nan_to_num(values, nan=0.0)))


def pearson(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's correlation of two series of the same length; NaN where one of them is constant."""
    a, b = _pair(a, b)
    a, b = a.ravel() - a.mean(), b.ravel() - b.mean()
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    if norm <= 1e-12 * (1 + np.abs(a).max() + np.abs(b).max()):
        return float("nan")
    return float(np.clip(a @ b / norm, -1, 1))


def pose_mae(driving_deg: np.ndarray, generated_deg: np.ndarray) -> float:
    """Mean absolute error of yaw and pitch in degrees; roll is left out, since alignment removes it.

    Args:
        driving_deg, generated_deg: [..., 2 or 3], yaw and pitch first.
    """
    one, other = _pair(driving_deg, generated_deg)
    return float(np.abs(_turn(one[..., :2] - other[..., :2])).mean())


def prmse(driving_deg: np.ndarray, generated_deg: np.ndarray) -> float:
    """PRMSE (Ha and others 2020, MarioNETte): root mean square error in degrees of yaw, pitch and roll.

    Args:
        driving_deg, generated_deg: [..., 3].
    """
    one, other = _pair(driving_deg, generated_deg)
    if one.shape[-1] != 3:
        raise ValueError(f"got angles of shape {list(one.shape)}, expected yaw, pitch and roll [..., 3]")
    return float(np.sqrt((_turn(one - other) ** 2).mean()))


def nmse_landmarks(driving: np.ndarray, generated: np.ndarray) -> float:
    """NMSE: mean distance of the landmarks over the driving face's inter-ocular distance (times 100: percent).

    The inter-ocular distance is between the means of the six points of each eye.

    Args:
        driving, generated: [..., 68, 2], in one frame of reference.
    """
    one, other = _pair(_landmarks(driving), _landmarks(generated))
    eyes = _distance(one[..., 36:42, :].mean(-2), one[..., 42:48, :].mean(-2))
    if not (eyes > 0).all():
        raise ValueError("got a driving face with both eyes in one place, expected an inter-ocular distance above 0")
    return float((_distance(one, other).mean(-1) / eyes).mean())


def cosine_similarity(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """CSIM: cosine between embeddings [..., D], pair by pair; [...], 1 for the same person."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    if not (norms > 0).all():
        raise ValueError("got an embedding of length 0, expected a vector with a direction")
    return (a * b).sum(-1) / norms


def _landmarks(landmarks: np.ndarray) -> np.ndarray:
    points = np.asarray(landmarks, np.float64)
    if points.shape[-2:] != (68, 2):
        raise ValueError(f"got landmarks of shape {list(points.shape)}, expected [..., 68, 2]")
    return points


def _pair(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape or a.size == 0:
        raise ValueError(f"got shapes {list(a.shape)} and {list(b.shape)}, expected two of the same, not empty")
    return a, b


def _distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.linalg.norm(a - b, axis=-1)


def _eye_ratio(eye: np.ndarray) -> np.ndarray:
    p1, p2, p3, p4, p5, p6 = np.moveaxis(eye, -2, 0)
    return (_distance(p2, p6) + _distance(p3, p5)) / (2 * _distance(p1, p4))


def _brow_ratio(brow: np.ndarray, eye: np.ndarray) -> np.ndarray:
    return _distance(brow.mean(-2), eye.mean(-2)) / _distance(eye[..., 0, :], eye[..., 3, :])


def _turn(difference_deg: np.ndarray) -> np.ndarray:
    """An angle's difference in [-180, 180): 359 degrees apart is 1 degree apart."""
    return (difference_deg + 180) % 360 - 180
