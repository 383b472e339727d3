"""The processes of `anchors`: `python -m latent_reenact.evaluation.anchor_process ours|theirs PATH DEVICE`.

Says in one line of JSON that it is ready, then answers every task read from stdin with the seconds that it took.
Published sizes, random weights, 1024 x 1024, batch 1.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F

from latent_reenact.evaluation.published_sizes import RESTYLE_STEPS, published_reenactor
from latent_reenact.models.graphs import Graphed

Tasks = dict[str, Callable[[], object]]
_LAYERS, _WIDTH = 18, 512


def main(side: str, path: str, device_name: str) -> None:
    answers = os.fdopen(os.dup(1), "w")  # programs print what they do: that goes to stderr
    os.dup2(2, 1)
    on_gpu = device_name.startswith("cuda") or (device_name == "auto" and torch.cuda.is_available())
    device = torch.device(("cuda" if device_name == "auto" else device_name) if on_gpu else "cpu")
    torch.manual_seed(0)
    try:
        tasks, notes = their_method(path, device) if side == "theirs" else our_method(device)
    except ImportError as error:
        print(json.dumps({"missing": str(error)}), file=answers, flush=True)
        return
    print(json.dumps({"notes": notes}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps({"seconds": seconds(tasks[line.strip()], device)}), file=answers, flush=True)


def seconds(task: Callable[[], object], device: torch.device) -> float:
    """Of one call, the device's work included."""
    wait = torch.cuda.synchronize if device.type == "cuda" else (lambda: None)
    with torch.inference_mode():
        wait()
        start = time.perf_counter()
        task()
        wait()
        return time.perf_counter() - start


def our_method(device: torch.device) -> tuple[Tasks, list[str]]:
    """The published sizes of ours: as `stream` draws a frame, and as `identity` inverts."""
    reenactor = published_reenactor(str(device))
    networks, draw, estimates = reenactor.networks, reenactor.video_synthesis, reenactor.inverter.estimates
    for synthesis in (draw, estimates):
        synthesis.start(patience_s=600)
    picture = torch.rand(1, 3, 256, 256, device=device) * 2 - 1
    identity = torch.randn(1, _LAYERS, _WIDTH, device=device)
    frame = Graphed(lambda x, w_plus: (draw.plain(networks.mapper(w_plus, networks.motion_encoder(x))),))
    tasks: Tasks = {
        "frame": lambda: frame(picture, identity)[0].cpu(),
        "inversion": lambda: draw(networks.inversion.invert(picture, draw=estimates)).cpu(),
    }
    return tasks, [f"ours: {draw.precision}, {torch.get_num_threads()} threads"]


def their_method(path: str, device: torch.device) -> tuple[Tasks, list[str]]:
    """The method's own program: its two networks as its `tool.py` calls them, without files and alignment."""
    sys.path.insert(0, path)
    stood_in = _stand_ins()
    if device.type == "cpu":
        stood_in.append("its CUDA operators (its own upfirdn2d_native, and PyTorch's leaky ReLU)")
        _operators_on_cpu()
    import psp  # type: ignore[import-not-found]

    psp.RestylepSp.load_weights = lambda self: None
    options = SimpleNamespace(device=str(device), input_nc=3, output_size=1024, checkpoint_path=None)
    net = psp.MypSp(options).to(device).eval()
    inverter = psp.RestylepSp(SimpleNamespace(**vars(options) | {"input_nc": 6, "encoder_type": "BackboneEncoder"}))
    inverter.latent_avg = torch.zeros(_LAYERS, _WIDTH, device=device)
    inverter.to(device).eval()
    picture = torch.rand(1, 3, 256, 256, device=device) * 2 - 1
    latent = torch.randn(1, _LAYERS, _WIDTH, device=device)
    with torch.inference_mode():
        average = inverter(inverter.latent_avg[None], input_code=True, randomize_noise=False, average_code=True)

    def invert() -> object:
        drawn, codes = average, None
        for _ in range(RESTYLE_STEPS):
            x = torch.cat([picture, drawn], dim=1)
            full, codes = inverter(x, latent=codes, randomize_noise=False, return_latents=True, resize=False)
            drawn = inverter.face_pool(full)
        return full.cpu()

    note = f"theirs: float32, {torch.get_num_threads()} threads; stood in for: {', '.join(stood_in) or 'nothing'}"
    return {"frame": lambda: net(picture, latent, resize=False).cpu(), "inversion": invert}, [note]


def _stand_ins() -> list[str]:
    """Empty modules for what the program imports and does not use here, where they are not installed."""
    unused: dict[str, dict[str, Any]] = {
        "matplotlib": {"use": lambda name: None},
        "torchvision.models.resnet": {"resnet34": None},
    }
    stood_in = []
    for name, values in unused.items():
        try:
            __import__(name)
        except ImportError:
            parts = name.split(".")
            for i in range(len(parts)):
                sys.modules.setdefault(".".join(parts[: i + 1]), ModuleType(".".join(parts[: i + 1])))
            vars(sys.modules[name]).update(values)
            stood_in.append(parts[0])
    return stood_in


def _operators_on_cpu() -> None:
    """What the program would compile for CUDA, out of its own plain version and of PyTorch's."""
    from torch.utils import cpp_extension

    def upfirdn2d(*arguments: Any) -> torch.Tensor:
        module = sys.modules["op.upfirdn2d"]
        vars(module).setdefault("F", F)  # which its plain version uses and the module does not import
        return module.upfirdn2d_native(*arguments)

    def fused_bias_act(x: Any, bias: Any, other: Any, act: int, grad: int, slope: float, scale: float) -> torch.Tensor:
        return F.leaky_relu(x + bias.view(1, -1, *[1] * (x.ndim - 2)), slope) * scale

    made = SimpleNamespace(upfirdn2d=upfirdn2d, fused_bias_act=fused_bias_act)
    cpp_extension.load = lambda *_, **__: made


if __name__ == "__main__":
    main(*sys.argv[1:])
