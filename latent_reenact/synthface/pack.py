"""The sample pack that ships in `latent_reenact.samples`: who is in it and what they do.

for name, frames in render_pack(load_mesh(path)):
    ...  # one frame is a picture, several are a video at `CLIP_FPS`; writing files belongs to `media`
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from latent_reenact.synthface.clips import talking_clip
from latent_reenact.synthface.factors import Background, Factors, Light, Motion
from latent_reenact.synthface.mesh import Mesh
from latent_reenact.synthface.renderer import Renderer
from latent_reenact.synthface.sampling import sample

CAST_SEED = 7
CLIP_FPS, CLIP_FRAMES = 25, 75
PORTRAIT_A, PORTRAIT_B, SPEAKER, SMILER, EVALUATION_IDENTITY, EVALUATION_DRIVING = 27, 36, 10, 47, 21, 1
"""Sample numbers of the cast."""

SPEECH = 24  # the clip whose motion the speaker has: it turns, smiles, blinks and raises the brows in three seconds

_FAINT_SMILE = {"mouthSmile_L": 0.42, "mouthSmile_R": 0.4, "cheekSquint_L": 0.15, "cheekSquint_R": 0.15}
_LAUGH = {
    **{"mouthSmile_L": 0.85, "mouthSmile_R": 0.8, "cheekSquint_L": 0.5, "cheekSquint_R": 0.5, "jawOpen": 0.12},
    **{"mouthUpperUp_L": 0.35, "mouthUpperUp_R": 0.35, "mouthLowerDown_L": 0.3, "mouthLowerDown_R": 0.3},
}
_SURPRISE = {
    **{"jawOpen": 0.4, "browInnerUp_L": 0.6, "browInnerUp_R": 0.6, "browOuterUp_L": 0.5, "browOuterUp_R": 0.5},
    **{"eyeWide_L": 0.3, "eyeWide_R": 0.3},
}


def render_pack(mesh: Mesh) -> Iterator[tuple[str, Iterator[np.ndarray]]]:
    """File name and frames (uint8 [H, W, 3]) of each file of the pack."""
    renderer = Renderer(mesh)
    for name, size, frames in pack_factors():
        yield name, (renderer.render(factors, size).image for factors in frames)


def pack_factors() -> Iterator[tuple[str, int, Iterator[Factors]]]:
    """File name, picture size and the factors of each frame."""
    still, evaluated = Motion(yaw_deg=4, pitch_deg=1, expression=_FAINT_SMILE), Motion(yaw_deg=-3, pitch_deg=1)
    turned = Motion(yaw_deg=18, pitch_deg=3, roll_deg=2, gaze_yaw_deg=-10, expression=_LAUGH)
    surprised = Motion(yaw_deg=-16, pitch_deg=4, roll_deg=-3, gaze_yaw_deg=8, expression=_SURPRISE)
    yield "portrait_a.png", 512, iter([_studio(PORTRAIT_A, still)])
    yield "portrait_b.png", 512, iter([_studio(PORTRAIT_B, replace(still, yaw_deg=-5.0))])
    yield "driving.png", 512, iter([_studio(SMILER, turned)])
    yield "driving.mp4", 512, _speech()
    yield "evaluation_identity.png", 256, iter([_studio(EVALUATION_IDENTITY, evaluated)])
    yield "evaluation_driving.png", 256, iter([_studio(EVALUATION_DRIVING, surprised)])
    yield "evaluation_truth.png", 256, iter([_studio(EVALUATION_IDENTITY, surprised)])


def _speech() -> Iterator[Factors]:
    for frame in talking_clip(CAST_SEED, SPEECH, CLIP_FRAMES, CLIP_FPS):
        yield _studio(SPEAKER, frame.motion)


def _studio(i: int, motion: Motion) -> Factors:
    """Cast member i in even light, before a plain background."""
    person = sample(CAST_SEED, i)
    background = Background(colours=((110, 140, 170), (200, 210, 215)), angle_deg=70.0 + 40 * (i % 5))
    return replace(person, motion=motion, scene=replace(person.scene, light=Light(), background=background))
