"""How fast each back end runs, against a copy that moves as many bytes: `python -m latent_reenact.custom_ops.bench`.

One row a case: operator, [B, C, side of the larger picture], dtype, memory format; the copy (ms, GB/s, bytes read and
written both counted); then for each back end ms, GB/s and percent of the copy's speed. A result unlike the reference's
reads WRONG, a back end that fails shows its error, and the rest goes on.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from . import dispatch, reference

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
LAYOUTS = {"nchw": torch.contiguous_format, "last": torch.channels_last}
TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 3e-2, torch.float16: 4e-3}  # of the largest value
PLANES = ((512, 64), (256, 128), (128, 256), (64, 512), (32, 1024))  # StyleGAN2: channels, side of the picture
RESAMPLERS = {  # name -> up, down, padding left and top, padding right and bottom
    "same": (1, 1, 1, 1),  # after an up-convolution, whose result is one pixel larger
    "up": (2, 1, 2, 1),
    "down": (1, 2, 1, 1),
}
OPERATORS = (*RESAMPLERS, "lrelu")
SECONDS = 0.1  # spent on measuring one number


@dataclass(frozen=True, kw_only=True)
class Case:
    """One operator on one tensor."""

    operator: str
    batch: int
    channels: int
    side: int  # of the larger picture, input or output
    dtype: str
    layout: str

    def __str__(self) -> str:
        shape = f"{self.batch}x{self.channels}x{self.side}"
        return f"{self.operator:5} {shape:11} {self.dtype} {self.layout}"

    def arguments(self, device: str) -> tuple:
        """Of the raw function, but x comes first."""
        side = {"same": self.side + 1, "up": self.side // 2}.get(self.operator, self.side)
        shape = (self.batch, self.channels, side, side)
        x = torch.randn(shape, device=device, dtype=DTYPES[self.dtype]).contiguous(memory_format=LAYOUTS[self.layout])
        if self.operator == "lrelu":
            bias = torch.randn(self.channels, device=device, dtype=x.dtype)
            return x, bias, None, 0, 1, 2, 0.2, math.sqrt(2), 256.0
        up, down, before, after = RESAMPLERS[self.operator]
        f = reference.setup_filter([1, 3, 3, 1], device=device)
        return x, f, up, up, down, down, before, after, before, after, False, float(up * up)


class Reference:
    """The definition with the signatures of a back end."""

    @staticmethod
    def upfirdn2d(x, f, up_x, up_y, down_x, down_y, left, right, top, bottom, flip_filter, gain) -> Tensor:
        padding = (left, right, top, bottom)
        return reference.upfirdn2d(x, f, (up_x, up_y), (down_x, down_y), padding, flip_filter, gain)

    @staticmethod
    def bias_act(x, bias, grad, order, dim, act, alpha, gain, clamp) -> Tensor:
        return reference.fused_bias_act(x, bias, dim, list(reference.ACTIVATIONS)[act], alpha, gain, clamp)


def cases(planes: tuple, batches: tuple, dtypes: tuple, operators: tuple) -> Iterator[Case]:
    """The largest pictures first: they are what counts, should the time run out."""
    for (channels, side), batch in sorted(itertools.product(planes, batches), key=lambda p: (-p[0][1], -p[1])):
        for operator, dtype, layout in itertools.product(operators, dtypes, LAYOUTS):
            yield Case(operator=operator, batch=batch, channels=channels, side=side, dtype=dtype, layout=layout)


def measure(call: Callable[[], object], device: str) -> float:
    """Milliseconds of one call, without what Python takes to launch it on a GPU."""
    return _gpu_ms(call) if device == "cuda" else _cpu_ms(call)


def row(case: Case, backends: dict, device: str) -> dict:
    """What was measured: the case's fields, the copy's speed, and one entry a back end, or its error."""
    arguments = case.arguments(device)
    name = "bias_act" if case.operator == "lrelu" else "upfirdn2d"
    expected = getattr(Reference, name)(*arguments)
    moved = arguments[0].nbytes + expected.nbytes
    source = torch.empty(moved // 2, dtype=torch.uint8, device=device)
    ms = measure(source.clone, device)
    result: dict = {**asdict(case), "copy": {"ms": ms, "gb_s": moved / ms / 1e6}}
    for backend, raw in backends.items():
        try:
            result[backend] = _entry(getattr(raw, name), arguments, expected, moved, device)
            result[backend]["percent"] = 100 * ms / result[backend]["ms"]
        except Exception as error:  # whatever it is, the others are still to be measured
            result[backend] = {"error": (str(error) or repr(error)).strip().splitlines()[0]}
    return result


def main(argv: list[str] | None = None) -> int:
    options = _options(argv)
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    deadline = time.perf_counter() + options.seconds
    machine = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"PyTorch {torch.__version__}, {machine}")
    torch.backends.cudnn.allow_tf32 = False  # or the reference's float32 is none
    backends = _load(
        options.backends or [n for n, b in dispatch.BACKENDS.items() if b.device == device] + ["reference"], device
    )
    planes = PLANES if options.full else PLANES[::2]
    dtypes = tuple(DTYPES) if options.full else ("fp32", "fp16") if device == "cuda" else ("fp32", "bf16")
    todo = list(cases(planes, (1, 16) if device == "cuda" else (1,), dtypes, OPERATORS))
    print(f"{'case':28} {'copy ms':>8} {'GB/s':>5}" + "".join(f" | {name:>9} ms  GB/s    %" for name in backends))
    rows: list = []
    with torch.no_grad():
        for case in todo:
            if time.perf_counter() > deadline:
                print(f"time is up: {len(todo) - len(rows)} of {len(todo)} cases left (--seconds)")
                break
            rows.append(row(case, backends, device))
            print(f"{case!s:28} {rows[-1]['copy']['ms']:8.3f} {rows[-1]['copy']['gb_s']:5.4g}", end="")
            print("".join(" | " + _cell(rows[-1][name]) for name in backends), flush=True)
    if options.json:
        options.json.write_text(json.dumps({"torch": torch.__version__, "machine": machine, "rows": rows}, indent=1))
    return 0


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m latent_reenact.custom_ops.bench", description=__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"])
    parser.add_argument("--backends", nargs="+", choices=[*dispatch.BACKENDS, "reference"])
    parser.add_argument("--seconds", type=float, default=50.0, help="begin no case after so many")
    parser.add_argument("--full", action="store_true", help="all sizes and dtypes, not every other")
    parser.add_argument("--json", type=Path, help="write the numbers there too")
    return parser.parse_args(argv)


def _load(names: list[str], device: str) -> dict:
    """The back ends that work; builds them first and says how long it took."""
    found: dict = {}
    for name in names:
        begin = time.perf_counter()
        try:
            found[name] = Reference if name == "reference" else dispatch.load(name, device)
            print(f"{name}: ready after {time.perf_counter() - begin:.1f} s")
        except Exception as error:  # whatever a compiler or a driver throws: the others are still to be measured
            print(f"{name}: {error}")
    return found


def _entry(raw: Callable[..., Tensor], arguments: tuple, expected: Tensor, moved: int, device: str) -> dict:
    actual = raw(*arguments)
    error = ((actual - expected).abs().max() / expected.abs().max()).item()
    if not error <= TOLERANCES[expected.dtype]:
        raise ValueError(f"WRONG by {error:.1e} of the largest value")
    ms = measure(lambda: raw(*arguments), device)
    return {"ms": ms, "gb_s": moved / ms / 1e6}


def _cell(entry: dict) -> str:
    if "error" in entry:
        return entry["error"][:60]
    return f"{entry['ms']:12.3f} {entry['gb_s']:5.4g} {entry['percent']:4.0f}"


def _cpu_ms(call: Callable[[], object]) -> float:
    call()
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < 3 or time.perf_counter() - begin < SECONDS:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def _gpu_ms(call: Callable[[], object]) -> float:
    """A CUDA graph of several calls, replayed: the median of five."""
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    for _ in range(2):  # the second one warm
        begin.record()
        call()
        end.record()
        end.synchronize()
    calls = max(1, min(50, int(1e3 * SECONDS / 25 / max(begin.elapsed_time(end), 1e-3))))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(calls):
            call()
    times = []
    for _ in range(6):
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / calls)
    return statistics.median(times[1:])


if __name__ == "__main__":
    raise SystemExit(main())
