"""The CUDA operators: compiled wherever nvcc is, run thread by thread on the CPU, and on a GPU where there is one."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from raw_cases import NAMES, check_bias_act, check_upfirdn2d

from latent_reenact.custom_ops import build
from latent_reenact.custom_ops.native import Native

DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]
needs_gpu = pytest.mark.skipif(bool(build.missing("cuda")), reason=build.missing("cuda") or "none")


@pytest.fixture(scope="module")
def on_cpu(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The kernels as C++: `kernel<<<blocks, threads, 0, stream>>>(...)` is a loop over blocks and threads."""
    if build.cxx() is None:
        pytest.skip("no C++ compiler")
    folder = tmp_path_factory.mktemp("cuda")
    (folder / "cuda").mkdir()
    shutil.copy(build.SOURCES / "activations.h", folder)
    shutil.copy(build.SOURCES / "cuda" / "common.cuh", folder / "cuda")
    processes = []
    for name in build.OPERATORS:
        text = (build.SOURCES / "cuda" / f"{name}.cu").read_text()
        launch = re.compile(r"(\w+<[\w, =]+>)<<<(.+?), (\w+), 0, \w+>>>\((.*?)\);", re.DOTALL)
        text, launches = launch.subn(r"LAUNCH((\2), \3, (\1(\4)));", text)
        assert launches == text.count("__global__") + 1
        source = folder / "cuda" / f"{name}.cpp"
        source.write_text(text)
        headers = Path(__file__).parent / "cuda_on_cpu"
        flags = ["-O0", "-std=c++20", "-w", "-fPIC", "-shared", f"-I{headers}"]
        processes.append(subprocess.Popen([build.cxx(), *flags, str(source), "-o", str(folder / f"{name}.so")]))
    assert [process.wait() for process in processes] == [0, 0]
    return Native("cuda", *(folder / f"{name}.so" for name in build.OPERATORS))


def test_feature_kernels_run_on_the_cpu_make_upfirdn2d(on_cpu: Any) -> None:
    check_upfirdn2d(on_cpu, DTYPES)


def test_feature_kernels_run_on_the_cpu_make_bias_act(on_cpu: Any) -> None:
    check_bias_act(on_cpu, DTYPES)


@pytest.mark.slow
@pytest.mark.skipif(build.nvcc() is None or build.cxx() is None, reason="no nvcc")
@pytest.mark.parametrize("operator", build.OPERATORS)
def test_feature_compiles(operator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    library = build.library(build.SOURCES, "cuda", operator, [(9, 0)])
    assert library.stat().st_size > 100_000


@needs_gpu
def test_feature_upfirdn2d_on_a_gpu_is_the_definition() -> None:
    check_upfirdn2d(build.load("cuda"), DTYPES, "cuda")


@needs_gpu
def test_feature_bias_act_on_a_gpu_is_the_definition_with_both_derivatives() -> None:
    check_bias_act(build.load("cuda"), DTYPES, "cuda")


@needs_gpu
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_feature_large_pictures_on_a_gpu(layout: torch.memory_format, dtype: torch.dtype) -> None:
    cuda = build.load("cuda")
    f = torch.tensor([1.0, 3, 3, 1], device="cuda")
    f = f.outer(f) / 64
    for up, down, pad in [(1, 1, (1, 1)), (2, 1, (2, 1)), (1, 2, (1, 1))]:
        x = torch.randn(2, 32, 257, 259, device="cuda", dtype=dtype).contiguous(memory_format=layout)
        y = cuda.upfirdn2d(x, f, up, up, down, down, *pad, *pad, False, 1.0)
        expected = build.load("cpu").upfirdn2d(x.cpu().float(), f.cpu(), up, up, down, down, *pad, *pad, False, 1.0)
        torch.testing.assert_close(y.cpu().float(), expected, rtol=2e-3, atol=2e-3)


@needs_gpu
def test_feature_nan_stays_nan_on_a_gpu() -> None:
    x = torch.full((1, 1, 5, 5), torch.nan, device="cuda")
    for act in range(len(NAMES)):
        assert build.load("cuda").bias_act(x, None, None, 0, 1, act, 0.2, 1.0, 0.5).isnan().all(), NAMES[act]
