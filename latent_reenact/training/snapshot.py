"""The state of a loop as tensors and plain values, and back: all that a resumed run needs to end as an unbroken one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from latent_reenact.errors import ConfigError
from latent_reenact.training.checkpoints import State

if TYPE_CHECKING:
    from latent_reenact.training.loop import Loop

_COUNTERS = ("step", "seen", "skipped", "skipped_in_a_row")


def snapshot(loop: Loop) -> tuple[State, dict[str, Any]]:
    """Weights, averages and optimisers; counters, the best score, the loss scale."""
    tensors: State = {}
    for part, module in (("module", loop.stage.module), ("average", loop.average)):
        tensors |= {f"{part}/{name}": tensor for name, tensor in module.state_dict().items()}
    for prefix, optimizers in loop.optimizers.items():
        for i, optimizer in enumerate(optimizers):
            for parameter, values in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer/{prefix}/{i}/{parameter}/{n}": torch.as_tensor(v) for n, v in values.items()}
    about = {name: getattr(loop, name) for name in _COUNTERS}
    about["optimizers"] = _kinds(loop)
    about["best"] = loop.best if loop.best > -float("inf") else None
    about["loss_scale"] = None if loop.scaler is None else loop.scaler.get_scale()
    return tensors, about


def restore(loop: Loop, tensors: State, about: dict[str, Any]) -> None:
    """Put a `snapshot` back.

    Raises:
        ConfigError: it was made with another config: other sizes, other optimisers.
    """
    if about.get("optimizers", kinds := _kinds(loop)) != kinds:
        raise ConfigError(
            f"the checkpoint was made with the optimisers {about['optimizers']}, the config has {kinds}; "
            "give the run another folder, or the config that it was begun with"
        )
    _load(loop.stage.module, tensors, "module")
    _load(loop.average, tensors, "average")
    for prefix, optimizers in loop.optimizers.items():
        for i, optimizer in enumerate(optimizers):
            state: dict[int, dict[str, Tensor]] = {}
            for name, tensor in _part_of(tensors, f"optimizer/{prefix}/{i}").items():
                parameter, value = name.split("/")
                state.setdefault(int(parameter), {})[value] = tensor
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    for name in _COUNTERS:
        setattr(loop, name, about[name])
    loop.best = -float("inf") if about["best"] is None else about["best"]
    if loop.scaler is not None and about["loss_scale"] is not None:
        loop.scaler.update(about["loss_scale"])


def _kinds(loop: Loop) -> dict[str, list[str]]:
    return {prefix: [type(o).__name__ for o in optimizers] for prefix, optimizers in loop.optimizers.items()}


def _part_of(tensors: State, part: str) -> State:
    """The tensors whose names begin with `part/`, without it."""
    return {name[len(part) + 1 :]: tensor for name, tensor in tensors.items() if name.startswith(f"{part}/")}


def _load(module: nn.Module, tensors: State, part: str) -> None:
    """Load `part/...` of a checkpoint. Raises ConfigError where the sizes are others than the config's."""
    try:
        module.load_state_dict(_part_of(tensors, part))
    except RuntimeError as error:
        raise ConfigError(
            f"the checkpoint's {part} does not fit the config: {str(error).splitlines()[-1].strip()}; "
            "give the run another folder, or the config that it was begun with"
        ) from None
