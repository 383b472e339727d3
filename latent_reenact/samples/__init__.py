"""Synthetic portraits that ship with the package: drawn by `latent_reenact.synthface`, no real person in them.

| file | what it is |
|---|---|
| `portrait_a.png`, `portrait_b.png` | two people, 512 x 512, nearly frontal: try them as identities |
| `driving.png` | a third person, turned and laughing, 512 x 512 |
| `driving.mp4` | a fourth person talking for three seconds, 512 x 512, 25 frames/s, H.264, no sound |
| `evaluation_identity.png`, `evaluation_driving.png` | a pair for measuring, 256 x 256 |
| `evaluation_truth.png` | the identity of the pair doing exactly what the driving does: the ground truth |

`latent_reenact.synthface.pack` draws them again.
"""

from __future__ import annotations

from pathlib import Path

from latent_reenact.errors import UsageError

NAMES = (
    "portrait_a.png",
    "portrait_b.png",
    "driving.png",
    "driving.mp4",
    "evaluation_identity.png",
    "evaluation_driving.png",
    "evaluation_truth.png",
)


def path(name: str) -> Path:
    """Where a sample lies, such as `path("portrait_a.png")`. Raises UsageError for a name that is not in `NAMES`."""
    if name not in NAMES:
        raise UsageError(f"no sample called {name!r}; choose from {', '.join(NAMES)}")
    return Path(__file__).with_name(name)
