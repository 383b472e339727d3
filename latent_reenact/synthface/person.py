"""From factors to posed geometry: what stays with a person is built once, what moves is built per picture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from latent_reenact.synthface.accessories import build_glasses, build_torso
from latent_reenact.synthface.factors import EXPRESSION_INDEX, Identity, Motion
from latent_reenact.synthface.geometry import (
    EYE_ENLARGEMENT,
    Part,
    blendshape_weights,
    expressed_shape,
    expression_with_gaze,
    head_rotation,
    neutral_shape,
    skin_to_pose,
    warped,
)
from latent_reenact.synthface.hair import build_hair
from latent_reenact.synthface.mesh import EYE, FRAME, LASH, Mesh, smoothstep

EYE_BULGE = 1 + EYE_ENLARGEMENT * np.exp(-((1.58 / 2.5) ** 2))  # eyeballs grow with the lids round them


@dataclass(frozen=True, eq=False)
class Person:
    """One person with clothes, at rest. Vertices come in the order head, two eyes, hair, torso, glasses."""

    identity: Identity
    neutral: np.ndarray  # float32 [V, 3], before the warps
    landmarks: np.ndarray  # float32 [68, 3], neutral, after the warps
    eye_centres: np.ndarray  # float32 [2, 3]
    eye_radii: np.ndarray  # float32 [2]
    extras: np.ndarray  # float32 [E, 3]: hair, torso, glasses
    triangles: np.ndarray  # int32 [T, 3], over all vertices
    materials: np.ndarray  # uint8 [T]
    attributes: np.ndarray  # float32 [N, 8]
    tangents: np.ndarray  # float32 [N, 3]
    head_weight: np.ndarray  # float32 [N, 1]
    seams: tuple[np.ndarray, np.ndarray]  # pairs of vertices that coincide

    @cached_property
    def shadow_triangles(self) -> np.ndarray:
        """int32 [T', 3]: the triangles that cast shadows."""
        return np.ascontiguousarray(self.triangles[(self.materials != LASH) & (self.materials != FRAME)])


@dataclass(frozen=True, eq=False)
class PosedPerson:
    """Geometry of one picture, in the camera's frame."""

    vertices: np.ndarray  # float32 [N, 3]
    tangents: np.ndarray  # float32 [N, 3]
    neutral_landmarks: np.ndarray  # float32 [68, 3], posed without the expression: they frame the picture


def build_person(mesh: Mesh, identity: Identity, collar: str) -> Person:
    """Build what does not move."""
    shape = np.array(identity.shape, np.float32)
    eye_centres, eye_radii = mesh.eyes.fitted(shape)
    unwarped = neutral_shape(mesh.basis, shape)
    neutral = warped(mesh.basis, unwarped, identity, eye_centres)
    landmarks = neutral[mesh.landmarks]
    anchors = (neutral[mesh.anchor_index] * mesh.anchor_weight[..., None]).sum(2)
    hair = build_hair(anchors, identity.hair)
    torso, glasses = build_torso(collar, identity.feminine), build_glasses(identity.glasses.style, landmarks)
    parts = [*_eye_parts(), *hair, *torso, *glasses]
    kept = slice(None) if identity.eyes.lashes else mesh.materials != LASH
    offsets = len(neutral) + np.cumsum([0, *(len(part.vertices) for part in parts)])
    weights = [mesh.basis.head_weight, np.ones((2 * len(EYE_SPHERE.vertices), 1)), *map(_hair_weight, hair)]
    weights += [np.zeros((len(part.vertices), 1)) for part in torso] + [np.ones((len(p.vertices), 1)) for p in glasses]
    return Person(
        identity=identity,
        neutral=unwarped,
        landmarks=landmarks,
        eye_centres=eye_centres,
        eye_radii=eye_radii,
        extras=np.concatenate([part.vertices for part in parts[2:]]),
        triangles=np.concatenate(
            [mesh.triangles[kept], *(p.triangles + o for p, o in zip(parts, offsets, strict=False))], dtype=np.int32
        ),
        materials=np.concatenate(
            [mesh.materials[kept], *(np.full(len(p.triangles), p.material, np.uint8) for p in parts)], dtype=np.uint8
        ),
        attributes=np.concatenate([mesh.attributes, *(part.attributes for part in parts)]),
        tangents=np.concatenate([np.zeros_like(neutral), *(part.tangents for part in parts)]),
        head_weight=np.concatenate(weights, dtype=np.float32),
        seams=_seams(parts[2:], offsets[2:]),
    )


def pose_person(mesh: Mesh, person: Person, motion: Motion) -> PosedPerson:
    """Apply expression, gaze-driven lids and head pose."""
    head = expressed_shape(mesh.basis, person.neutral, blendshape_weights(motion))
    head = warped(mesh.basis, head, person.identity, person.eye_centres)
    vertices = np.concatenate([head, *_eyes(person, motion), person.extras])
    return PosedPerson(
        vertices=np.ascontiguousarray(skin_to_pose(vertices, person.head_weight, motion), np.float32),
        tangents=np.ascontiguousarray(person.tangents @ head_rotation(motion).T, np.float32),
        neutral_landmarks=skin_to_pose(person.landmarks, mesh.landmark_basis.head_weight, motion),
    )


def _hair_weight(part: Part) -> np.ndarray:
    """Long hair rests on the shoulders: its tips do not turn with the head."""
    return smoothstep(-16, -2, part.vertices[:, 1:2])


def _seams(parts: list[Part], offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last rows of the grids, whose normals are to be made one."""
    first, last = [], []
    for part, offset in zip(parts, offsets, strict=False):
        n, m = part.grid
        first.append(offset + np.arange(m))
        last.append(offset + (n - 1) * m + np.arange(m))
    return np.concatenate(first), np.concatenate(last)


# ---------------------------------------------------------------- eyes


@dataclass(frozen=True, eq=False)
class _Sphere:
    vertices: np.ndarray  # float32 [N, 3], unit directions
    triangles: np.ndarray  # int32 [T, 3]


def _front_cap(sectors: int = 28, rings: int = 14, opening: float = 1.45) -> _Sphere:
    """The part of the unit sphere within `opening` radians of +z."""
    angle = (np.arange(1, rings + 1) / rings * opening)[:, None]
    turn = 2 * np.pi * np.arange(sectors) / sectors
    x, y = np.sin(angle) * np.cos(turn), np.sin(angle) * np.sin(turn)
    points = np.stack([x, y, np.broadcast_to(np.cos(angle), x.shape)], -1).reshape(-1, 3)
    k = np.arange(sectors)
    following = (k + 1) % sectors
    triangles = [np.stack([0 * k, 1 + k, 1 + following], -1)]
    for r in range(rings - 1):
        a, b = 1 + r * sectors + k, 1 + r * sectors + following
        pair = np.stack([np.stack([a, a + sectors, b], -1), np.stack([b, a + sectors, b + sectors], -1)], 1)
        triangles.append(pair.reshape(-1, 3))
    return _Sphere(np.vstack([[0, 0, 1.0], points]).astype(np.float32), np.concatenate(triangles).astype(np.int32))


EYE_SPHERE = _front_cap()


@lru_cache(maxsize=1)
def _eye_parts() -> tuple[Part, Part]:
    """Both eyeballs as unit spheres: their triangles and attributes (direction, 1, which eye)."""

    def eye(index: int) -> Part:
        n = len(EYE_SPHERE.vertices)
        attributes = np.zeros((n, 8), np.float32)
        attributes[:, :3], attributes[:, 3], attributes[:, 4] = EYE_SPHERE.vertices, 1, index
        tangents = np.zeros((n, 3), np.float32)
        return Part(EYE_SPHERE.vertices, EYE_SPHERE.triangles, EYE, attributes, tangents, (n, 1))

    return eye(0), eye(1)


def _eyes(person: Person, motion: Motion) -> list[np.ndarray]:
    """Both eyeballs [2][N, 3]; they draw back a little under shut lids."""
    weights = expression_with_gaze(motion)
    spheres = []
    for side, centre, radius in zip("LR", person.eye_centres, person.eye_radii, strict=True):
        blink = weights[EXPRESSION_INDEX[f"eyeBlink_{side}"]]
        size = radius * (0.978 - 0.05 * smoothstep(0.45, 1, blink)) * EYE_BULGE
        spheres.append((centre + EYE_SPHERE.vertices * size).astype(np.float32))
    return spheres
