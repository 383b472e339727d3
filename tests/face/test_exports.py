from __future__ import annotations

import subprocess
import sys

import pytest

import latent_reenact.face as face
import latent_reenact.metrics as metrics


@pytest.mark.parametrize("room", [face, metrics])
def test_smoke(room: object) -> None:
    for name in room.__all__:  # type: ignore[attr-defined]
        assert getattr(room, name) is not None
    assert dir(room) == sorted(room.__all__)  # type: ignore[attr-defined]


@pytest.mark.parametrize("room", [face, metrics])
def test_exception_unknown_name(room: object) -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        room.nothing  # type: ignore[attr-defined]  # noqa: B018


def test_feature_import_is_light() -> None:
    code = (
        "import sys, latent_reenact.face as f, latent_reenact.metrics;"
        "from latent_reenact.face import FaceTrack, align, head_pose, paste_back;"
        "print([m for m in ('dlib', 'cv2', 'torch', 'scipy', 'av') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
