# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Directions and their entanglement
#
# A direction is a step in the latent space that changes one thing about a face. This notebook finds directions in
# `builtin`'s own latents, gives each a unit by measuring what its steps do, and asks what else they change.
# [docs/directions.md](../docs/directions.md) lists the functions.

# %%
import warnings

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown, display
from matplotlib.figure import Figure
from pictures import explore, heat_map, sheet, show, slider

import latent_reenact as lr
from latent_reenact.editing import (
    LatentDirection,
    calibrate,
    cosines,
    generator_draw,
    latent_difference,
    measure_latents,
    orthogonal,
    principal_directions,
    reader_estimator,
    svm_boundary,
)
from latent_reenact.editing.fitting import sample_w_plus
from latent_reenact.models.pixels import to_pixels
from latent_reenact.synthface.controls import CONTROL_RANGES, control_columns

reenactor = lr.load("builtin")
draw = generator_draw(reenactor.networks.generator)
reader = lr.load_network("builtin", "face_reader")


def picture(w_plus: np.ndarray) -> np.ndarray:
    """What the generator draws for one latent [L, D]: uint8 [R, R, 3]."""
    with torch.inference_mode():
        return to_pixels(draw(torch.tensor(w_plus)[None]))[0]


# %% [markdown]
# ## Random faces, and what is seen in them
#
# Random z are drawn and inverted: only inverted latents are used, since the model knows no others. The model's own face
# reader then measures each picture.

# %%
MEASURES = ("yaw_deg", "pitch_deg", "smile", "jaw_open", "brows_up", "blink_left")
WIDTHS = np.array([high - low for low, high in (CONTROL_RANGES[name] for name in MEASURES)])  # of their ranges
columns = [control_columns(name) for name in MEASURES]


def see(images: torch.Tensor) -> torch.Tensor:
    """Pictures [B, 3, R, R] -> all measures in one look, [B, measures]."""
    seen = reader(images)
    motion = torch.cat([seen.pose_deg, seen.gaze_deg, seen.expression], dim=1)
    return torch.stack([motion[:, index].mean(1) for index in columns], dim=1)


def read_all(w_plus: np.ndarray) -> np.ndarray:
    """Latents [N, L, D] -> what is seen in their pictures, [N, measures]."""
    return measure_latents(draw, see, w_plus)


w_plus = sample_w_plus(reenactor.networks.inversion, 160, seed=1)
scores = read_all(w_plus)
print(f"latents {w_plus.shape}, standard deviation {w_plus.std():.2f}")

# %%
figure, axes = plt.subplots(2, 3, figsize=(10, 4.5), layout="constrained")
for axis, name, values in zip(axes.flat, MEASURES, scores.T, strict=True):
    axis.hist(values, bins=20)
    axis.set(xlabel=name, ylabel="faces")
plt.show()

# %% [markdown]
# ## Finding and calibrating
#
# A linear SVM between the faces of highest and of lowest score (InterFaceGAN); its normal is the direction. `calibrate`
# moves some faces by the same steps, measures every picture and keeps the average curve as far as it grows. From then
# on a change is asked for in degrees, or in a coefficient.

# %%
some = w_plus[:10]


def give_unit(direction: LatentDirection, name: str) -> LatentDirection:
    return calibrate(direction, some, draw, reader_estimator(reader, name), measure=name, points=5)


directions: dict[str, LatentDirection] = {}
lines = ["| direction | held-out accuracy | reaches | single faces at the ends |", "|---|---|---|---|"]
for name, values in zip(MEASURES, scores.T, strict=True):
    boundary = svm_boundary(name, w_plus, values)
    directions[name] = give_unit(boundary.direction, name)
    calibration = directions[name].calibration
    low, high = calibration.range
    lines.append(f"| {name} | {boundary.accuracy:.2f} | {low:.2g} to {high:.2g} | ± {calibration.deviation:.2g} |")
display(Markdown("\n".join(lines)))

# %%
figure, axes = plt.subplots(2, 3, figsize=(10, 5), layout="constrained")
for axis, (name, direction) in zip(axes.flat, directions.items(), strict=True):
    axis.plot(direction.calibration.steps, direction.calibration.changes, "o-")
    axis.axhline(0, color="lightgray", zorder=0)
    axis.set(xlabel="steps", ylabel=f"change of {name}")
plt.show()

# %% [markdown]
# One face moved along each direction, from one end of its calibration to the other:

# %%
frontal = np.abs(scores[:, 0]) + np.abs(scores[:, 1])
person = w_plus[frontal.argmin()]
rows, shares = [], (-1.0, -0.5, 0.0, 0.5, 1.0)
for direction in directions.values():
    low, high = direction.calibration.range
    rows.append([picture(direction.apply(person, share * (high if share > 0 else -low))) for share in shares])
show(rows, ["lowest", "", "as it is", "", "highest"], list(directions), side=1.4)

# %% [markdown]
# The ends are past what the model draws well: a calibration tells what is measured, not what looks right. Any
# direction, any amount:


# %%
def move(name: str, share: float) -> Figure:
    low, high = directions[name].calibration.range
    change = share * (high if share > 0 else -low)
    return sheet(
        [[picture(person), picture(directions[name].apply(person, change))]],
        ["as it is", f"{name} {change:+.2f}"],
        side=2.4,
    )


explore(move, name=ipywidgets.Dropdown(options=MEASURES), share=slider(0.5, -1, 1))

# %% [markdown]
# ## Entanglement
#
# Move faces along one direction, from end to end, and read all measures. A field says how far its column's measure
# went, in per cent of its slider's range (60° of yaw, 30° of pitch, 1 of a smile): on the diagonal how far the
# direction reaches, elsewhere what leaks.


# %%
def leakage(found: dict[str, LatentDirection]) -> np.ndarray:
    """Per cent, [directions, measures]."""
    rows = []
    for direction in found.values():
        steps = direction.calibration.steps
        rows.append((read_all(direction.move(some, steps[-1])) - read_all(direction.move(some, steps[0]))).mean(0))
    return 100 * np.stack(rows) / WIDTHS


boundaries = leakage(directions)
figure, axes = plt.subplots(1, 2, figsize=(12, 4.5), layout="constrained")
heat_map(axes[0], boundaries, MEASURES, MEASURES, title="measured: change, % of the column's range")
angles = cosines(list(directions.values()))
heat_map(axes[1], angles, MEASURES, MEASURES, title="cosines of the directions", form="{:.2f}", reach=1.0)
axes[0].set_ylabel("moved along")
plt.show()

# %% [markdown]
# Cosines are a hint at most: directions nearly at right angles leak all the same. The generator is not linear, and a
# step that is long enough to turn the head leaves the faces that the model knows.
#
# ## Less of it
#
# `orthogonal` takes out of a direction what it shares with the others. The model's sliders are another way: learned
# controls of the motion code, here from one end of their range to the other.

# %%
clean = {}
for name in MEASURES:
    others = [other for key, other in directions.items() if key != name]
    clean[name] = give_unit(orthogonal(directions[name], others), name)

swept = []
for name in MEASURES:
    both = [{name: value} for value in CONTROL_RANGES[name]]
    drawn = [reenactor.poses(reenactor.identity_from_latent(one), both) for one in some]
    low, high = (read_all(np.stack([results[end].w_plus for results in drawn])) for end in (0, 1))
    swept.append((high - low).mean(0))

ways = {
    "boundaries": boundaries,
    "made orthogonal": leakage(clean),
    "sliders": 100 * np.stack(swept) / WIDTHS,
}

# %%
figure, axes = plt.subplots(1, 3, figsize=(16, 4.6), layout="constrained", sharey=True)
for axis, (title, matrix) in zip(axes, ways.items(), strict=True):
    leaks = np.abs(matrix[~np.eye(len(matrix), dtype=bool)])
    title = f"{title}: leaks {leaks.mean():.0f} % on average, {leaks.max():.0f} % at worst"
    heat_map(axis, matrix, MEASURES, MEASURES, title=title)
axes[0].set_ylabel("moved along")
plt.show()

# %% [markdown]
# ## Ways to find one
#
# Yaw again: an SVM's boundary, the difference between the means of both ends, and the principal component that follows
# yaw most closely (GANSpace). The correlation is that of the random faces' places along the direction with their yaw.

# %%
yaw = scores[:, 0]
order, count = np.argsort(yaw), round(0.3 * len(yaw))


def follows(direction: LatentDirection) -> float:
    """Correlation of the faces' places along a direction with their yaw, without its sign."""
    places = w_plus.reshape(len(w_plus), -1) @ direction.at(*w_plus.shape[1:]).ravel()
    return abs(float(np.corrcoef(places, yaw)[0, 1]))


found = {
    "difference": latent_difference("yaw_deg", w_plus[order[:count]], w_plus[order[-count:]]),
    "component": max(principal_directions(w_plus, 20), key=follows),
}
found = {"boundary": directions["yaw_deg"]} | {title: give_unit(way, "yaw_deg") for title, way in found.items()}

lines = ["| yaw by | correlation | reaches | leaks most into |", "|---|---|---|---|"]
for (title, way), row in zip(found.items(), leakage(found), strict=True):
    low, high = way.calibration.range
    most = 1 + int(np.abs(row[1:]).argmax())
    lines.append(f"| {title} | {follows(way):.3f} | {low:.0f}° to {high:.0f}° | {MEASURES[most]}, {row[most]:.0f} % |")
display(Markdown("\n".join(lines)))

# %% [markdown]
# ## Latents of another scale
#
# Published directions were found among latents of standard deviation 0.5. Steps taken among others mean something else,
# and `apply` says so; `calibrate` on latents of the right kind puts it right.

# %%
published = LatentDirection(name="published", values=directions["yaw_deg"].values, latent_std=0.5)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    published.apply(person, 1.0)
print(caught[0].message)
