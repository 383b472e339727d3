"""What the notebooks draw with."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import ipywidgets
import matplotlib
import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2] / "notebooks"))

import pictures


@pytest.fixture(autouse=True)
def no_windows() -> Iterator[None]:
    import matplotlib.pyplot as plt

    before = matplotlib.get_backend()
    plt.switch_backend("agg")
    yield
    plt.close("all")
    plt.switch_backend(before)


def solid(value: int) -> np.ndarray:
    return np.full((8, 8, 3), value, np.uint8)


def test_smoke_sheet() -> None:
    figure = pictures.sheet([[solid(0), solid(255)], [solid(100)]], ["a", "b"], ["one", "two"], side=2)
    assert tuple(figure.get_size_inches()) == (4, 4)
    assert [axis.get_title() for axis in figure.axes] == ["a", "b", "", ""]
    assert [len(axis.images) for axis in figure.axes] == [1, 1, 1, 0]
    assert figure.axes[2].get_ylabel() == "two"


def test_feature_heat_map_writes_every_number() -> None:
    axis = pictures.plt.subplots()[1]
    pictures.heat_map(axis, np.array([[100.0, -7.4]]), ["yaw"], ["yaw", "smile"], title="leaks")
    assert [text.get_text() for text in axis.texts] == ["100", "-7"]


def test_feature_explore_draws_anew() -> None:
    """The figure follows the control, and none stays open."""
    seen = []

    def draw(grey: int) -> pictures.Figure:
        seen.append(grey)
        return pictures.sheet([[solid(grey)]])

    control = ipywidgets.IntSlider(10, 0, 255)
    box = pictures.explore(draw, grey=control)
    first = box.children[-1].value
    control.value = 200
    second = box.children[-1].value
    assert seen == [10, 200]
    assert control.description == "grey"
    assert not pictures.plt.get_fignums()
    middle = [np.asarray(Image.open(io.BytesIO(png)).convert("L"))[60, 60] for png in (first, second)]
    assert middle == [10, 200]
