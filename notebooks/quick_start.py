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
# # Quick start
#
# A portrait says whom to draw (the *identity*), another face says how (the *driving* picture or video). This notebook
# reenacts a picture and a video with the embedded model `builtin`, looks at the latents in between, and measures how
# closely the result follows. All people here are synthetic.

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Video, display
from pictures import show

import latent_reenact as lr
from latent_reenact import samples
from latent_reenact.evaluation.estimators import load_estimator
from latent_reenact.face import align
from latent_reenact.media import read_image, read_provenance

folder = tempfile.TemporaryDirectory()  # everything that is written here goes with it
out = Path(folder.name)

# %% [markdown]
# ## From picture to picture
#
# Reading a person is the costly step and done once: the face is found, cut as FFHQ's are, and inverted into W+.

# %%
reenactor = lr.load("builtin")
identity = reenactor.identity(samples.path("portrait_a.png"))
driving = samples.path("driving.png")
result = reenactor(identity, driving)

print(f"{reenactor.name}: {reenactor.resolution} x {reenactor.resolution} pixels")
print(f"w_plus {identity.w_plus.shape}: a code for each style input of the generator")
print(f"motion {identity.motion.shape}: pose and expression, as the motion encoder codes them")

# %%
cut = align(result.driving_face.image, result.driving_face.alignment, 128)
show(
    [[identity.picture, identity.reconstruction, cut, result.image]],
    ["identity", "inverted", "driving", "result"],
    side=2.4,
)

# %% [markdown]
# The driving face's whole expression is copied. `relative=True` adds only its difference from a neutral, frontal face
# to the expression that the identity has in its own picture.

# %%
people = [reenactor.identity(samples.path(name)) for name in ("portrait_b.png", "evaluation_identity.png")]
rows = [[p.picture, reenactor(p, driving).image, reenactor(p, driving, relative=True).image] for p in people]
show(rows, ["identity", "absolute", "relative"], side=2.0)

# %% [markdown]
# ## What the mapper does
#
# The generator draws the identity's `w_plus` as the mapper has moved it. Early styles of StyleGAN2 draw what is coarse,
# late ones what is fine. The bars tell how far each is moved, beside the distance to another person.

# %%
moved = np.linalg.norm(result.w_plus - identity.w_plus, axis=1)  # [L]
apart = np.linalg.norm(people[0].w_plus - identity.w_plus, axis=1)
styles = np.arange(len(moved))

figure, axis = plt.subplots(figsize=(8, 3))
axis.bar(styles - 0.2, moved, 0.4, label="identity to result")
axis.bar(styles + 0.2, apart, 0.4, label="identity to another person", color="lightgray")
axis.set(xlabel="style input of the generator, coarse to fine", ylabel="distance in w", xticks=styles)
axis.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)
plt.show()

# %% [markdown]
# All are moved. Which of them turn the head? Take the first ones from the result, the rest from the identity.

# %%
mixed = []
for count in (0, 2, 4, 6, 8, 12):
    w_plus = np.concatenate([result.w_plus[:count], identity.w_plus[count:]])
    mixed.append(reenactor.identity_from_latent(w_plus).picture)
show([mixed], ["none moved", "first 2", "first 4", "first 6", "first 8", "all 12"], side=1.8)

# %% [markdown]
# The first four turn the head, the smile comes with the next two, and what the later ones do hardly shows.

# %% [markdown]
# ## From video to video
#
# `stream` is a generator: one result for each driving frame, memory does not grow with the length. Every file says in
# its metadata that it was made by AI.

# %%
clip = samples.path("driving.mp4")
frames, shown = [], []
with lr.VideoWriter(out / "result.mp4", like=clip) as video:
    for result in reenactor.stream(identity, clip):
        video.write(result)
        frames.append(result.image)
        shown.append(align(result.driving_face.image, result.driving_face.alignment, 128))

some = np.linspace(0, len(frames) - 1, 8).round().astype(int)
print(f"{len(frames)} frames, marked as {read_provenance(out / 'result.mp4').source_type}")
show(
    [[shown[i] for i in some], [frames[i] for i in some]],
    [f"frame {i}" for i in some],
    ["driving", "result"],
    side=1.5,
)

# %%
display(Video(str(out / "result.mp4"), embed=True, width=256))

# %% [markdown]
# ## How closely it follows
#
# The model's own face reader looks at both clips. It had a part in the training, so it is a friendly judge;
# [comparing_baselines](comparing_baselines.ipynb) asks an outside one too.

# %%
reader = load_estimator("builtin")
wanted, drawn = (reader.read(np.stack(pictures)) for pictures in (shown, frames))
jaw, smile = (reader.units.names.index(name) for name in ("jawOpen", "mouthSmile_L"))
seconds = np.arange(len(frames)) / 25

figure, axes = plt.subplots(3, 1, figsize=(8, 6), sharex=True)
for axis, label, of in (
    (axes[0], "yaw, degrees", lambda reading: reading.pose_deg[:, 0]),
    (axes[1], "jaw open, 0 to 1", lambda reading: reading.units[:, jaw]),
    (axes[2], "smile, 0 to 1", lambda reading: reading.units[:, smile]),
):
    axis.plot(seconds, of(wanted), label="driving", color="black")
    axis.plot(seconds, of(drawn), label="result", color="tab:red")
    axis.set_ylabel(label)
    axis.set_title(f"correlation {np.corrcoef(of(wanted), of(drawn))[0, 1]:.2f}", fontsize=10, loc="right")
axes[0].legend()
axes[2].set_xlabel("seconds")
plt.show()

# %% [markdown]
# ## Keeping a person
#
# An identity is a value: save it, load it, share it between threads. A reenactor holds nothing of anybody.

# %%
identity.save(out / "person.safetensors")
again = lr.Identity.load(out / "person.safetensors")
reenactor(again, driving).save(out / "result.png")
print("the same picture:", np.array_equal(read_image(out / "result.png"), reenactor(identity, driving).image))
print("kept in", (out / "person.safetensors").stat().st_size >> 10, "KB")
folder.cleanup()
