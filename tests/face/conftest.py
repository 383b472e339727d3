"""Shipped sample portraits, for the tests that need a picture with a face in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import latent_reenact.samples
from latent_reenact.face import DlibDetector

SAMPLES = Path(latent_reenact.samples.__file__).parent


def _sample(name: str) -> np.ndarray:
    from PIL import Image

    path = SAMPLES / name
    if not path.is_file():
        pytest.skip(f"the sample {name} is not there")
    return np.array(Image.open(path).convert("RGB"))


@pytest.fixture(scope="session")
def detector() -> DlibDetector:
    return DlibDetector()


@pytest.fixture
def portrait() -> np.ndarray:
    return _sample("portrait_a.png")


@pytest.fixture
def other_portrait() -> np.ndarray:
    return _sample("portrait_b.png")


@pytest.fixture
def driving() -> list[np.ndarray]:
    """The first second of the sample clip: [H, W, 3] each."""
    import av

    path = SAMPLES / "driving.mp4"
    if not path.is_file():
        pytest.skip("the sample driving.mp4 is not there")
    with av.open(str(path)) as container:
        frames = container.decode(video=0)
        return [frame.to_ndarray(format="rgb24") for frame, _ in zip(frames, range(25), strict=False)]
