"""Factors -> the vector that trains and drives the generator, without rendering (under a millisecond)."""

from __future__ import annotations

import numpy as np

from latent_reenact.synthface.accessories import torso_front
from latent_reenact.synthface.background import draw_background
from latent_reenact.synthface.factors import (
    BEARD_STYLES,
    COLLARS,
    GLASSES_STYLES,
    HAIR_STYLES,
    PATTERNS,
    Factors,
)
from latent_reenact.synthface.framing import CAMERA, Framing, frame_face, to_pixels
from latent_reenact.synthface.geometry import (
    blendshape_weights,
    expressed_shape,
    expression_with_gaze,
    head_rotation,
    neutral_shape,
    skin_to_pose,
    unturned_body,
    warped,
)
from latent_reenact.synthface.mesh import Mesh
from latent_reenact.synthface.parameters import COLOURS, SLICES, STRIPES_PER_CM, shader_parameters

_SHIRT = np.array([[0.1, 0.25, 0.5, 0.75, 0.9], [0.95] * 5])  # places on it: across and down, shares of the picture
_BACKGROUND_SAMPLES = ([0, 0, 7, 7, 4], [0, 7, 0, 7, 4])  # rows and columns of an 8 x 8 background


def conditioning(factors: Factors, mesh: Mesh) -> np.ndarray:
    """float32 [C]: everything that changes the picture, in a form that is easy to learn from.

    Identity and expression coefficients, rotation, gaze and light in the head's and the viewer's frames, the shader's
    parameters (colours with gamma 1/2.2), one-hot styles, samples of the background, where the crop lies and where
    stripes fall in it, and last the 68 projected landmarks in [-1, 1] of the picture. `conditioning_names` tells what
    is where.
    """
    points, framing = _framed_landmarks(factors, mesh)
    blocks = _blocks(factors, framing)
    blocks["landmarks"] = points * 2 - 1
    return np.concatenate([np.ravel(block) for block in blocks.values()]).astype(np.float32)


def conditioning_names() -> dict[str, slice]:
    """Name of each block of `conditioning` -> its slice, in order."""
    blocks = _blocks(Factors(), Framing(0.0, 0.0, 1.0))
    sizes = {name: np.size(block) for name, block in blocks.items()} | {"landmarks": 136}
    start, names = 0, {}
    for name, size in sizes.items():
        names[name] = slice(start, start + size)
        start += size
    return names


def projected_landmarks(factors: Factors, mesh: Mesh) -> np.ndarray:
    """float32 [68, 2]: the landmarks of the picture in 0 .. 1, the same as `Renderer` reports, without rendering."""
    return _framed_landmarks(factors, mesh)[0]


def _framed_landmarks(factors: Factors, mesh: Mesh) -> tuple[np.ndarray, Framing]:
    identity, motion, basis = factors.identity, factors.motion, mesh.landmark_basis
    shape = np.array(identity.shape, np.float32)
    eye_centres, _ = mesh.eyes.fitted(shape)
    neutral = neutral_shape(basis, shape)
    expressed = expressed_shape(basis, neutral, blendshape_weights(motion))
    resting, moving = (
        skin_to_pose(warped(basis, vertices, identity, eye_centres), basis.head_weight, motion)
        for vertices in (neutral, expressed)
    )
    framing = frame_face(resting)
    return to_pixels(moving, framing, 1)[:, :2], framing


def _blocks(factors: Factors, framing: Framing) -> dict[str, np.ndarray]:
    identity, motion, scene = factors.identity, factors.motion, factors.scene
    hair, rotation, parameters = identity.hair, head_rotation(motion), _display_parameters(factors)
    style, light = _one_hot(hair.style, HAIR_STYLES), np.array(scene.light.direction)
    beard = _one_hot(identity.facial_hair.beard_style, BEARD_STYLES) * identity.facial_hair.beard
    return {
        "shape": np.array(identity.shape),
        "expression": expression_with_gaze(motion),
        "rotation": rotation,
        "pose": np.array([motion.yaw_deg / 20, motion.pitch_deg / 10, motion.roll_deg / 6]),
        "gaze": rotation @ parameters[SLICES["gaze"]][:3],
        "light_in_head": rotation.T @ light,
        "light_across": light[0] * rotation[0],
        "parameters": parameters,
        "hair_style": style,
        "hair_side": style * hair.side,
        "hair": np.array([hair.volume, hair.length, hair.side, hair.wave, hair.wave > 0.5]),
        "collar": _one_hot(scene.clothes.collar, COLLARS),
        "pattern": _one_hot(scene.clothes.pattern, PATTERNS),
        "glasses": _one_hot(identity.glasses.style, GLASSES_STYLES),
        "beard": beard,
        "person": np.array([identity.feminine, identity.eyes.lashes, identity.skin.tone, scene.light.shadow]),
        "background": np.clip(draw_background(scene.background, 8)[_BACKGROUND_SAMPLES], 0, 1.5) ** (1 / 2.2),
        "framing": np.array([framing.centre_x, framing.centre_y - 1, framing.half - 12]),
        "stripes": _stripes(factors, framing) * (scene.clothes.pattern == "stripes"),
    }


def _stripes(factors: Factors, framing: Framing) -> np.ndarray:
    """Cosine and sine of the stripes' phase at some places of the shirt: as a network would hardly find."""
    centre = np.array([[framing.centre_x], [framing.centre_y]])
    flat_x, flat_y = centre + (_SHIRT - 0.5) * 2 * framing.half
    depth = np.full(len(flat_x), 5.0)
    for _ in range(3):  # from a guess to where the line of sight meets the shirt
        scale = 1 - depth / CAMERA[2]
        posed = np.stack([flat_x * scale, CAMERA[1] - flat_y * scale, depth], 1)
        rest = unturned_body(posed, factors.motion)
        front = torso_front(rest, factors.scene.clothes.collar, factors.identity.feminine)
        depth = depth + front - rest[:, 2]
    phase = STRIPES_PER_CM * rest[:, 1]
    return np.concatenate([np.cos(phase), np.sin(phase)])


def _display_parameters(factors: Factors) -> np.ndarray:
    """The shader's parameters, colours as they look on a screen."""
    parameters = shader_parameters(factors).astype(float)
    parameters[_COLOUR_INDEX] = np.clip(parameters[_COLOUR_INDEX], 0, 4) ** (1 / 2.2)
    return parameters


_COLOUR_INDEX = np.concatenate([np.arange(SLICES[name].start, SLICES[name].stop) for name in COLOURS])


def _one_hot(value: str, choices: tuple[str, ...]) -> np.ndarray:
    return np.array([choice == value for choice in choices], float)
