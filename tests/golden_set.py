"""Golden numbers: outputs of the upstream programs on procedural weights, and the procedure that fills them.

A tensor is a function of its name alone (PCG64 seeded with its CRC-32), so a case needs no weights on disk.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).parent / "golden"
# case -> the largest relative L2 error met, and its bound; `parity_table.py` prints them
MEASURED: dict[str, tuple[float, float]] = {}


def noise(name: str, shape, salt: int = 0) -> np.ndarray:
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode()) ^ salt))
    return rng.standard_normal(int(np.prod(shape)), dtype=np.float32).reshape(shape)


def vec(name: str, shape) -> torch.Tensor:
    return torch.from_numpy(noise(name, shape))


def img(name: str, shape) -> torch.Tensor:
    """A blocky picture [B, C, H, W] in [-1, 1]."""
    b, c, h, w = shape
    low = noise(name + "/low", (b, c, 8, 8)).repeat(h // 8, 2).repeat(w // 8, 3)
    return torch.from_numpy(np.clip(np.float32(0.5) * low + np.float32(0.2) * noise(name, shape), -1, 1))


def fill(name: str, entry: dict) -> torch.Tensor:
    kind, shape = entry["fill"], entry["shape"]
    if kind[0] == "zeros":
        return torch.from_numpy(np.zeros(shape, entry["dtype"]))
    if kind[0] == "const":
        return torch.from_numpy(np.array(kind[1], entry["dtype"]).reshape(shape))
    n = noise(name, shape)
    if kind[0] == "absnormal":
        n = np.abs(n)
    return torch.from_numpy(np.asarray(n * np.float32(kind[2]) + np.float32(kind[1])))


class Case:
    """One golden case: `case["y"]` is an output, `case.state()` the procedural weights."""

    last = ""  # the case that an output was last taken from

    def __init__(self, name: str) -> None:
        self.folder = ROOT / name
        self.info = json.loads((self.folder / "case.json").read_text())
        self.outputs = np.load(self.folder / "outputs.npz", allow_pickle=False)

    def __getitem__(self, key: str) -> np.ndarray:
        Case.last = self.folder.name
        return self.outputs[key]

    def state(self, prefix: str = "") -> dict[str, torch.Tensor]:
        manifest = json.loads((self.folder / "manifest.json").read_text())
        tensors = {**manifest["tensors"], **manifest.get("extra_tensors", {})}
        filled = {name: fill(name, entry) for name, entry in tensors.items() if name.startswith(prefix)}
        return {name[len(prefix) :]: tensor for name, tensor in filled.items()}


def summary(image: torch.Tensor) -> dict[str, np.ndarray]:
    """The parts of a picture that a case keeps: a 16×16 grid, four crops, mean and standard deviation."""
    x = image.detach().numpy()
    h, w = x.shape[2:]
    iy, ix = np.arange(16) * h // 16 + h // 32, np.arange(16) * w // 16 + w // 32
    parts = {
        "grid": x[:, :, iy][:, :, :, ix],
        "mean": x.mean((2, 3), dtype=np.float64),
        "std": x.std((2, 3), dtype=np.float64),
    }
    corners = [(0, 0), (h // 2 - 4, w // 2 - 4), (h - 8, w - 8), (h // 4, 3 * w // 4 - 8)]
    parts |= {f"crop{i}": x[:, :, y : y + 8, a : a + 8] for i, (y, a) in enumerate(corners)}
    return parts


def assert_close(actual, expected, *, rel_l2: float, max_abs_over_std: float = np.inf, what: str = "") -> None:
    """||a - b|| / ||b|| and max |a - b| / std(b) within bounds."""
    a = actual.detach().numpy() if isinstance(actual, torch.Tensor) else np.asarray(actual)
    assert a.shape == expected.shape, f"{what}: shape {a.shape}, expected {expected.shape}"
    error = np.abs(a.astype(np.float64) - expected)
    relative = np.linalg.norm(error) / np.linalg.norm(expected)
    before = MEASURED.get(Case.last, (0.0, rel_l2))
    MEASURED[Case.last] = max(before, (float(relative), rel_l2))
    assert relative <= rel_l2, f"{what}: relative L2 error {relative:.2e} > {rel_l2}"
    worst = error.max() / expected.std() if expected.std() > 0 else 0.0
    assert worst <= max_abs_over_std, f"{what}: largest error {worst:.2e} standard deviations > {max_abs_over_std}"


def assert_summary_close(image: torch.Tensor, case: Case, prefix: str, **tolerance: float) -> None:
    """Every stored part of the picture under `prefix` matches."""
    parts = summary(image)
    stored = [key for key in parts if f"{prefix}.{key}" in case.outputs]
    assert stored, f"the case holds nothing under {prefix}"
    for key in stored:
        bounds = tolerance if key in ("grid",) or key.startswith("crop") else {"rel_l2": tolerance["rel_l2"]}
        assert_close(parts[key], case[f"{prefix}.{key}"], what=f"{prefix}.{key}", **bounds)
