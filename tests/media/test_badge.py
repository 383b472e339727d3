"""The badge that people see."""

from __future__ import annotations

import numpy as np
import pytest

from latent_reenact.media import with_badge


@pytest.mark.parametrize("shape", [(128, 128), (1024, 768), (40, 300), (8, 8), (1, 1)])
def test_smoke_every_size(shape: tuple[int, int]) -> None:
    picture = np.full((*shape, 3), 128, np.uint8)
    badged = with_badge(picture)
    assert badged.shape == picture.shape
    assert (badged != picture).any() or min(shape) < 8
    assert (picture == 128).all(), "the picture itself stays"


def test_feature_sits_at_the_bottom_right_and_can_be_seen() -> None:
    changed = (with_badge(np.full((512, 512, 3), 128, np.uint8)) != 128).any(2)
    rows, columns = np.nonzero(changed)
    assert rows.min() > 450
    assert columns.min() > 256
    assert 0.005 < changed.mean() < 0.05
