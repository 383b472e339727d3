"""Compiling on first use: one build however many ask, a new one for a changed source, one line for what is missing."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from latent_reenact.custom_ops import build
from latent_reenact.errors import BackendError

needs_compiler = pytest.mark.skipif(build.cxx() is None, reason="no C++ compiler")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "latent_reenact"


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A back end of three lines: `upfirdn2d()` is the number in a header."""
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "upfirdn2d.cpp").write_text(
        '#include "common.h"\nextern "C" int upfirdn2d() { return NUMBER; }\n'
    )
    (tmp_path / "cpu" / "common.h").write_text("#define NUMBER 7\n")
    return tmp_path


@pytest.fixture
def compiler_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A compiler that notes each of its runs as a line, and takes its time."""
    log, script = tmp_path / "calls", tmp_path / "counting_compiler"
    note = f'case "$*" in *--version*) ;; *) echo run >> {log}; sleep 0.5;; esac'
    script.write_text(f'#!/bin/sh\n{note}\nexec {build.cxx()} "$@"\n')
    script.chmod(0o755)
    log.write_text("")
    monkeypatch.setenv("CXX", str(script))
    return log


def value(library: Path) -> int:
    return ctypes.CDLL(str(library)).upfirdn2d()


@needs_compiler
def test_smoke(cache: Path, sources: Path) -> None:
    library = build.library(sources, "cpu", "upfirdn2d")
    assert library.parent == cache
    assert value(library) == 7


@needs_compiler
def test_feature_built_once_for_the_same_source_and_anew_for_a_changed_one(
    cache: Path, sources: Path, compiler_calls: Path
) -> None:
    first = build.library(sources, "cpu", "upfirdn2d")
    assert build.library(sources, "cpu", "upfirdn2d") == first
    assert compiler_calls.read_text().count("run") == 1
    (sources / "cpu" / "common.h").write_text("#define NUMBER 8\n")
    second = build.library(sources, "cpu", "upfirdn2d")
    assert compiler_calls.read_text().count("run") == 2
    assert (value(first), value(second)) == (7, 8)


@needs_compiler
def test_feature_processes_that_build_at_once_compile_once(cache: Path, sources: Path, compiler_calls: Path) -> None:
    code = (
        "import ctypes, pathlib; from latent_reenact.custom_ops import build\n"
        f"library = build.library(pathlib.Path({str(sources)!r}), 'cpu', 'upfirdn2d')\n"
        "print(ctypes.CDLL(str(library)).upfirdn2d())"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [p.communicate(timeout=120)[0].strip() for p in processes] == ["7"] * 3
    assert compiler_calls.read_text().count("run") == 1
    assert len(list(cache.glob("*.so"))) == 1
    assert not [p for p in cache.iterdir() if p.is_dir()], "half-built libraries are left"


@needs_compiler
def test_exception_compiler_fails(cache: Path, sources: Path) -> None:
    (sources / "cpu" / "common.h").write_text("#error no such number\n")
    with pytest.raises(BackendError, match="no such number") as caught:
        build.library(sources, "cpu", "upfirdn2d")
    assert "\n" not in str(caught.value)
    (log,) = cache.glob("*.log")
    assert str(log) in str(caught.value)
    assert "no such number" in log.read_text()
    assert not list(cache.glob("*.so"))


@needs_compiler
def test_exception_folder_cannot_be_written(tmp_path: Path, sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "file"))
    with pytest.raises(BackendError, match="set TORCH_EXTENSIONS_DIR"):
        build.library(sources, "cpu", "upfirdn2d")


def test_exception_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    monkeypatch.delenv("CXX", raising=False)
    assert "no C++ compiler" in build.missing("cpu")
    assert "no C++ compiler" in build.missing("cuda")


def test_exception_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "cxx", lambda: "g++")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "no CUDA GPU" in build.missing("cuda")


@pytest.mark.parametrize(
    ("nvcc", "version", "message"),
    [
        (None, "", "no nvcc"),
        ("nvcc", "12.4", "nvcc is of CUDA 12.4, PyTorch of CUDA 13.0"),
        ("nvcc", "", "nvcc is of CUDA ?"),
        ("nvcc", "13.1", ""),
    ],
)
def test_exception_nvcc(nvcc: str | None, version: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "cxx", lambda: "g++")
    monkeypatch.setattr(build, "nvcc", lambda: nvcc)
    monkeypatch.setattr(build, "nvcc_version", lambda: version)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert build.missing("cuda").startswith(message)
    assert bool(build.missing("cuda")) == bool(message)


def test_feature_nvcc_of_cuda_home_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = tmp_path / "bin" / "nvcc"
    compiler.parent.mkdir()
    compiler.write_text("#!/bin/sh\necho Cuda compilation tools, release 99.1, V99.1.1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    assert build.nvcc() == str(compiler)
    assert build.nvcc_version() == "99.1"


def test_feature_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCH_EXTENSIONS_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert build.cache_folder() == Path("/somewhere/latent_reenact/operators")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert build.cache_folder() == Path.home() / ".cache/latent_reenact/operators"
