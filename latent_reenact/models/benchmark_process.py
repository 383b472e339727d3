"""The processes of `benchmark`: `python -m latent_reenact.models.benchmark_process TASK`, TASK being JSON.

Says in one line of JSON that it is ready, then answers every line read from stdin with how long a drawing took.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import math
import os
import sys
import time
import types
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from latent_reenact.models import fast_synthesis
from latent_reenact.models.devices import on_gpu
from latent_reenact.models.fast_synthesis import FastSynthesis
from latent_reenact.models.graphs import Graphed, fastest_convolutions
from latent_reenact.models.half_synthesis import HalfSynthesis
from latent_reenact.models.layers import channels_last
from latent_reenact.models.stylegan2 import GeneratorConfig, StyleGAN2Generator, SynthesisNetwork

ANCHOR, ANCHOR_HALF = "anchor", "anchor fp16"  # NVlabs/stylegan2-ada-pytorch, from a clone
# What the CPU's drawing gained and by which trick: each name does what those before it do, and one thing more.
TRICKS = ("network", "channels_last", "autocast", "no memory kept", "no weights laid out", "bf16")
_TURN_S = 0.3  # on a GPU as many drawings are timed together as fill this time
_HALF = {"num_fp16_res": 4, "conv_clamp": 256}  # as its train.py sets it, and as its published networks have it

Draw = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Task:
    """Who draws what.

    name: "fp32" or "bf16" (`FastSynthesis`), "fp16" (`HalfSynthesis`), "graph" (the same as a CUDA graph), "network"
    (the plain one), "anchor" (NVIDIA's, in float32), "anchor fp16", or one of TRICKS.
    """

    name: str
    resolution: int
    threads: int
    clone: str = ""
    device: str = "cpu"
    batch: int = 1

    def as_json(self) -> str:
        return json.dumps(asdict(self))


def main(text: str) -> None:
    answers = os.fdopen(os.dup(1), "w")  # programs print what they do: that goes to stderr
    os.dup2(2, 1)
    task = Task(**json.loads(text))
    torch.set_num_threads(task.threads)
    draw, notes = drawer(task)
    print(json.dumps({"notes": notes}), file=answers, flush=True)
    device, count = torch.device(task.device), 0
    with torch.inference_mode(), fastest_convolutions():
        for _ in sys.stdin:
            wall, cpu = timed(draw, max(count, 1), device)
            count = count or drawings(draw, device)
            taken = {"wall_s": wall, "cpu_s": cpu, "peak_mb": _peak_mb(device)}
            print(json.dumps(taken), file=answers, flush=True)


def drawings(draw: Draw, device: torch.device) -> int:
    """How many to time together from now on: on a GPU, launched one after another and waited for once."""
    if not on_gpu(device):
        return 1
    walls = [timed(draw, 1, device)[0] for _ in range(3)]
    return max(1, math.ceil(_TURN_S / min(walls)))


def timed(draw: Draw, count: int, device: torch.device) -> tuple[float, float]:
    """Seconds of one of `count` drawings: of the wall clock, of the CPU."""
    wait: Callable[[], object] = torch.cuda.synchronize if on_gpu(device) else lambda: None
    wait()
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(count):
        draw()
    wait()
    return (time.perf_counter() - wall) / count, (time.process_time() - cpu) / count


def drawer(task: Task) -> tuple[Draw, list[str]]:
    """What draws, and how it runs, in words."""
    if task.name in (ANCHOR, ANCHOR_HALF):
        return _anchor(task)
    network, w_plus = random_network(task.resolution, task.device, task.batch)
    synthesis = network.synthesis
    if task.name == "network":
        return lambda: synthesis(w_plus), []
    if task.name in TRICKS[1:-1]:
        return _trick(task.name, synthesis, w_plus), []
    if task.name in ("fp16", "graph"):
        half = HalfSynthesis(synthesis)
        graphed = Graphed(lambda codes: (half(codes),))
        return (lambda: half(w_plus)) if task.name == "fp16" else (lambda: graphed(w_plus)), []
    fast = FastSynthesis(synthesis, task.name)  # type: ignore[arg-type]
    return lambda: fast(w_plus), []


def _trick(name: str, synthesis: SynthesisNetwork, w_plus: Tensor) -> Draw:
    if name in ("channels_last", "autocast"):
        channels_last(synthesis)

        def draw() -> object:
            with torch.autocast("cpu", torch.bfloat16, enabled=name == "autocast"):
                return synthesis(w_plus)

        return draw
    without = {"no memory kept": ("keep_freed_memory", lambda: False), "no weights laid out": ("LAID_OUT_SIDE", 0)}
    setattr(fast_synthesis, *without[name])
    fast = FastSynthesis(synthesis, "bf16")
    return lambda: fast(w_plus)


def random_network(resolution: int, device: str = "cpu", batch: int = 1) -> tuple[StyleGAN2Generator, Tensor]:
    """The published network of that size with random weights, and w_plus [B, L, D]."""
    torch.manual_seed(0)
    network = StyleGAN2Generator(GeneratorConfig(resolution=resolution)).eval().requires_grad_(False)
    for name, parameter in network.synthesis.named_parameters():
        if name.endswith("noise_strength"):
            parameter.fill_(0.1)
    w_plus = network.broadcast(network.mapping(torch.randn(batch, network.config.z_dim)))
    return network.to(device), w_plus.to(device)


def _anchor(task: Task) -> tuple[Draw, list[str]]:
    """NVIDIA's synthesis, as its own `generate.py` builds it, with constant noise."""
    if importlib.util.find_spec("requests") is None:  # imported there for downloads, which nobody asks for
        sys.modules["requests"] = types.ModuleType("requests")
    sys.path.insert(0, task.clone)
    os.environ["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])  # of ninja
    networks = importlib.import_module("training.networks")
    notes = [_plugins()] if on_gpu(torch.device(task.device)) else []
    sizes: dict[str, Any] = {"z_dim": 512, "c_dim": 0, "w_dim": 512, "img_resolution": task.resolution}
    if task.name == ANCHOR_HALF:
        sizes["synthesis_kwargs"] = _HALF
    generator = networks.Generator(**sizes, img_channels=3)
    synthesis = generator.eval().requires_grad_(False).to(task.device).synthesis
    w_plus = torch.randn(task.batch, generator.num_ws, 512, device=task.device)
    return lambda: synthesis(w_plus, noise_mode="const"), notes


def _plugins() -> str:
    """Build its CUDA plugins, as its first drawing would; where that fails it would try again at every call: never."""
    told = []
    for name in ("upfirdn2d", "bias_act"):
        module: Any = importlib.import_module(f"torch_utils.ops.{name}")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            built = module._init()
        if built:
            told.append(f"{name} built")
            continue
        module._init = lambda: False
        lines = [line.strip() for warning in caught for line in str(warning.message).splitlines() if line.strip()]
        told.append(f"{name} not built, its plain PyTorch version runs ({(lines or ['no reason given'])[-1][:200]})")
    return f"the CUDA plugins of {ANCHOR}: {'; '.join(told)}"


def _peak_mb(device: torch.device) -> float | None:
    """The most memory that its tensors took on a GPU."""
    return round(torch.cuda.max_memory_allocated(device) / 1e6) if on_gpu(device) else None


if __name__ == "__main__":
    main(*sys.argv[1:])
