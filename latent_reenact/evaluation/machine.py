"""The machine that numbers were measured on: what matters for speed, and nothing that names its owner."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

# What PyTorch's, oneDNN's and our own kernels choose by: x86, then ARM.
_FLAGS = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile", "asimd", "sve", "bf16", "i8mm")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """cores: that this process may use. flags: of the processor, those that matter. gpus: as PyTorch names them.

    operators: back end of the custom operators -> why it cannot run here, or "".
    """

    system: str
    python: str
    cpu: str
    cores: int
    flags: tuple[str, ...]
    ram_gb: float
    torch: str
    threads: int
    gpus: tuple[str, ...]
    operators: dict[str, str]

    def __str__(self) -> str:
        gpus = f", {', '.join(self.gpus)}" if self.gpus else ""
        working = ", ".join(name for name, reason in self.operators.items() if not reason)
        return (
            f"{self.cpu} ({self.cores} cores; {' '.join(self.flags) or 'no known flags'}), {self.ram_gb:.0f} GB{gpus}; "
            f"PyTorch {self.torch} with {self.threads} threads, Python {self.python}, {self.system}; "
            f"operators: {working}"
        )


def describe_machine() -> Machine:
    """This machine, as this process sees it."""
    import torch

    from latent_reenact.custom_ops.dispatch import backend_report

    gpus = (
        [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    )
    model, flags = _processor()
    return Machine(
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        cpu=model,
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        flags=tuple(flag for flag in _FLAGS if flag in flags),
        ram_gb=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        torch=torch.__version__,
        threads=torch.get_num_threads(),
        gpus=tuple(gpus),
        operators=backend_report(),
    )


def _processor() -> tuple[str, set[str]]:
    """(name, flags) by /proc/cpuinfo; the architecture and none where there is no such file."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(errors="replace").splitlines() if info.is_file() else []
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return fields.get("model name") or platform.machine(), set(fields.get("flags", fields.get("features", "")).split())
