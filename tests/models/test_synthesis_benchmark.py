"""The benchmark of synthesis: contestants in processes of their own, draws in turns, ratios of the same round."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from latent_reenact.custom_ops import build
from latent_reenact.errors import MissingDependencyError, UsageError
from latent_reenact.models.benchmark import compare_synthesis, synthesis_gflop
from latent_reenact.models.stylegan2 import GeneratorConfig

# A stand-in for the clone: what the benchmark asks of it, and 0.2 seconds a picture.
STAND_IN = """
import time
import requests

class Synthesis:
    def __call__(self, w_plus, noise_mode):
        assert noise_mode == "const"
        time.sleep(0.2)

class Generator:
    num_ws = 4
    synthesis = Synthesis()
    def __init__(self, z_dim, c_dim, w_dim, img_resolution, img_channels): pass
    def eval(self): return self
    def requires_grad_(self, wanted): return self
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
    assert found["rounds"] == 3
    anchor, ours = found["contestants"]["anchor"], found["contestants"]["fp32"]
    assert anchor["ratio"] == 1
    assert anchor["wall_s"] >= 0.2
    assert ours["ratio"] > 1
    assert ours["of_peak"] == pytest.approx(ours["gflop_s"] / found["peak_gflop_s"]["fp32"])


def test_exception_no_clone(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give a clone of NVlabs/stylegan2-ada-pytorch"):
        compare_synthesis(8, tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(build.cxx() is None, reason="no C++ compiler")
def test_exception_clone_does_not_start(clone: Path) -> None:
    (clone / "training" / "networks.py").write_text("import a_module_that_nobody_has")
    with pytest.raises(MissingDependencyError, match="anchor: its process ended with code 1"):
        compare_synthesis(8, clone, seconds=0.0, threads=1)
