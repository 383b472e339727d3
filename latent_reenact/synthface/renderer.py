"""Factors -> picture and ground truth.

portrait = Renderer(load_mesh(path)).render(sample(seed=1, i=0), size=256)
portrait.image, portrait.landmarks, portrait.yaw_deg, portrait.expression
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from latent_reenact.errors import UsageError
from latent_reenact.synthface.background import draw_background
from latent_reenact.synthface.factors import Factors, Light
from latent_reenact.synthface.framing import CAMERA, frame_face, to_pixels
from latent_reenact.synthface.hair_styles import HAIR_STYLE_TABLE
from latent_reenact.synthface.landmarks import eye_mouth_mask
from latent_reenact.synthface.mesh import Mesh, smoothstep
from latent_reenact.synthface.parameters import OFFSET, SLICES, shader_parameters
from latent_reenact.synthface.person import Person, PosedPerson, build_person, pose_person
from latent_reenact.synthface.raster import rasterise, rasterise_depth, vertex_normals
from latent_reenact.synthface.sampling import sample
from latent_reenact.synthface.shading import shade

SUPERSAMPLING = 2
MAX_SIZE = 2048
_FAR = 1e9
_SHADOW_SIZE, _SHADOW_REACH = 160, 44.0  # pixels, centimetres
_SHADOW_CENTRE = np.array([0, 1.0, 0])
_LUMA = np.array([0.25, 0.6, 0.15], np.float32)


@dataclass(frozen=True, eq=False)
class Portrait:
    """A picture and everything that is true about it."""

    image: np.ndarray  # uint8 [H, W, 3], RGB
    landmarks: np.ndarray  # float32 [68, 2], pixels, pixel centres at +0.5
    factors: Factors

    @property
    def yaw_deg(self) -> float:
        return self.factors.motion.yaw_deg

    @property
    def pitch_deg(self) -> float:
        return self.factors.motion.pitch_deg

    @property
    def roll_deg(self) -> float:
        return self.factors.motion.roll_deg

    @property
    def expression(self) -> Mapping[str, float]:
        """ARKit names to 0 .. 1; names that are not there are 0."""
        return self.factors.motion.expression

    @property
    def identity_id(self) -> str:
        return self.factors.identity.id

    @property
    def eye_mouth_mask(self) -> np.ndarray:
        """float32 [H, W], 1 in soft boxes round the eyes and the mouth."""
        return eye_mouth_mask(self.landmarks, self.image.shape[0])


def render_sample(mesh: Mesh, seed: int, i: int, size: int = 256) -> Portrait:
    """Render sample i of a seed; for many, keep one `Renderer` and call it with `sample(seed, i)`."""
    return Renderer(mesh).render(sample(seed, i), size)


class Renderer:
    """Draws portraits of one mesh. It remembers the last person, so that clips of one person are quicker.

    Not for several threads at once: give each its own renderer.
    """

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self._last: tuple[object, Person] | None = None

    def render(self, factors: Factors, size: int = 256) -> Portrait:
        """One portrait, FFHQ-aligned, size x size pixels. Deterministic. Raises UsageError for a size out of range."""
        if not 8 <= size <= MAX_SIZE:
            raise UsageError(f"got a picture size of {size}; expected 8 to {MAX_SIZE} pixels")
        person = self._person(factors)
        posed = pose_person(self.mesh, person, factors.motion)
        framing = frame_face(posed.neutral_landmarks)
        width = size * SUPERSAMPLING
        points = to_pixels(posed.vertices, framing, width)
        image = draw_background(factors.scene.background, width)
        self._draw(factors, person, posed, points, image)
        landmarks = points[self.mesh.landmarks, :2] / SUPERSAMPLING
        return Portrait(_develop(image, size), landmarks, factors)

    def _person(self, factors: Factors) -> Person:
        key = (factors.identity, factors.scene.clothes.collar)
        if self._last is None or self._last[0] != key:
            self._last = (key, build_person(self.mesh, *key))
        return self._last[1]

    def _draw(
        self, factors: Factors, person: Person, posed: PosedPerson, points: np.ndarray, image: np.ndarray
    ) -> None:
        normals = _normals(person, posed.vertices)
        depth = np.full(image.shape[:2], _FAR, np.float32)
        winner = np.full(image.shape[:2], -1, np.int32)
        ragged = HAIR_STYLE_TABLE[factors.identity.hair.style].ragged
        rasterise(points, person.triangles, person.materials, person.attributes, depth, winner, ragged)
        to_light, shadow_map = _shadow_map(factors.scene.light, person, posed.vertices)
        shade(
            points,
            posed.vertices,
            normals,
            posed.tangents,
            person.triangles,
            person.materials,
            person.attributes,
            winner,
            self._parameters(factors, posed.vertices),
            to_light,
            shadow_map,
            CAMERA,
            image,
        )

    def _parameters(self, factors: Factors, vertices: np.ndarray) -> np.ndarray:
        """Shader parameters, with teeth that darken as the lips close over them."""
        parameters = shader_parameters(factors)
        inner_lips = self.mesh.landmarks[[62, 66]]
        opening = float(np.linalg.norm(np.subtract(*vertices[inner_lips])))
        parameters[SLICES["teeth"]] *= 0.42 + 0.58 * smoothstep(0.2, 0.85, opening)
        parameters[OFFSET["mouth_depth"]] = self.mesh.basis.rest[inner_lips, 2].mean() - 0.2
        return parameters


def _normals(person: Person, vertices: np.ndarray) -> np.ndarray:
    normals = np.empty_like(vertices)
    vertex_normals(vertices, person.triangles, normals)
    first, last = person.seams
    shared = normals[first] + normals[last]
    shared /= np.linalg.norm(shared, axis=1, keepdims=True) + 1e-9
    normals[first] = normals[last] = shared
    return normals


def _shadow_map(light: Light, person: Person, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The key light's view: matrix [3, 4] from space to map pixels and depth, and the depths [S, S]."""
    towards = np.array(light.direction) / np.linalg.norm(light.direction)
    right = np.cross([0, 1.0, 0], towards)
    right /= np.linalg.norm(right)
    scale, half = _SHADOW_SIZE / _SHADOW_REACH, _SHADOW_SIZE / 2
    rows = np.stack([right * scale, np.cross(towards, right) * scale, -towards])
    shift = np.array([half, half, 0]) - [*(rows[:2] @ _SHADOW_CENTRE), 0]
    points = np.ascontiguousarray(vertices @ rows.T + shift, np.float32)
    depth = np.full((_SHADOW_SIZE, _SHADOW_SIZE), _FAR, np.float32)
    rasterise_depth(points, person.shadow_triangles, depth)
    return np.concatenate([rows, shift[:, None]], 1), depth


def _develop(image: np.ndarray, size: int) -> np.ndarray:
    """Average the samples of each pixel, tone map, saturate a little, gamma 1/2.2, uint8."""
    x = cv2.resize(np.minimum(image, 1.6), (size, size), interpolation=cv2.INTER_AREA) * 1.12
    x = x * (1.0 + 0.18 * x) / (0.86 + 0.52 * x)
    luma = (x @ _LUMA)[..., None]
    x = np.clip(luma + (x - luma) * 1.10, 0, 1)
    return (x ** (1 / 2.2) * 255 + 0.5).astype(np.uint8)
