"""The shipped samples: all there, small, marked, and drawn by the function that says so."""

from __future__ import annotations

import numpy as np
import pytest

from latent_reenact import samples
from latent_reenact.errors import UsageError
from latent_reenact.media import probe_video, read_image, read_provenance


def test_smoke() -> None:
    sizes = [samples.path(name).stat().st_size for name in samples.NAMES]
    assert 0 < sum(sizes) < 3_000_000


def test_exception_unknown_name() -> None:
    with pytest.raises(UsageError, match=r"portrait_a\.png"):
        samples.path("../__init__.py")


def test_feature_contents() -> None:
    for name in samples.NAMES:
        assert read_provenance(samples.path(name)) is not None
        if name.endswith(".png"):
            side = 256 if name.startswith("evaluation") else 512
            assert read_image(samples.path(name)).shape == (side, side, 3)
    clip = probe_video(samples.path("driving.mp4"))
    assert (clip.width, clip.height, clip.frames, float(clip.fps)) == (512, 512, 75, 25.0)


def test_feature_pack_is_what_the_function_draws() -> None:
    pytest.importorskip("numba")
    from latent_reenact.synthface.pack import pack_factors

    pack = {name: (size, list(frames)) for name, size, frames in pack_factors()}
    assert set(pack) == set(samples.NAMES)
    (identity,), (driving,), (truth,) = (pack[f"evaluation_{part}.png"][1] for part in ("identity", "driving", "truth"))
    assert truth.identity == identity.identity != driving.identity
    assert truth.motion == driving.motion != identity.motion
    assert len({frames[0].identity for name, (_, frames) in pack.items() if "truth" not in name}) == 6
    yaw = np.array([f.motion.yaw_deg for f in pack["driving.mp4"][1]])
    assert np.ptp(yaw) > 20
