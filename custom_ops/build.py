"""Compiles the C++ and CUDA operators when they are first used, and keeps the result for the next process.

The sources know no header of PyTorch and speak a plain C interface (`native.py` calls it): one call of one compiler a
file, seconds instead of minutes, no ninja, and nothing that another version of PyTorch could break.

The cache is a folder: TORCH_EXTENSIONS_DIR, else XDG_CACHE_HOME or ~/.cache. A library's name carries a hash of all
that could change it: sources, command, the compiler's version, the processor or the GPU. Processes that build at once
wait for one another, and a library appears under its name when it is whole.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import site
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import torch

from ..errors import BackendError
from .native import Native

SOURCES = Path(__file__).parent
OPERATORS = ("upfirdn2d", "bias_act")
ON_CPU = (*OPERATORS, "scaled")
SECONDS = 900  # of one compiler, at most


def missing(name: str) -> str:
    """What `load(name)` needs and does not find: "" or one line for people. Compiles nothing.

    Args:
        name: "cpu" or "cuda".
    """
    if not cxx():
        return "no C++ compiler: install g++ (Debian: apt install g++) or set CXX"
    if name == "cpu":
        return ""
    if not torch.cuda.is_available():
        return "PyTorch sees no CUDA GPU: install a driver and a CUDA build of PyTorch"
    if not nvcc():
        return "no nvcc: install the CUDA toolkit (or pip install nvidia-cuda-nvcc) or set CUDA_HOME"
    ours, theirs = nvcc_version(), torch.version.cuda or ""
    if ours.split(".")[0] != theirs.split(".")[0]:
        return f"nvcc is of CUDA {ours or '?'}, PyTorch of CUDA {theirs}: set CUDA_HOME to a toolkit of CUDA {theirs}"
    return ""


@cache
def load(name: str) -> Native:
    """The operators of "cpu" or "cuda", compiled or taken from the cache, once a process.

    Raises:
        BackendError: something is missing, or the compiler failed; one line, what to do, where the log is.
    """
    reason = missing(name)
    if reason:
        raise BackendError(reason)
    operators = ON_CPU if name == "cpu" else OPERATORS
    with ThreadPoolExecutor(len(operators)) as pool:
        libraries = list(pool.map(lambda operator: library(SOURCES, name, operator), operators))
    return Native(name, *libraries)


def library(sources: Path, name: str, operator: str, capabilities: Sequence[tuple[int, int]] | None = None) -> Path:
    """One shared library from `sources`/`name`/`operator`.cpp or .cu, built if the cache lacks it.

    Args:
        sources: this folder (tests: a changed copy).
        capabilities: of the GPUs to build for; those present by default.
    """
    command = cuda_command(capabilities or gpu_capabilities()) if name == "cuda" else cxx_command()
    source = sources / name / (operator + (".cu" if name == "cuda" else ".cpp"))
    folder = cache_folder()
    target = folder / f"{operator}_{name}_{content_hash(source, command)}.so"
    if target.exists():
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _locked(target.with_suffix(".lock")):
            if not target.exists():  # nobody built it while this process waited
                _compile([*command, str(source)], target)
    except OSError as error:
        raise BackendError(f"cannot build the operators in {folder}: {error}; set TORCH_EXTENSIONS_DIR") from error
    return target


def cache_folder() -> Path:
    """Where built libraries are kept."""
    if chosen := os.environ.get("TORCH_EXTENSIONS_DIR"):
        return Path(chosen) / "latent_reenact"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "latent_reenact" / "operators"


def content_hash(source: Path, command: Sequence[str]) -> str:
    """Of the source, all headers beside and above it, the command, the compiler and the processor."""
    digest = hashlib.sha256("\0".join([*command, _version(command[0]), _processor()]).encode())
    headers = [
        p for folder in (source.parent, source.parent.parent) for p in folder.iterdir() if p.suffix in (".h", ".cuh")
    ]
    for path in [source, *sorted(headers)]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def cxx() -> str | None:
    """The C++ compiler: CXX, or the first of the usual names."""
    return next(filter(None, map(shutil.which, [os.environ.get("CXX", ""), "g++", "c++", "clang++"])), None)


def nvcc() -> str | None:
    """The CUDA compiler: of CUDA_HOME, on the PATH, at the usual place, or installed by pip."""
    homes = [os.environ.get("CUDA_HOME", ""), os.environ.get("CUDA_PATH", "")]
    by_pip = [str(p) for place in site.getsitepackages() for p in Path(place).glob("nvidia/*/bin")]
    places = [*(str(Path(home, "bin")) for home in homes if home), None, "/usr/local/cuda/bin", *by_pip]
    return next(filter(None, (shutil.which("nvcc", path=place) for place in places)), None)


def nvcc_version() -> str:
    """Such as "13.0"; "" where it does not say."""
    found = re.search(r"release (\d+\.\d+)", _version(nvcc() or ""))
    return found[1] if found else ""


def gpu_capabilities() -> list[tuple[int, int]]:
    """Compute capabilities of the GPUs here, each once."""
    return sorted({torch.cuda.get_device_capability(i) for i in range(torch.cuda.device_count())})


def cxx_command() -> list[str]:
    """All but the source and `-o`. OpenMP is the library that PyTorch itself runs on, for one pool of threads."""
    torch_folder = Path(torch.__file__).parent
    places = (torch_folder / "lib", torch_folder.with_name("torch.libs"))
    openmp = sorted(str(p) for place in places for p in place.glob("libgomp*.so*"))[:1]
    flags = ["-O3", "-march=native", "-std=c++17", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared"]
    threads = ["-fopenmp", "-Wl,--no-as-needed", *openmp, *(f"-Wl,-rpath,{Path(p).parent}" for p in openmp)]
    return [cxx() or "g++", *flags, *threads, "-Wl,--as-needed"]


def cuda_command(capabilities: Sequence[tuple[int, int]]) -> list[str]:
    """All but the source and `-o`."""
    targets = [f"-gencode=arch=compute_{a}{b},code=sm_{a}{b}" for a, b in capabilities]
    flags = ["-O3", "-std=c++17", "-shared", "-Xcompiler", "-fPIC"]
    return [nvcc() or "nvcc", *flags, "-ccbin", cxx() or "g++", *targets]


@cache
def _version(compiler: str) -> str:
    try:
        return subprocess.run([compiler, "--version"], capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


@cache
def _processor() -> str:
    """What -march=native depends on: a home folder may be shared by unlike machines."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                return line
    return platform.processor() or platform.machine()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Held by one process at a time. Where a file system has no locks, two may build the same: the last one stays."""
    import fcntl

    with path.open("w") as file:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _compile(command: list[str], target: Path) -> None:
    """Run the compiler into a new folder, then move the library to its place in one step."""
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        built = Path(folder, target.name)
        log = target.with_suffix(".log")
        try:
            done = subprocess.run([*command, "-o", str(built)], capture_output=True, text=True, timeout=SECONDS)
        except subprocess.TimeoutExpired as error:
            raise BackendError(f"{command[0]} had not compiled {command[-1]} after {SECONDS} seconds") from error
        if done.returncode:
            log.write_text(" ".join(command) + "\n" + done.stdout + done.stderr)
            lines = (done.stderr + done.stdout).strip().splitlines() or ["no message"]
            first = next((line for line in lines if "error" in line), lines[-1])
            raise BackendError(f"{command[0]} failed: {first} (all of it: {log})")
        os.replace(built, target)
