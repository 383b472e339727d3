"""How long synthesis takes on this machine, beside NVIDIA's own program: `compare_synthesis`.

Each contestant lives in a process of its own and waits for its turn; they draw in turns, so that whatever else the
machine does meets all of them. Weights are random: time does not depend on them.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from latent_reenact.errors import MissingDependencyError, UsageError
from latent_reenact.models.benchmark_process import ANCHOR, ANCHOR_HALF, Task, random_network
from latent_reenact.models.devices import on_gpu, usable
from latent_reenact.models.fast_synthesis import FastSynthesis, has_bf16
from latent_reenact.models.graphs import fastest_convolutions
from latent_reenact.models.half_synthesis import HalfSynthesis
from latent_reenact.models.stylegan2 import GeneratorConfig

_TYPES = {  # of what is compared with the most that the device can do
    "cpu": {"bf16": torch.bfloat16, "fp32": torch.float32},
    "cuda": {"fp16": torch.float16, "graph": torch.float16},
}
Turn = dict[str, float]  # wall_s, cpu_s, peak_mb


def compare_synthesis(
    resolution: int = 1024,
    against: Path | None = None,
    seconds: float = 60.0,
    threads: int | None = None,
    *,
    device: str = "cpu",
    batch: int = 1,
    contestants: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Draw a batch again and again, each contestant in turn, until the time is up (three rounds at least).

    Args:
        resolution: side of the picture; the network is the published one of that size.
        against: a clone of github.com/NVlabs/stylegan2-ada-pytorch; None: our own plain network is the measure.
        seconds: of rounds; loading comes on top.
        threads: of each process; PyTorch's default.
        device: "cpu" or "cuda".
        batch: pictures drawn together.
        contestants: those of `Task.name`; by default all that make sense on the device.

    Returns:
        resolution, device, batch, machine, rounds, load (processes that ran or waited, before and after), notes,
        peak_gflop_s by contestant, psnr_db of half precision against the float32 network, and for each of the
        contestants the medians over rounds: wall_s and cpu_s of a batch, images_s, ratio (how many times sooner than
        the anchor, on a GPU the anchor in its own half precision; without one than our plain network), cpu_ratio (the
        same of CPU time, which other processes disturb less), gflop_s, of_peak for ours, peak_mb on a GPU.

    Raises:
        UsageError: `against` is no such clone. MissingDependencyError: its program does not start here.
        BackendError: the device is not there.
    """
    threads = threads or torch.get_num_threads()
    where = usable(device)
    if against is not None and not (against / "training" / "networks.py").is_file():
        raise UsageError(f"{against}: no training/networks.py; give a clone of NVlabs/stylegan2-ada-pytorch")
    names = list(contestants or _contestants(where, against is not None))
    tasks = [
        Task(name=n, resolution=resolution, threads=threads, clone=str(against or ""), device=str(where), batch=batch)
        for n in names
    ]
    load = [_load()]
    with contextlib.ExitStack() as stack:
        running = {task.name: stack.enter_context(_Contestant(task)) for task in tasks}
        notes = [note for contestant in running.values() for note in contestant.ready()]
        rounds = _rounds(running, seconds)
    types = _TYPES[where.type]
    peaks = {name: _peak(types[name], threads, where) for name in names if name in types}
    return {
        "resolution": resolution,
        "device": str(where),
        "batch": batch,
        "machine": _machine(threads, where),
        "rounds": len(rounds),
        "load": [*load, _load()],
        "notes": sorted(set(notes)),
        "peak_gflop_s": peaks,
        "psnr_db": _psnr(resolution, where),
        "contestants": {name: _summary(name, rounds, resolution, batch, peaks) for name in names},
    }


def synthesis_gflop(config: GeneratorConfig) -> float:
    """Multiplications and additions of the convolutions for one picture, in units of 1e9."""
    widths = [config.width(r) for r in config.resolutions]
    total = 0
    for c_in, c, r in zip([0, *widths[:-1]], widths, config.resolutions, strict=True):
        total += 9 * c_in * c * (r // 2) ** 2 + (9 * c + 3) * c * r**2
    return 2 * total / 1e9


def _contestants(device: torch.device, against: bool) -> list[str]:
    if on_gpu(device):
        return ["graph", "fp16", "network", *([ANCHOR_HALF, ANCHOR] if against else [])]
    return [*(["bf16"] if has_bf16() else []), "fp32", "network", *([ANCHOR] if against else [])]


def _rounds(running: dict[str, _Contestant], seconds: float) -> list[dict[str, Turn]]:
    for contestant in running.values():
        contestant.draw()  # warm
    rounds: list[dict[str, Turn]] = []
    deadline = time.perf_counter() + seconds
    while len(rounds) < 3 or time.perf_counter() < deadline:
        rounds.append({name: contestant.draw() for name, contestant in running.items()})
    return rounds


def _summary(
    name: str, rounds: list[dict[str, Turn]], resolution: int, batch: int, peaks: dict[str, float]
) -> dict[str, float]:
    base = next(n for n in (ANCHOR_HALF, ANCHOR, "network", *rounds[0]) if n in rounds[0])
    wall, cpu = (statistics.median(r[name][key] for r in rounds) for key in ("wall_s", "cpu_s"))
    result = {
        "wall_s": wall,
        "cpu_s": cpu,
        "images_s": batch / wall,
        "ratio": statistics.median(r[base]["wall_s"] / r[name]["wall_s"] for r in rounds),
        "cpu_ratio": statistics.median(r[base]["cpu_s"] / r[name]["cpu_s"] for r in rounds),
        "gflop_s": batch * synthesis_gflop(GeneratorConfig(resolution=resolution)) / wall,
    }
    if name in peaks:
        result["of_peak"] = result["gflop_s"] / peaks[name]
    if rounds[-1][name]["peak_mb"] is not None:
        result["peak_mb"] = rounds[-1][name]["peak_mb"]
    return result


def _peak(dtype: torch.dtype, threads: int, device: torch.device) -> float:
    """GFLOP/s of the faster of a matrix product and a 3×3 convolution, both large, the best of several."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    side, batch = (8192, 16) if on_gpu(device) else (1536, 1)
    a = torch.randn(side, side, device=device).to(dtype)
    x = torch.randn(batch, 512, 64, 64, device=device).to(dtype).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(512, 512, 3, 3, device=device).to(dtype).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), fastest_convolutions():
        product, convolution = _best(lambda: a @ a, device), _best(lambda: F.conv2d(x, weight, padding=1), device)
    torch.set_num_threads(before)
    return max(2 * side**3 / product, batch * 2 * 9 * 512**2 * 64**2 / convolution) / 1e9


def _best(call: Callable[[], object], device: torch.device) -> float:
    wait: Callable[[], object] = torch.cuda.synchronize if on_gpu(device) else lambda: None
    times = []
    for _ in range(12):
        wait()
        start = time.perf_counter()
        call()
        wait()
        times.append(time.perf_counter() - start)
    return min(times)


def _psnr(resolution: int, device: torch.device) -> float | None:
    """Of a picture in half precision against one in float32, in dB; white to black is four standard deviations."""
    if not on_gpu(device) and not has_bf16():
        return None
    network, w_plus = random_network(resolution, str(device))
    with torch.inference_mode():
        if on_gpu(device):
            truth, image = network.synthesis(w_plus), HalfSynthesis(network.synthesis)(w_plus)
        else:
            truth, image = (FastSynthesis(network.synthesis, p)(w_plus) for p in ("fp32", "bf16"))  # type: ignore[arg-type]
        return -10 * math.log10(((image - truth) / (4 * truth.std())).square().mean().item())


def _load() -> float:
    """Processes that ran or waited, averaged over the last minute."""
    return round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else math.nan


def _machine(threads: int, device: torch.device) -> str:
    if on_gpu(device):
        name, cudnn = torch.cuda.get_device_name(device), torch.backends.cudnn.version()
        return f"{name}, PyTorch {torch.__version__}, CUDA {torch.version.cuda}, cuDNN {cudnn}"
    return f"{_processor()}, {threads} threads, PyTorch {torch.__version__}"


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    return platform.processor() or platform.machine()


class _Contestant:
    """A process that draws whenever it is asked."""

    def __init__(self, task: Task) -> None:
        order = [sys.executable, "-W", "ignore", "-m", "latent_reenact.models.benchmark_process", task.as_json()]
        self._name = task.name
        self._process = subprocess.Popen(order, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> _Contestant:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:
            self._process.kill()

    def ready(self) -> list[str]:
        """Wait until it is; how it runs, in words."""
        return self._answer()["notes"]

    def draw(self) -> Turn:
        """Seconds of one drawing."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            raise MissingDependencyError(f"{self._name}: its process ended with code {code}; what it says is above")
        return json.loads(line)
