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
# # Comparing latent baselines
#
# Two systems draw one person doing what another does, on the same pairs of clips:
#
# - `latent`: the method, a motion encoder and a mapper in front of StyleGAN2;
# - `linear-psp`: nothing trained but the inversion. A frame's latent less the mean latent of its clip is added to the
#   mean latent of the identity's clip: `z_R + α (z_A1 - z_A0)`.
#
# The clips are renders of `synthface`: people whom no training saw, and the right answer of every pair is known. Six
# come with this notebook; with `LATENT_REENACT_MESH=ict_facekit.npz` set, it renders more and longer ones. What is
# measured and how is in [docs/evaluation.md](../docs/evaluation.md); the standard report takes 50 pairs.

# %%
import os
import tempfile
from pathlib import Path

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown, display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pictures import explore, sheet, show

import latent_reenact as lr
from latent_reenact.evaluation.clips import Clip, SyntheticClips
from latent_reenact.evaluation.contestants import SystemSpec, open_system
from latent_reenact.evaluation.estimators import load_estimator
from latent_reenact.evaluation.protocols import ProtocolConfig, compare
from latent_reenact.media import VideoReader
from latent_reenact.metrics import csim, pose_mae
from latent_reenact.models.pixels import to_pixels


# %%
class StoredClips(SyntheticClips):
    """The clips beside this notebook and the right answers of their pairs, as clips/draw.py drew them."""

    def __init__(self) -> None:
        self.seed, self.count, self.frames, self.fps, self.size = 999, 6, 8, 4.0, 128

    def load(self, name: str) -> Clip:
        return Clip(name, name, self._frames(name), self.fps)

    def answer(self, identity: Clip, driving: Clip) -> np.ndarray:
        return self._frames(f"{identity.name}_as_{driving.name}")

    def _frames(self, stem: str) -> np.ndarray:
        with VideoReader(Path("clips") / f"{stem}.mp4") as video:
            return np.stack(list(video))


def rendered_clips(mesh: str) -> SyntheticClips:
    from latent_reenact.synthface import Renderer, load_mesh

    return SyntheticClips(Renderer(load_mesh(mesh)), count=8, frames=12, fps=4.0, size=128)


mesh = os.environ.get("LATENT_REENACT_MESH")
source = rendered_clips(mesh) if mesh else StoredClips()
show([source.load(name).frames[:8] for name in list(source.people())[:2]], names=["one clip", "another"], side=1.35)

# %% [markdown]
# ## Running the protocol
#
# The clips stand in a ring, each driving the one before it. Two judges read what comes out: the model's own networks,
# which had a part in its training, and dlib, which had none. `compare` does not do again what is in its folder already;
# name one of your own to keep the report, in Markdown, HTML and JSON.

# %%
folder = tempfile.TemporaryDirectory()
contestants = [
    open_system(spec, framing=source.framing, size=source.size)
    for spec in SystemSpec.parse("latent,linear-psp", "builtin")
]
judges = [load_estimator("builtin"), load_estimator("dlib")]
config = ProtocolConfig(
    protocol="cross", pairs=source.count, frames=source.frames, fps=source.fps, size=source.size, strips=source.count
)
comparison = compare(contestants, source, judges, Path(folder.name), config)

# %% [markdown]
# ## The table
#
# Means over pairs, with the middle 95 % of bootstrapped means. *Right answer* is what each judge says of the rendered
# truth: where a perfect system would be.

# %%
display(Markdown(comparison.markdown_table()))

# %% [markdown]
# ## The same as plots
#
# Each dot is a pair, and a line joins it under both systems: intervals that overlap can hide that every single pair
# goes the same way. The dashed line is the right answer's mean.

# %%
systems = [contestant.name for contestant in contestants]
measures = {m.key: m for m in comparison.measures}


def plot_measure(axis: Axes, key: str) -> None:
    values = np.array([[row.get(key, np.nan) for row in comparison.values[name]] for name in systems])  # [systems, P]
    axis.plot(values, color="lightgray", zorder=1)
    for x, name in enumerate(systems):
        estimate = comparison.table[name][key]
        errors = [[estimate.mean - estimate.low], [estimate.high - estimate.mean]]
        axis.scatter(np.full(values.shape[1], x), values[x], color="gray", s=14, zorder=2)
        axis.errorbar(x, estimate.mean, errors, fmt="o", color="tab:red", capsize=4, zorder=3)
    answer = comparison.table["right answer"].get(key)
    if answer is not None and answer.n:
        axis.axhline(answer.mean, color="black", linestyle="--", linewidth=1)
    axis.set_xticks(range(len(systems)), systems)
    axis.set_xlim(-0.4, len(systems) - 0.6)
    axis.set_ylabel(measures[key].title)


chosen = ("dlib.pose_mae", "dlib.fl", "dlib.csim", "builtin.pose_mae", "builtin.units_r", "psnr")
figure, axes = plt.subplots(2, 3, figsize=(11, 6.5), layout="constrained")
for axis, key in zip(axes.flat, chosen, strict=True):
    plot_measure(axis, key)
plt.show()


# %% [markdown]
# Any other measure of the report:


# %%
def one_measure(measure: str) -> Figure:
    figure, axis = plt.subplots(figsize=(4.5, 3.5))
    plot_measure(axis, measure)
    return figure


of_pairs = [(m.title, key) for key, m in measures.items() if not key.endswith("frechet")]
explore(one_measure, measure=ipywidgets.Dropdown(options=of_pairs))


# %% [markdown]
# ## The pictures
#
# Numbers do not tell what goes wrong. The linear baseline starts from a mean over a clip's poses, and takes a step that
# was measured at another person: both cost likeness, in hair and clothes first.


# %%
def pair_sheet(pair: int) -> Figure:
    strip = comparison.strips[pair]
    some = np.linspace(0, source.frames - 1, 7).round().astype(int)
    rows = [[strip.identity, *frames[some]] for frames in strip.rows.values()]
    return sheet(rows, ["identity", *(f"frame {i}" for i in some)], list(strip.rows), side=1.35)


pair_sheet(1)
plt.show()

# %%
explore(pair_sheet, pair=ipywidgets.IntSlider(0, 0, len(comparison.strips) - 1))

# %% [markdown]
# ## Over time
#
# One pair's head and mouth, frame by frame, read by the model's own reader.

# %%
reader = judges[0]
jaw = reader.units.names.index("jawOpen")
styles = {"driving": "k-", "right answer": "k:", "latent": "r-", "linear-psp": "b-"}


def plot_pair(pair: int) -> None:
    _, axes = plt.subplots(1, 3, figsize=(12, 3), layout="constrained")
    for name, frames in comparison.strips[pair].rows.items():
        reading = reader.read(frames)
        seconds = np.arange(len(frames)) / source.fps
        curves = (reading.pose_deg[:, 0], reading.pose_deg[:, 1], reading.units[:, jaw])
        for axis, curve in zip(axes, curves, strict=True):
            axis.plot(seconds, curve, styles[name], label=name)
    for axis, label in zip(axes, ("yaw, degrees", "pitch, degrees", "jaw open, 0 to 1"), strict=True):
        axis.set(xlabel="seconds", ylabel=label)
    axes[0].legend(fontsize=8)
    plt.show()


plot_pair(1)

# %% [markdown]
# ## How much of the step?
#
# The baseline has one knob: α, how much of the driver's step is taken; 1 in the thesis. Each result carries its step,
# so that three pairs are drawn with other α without inverting anything again. More of the step follows the pose
# more closely, up to a point, and leaves the person behind.

# %%
linear = lr.load("builtin", system="linear")
alphas = (0.4, 0.6, 0.8, 1.0, 1.2)
few = comparison.strips[:3]
errors, likeness = np.zeros((2, len(few), len(alphas)))
for p, strip in enumerate(few):
    person = linear.identity(source.load(strip.pair.identity).frames, aligned=True)
    driving = strip.rows["driving"]
    steps = np.stack([result.motion for result in linear.stream(person, driving, aligned=True)])  # [T, L, D]
    wanted, who = reader.read(driving), reader.read(strip.identity[None])
    for a, alpha in enumerate(alphas):
        with torch.inference_mode():
            images = linear.inversion.generator.synthesis(torch.tensor(person.w_plus + alpha * steps))
        drawn = reader.read(to_pixels(images))
        errors[p, a] = pose_mae(wanted.pose_deg, drawn.pose_deg)
        likeness[p, a] = csim(who.identity[0], drawn.identity)

# %%
figure, axis = plt.subplots(figsize=(6, 4))
axis.plot(errors.mean(0), likeness.mean(0), "o-", color="tab:blue", label="linear-psp")
for x, y, alpha in zip(errors.mean(0), likeness.mean(0), alphas, strict=True):
    axis.annotate(f"α = {alpha:g}", (x, y), textcoords="offset points", xytext=(6, 6), fontsize=9)
rows = [comparison.values["latent"][strip.index] for strip in few]
x, y = (np.mean([row[key] for row in rows]) for key in ("builtin.pose_mae", "builtin.csim"))
axis.plot(x, y, "*", markersize=14, color="tab:red", label="latent")
axis.set(xlabel="error of yaw and pitch, degrees", ylabel="cosine with the identity's picture")
axis.margins(0.15)
axis.legend()
plt.show()

# %% [markdown]
# ## Beside the published order
#
# The thesis measured the same systems on real footage at 1024², read by other networks: the order can be compared, the
# size of the numbers cannot. With so few pairs most of it is undecided.

# %%
head, *body = comparison.published_rows()
lines = [head, ["---"] * len(head), *body]
display(Markdown("\n".join("| " + " | ".join(line) + " |" for line in lines)))
folder.cleanup()
