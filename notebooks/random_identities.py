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
# # Random identities with controllable pose
#
# People who do not exist, drawn from a seed, with pose and expression set by sliders: no picture of anybody is needed.
# The notebook ends with the closed loop: what was asked for against what is measured.
# [docs/random-people.md](../docs/random-people.md) has more of it.

# %%
import io
import json
import tarfile
import tempfile
from pathlib import Path

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import PIL.Image
import torch
from IPython.display import Image, display
from matplotlib.figure import Figure
from pictures import explore, heat_map, sheet, show, slider

import latent_reenact as lr
from latent_reenact import samples
from latent_reenact.editing import PRESETS, SamplingConfig, draw_portrait, film, sample_shards
from latent_reenact.evaluation.estimators import load_estimator
from latent_reenact.face import align
from latent_reenact.models.pixels import from_pixels
from latent_reenact.synthface.controls import CONTROL_RANGES, control_columns

reenactor = lr.load("builtin")
print("controls:", ", ".join(reenactor.controls))

# %% [markdown]
# ## From a seed to a person
#
# The generator draws a random z; the picture is then inverted as any portrait is. The raw w is not used: the mapper was
# trained on the latents that the inversion gives.

# %%
people = [lr.sample_identity(reenactor, seed) for seed in range(5)]
show(
    [[person.picture for person in people], [person.reconstruction for person in people]],
    [f"seed {seed}" for seed in range(5)],
    ["drawn", "inverted"],
    side=1.4,
)

# %% [markdown]
# Truncation trades variety for plausibility: at 0 everybody is the average face.

# %%
psis = (0.0, 0.4, 0.7, 1.0, 1.3)
show(
    [[draw_portrait(reenactor, 3, truncation_psi=psi) for psi in psis]],
    [f"ψ = {psi:g}" for psi in psis],
    ["seed 3"],
    side=1.4,
)

# %% [markdown]
# ## Pose by sliders
#
# Angles in degrees, `yaw_deg` > 0 to the viewer's right; expressions from 0 to 1. What is not named stays as it is in
# the person's own picture.

# %%
person = people[1]
yaws, pitches = (-30, -15, 0, 15, 30), (12, -12)
show(
    [[reenactor.pose(person, yaw_deg=yaw, pitch_deg=pitch).image for yaw in yaws] for pitch in pitches],
    [f"yaw {yaw}°" for yaw in yaws],
    [f"pitch {pitch}°" for pitch in pitches],
    side=1.35,
)

# %%
names = ("Smile", "Laugh", "Surprise", "Sad", "Asleep")
show(
    [[reenactor.pose(people[seed], **PRESETS[name]).image for name in names] for seed in (1, 3)],
    names,
    ["seed 1", "seed 3"],
    side=1.4,
)

# %% [markdown]
# Move them yourself:


# %%
def one_pose(seed: int, **controls: float) -> Figure:
    posed = reenactor.pose(people[seed], **controls)
    return sheet([[people[seed].picture, posed.image]], ["as drawn", "posed"], side=2.4)


angles = {"yaw_deg": slider(15, -35, 35), "pitch_deg": slider(0, -20, 20)}
expressions = {name: slider(0, 0, 1) for name in ("smile", "jaw_open", "brows_up", "blink_left")}
explore(one_pose, seed=ipywidgets.IntSlider(0, 0, len(people) - 1), **angles, **expressions)


# %% [markdown]
# ## Pose from one picture, expression from another
#
# The sliders also tell the two apart in driving pictures: `combine` takes pose and expression from where it is told to.

# %%
turned, surprised = samples.path("driving.png"), samples.path("evaluation_driving.png")
cuts = [align(*reenactor.align(picture), 128) for picture in (turned, surprised)]
rows = [
    [
        person.picture,
        reenactor.combine(person, pose=turned, expression=surprised).image,
        reenactor.combine(person, pose=surprised, expression=turned).image,
    ]
    for person in (people[1], people[3])
]
show([[np.full_like(cuts[0], 255), *cuts], *rows], names=["drivers", "seed 1", "seed 3"], side=1.5)

# %% [markdown]
# In each row the pose is that of the driver above, the expression that of the other one.
#
# ## Many, with labels
#
# For training other networks: pictures whose labels are what was asked for, as webdataset reads them. On the command
# line `latent-reenact sample -n 100000 --yaw -30:30 --smile 0:1 -o people` does it on all cores, and goes on where it
# was stopped.

# %%
config = SamplingConfig(
    count=10, seed=20, identities=2, ranges={"yaw_deg": (-30, 30), "smile": (0, 1)}, refine_steps=0, suffix="jpg"
)
with tempfile.TemporaryDirectory() as folder:
    sample_shards(folder, config)
    with tarfile.open(Path(folder) / "00000.tar") as shard:
        members = {member.name: shard.extractfile(member).read() for member in shard}

labels = [json.loads(data) for name, data in members.items() if name.endswith(".json")]
images = [np.asarray(PIL.Image.open(io.BytesIO(data))) for name, data in members.items() if name.endswith(".jpg")]
print(labels[0])
for first in (0, 5):
    said = [f"yaw {c['yaw_deg']:.0f}°\nsmile {c['smile']:.1f}" for c in (one["controls"] for one in labels[first:][:5])]
    show([images[first:][:5]], said, [f"person {labels[first]['person']}"], side=1.5)

# %% [markdown]
# ## A film
#
# Between some poses:

# %%
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "film.gif"
    poses = [{"yaw_deg": -25}, {"yaw_deg": 0, "smile": 0.9, "pitch_deg": 5}, {"yaw_deg": 25, "jaw_open": 0.4}]
    film(reenactor, people[3], poses, path, fps=12, loop=True)
    display(Image(path.read_bytes(), width=256))

# %% [markdown]
# ## The closed loop
#
# Ask for a value, draw, and let the model's face reader say what it sees: every slider through its range, all others at
# rest, for four people. The reader had a part in the model's training: networks of another seed are stricter.

# %%
reader = load_estimator("builtin")
network = lr.load_network("builtin", "face_reader")
names = reenactor.controls
asked = {name: np.linspace(*CONTROL_RANGES[name], 5) for name in names}
columns = [control_columns(name) for name in names]


def see(pictures: np.ndarray) -> np.ndarray:
    """What is seen of every slider in uint8 [T, R, R, 3]: [T, sliders]."""
    with torch.inference_mode():
        seen = network(from_pixels(torch.from_numpy(pictures).permute(0, 3, 1, 2)))
        motion = torch.cat([seen.pose_deg, seen.gaze_deg, seen.expression], dim=1)
        return torch.stack([motion[:, index].mean(1) for index in columns], dim=1).numpy()


def sweep(person: lr.Identity, name: str) -> np.ndarray:
    """uint8 [5, R, R, 3]."""
    settings = [{name: float(value)} for value in asked[name]]
    return np.stack([result.image for result in reenactor.poses(person, settings, at_rest=True)])


pictures = {name: [sweep(person, name) for person in people[:4]] for name in names}
seen = np.stack([[see(frames) for frames in pictures[name]] for name in names])  # [swept, people, 5, sliders]

# %%
chosen = ("yaw_deg", "pitch_deg", "smile", "jaw_open", "brows_up", "blink_left")
figure, axes = plt.subplots(2, 3, figsize=(8, 4.6), layout="constrained")
for axis, name in zip(axes.flat, chosen, strict=True):
    own = seen[names.index(name), :, :, names.index(name)]  # [people, 5]
    axis.plot(asked[name], asked[name], "k--", linewidth=1)
    axis.plot(asked[name], own.T, color="tab:red", linewidth=1)
    unit = "°" if name.endswith("_deg") else ""
    axis.set(xlabel=f"{name} asked", ylabel="measured")
    axis.set_title(f"off by {np.abs(own - asked[name]).mean():.2g}{unit} on average", fontsize=10)
plt.show()

# %% [markdown]
# What else moves? Each row is a slider moved from end to end; a field says how far its column's measure went, in per
# cent of that slider's range. On the diagonal, 100 is all that was asked for.

# %%
widths = np.array([values[-1] - values[0] for values in asked.values()])
leakage = 100 * (seen[:, :, -1] - seen[:, :, 0]).mean(1) / widths  # [swept, sliders]
figure, axis = plt.subplots(figsize=(9, 5.4), layout="constrained")
heat_map(axis, leakage, names, names, title="change of the column's measure, % of its range")
axis.set_ylabel("moved")
plt.show()

# %% [markdown]
# And is it still the same person? The cosine of each picture's embedding with that of the sweep's middle, beside the
# cosine between different people.

# %%
figure, axes = plt.subplots(1, 3, figsize=(9, 2.8), layout="constrained", sharey=True)
for axis, name in zip(axes, ("yaw_deg", "pitch_deg", "jaw_open"), strict=True):
    embedded = np.stack([reader.read(frames).identity for frames in pictures[name]])  # [people, 5, D]
    embedded /= np.linalg.norm(embedded, axis=-1, keepdims=True)
    middle = embedded[:, 2]
    strangers = (middle @ middle.T)[~np.eye(len(middle), dtype=bool)]
    axis.plot(asked[name], np.einsum("pvd,pd->pv", embedded, middle).T, color="tab:red", linewidth=1)
    axis.axhline(strangers.mean(), color="black", linestyle="--", linewidth=1, label="different people, on average")
    axis.set_xlabel(name)
axes[0].set_ylabel("cosine with the middle")
axes[0].legend(fontsize=8)
plt.show()
