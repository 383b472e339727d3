"""What the notebooks draw with: rows of pictures with captions, a matrix as a heat map, a picture under sliders."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Rows = Sequence[Sequence[np.ndarray]]


def sheet(rows: Rows, columns: Sequence[str] = (), names: Sequence[str] = (), *, side: float = 1.6) -> Figure:
    """Pictures uint8 [H, W, 3] in rows, `side` inches each; `columns` stand above, `names` at the left."""
    width = max(map(len, rows))
    figure, axes = plt.subplots(
        len(rows),
        width,
        figsize=(side * width, side * len(rows)),
        squeeze=False,
        gridspec_kw={"wspace": 0.03, "hspace": 0.03},
    )
    for y, row in enumerate(rows):
        for x, axis in enumerate(axes[y]):
            axis.set(xticks=[], yticks=[])
            axis.set_frame_on(False)
            if x < len(row):
                axis.imshow(row[x])
            if y == 0 and x < len(columns):
                axis.set_title(columns[x], fontsize=10)
            if x == 0 and y < len(names):
                axis.set_ylabel(names[y], fontsize=10)
    figure.align_ylabels()
    return figure


def show(rows: Rows, columns: Sequence[str] = (), names: Sequence[str] = (), *, side: float = 1.6) -> None:
    """Show a `sheet`."""
    sheet(rows, columns, names, side=side)
    plt.show()


def heat_map(
    axis: Axes,
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    title: str,
    form: str = "{:.0f}",
    reach: float = 100.0,
) -> None:
    """A matrix [R, C] on an axis, blue to red over -reach..reach, each number written in its field."""
    axis.imshow(np.clip(values, -reach, reach), cmap="RdBu_r", vmin=-reach, vmax=reach, aspect="auto")
    axis.set_xticks(range(len(columns)), columns, rotation=35, ha="right")
    axis.set_yticks(range(len(rows)), rows)
    axis.set_title(title, fontsize=11)
    for y, x in np.ndindex(*values.shape):
        strong = abs(values[y, x]) > 0.6 * reach
        axis.text(x, y, form.format(values[y, x]), ha="center", va="center", color="white" if strong else "black")


def slider(value: float, low: float, high: float) -> ipywidgets.FloatSlider:
    """A slider that tells its value when it is let go, not on the way."""
    return ipywidgets.FloatSlider(value, min=low, max=high, step=(high - low) / 40, continuous_update=False)


def explore(draw: Callable[..., Figure], **controls: ipywidgets.ValueWidget) -> ipywidgets.VBox:
    """Controls with the figure that `draw` makes of their values below, made anew whenever one changes."""
    picture = ipywidgets.Image(format="png")

    def update(_: object = None) -> None:
        figure = draw(**{name: control.value for name, control in controls.items()})
        written = io.BytesIO()
        figure.savefig(written, format="png", bbox_inches="tight")
        plt.close(figure)
        picture.value = written.getvalue()

    for name, control in controls.items():
        control.description = control.description or name
        control.observe(update, "value")
    update()
    return ipywidgets.VBox([*controls.values(), picture])
