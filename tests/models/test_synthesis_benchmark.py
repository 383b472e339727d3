"""The benchmark of synthesis: contestants in processes of their own, draws in turns, ratios of the same round."""

from __future__ import annotations

import os
import sys
import types
import warnings
from pathlib import Path

import gpu_on_cpu
import pytest
import torch

from latent_reenact.custom_ops import build
from latent_reenact.errors import BackendError, MissingDependencyError, UsageError
from latent_reenact.models import benchmark_process, fast_synthesis
from latent_reenact.models.benchmark import compare_synthesis, synthesis_gflop
from latent_reenact.models.benchmark_process import Task, drawer, drawings
from latent_reenact.models.stylegan2 import GeneratorConfig

# A stand-in for the clone: what the benchmark asks of it, and 0.2 seconds a picture, or 0.1 in half precision.
STAND_IN = """
import time
import requests

class Synthesis:
    seconds = 0.2
    def __call__(self, w_plus, noise_mode):
        assert noise_mode == "const"
        time.sleep(self.seconds)

class Generator:
    num_ws = 4
    def __init__(self, z_dim, c_dim, w_dim, img_resolution, img_channels, synthesis_kwargs={}):
        print("noise on stdout")
        self.synthesis = Synthesis()
        if synthesis_kwargs == {"num_fp16_res": 4, "conv_clamp": 256}:
            self.synthesis.seconds = 0.1
    def eval(self): return self
    def requires_grad_(self, wanted): return self
    def to(self, device): return self
"""


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "networks.py").write_text(STAND_IN)
    repository = str(Path(__file__).parent.parent.parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([repository, os.environ.get("PYTHONPATH", "")]))
    return tmp_path


def test_feature_known_number_of_operations() -> None:
    """75.4 billion multiplications at 1024², filters and affine layers included, each with its addition."""
    assert synthesis_gflop(GeneratorConfig()) / 2 == pytest.approx(75.4, rel=0.02)


@pytest.mark.slow
@pytest.mark.skipif(build.cxx() is None, reason="no C++ compiler")
def test_smoke(clone: Path) -> None:
    found = compare_synthesis(8, clone, seconds=0.0, threads=1)
    assert (found["rounds"], found["batch"], found["device"]) == (3, 1, "cpu")
    anchor, ours = found["contestants"]["anchor"], found["contestants"]["fp32"]
    assert anchor["ratio"] == 1
    assert anchor["wall_s"] >= 0.2
    assert ours["ratio"] > 1
    assert ours["of_peak"] == pytest.approx(ours["gflop_s"] / found["peak_gflop_s"]["fp32"])
    assert "peak_mb" not in ours


@pytest.mark.slow
def test_feature_contestants_of_a_gpu(clone: Path) -> None:
    """The same processes, here on the CPU."""
    names = ["graph", "fp16", "network", "anchor fp16", "anchor"]
    found = compare_synthesis(8, clone, seconds=0.0, threads=1, batch=2, contestants=names)
    contestants = found["contestants"]
    assert list(contestants) == names
    assert contestants["anchor fp16"]["ratio"] == 1  # its faster form is the measure
    assert contestants["anchor"]["ratio"] < 1
    assert contestants["network"]["images_s"] == pytest.approx(2 / contestants["network"]["wall_s"])


def test_exception_no_clone(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give a clone of NVlabs/stylegan2-ada-pytorch"):
        compare_synthesis(8, tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_exception_no_gpu() -> None:
    with pytest.raises(BackendError, match="device 'cuda' cannot be used here"):
        compare_synthesis(8, device="cuda")


@pytest.mark.slow
@pytest.mark.skipif(build.cxx() is None, reason="no C++ compiler")
def test_exception_clone_does_not_start(clone: Path) -> None:
    (clone / "training" / "networks.py").write_text("import a_module_that_nobody_has")
    with pytest.raises(MissingDependencyError, match="anchor: its process ended with code 1"):
        compare_synthesis(8, clone, seconds=0.0, threads=1)


# ---------------------------------------------------------------- a contestant's process, in this one


@pytest.mark.parametrize("name", ["graph", "fp16", "network"])
def test_feature_drawers_of_a_gpu(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu_on_cpu.install(monkeypatch)
    monkeypatch.setattr(benchmark_process, "_TURN_S", 0.05)
    draw, notes = drawer(Task(name=name, resolution=8, threads=1, batch=2))
    assert notes == []
    assert drawings(draw, torch.device("cpu")) >= 1
    drawn = draw()
    image = drawn[0] if name == "graph" else drawn  # type: ignore[index]
    assert image.shape == (2, 3, 8, 8)


def test_feature_plugins_of_the_anchor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Said to be built or not; one that cannot be is tried once."""
    tries = []

    def failing() -> bool:
        tries.append(1)
        text = "Failed to build CUDA kernels.\n\nRuntimeError: Ninja is required to load C++ extensions\n"
        warnings.warn(text, stacklevel=2)
        return False

    modules = {"upfirdn2d": failing, "bias_act": lambda: True}
    for name, init in modules.items():
        module = types.ModuleType(name)
        module._init = init  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, f"torch_utils.ops.{name}", module)
    told = benchmark_process._plugins()
    assert "bias_act built" in told
    assert "upfirdn2d not built" in told
    assert "Ninja is required" in told
    assert not sys.modules["torch_utils.ops.upfirdn2d"]._init()  # type: ignore[attr-defined]
    assert tries == [1]


@pytest.mark.skipif(build.cxx() is None, reason="no C++ compiler")
def test_feature_tricks_change_the_time_and_not_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LAID_OUT_SIDE", "keep_freed_memory"):  # which two of them take away, each in a process of its own
        monkeypatch.setattr(fast_synthesis, name, getattr(fast_synthesis, name))
    with torch.inference_mode():
        pictures = [drawer(Task(name=name, resolution=16, threads=1))[0]() for name in benchmark_process.TRICKS]
    for name, picture in zip(benchmark_process.TRICKS[1:], pictures[1:], strict=True):
        error = (picture.float() - pictures[0]).square().mean().sqrt() / pictures[0].std()
        assert error < 0.02, (name, error)
    assert fast_synthesis.LAID_OUT_SIDE == 0
