"""The head mesh: the packed ICT-FaceKit archive, checked on loading, and what the renderer derives from it.

Units are centimetres; +x is the viewer's right, +y up, +z towards the viewer; the eyes of the neutral head lie near
y = 3.6, z = 8. `build_mesh` makes the archive from the official release (ICT-VGL/ICT-FaceKit, MIT licence).
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from latent_reenact.errors import CorruptFileError, LimitExceededError, WeightsNotFoundError
from latent_reenact.synthface.factors import EXPRESSION_NAMES, IDENTITY_MODES

# Materials of triangles, as the shader knows them
SKIN, MOUTH, GUMS, TEETH, EYE, LASH, HAIR, CLOTH, FRAME, HAT = range(10)

LASH_PARTS = (8, 9)  # values of `part` in the archive
ANCHOR_CENTRE = np.array([0, 5.0, 0], np.float32)  # scalp rays start here
MAX_ARCHIVE_BYTES = 512 * 2**20  # uncompressed; the real one is 33 MB


@dataclass(frozen=True, eq=False)
class ShapeBasis:
    """A linear face model over some vertices: rest + identity @ coefficients + expression @ weights."""

    rest: np.ndarray  # float32 [V, 3]
    identity: np.ndarray  # float32 [IDENTITY_MODES, V * 3]
    expression: np.ndarray  # float32 [53, V * 3]
    head_weight: np.ndarray  # float32 [V, 1], 1 moves with the head, 0 with the shoulders

    def subset(self, index: np.ndarray) -> ShapeBasis:
        """The same model over the vertices `index` only."""

        def pick(modes: np.ndarray) -> np.ndarray:
            return np.ascontiguousarray(modes.reshape(len(modes), -1, 3)[:, index].reshape(len(modes), -1))

        return ShapeBasis(self.rest[index], pick(self.identity), pick(self.expression), self.head_weight[index])

    @cached_property
    def feminine_warp(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Per vertex: factor of x (slim neck and jaw), pull to the nose's centre, lift of the lips. Each [V]."""
        _, y, z = self.rest.T
        neck = smoothstep(-6.5, -9.5, y + 0.35 * np.minimum(0, 9 - z)) * smoothstep(-17, -12, y)
        jaw = np.exp(-(((y + 5.2) / 3.2) ** 2)) * smoothstep(0, 5, z)
        nose = 0.09 * np.exp(-((self.rest - [0, 0.4, 11.8]) ** 2).sum(1) / 2.2**2)
        lips = 0.13 * np.exp(-(((self.rest - [0, -3.3, 10.6]) / [3.0, 1.5, 2.5]) ** 2).sum(1))
        return (1 - 0.13 * neck) * (1 - 0.06 * jaw), nose, lips


@dataclass(frozen=True, eq=False)
class EyeModel:
    """Both eyeballs (0 at +x), linear in the identity."""

    centre: np.ndarray  # float32 [2, 3]
    radius: np.ndarray  # float32 [2]
    centre_modes: np.ndarray  # float32 [2, IDENTITY_MODES, 3]
    radius_modes: np.ndarray  # float32 [2, IDENTITY_MODES]

    def fitted(self, shape: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Centres [2, 3] and radii [2] of a person's eyes; `shape` is float32 [IDENTITY_MODES]."""
        return self.centre + shape @ self.centre_modes, self.radius + self.radius_modes @ shape


@dataclass(frozen=True, eq=False)
class Mesh:
    """A deformable head ready for rendering. Make one with `load_mesh`, `Mesh.from_arrays` or `tiny_mesh`."""

    basis: ShapeBasis
    triangles: np.ndarray  # int32 [T, 3]
    materials: np.ndarray  # uint8 [T]
    attributes: np.ndarray  # float32 [V, 8]: rest x y z, ambient occlusion, lip and lid distance, scalp, ear
    landmarks: np.ndarray  # int32 [68], vertices in the usual order of 68 landmarks
    anchor_index: np.ndarray  # int32 [96, 192, 3], skin vertices hit by rays over (polar, azimuth)
    anchor_weight: np.ndarray  # float32 [96, 192, 3]
    eyes: EyeModel

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Mesh:
        """From the arrays of an archive (already checked): derives weights and attributes, drops the lower lashes."""
        rest = np.asarray(arrays["neutral"], np.float32)
        eye_centre = arrays["eye_centre"]
        low_lash = np.isin(arrays["part"], LASH_PARTS) & (rest[:, 1] <= eye_centre[0][1] - 0.25)
        kept = ~low_lash[arrays["triangles"][:, 0]]
        modes = np.asarray(arrays["identity"][:IDENTITY_MODES], np.float32)
        expression = np.asarray(arrays["expression"], np.float32)
        return cls(
            basis=ShapeBasis(
                rest, modes.reshape(len(modes), -1), expression.reshape(len(expression), -1), _head_weight(rest)
            ),
            triangles=arrays["triangles"][kept].astype(np.int32),
            materials=arrays["tri_material"][kept],
            attributes=_attributes(rest, arrays["masks"].astype(np.float32), arrays["part"], eye_centre),
            landmarks=arrays["landmarks68"].astype(np.int32),
            anchor_index=arrays["anchor_idx"].astype(np.int32),
            anchor_weight=arrays["anchor_w"].astype(np.float32),
            eyes=EyeModel(
                eye_centre,
                arrays["eye_radius"],
                arrays["eye_centre_id"][:, :IDENTITY_MODES],
                arrays["eye_radius_id"][:, :IDENTITY_MODES],
            ),
        )

    @cached_property
    def landmark_basis(self) -> ShapeBasis:
        """The face model over the 68 landmark vertices only."""
        return self.basis.subset(self.landmarks)


def smoothstep(low: float, high: float, x: np.ndarray | float) -> np.ndarray:
    """0 at `low`, 1 at `high` (in either order), smooth between."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _head_weight(rest: np.ndarray) -> np.ndarray:
    """Linear blend skinning: the neck hands over from the head (1) to the shoulders (0)."""
    height = rest[:, 1] - 0.45 * rest[:, 2]
    t = np.clip((height + 13.5) / (13.5 - 5.0), 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)[:, None]


def _attributes(rest: np.ndarray, masks: np.ndarray, part: np.ndarray, eye_centre: np.ndarray) -> np.ndarray:
    attributes = np.concatenate([rest, masks[:, :5]], 1).astype(np.float32)
    for lash in LASH_PARTS:  # u along the lid, v from the root 0 to the tip 1
        index = np.flatnonzero(part == lash)
        upper = index[rest[index, 1] > eye_centre[0][1] - 0.25]
        if len(upper):
            distance = masks[upper, 2]
            attributes[upper, 1] = np.clip((distance - 0.02) / (distance.max() - 0.02), 0, 1)
    return attributes


# ---------------------------------------------------------------- archive

_SHAPES: dict[str, tuple[object, ...]] = {  # letters stand for sizes that must agree
    "neutral": ("V", 3),
    "identity": ("I", "V", 3),
    "expression": (len(EXPRESSION_NAMES), "V", 3),
    "expression_names": (len(EXPRESSION_NAMES),),
    "triangles": ("T", 3),
    "tri_material": ("T",),
    "part": ("V",),
    "landmarks68": (68,),
    "masks": ("V", 6),
    "anchor_idx": (96, 192, 3),
    "anchor_w": (96, 192, 3),
    "eye_centre": (2, 3),
    "eye_radius": (2,),
    "eye_centre_id": (2, "I", 3),
    "eye_radius_id": (2, "I"),
}


def load_mesh(path: str | Path) -> Mesh:
    """Load and check a mesh archive (.npz).

    Raises WeightsNotFoundError when there is no such file, CorruptFileError when it is not a mesh archive and
    LimitExceededError when it would unpack to more than `MAX_ARCHIVE_BYTES`.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsNotFoundError(f"no mesh archive at {path}; make one with `latent-reenact synthface build-mesh`")
    arrays = _read_arrays(path)
    problem = archive_problem(arrays)
    if problem:
        raise CorruptFileError(f"{path} is not a usable mesh archive: {problem}; build or fetch it again")
    return Mesh.from_arrays(arrays)


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MAX_ARCHIVE_BYTES:
            raise LimitExceededError(f"{path} unpacks to {size} bytes; expected at most {MAX_ARCHIVE_BYTES}")
        with np.load(path, allow_pickle=False) as data:
            return {name: data[name] for name in _SHAPES if name in data.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zipfile.LargeZipFile) as error:
        raise CorruptFileError(f"{path} cannot be read as a mesh archive ({error}); build or fetch it again") from error


def archive_problem(arrays: Mapping[str, np.ndarray]) -> str | None:
    """What is wrong with the arrays of an archive, in a few words; None when all is well."""
    sizes: dict[object, int] = {}
    for name, shape in _SHAPES.items():
        if name not in arrays:
            return f"'{name}' is missing"
        got = arrays[name].shape
        expected = tuple(sizes.setdefault(n, m) if isinstance(n, str) else n for n, m in zip(shape, got, strict=False))
        if got != expected or len(got) != len(shape):
            return f"'{name}' has shape {got}, expected {shape}"
        if arrays[name].dtype.kind == "f" and not np.isfinite(arrays[name]).all():
            return f"'{name}' holds values that are not finite"
    if sizes["I"] < IDENTITY_MODES:
        return f"it has {sizes['I']} identity modes, expected at least {IDENTITY_MODES}"
    if tuple(map(str, arrays["expression_names"])) != EXPRESSION_NAMES:
        return "'expression_names' are not the 53 names of ICT-FaceKit in alphabetical order"
    for name in ("triangles", "landmarks68", "anchor_idx"):
        if arrays[name].dtype.kind not in "iu" or arrays[name].min() < 0 or arrays[name].max() >= sizes["V"]:
            return f"'{name}' points outside the {sizes['V']} vertices"
    if arrays["tri_material"].dtype != np.uint8 or arrays["tri_material"].max() > LASH:
        return f"'tri_material' goes beyond {LASH}"
    return None
