"""Draws the clips beside it, from the mesh archive: python notebooks/clips/draw.py ict_facekit.npz

Six talking people of the test seed, whom no training saw, at 128² and 4 frames a second; and for each of the six pairs
of seed 0 the right answer: the one person, in the scene of their own clip, doing what the other does.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from latent_reenact.evaluation.clips import SyntheticClips
from latent_reenact.evaluation.pairs import draw_pairs
from latent_reenact.media import Provenance, VideoWriter
from latent_reenact.synthface import Renderer, load_mesh

PEOPLE, FRAMES, FPS, SIZE = 6, 8, 4.0, 128


def write(path: Path, frames: np.ndarray) -> None:
    with VideoWriter(path, fps=FPS, crf=14, marks=Provenance(model="synthface", operation="render")) as out:
        for frame in frames:
            out.write(frame)


def main(mesh: str) -> None:
    folder = Path(__file__).parent
    source = SyntheticClips(Renderer(load_mesh(mesh)), count=PEOPLE, frames=FRAMES, fps=FPS, size=SIZE)
    for name in source.people():
        write(folder / f"{name}.mp4", source.load(name).frames)
    for pair in draw_pairs(source.people(), "cross", PEOPLE, seed=0):
        answer = source.answer(source.load(pair.identity), source.load(pair.driving))
        write(folder / f"{pair.identity}_as_{pair.driving}.mp4", answer)


if __name__ == "__main__":
    main(*sys.argv[1:])
