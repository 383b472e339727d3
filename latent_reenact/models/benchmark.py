"""How long synthesis takes on this machine's CPU, beside NVIDIA's own program: `compare_synthesis`.

Each contestant lives in a process of its own and waits for its turn; they draw in turns, so that whatever else the
machine does meets all of them. Weights are random: time does not depend on them.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from latent_reenact.errors import MissingDependencyError, UsageError
from latent_reenact.models.fast_synthesis import FastSynthesis, has_bf16
from latent_reenact.models.stylegan2 import GeneratorConfig, StyleGAN2Generator

ANCHOR = "anchor"  # NVlabs/stylegan2-ada-pytorch, from a clone
Seconds = tuple[float, float]  # wall clock, CPU


def compare_synthesis(
    resolution: int = 1024, against: Path | None = None, seconds: float = 60.0, threads: int | None = None
) -> dict[str, Any]:
    """Draw one picture again and again, each contestant in turn, until the time is up (three rounds at least).

    Args:
        resolution: side of the picture; the network is the published one of that size.
        against: a clone of github.com/NVlabs/stylegan2-ada-pytorch; None: our own plain network is the measure.
        seconds: of rounds; loading comes on top.
        threads: of each process; PyTorch's default.

    Returns:
        resolution, machine, rounds, load (processes that ran or waited, before and after), peak_gflop_s by type,
        psnr_db of bf16 against fp32, and for each of the contestants "bf16", "fp32", "network" and "anchor" the medians
        over rounds: wall_s, cpu_s, ratio (how many times sooner than the anchor, without one than our plain network),
        cpu_ratio (the same of CPU time, which other processes disturb less), gflop_s, and of_peak for the first two.

    Raises:
        UsageError: `against` is no such clone. MissingDependencyError: its program does not start here.
    """
    threads = threads or torch.get_num_threads()
    if against is not None and not (against / "training" / "networks.py").is_file():
        raise UsageError(f"{against}: no training/networks.py; give a clone of NVlabs/stylegan2-ada-pytorch")
    names = [*(["bf16"] if has_bf16() else []), "fp32", "network", *([ANCHOR] if against is not None else [])]
    load = [_load()]
    with contextlib.ExitStack() as stack:
        drawers = {name: stack.enter_context(_contestant(name, resolution, threads, against)) for name in names}
        rounds = _rounds(drawers, seconds)
    peaks = {name: _peak(name, threads) for name in names if name in ("bf16", "fp32")}
    return {
        "resolution": resolution,
        "machine": f"{_processor()}, {threads} threads, PyTorch {torch.__version__}",
        "rounds": len(rounds),
        "load": [*load, _load()],
        "peak_gflop_s": peaks,
        "psnr_db": _psnr(resolution) if has_bf16() else None,
        "contestants": {name: _summary(name, rounds, GeneratorConfig(resolution=resolution), peaks) for name in names},
    }


def synthesis_gflop(config: GeneratorConfig) -> float:
    """Multiplications and additions of the convolutions for one picture, in units of 1e9."""
    widths = [config.width(r) for r in config.resolutions]
    total = 0
    for c_in, c, r in zip([0, *widths[:-1]], widths, config.resolutions, strict=True):
        total += 9 * c_in * c * (r // 2) ** 2 + (9 * c + 3) * c * r**2
    return 2 * total / 1e9


def _rounds(drawers: dict[str, Callable[[], Seconds]], seconds: float) -> list[dict[str, Seconds]]:
    for draw in drawers.values():
        draw()  # warm
    rounds: list[dict[str, Seconds]] = []
    deadline = time.perf_counter() + seconds
    while len(rounds) < 3 or time.perf_counter() < deadline:
        rounds.append({name: draw() for name, draw in drawers.items()})
    return rounds


def _summary(
    name: str, rounds: list[dict[str, Seconds]], config: GeneratorConfig, peaks: dict[str, float]
) -> dict[str, float]:
    base = ANCHOR if ANCHOR in rounds[0] else "network"
    wall = statistics.median(r[name][0] for r in rounds)
    cpu = statistics.median(r[name][1] for r in rounds)
    result = {
        "wall_s": wall,
        "cpu_s": cpu,
        "ratio": statistics.median(r[base][0] / r[name][0] for r in rounds),
        "cpu_ratio": statistics.median(r[base][1] / r[name][1] for r in rounds),
        "gflop_s": synthesis_gflop(config) / wall,
    }
    return result | ({"of_peak": result["gflop_s"] / peaks[name]} if name in peaks else {})


def _peak(name: str, threads: int) -> float:
    """GFLOP/s of the faster of a matrix product and a 3×3 convolution, both large, the best of several."""
    dtype, before = {"bf16": torch.bfloat16, "fp32": torch.float32}[name], torch.get_num_threads()
    torch.set_num_threads(threads)
    a = torch.randn(1536, 1536).to(dtype)
    x = torch.randn(1, 512, 64, 64).to(dtype).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(512, 512, 3, 3).to(dtype).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        speeds = [2 * 1536**3 / _best(lambda: a @ a), 2 * 9 * 512**2 * 64**2 / _best(lambda: F.conv2d(x, weight))]
    torch.set_num_threads(before)
    return max(speeds) / 1e9


def _best(call: Callable[[], object]) -> float:
    times = []
    for _ in range(12):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def _psnr(resolution: int) -> float:
    """Of a bf16 picture against fp32, in dB; white to black is four standard deviations."""
    network, w_plus = _network(resolution)
    truth, image = (FastSynthesis(network.synthesis, p)(w_plus) for p in ("fp32", "bf16"))  # type: ignore[arg-type]
    return -10 * math.log10(((image - truth) / (4 * truth.std())).square().mean().item())


def _network(resolution: int) -> tuple[StyleGAN2Generator, Tensor]:
    torch.manual_seed(0)
    network = StyleGAN2Generator(GeneratorConfig(resolution=resolution)).eval().requires_grad_(False)
    for name, parameter in network.synthesis.named_parameters():
        if name.endswith("noise_strength"):
            parameter.fill_(0.1)
    return network, network.broadcast(network.mapping(torch.randn(1, network.config.z_dim)))


def _load() -> float:
    """Processes that ran or waited, averaged over the last minute."""
    return round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else math.nan


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    return platform.processor() or platform.machine()


# -- a contestant's process ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def _contestant(name: str, resolution: int, threads: int, against: Path | None) -> Iterator[Callable[[], Seconds]]:
    """A function that lets it draw once and returns its seconds."""
    order = [sys.executable, "-W", "ignore", "-m", "latent_reenact.models.benchmark"]
    order += [name, str(resolution), str(threads), str(against or "")]
    with subprocess.Popen(order, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def draw() -> Seconds:
            with contextlib.suppress(BrokenPipeError):
                stdin.write("\n")
                stdin.flush()
            for line in stdout:
                if line.startswith("{"):
                    taken = json.loads(line)
                    return taken["wall_s"], taken["cpu_s"]
            raise MissingDependencyError(f"{name}: its process ended with code {process.wait()}; what it says is above")

        try:
            yield draw
        finally:
            process.kill()


def _drawer(name: str, resolution: int, against: str) -> Callable[[], object]:
    if name == ANCHOR:
        return _anchor(resolution, against)
    network, w_plus = _network(resolution)
    if name == "network":
        return lambda: network.synthesis(w_plus)
    fast = FastSynthesis(network.synthesis, name)  # type: ignore[arg-type]
    return lambda: fast(w_plus)


def _anchor(resolution: int, clone: str) -> Callable[[], object]:
    """NVIDIA's synthesis, as its own `generate.py` builds it, with constant noise."""
    if importlib.util.find_spec("requests") is None:  # imported there for downloads, which nobody asks for
        sys.modules["requests"] = types.ModuleType("requests")
    sys.path.insert(0, clone)
    networks = importlib.import_module("training.networks")
    generator = networks.Generator(z_dim=512, c_dim=0, w_dim=512, img_resolution=resolution, img_channels=3)
    synthesis = generator.eval().requires_grad_(False).synthesis
    w_plus = torch.randn(1, generator.num_ws, 512)
    return lambda: synthesis(w_plus, noise_mode="const")


def _serve(name: str, resolution: str, threads: str, against: str) -> None:
    """Draw once for every line that comes in, and answer with the seconds."""
    torch.set_num_threads(int(threads))
    draw = _drawer(name, int(resolution), against)
    with torch.inference_mode():
        for _ in sys.stdin:
            wall, cpu = time.perf_counter(), time.process_time()
            draw()
            taken = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
            print(json.dumps(taken), flush=True)


if __name__ == "__main__":
    _serve(*sys.argv[1:])
