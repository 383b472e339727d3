"""Who reads the pictures of an evaluation, and under which name.

An estimator turns pictures into a `FaceReading`; what it cannot read is None. Three kinds: dlib; the networks of a
model folder of ours; the published networks that the literature measures with. A published network's name is used only
for a folder that was converted from the published file: a report never calls a substitute by the official name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from latent_reenact.errors import ConfigError, NoFaceError
from latent_reenact.evaluation.judges import OUTSIDE_SIZE, OutsideJudge
from latent_reenact.face import head_pose
from latent_reenact.models import (
    LPIPS,
    UNIT_NAMES,
    ActionUnitDetector,
    FaceReader,
    FeatureDistance,
    HopeNet,
    IdentityEmbedder,
    OnnxIdentityEmbedder,
    load_networks,
)
from latent_reenact.models.action_units import MAIN_UNITS
from latent_reenact.models.pixels import from_pixels
from latent_reenact.synthface.factors import EXPRESSION_NAMES
from latent_reenact.third_party.registry import load_registry
from latent_reenact.weights import ModelFolder, resolve
from latent_reenact.weights.folder import MANIFEST, sha256

_OFFICIAL: dict[type[nn.Module], str] = {
    HopeNet: "HopeNet",
    ActionUnitDetector: "OpenGraphAU",
    IdentityEmbedder: "ArcFace",
    LPIPS: "LPIPS",
}
_EVERY = 4  # dlib's recognition network takes 0.1 s a face: one frame in so many is asked
_MOVING = 0.02  # deviation of a blendshape's coefficient over a clip below which it is the reader's noise


@dataclass(frozen=True, eq=False)
class FaceReading:
    """What was read of T pictures. A row is NaN where no face was found, or where nobody looked.

    pose_deg: [T, 3], yaw, pitch, roll with the signs of `face.pose`. landmarks: [T, 68, 2] in 0..1 of the picture.
    units: [T, U], action units or blendshapes. identity: [T, D]. features: [T, F], for Fréchet distances.
    """

    pose_deg: np.ndarray | None = None
    landmarks: np.ndarray | None = None
    units: np.ndarray | None = None
    identity: np.ndarray | None = None
    features: np.ndarray | None = None

    def arrays(self) -> dict[str, np.ndarray]:
        """Those that are there, by name."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}


@dataclass(frozen=True, kw_only=True)
class Units:
    """What the columns of `FaceReading.units` are.

    word: "action units", or what else they are. threshold: above it a unit is present; None where that means nothing.
    least_deviation: as `metrics.au_correlation` takes it.
    """

    word: str
    names: tuple[str, ...]
    threshold: float | None = None
    least_deviation: float = 0.0


class Estimator(Protocol):
    """Reads pictures. `name` stands in reports, `fingerprint` tells one set of weights from another."""

    @property
    def name(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def units(self) -> Units | None:
        """None where it reads none."""

    def read(self, pictures: np.ndarray) -> FaceReading:
        """pictures: uint8 [T, R, R, 3], aligned as FFHQ."""

    def distance(self) -> tuple[str, nn.Module] | None:
        """(name, a perceptual distance of pictures); None where it has none."""


class DlibEstimator:
    """dlib's landmarks, the head angles that they make, and its recognition network: no training here ever saw it.

    Args:
        judge: a stand-in for tests.
        every: one frame in so many is asked who it is.
    """

    name, units = "dlib", None

    def __init__(self, judge: OutsideJudge | None = None, *, every: int = _EVERY) -> None:
        self._judge, self._every = judge or OutsideJudge(), every

    @property
    def fingerprint(self) -> str:
        return f"dlib, identity of 1 frame in {self._every}"

    def read(self, pictures: np.ndarray) -> FaceReading:
        poses, points, people = [], [], []
        for i, picture in enumerate(pictures):
            face = self._judge.find(picture)
            pose = None
            if face is not None:
                try:
                    pose = head_pose(face.landmarks)
                except NoFaceError:
                    face = None
            poses.append([np.nan] * 3 if pose is None else list(pose))
            points.append(np.full((68, 2), np.nan) if face is None else (face.landmarks + 0.5) / OUTSIDE_SIZE)
            asked = face is not None and i % self._every == 0
            people.append(self._judge.describe(picture, face, instead=face) if asked and face is not None else None)
        size = next((len(p) for p in people if p is not None), 128)
        identity = np.stack([np.full(size, np.nan) if p is None else p for p in people])
        return FaceReading(pose_deg=np.array(poses), landmarks=np.stack(points), identity=identity)

    def distance(self) -> None:
        return None


class NetworkEstimator:
    """The networks of a model folder, each asked for what it reads.

    Args:
        networks: by name; those that read no faces are left aside.
        name: what the report calls them together.
        fingerprint: of their weights.
        converted: they come from published files, and may be called by the published names.
    """

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        *,
        name: str,
        fingerprint: str,
        converted: bool = False,
        batch: int = 32,
    ) -> None:
        self._readers = {n: net for n, net in networks.items() if isinstance(net, tuple(_READS))}
        self._distance = next((net for net in networks.values() if isinstance(net, LPIPS)), None)
        if not self._readers and self._distance is None:
            known = ", ".join(kind.__name__ for kind in (*_READS, LPIPS))
            raise ConfigError(f"{name} holds {', '.join(networks) or 'nothing'}, none of which reads faces: {known}")
        self.fingerprint, self._batch = fingerprint, batch
        official = [_OFFICIAL[type(net)] for net in networks.values() if converted and type(net) in _OFFICIAL]
        self.name = f"{' and '.join(official)} ({name})" if official else name
        self._converted, self._folder = converted, name

    @property
    def units(self) -> Units | None:
        kinds = {type(net) for net in self._readers.values()}
        if ActionUnitDetector in kinds:
            return Units(word="action units", names=UNIT_NAMES[: len(MAIN_UNITS)], threshold=0.5)
        if FaceReader in kinds:
            return Units(word="blendshapes", names=EXPRESSION_NAMES, least_deviation=_MOVING)
        return None

    @torch.inference_mode()
    def read(self, pictures: np.ndarray) -> FaceReading:
        found: dict[str, list[np.ndarray]] = {}
        for images in self._parts(pictures):
            row: dict[str, np.ndarray] = {}
            pooled = []
            for network in self._readers.values():
                for kind, reads in _READS.items():
                    if isinstance(network, kind):
                        row |= {name: x.float().cpu().numpy() for name, x in reads(network, images).items()}
                if (maps := _last_map(network, images)) is not None:
                    pooled.append(maps.mean((2, 3)))
            if pooled:
                row["features"] = torch.cat(pooled, dim=1).float().cpu().numpy()
            for name, values in row.items():
                found.setdefault(name, []).append(values)
        return FaceReading(**{name: np.concatenate(parts) for name, parts in found.items()})

    def distance(self) -> tuple[str, nn.Module] | None:
        if self._distance is not None:
            word = "LPIPS" if self._converted else f"LPIPS's form with the weights of {self._folder}"
            return word, self._distance
        ours = [net for net in self._readers.values() if isinstance(net, FaceReader | IdentityEmbedder)]
        if not ours or self._converted:
            return None
        return f"feature distance, networks of {self._folder}", FeatureDistance(ours)

    def _parts(self, pictures: np.ndarray) -> list[Tensor]:
        tensors = (p for net in (*self._readers.values(), self._distance) if net is not None for p in net.parameters())
        first = next(tensors, None)
        device = "cpu" if first is None else first.device
        parts = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).split(self._batch)
        return [from_pixels(part.to(device)) for part in parts]


def _read_face(network: Any, images: Tensor) -> dict[str, Tensor]:
    reading = network(images)
    return {"pose_deg": reading.pose_deg, "landmarks": reading.landmarks, "units": reading.expression}


def _read_angles(network: Any, images: Tensor) -> dict[str, Tensor]:
    """HopeNet's yaw and roll have the opposite signs of ours."""
    return {"pose_deg": network(images) * images.new_tensor([-1.0, 1.0, -1.0])}


def _read_units(network: Any, images: Tensor) -> dict[str, Tensor]:
    return {"units": network(images)[:, : len(MAIN_UNITS)]}


def _read_identity(network: Any, images: Tensor) -> dict[str, Tensor]:
    return {"identity": network(images)}


_READS: dict[type[nn.Module], Callable[[Any, Tensor], dict[str, Tensor]]] = {
    FaceReader: _read_face,
    HopeNet: _read_angles,
    ActionUnitDetector: _read_units,
    IdentityEmbedder: _read_identity,
    OnnxIdentityEmbedder: _read_identity,
}


def _last_map(network: nn.Module, images: Tensor) -> Tensor | None:
    """A network's last feature map [B, C, h, w], of the two kinds that are ours."""
    from latent_reenact.models.feature_distance import feature_maps

    return feature_maps(network, images)[-1] if isinstance(network, FaceReader | IdentityEmbedder) else None


def load_estimator(where: str | Path, *, device: str | torch.device = "cpu") -> Estimator:
    """ "dlib"; a model's name or folder with networks that read faces; or an insightface `.onnx` file.

    Raises:
        WeightsNotFoundError, CorruptFileError, MissingDependencyError; ConfigError: nothing in it reads faces.
    """
    if str(where) == "dlib":
        return DlibEstimator()
    path = Path(where)
    if path.suffix.lower() == ".onnx":
        network = OnnxIdentityEmbedder.load(path)
        known = {file.unpack for file in load_registry().files if file.unpack}
        name = f"insightface {path.stem}" if path.name in known else f"recognition network {path.name}"
        return NetworkEstimator({"identity": network}, name=name, fingerprint=sha256(path))
    folder = ModelFolder(resolve(where))
    networks = load_networks(folder.path, device=device)
    fingerprint = sha256(folder.path / MANIFEST)
    return NetworkEstimator(networks, name=folder.name, fingerprint=fingerprint, converted=_is_published(folder))


def _is_published(folder: ModelFolder) -> bool:
    """Whether `convert` made the folder of files that have the names and sizes of published ones."""
    sizes = {file.name: file.bytes for file in load_registry().files}
    sources = folder.config.get("converted_from")
    if not isinstance(sources, list) or not sources:
        return False
    return all(s.get("file") in sizes and sizes[s["file"]] in (None, s.get("bytes")) for s in sources)


__all__ = [
    "DlibEstimator",
    "Estimator",
    "FaceReading",
    "NetworkEstimator",
    "Units",
    "load_estimator",
]
