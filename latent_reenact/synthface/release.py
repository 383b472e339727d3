"""Make the mesh archive from the official ICT-FaceKit OBJ release (ICT-VGL/ICT-FaceKit, MIT licence).

Reads the blendshapes, keeps the parts that show, bakes what the shader wants to know about each vertex
(`bake`), fits the eyeballs, and drops what no view ever sees. Takes a few minutes on one core.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from latent_reenact.errors import CorruptFileError, OutputError, WeightsNotFoundError
from latent_reenact.synthface.bake import bake
from latent_reenact.synthface.factors import EXPRESSION_NAMES, Factors, Motion
from latent_reenact.synthface.framing import Framing, to_pixels
from latent_reenact.synthface.mesh import GUMS, LASH, MOUTH, SKIN, TEETH, Mesh
from latent_reenact.synthface.person import build_person, pose_person
from latent_reenact.synthface.raster import rasterise
from latent_reenact.synthface.sampling import sample

IDENTITY_FILES = 100
_ALWAYS_KEPT = (0, 1, 8, 9)  # parts whose hidden triangles stay: skin and lashes
_MOUTH_MOVES = ("mouthFunnel", "mouthUpperUp", "mouthLowerDown", "mouthStretch", "mouthSmile", "mouthFrown", "jawLeft")


@dataclass(frozen=True)
class ReleaseLayout:
    """Which vertices of the release are what: (material, first, last) per part, in the order of `part` values."""

    parts: tuple[tuple[int, int, int], ...]
    eyeballs: tuple[tuple[int, int], tuple[int, int]]  # first and last vertex of the eyes at +x and -x


OFFICIAL_LAYOUT = ReleaseLayout(
    parts=(
        *((SKIN, 0, 9408), (SKIN, 9409, 11247)),  # face, head and neck
        *((MOUTH, 11248, 13293), (SKIN, 13294, 13677), (SKIN, 13678, 14061)),  # mouth and eye sockets
        *((GUMS, 14062, 17038), (TEETH, 17607, 18678), (TEETH, 19814, 20883)),
        *((LASH, 25351, 26034), (LASH, 26035, 26718)),
    ),
    eyeballs=((21451, 22220), (23021, 23790)),
)


@dataclass(frozen=True, eq=False)
class ReleaseModel:
    """The release as it was read, all vertices."""

    neutral: np.ndarray  # float32 [N, 3]
    identity: np.ndarray  # float32 [I, N, 3]
    expression: np.ndarray  # float32 [53, N, 3]
    triangles: np.ndarray  # int64 [T, 3]
    landmarks: np.ndarray  # int64 [68]
    licence: str


def build_mesh(
    obj_dir: str | Path, out_npz: str | Path, *, layout: ReleaseLayout = OFFICIAL_LAYOUT, views: int = 260
) -> Path:
    """Write the archive for `load_mesh` from the folder of the OBJ release (it, or its FaceXModel folder).

    `views` random portraits decide which triangles inside mouth and eye sockets are ever seen.
    Raises WeightsNotFoundError, CorruptFileError for a release that is not complete, OutputError when `out_npz`
    cannot be written.
    """
    out_npz = Path(out_npz)
    if not out_npz.parent.is_dir():
        raise OutputError(f"cannot write {out_npz}: no folder {out_npz.parent}; make it first")
    model = read_release(Path(obj_dir))
    material, part = _labels(len(model.neutral), layout)
    model = replace(model, triangles=model.triangles[(material[model.triangles] >= 0).all(1)])
    arrays = _archive(model, material, part, layout)
    seen = _seen_vertices(Mesh.from_arrays(arrays), views)
    seen_in_release = np.zeros(len(model.neutral), bool)
    seen_in_release[_used_vertices(model)[seen]] = True
    shown = np.isin(part[model.triangles[:, 0]], _ALWAYS_KEPT) | seen_in_release[model.triangles].any(1)
    arrays = _archive(replace(model, triangles=model.triangles[shown]), material, part, layout)
    return _write_archive(out_npz, arrays)


# ---------------------------------------------------------------- reading


def read_release(folder: Path) -> ReleaseModel:
    """Read the OBJ files and the index of landmarks."""
    folder = folder / "FaceXModel" if (folder / "FaceXModel").is_dir() else folder
    neutral, triangles = _read_obj(folder / "generic_neutral_mesh.obj")
    landmarks = np.array(_read_json(folder / "vertex_indices.json").get("idx_to_landmark_verts", []), np.int64)
    if landmarks.shape != (68,) or landmarks.min() < 0 or landmarks.max() >= len(neutral):
        raise CorruptFileError(
            f"{folder}/vertex_indices.json does not list 68 landmark vertices; fetch the release again"
        )
    identity = [_read_offsets(folder / f"identity{k:03d}.obj", neutral) for k in range(IDENTITY_FILES)]
    expression = [_read_offsets(folder / f"{name}.obj", neutral) for name in EXPRESSION_NAMES]
    licences = [path for path in (folder / "LICENSE", folder.parent / "LICENSE") if path.is_file()]
    licence = licences[0].read_text(encoding="utf-8") if licences else "MIT, see github.com/ICT-VGL/ICT-FaceKit"
    return ReleaseModel(neutral, np.stack(identity), np.stack(expression), triangles, landmarks, licence)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise WeightsNotFoundError(f"no {path.name} in {path.parent}; expected the ICT-FaceKit OBJ release") from None
    except (OSError, UnicodeDecodeError) as error:
        raise CorruptFileError(f"{path} cannot be read ({error}); fetch the release again") from error


def _read_json(path: Path) -> dict[str, object]:
    try:
        index = json.loads(_read_text(path))
    except json.JSONDecodeError as error:
        raise CorruptFileError(f"{path} is not JSON ({error}); fetch the release again") from error
    if not isinstance(index, dict):
        raise CorruptFileError(f"{path} holds {type(index).__name__}, expected an object; fetch the release again")
    return index


def _read_obj(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Vertices float32 [N, 3] and triangles int64 [T, 3]; larger polygons become fans."""
    vertices, triangles = [], []
    try:
        for line in _read_text(path).splitlines():
            if line.startswith("v "):
                vertices.append([float(number) for number in line.split()[1:4]])
            elif line.startswith("f "):
                face = [int(corner.split("/")[0]) - 1 for corner in line.split()[1:]]
                triangles += [[face[0], face[k], face[k + 1]] for k in range(1, len(face) - 1)]
        points, faces = np.array(vertices, np.float32).reshape(-1, 3), np.array(triangles, np.int64).reshape(-1, 3)
    except ValueError as error:
        raise CorruptFileError(f"{path} is not a Wavefront OBJ file ({error}); fetch the release again") from error
    if (
        not len(points)
        or not np.isfinite(points).all()
        or (faces.size and not 0 <= faces.min() <= faces.max() < len(points))
    ):
        raise CorruptFileError(f"{path} has no vertices, or faces beyond them; fetch the release again")
    return points, faces


def _read_offsets(path: Path, neutral: np.ndarray) -> np.ndarray:
    points, _ = _read_obj(path)
    if points.shape != neutral.shape:
        raise CorruptFileError(
            f"{path} has {len(points)} vertices, the neutral mesh {len(neutral)}; fetch the release again"
        )
    return points - neutral


# ---------------------------------------------------------------- building


def _labels(n: int, layout: ReleaseLayout) -> tuple[np.ndarray, np.ndarray]:
    """Material and part per vertex of the release [N]; -1 for what is left out."""
    last = max(last for _, last in (*((a, b) for _, a, b in layout.parts), *layout.eyeballs))
    if last >= n:
        raise CorruptFileError(f"the neutral mesh has {n} vertices, expected more than {last}; fetch the release again")
    material, part = np.full(n, -1), np.full(n, -1)
    for k, (what, first, last) in enumerate(layout.parts):
        material[first : last + 1], part[first : last + 1] = what, k
    return material, part


def _used_vertices(model: ReleaseModel) -> np.ndarray:
    return np.unique(np.concatenate([model.triangles.ravel(), model.landmarks]))


def _archive(
    model: ReleaseModel, material: np.ndarray, part: np.ndarray, layout: ReleaseLayout
) -> dict[str, np.ndarray]:
    """The arrays of an archive over the vertices that the triangles and landmarks use."""
    used = _used_vertices(model)
    number = np.full(len(model.neutral), -1)
    number[used] = np.arange(len(used))
    triangles = number[model.triangles].astype(np.int32)
    rest, landmarks = model.neutral[used], number[model.landmarks]
    baked = bake(rest, triangles, material[used], part[used], landmarks)
    eyes = [_fit_eyeball(model, first, last) for first, last in layout.eyeballs]
    centre, radius, centre_modes, radius_modes = (np.stack(x).astype(np.float32) for x in zip(*eyes, strict=True))
    return {
        "neutral": rest,
        "identity": model.identity[:, used].astype(np.float16),
        "expression": model.expression[:, used].astype(np.float16),
        "expression_names": np.array(EXPRESSION_NAMES),
        "triangles": triangles.astype(np.uint16 if len(used) <= 65536 else np.uint32),
        "tri_material": material[model.triangles[:, 0]].astype(np.uint8),
        "part": part[used].clip(0).astype(np.uint8),
        "landmarks68": landmarks.astype(np.int32),
        "masks": baked.masks.astype(np.float16),
        "anchor_idx": baked.anchor_index,
        "anchor_w": baked.anchor_weight.astype(np.float16),
        "eye_centre": centre,
        "eye_radius": radius,
        "eye_centre_id": centre_modes,
        "eye_radius_id": radius_modes,
        "licence": np.array(model.licence),
        "source": np.array("USC ICT-FaceKit light model, MIT, github.com/ICT-VGL/ICT-FaceKit"),
    }


def _fit_sphere(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Least-squares centre [3] and radius of points [N, 3]."""
    system = np.column_stack([2 * points, np.ones(len(points))])
    x, *_ = np.linalg.lstsq(system, (points**2).sum(1), rcond=None)
    return x[:3], float(np.sqrt(x[3] + (x[:3] ** 2).sum()))


def _fit_eyeball(model: ReleaseModel, first: int, last: int) -> tuple[np.ndarray, float, np.ndarray, np.ndarray]:
    """Centre, radius and their change with each identity mode; the bulge of the cornea is left out."""
    points = model.neutral[first : last + 1].astype(float)
    centre, radius = _fit_sphere(points)
    deviation = np.abs(np.linalg.norm(points - centre, axis=1) - radius)
    centre, radius = _fit_sphere(points[deviation < 0.03])
    round_ = np.abs(np.linalg.norm(points - centre, axis=1) - radius) < 0.05
    moved = [_fit_sphere((points + mode[first : last + 1])[round_]) for mode in model.identity]
    return centre, radius, np.array([c - centre for c, _ in moved]), np.array([r - radius for _, r in moved])


def _seen_vertices(mesh: Mesh, views: int) -> np.ndarray:
    """bool [V]: vertices of triangles seen in at least one of `views` random portraits, many with open mouths."""
    seen = np.zeros(len(mesh.basis.rest), bool)
    rng = np.random.default_rng(1)
    for i in range(views):
        factors = sample(1, i)
        expression = _random_mouth(rng) if i % 2 else dict(factors.motion.expression)
        pose = Motion(yaw_deg=rng.uniform(-45, 45), pitch_deg=rng.uniform(-25, 25), expression=expression)
        seen[mesh.triangles[_visible_triangles(mesh, factors, pose)]] = True
    return seen


def _random_mouth(rng: np.random.Generator) -> dict[str, float]:
    moves = [name for name in EXPRESSION_NAMES if name.startswith(_MOUTH_MOVES) and rng.random() < 0.4]
    return {name: rng.uniform(0, 1) for name in moves} | {"jawOpen": rng.uniform(0.2, 1)}


def _visible_triangles(mesh: Mesh, factors: Factors, motion: Motion, size: int = 448) -> np.ndarray:
    """Indices of the head's triangles that show, the hair and all else left out."""
    person = build_person(mesh, factors.identity, factors.scene.clothes.collar)
    posed = pose_person(mesh, person, motion)
    points = to_pixels(posed.vertices, Framing(0.0, 2.0, 14.0), size)
    depth, winner = np.full((size, size), 1e9, np.float32), np.full((size, size), -1, np.int32)
    rasterise(points, mesh.triangles, mesh.materials, person.attributes, depth, winner, 0.1)
    return np.unique(winner[winner >= 0])


def _write_archive(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    """All or nothing: written beside `path` and renamed."""
    try:
        handle, name = tempfile.mkstemp(suffix=".npz", dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise OutputError(f"cannot write {path} ({error}); choose another place") from error
    try:
        np.savez_compressed(name, **arrays)  # type: ignore[arg-type]
        os.replace(name, path)
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        raise OutputError(f"cannot write {path} ({error}); choose another place") from error
    return path
