"""Files as the upstream programs write them, made by a writer of ours: what they hold is procedural or tiny.

NVIDIA's pickles name classes of programs that are not here, so the pickler writes names without looking them up.
"""

from __future__ import annotations

import io
import pickle
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_SOURCE = "raise SystemExit('the source text in a checkpoint was run')"


class Named:
    """Stands for something importable elsewhere: pickled as its name alone."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class Called:
    """Pickled as a call of `function` with these arguments."""

    def __init__(self, function: Named, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments


class EasyDict(dict):
    """Pickled as NVIDIA's dictionary class."""


class Writer(pickle._Pickler):  # the Python one, which asks before it saves
    """A pickler that can name what is not installed."""

    def save(self, value: Any, save_persistent_id: bool = True) -> None:
        if isinstance(value, Named):
            self.write(pickle.GLOBAL + f"{value.module}\n{value.name}\n".encode())
        elif isinstance(value, Called):
            self.save(value.function)
            self.save(value.arguments)
            self.write(pickle.REDUCE)
        elif isinstance(value, EasyDict):
            self.save(Named("dnnlib.util", "EasyDict"))
            self.write(pickle.EMPTY_TUPLE + pickle.NEWOBJ)
            self._batch_setitems(value.items()) if not _takes_object(self) else self._batch_setitems(
                value.items(), value
            )
        else:
            super().save(value, save_persistent_id)


def _takes_object(writer: pickle._Pickler) -> bool:
    return writer._batch_setitems.__code__.co_argcount > 2  # Python 3.14 passes the dictionary too


def write_pickle(path: Path, value: Any, protocol: int = 4) -> Path:
    """`value` as a bare pickle."""
    with open(path, "wb") as file:
        Writer(file, protocol).dump(value)
    return path


def persistent(class_name: str, state: Mapping[str, Any], version: int = 6) -> Called:
    """An object of NVIDIA's persistence."""
    meta = EasyDict(type="class", version=version, module_src=_SOURCE, class_name=class_name, state=dict(state))
    return Called(Named("torch_utils.persistence", "_reconstruct_persistent_obj"), meta)


def parameter(tensor: Tensor) -> Called:
    """As torch pickles a parameter outside its own files: the storage inside a small file of the old format."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # typed storages are what these files hold, and are deprecated
        torch.save(tensor.contiguous().storage(), buffer, _use_new_zipfile_serialization=False)
    storage = Called(Named("torch.storage", "_load_from_bytes"), buffer.getvalue())
    rebuilt = Called(
        Named("torch._utils", "_rebuild_tensor_v2"),
        storage,
        0,
        tuple(tensor.shape),
        tensor.contiguous().stride(),
        False,
        OrderedDict(),
    )
    return Called(Named("torch._utils", "_rebuild_parameter"), rebuilt, True, OrderedDict())


def nvidia_module(tensors: Mapping[str, Tensor], attributes: Mapping[str, Mapping[str, Any]], path: str = "") -> Called:
    """Tensors by dotted name as nested modules; `attributes`: dotted path of a module -> its plain attributes."""
    own = {n: t for n, t in tensors.items() if "." not in n}
    children: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        head, dot, rest = name.partition(".")
        if dot:
            children.setdefault(head, {})[rest] = tensor
    buffers = {n for n in own if n in ("w_avg", "noise_const", "resample_filter")}
    inner = {n: nvidia_module(c, attributes, f"{path}.{n}".lstrip(".")) for n, c in children.items()}
    state = {
        "training": False,
        "_parameters": OrderedDict((n, parameter(t)) for n, t in own.items() if n not in buffers),
        "_buffers": OrderedDict((n, parameter(t)) for n, t in own.items() if n in buffers),
        "_modules": OrderedDict(inner),
        **attributes.get(path, {}),
    }
    return persistent(path.rpartition(".")[2] or "Generator", state)


def write_nvidia(
    path: Path, tensors: Mapping[str, Tensor], *, conv_clamp: float | None = 256, protocol: int = 4, **extra: Any
) -> Path:
    """A training snapshot of stylegan2-ada-pytorch with `tensors` as G_ema."""
    layers = {name.rpartition(".")[0] for name in tensors if ".conv" in name or ".torgb" in name}
    layers = {name.removesuffix(".affine") for name in layers}
    attributes: dict[str, dict[str, Any]] = {name: {"conv_clamp": conv_clamp} for name in layers}
    attributes |= {name.rpartition(".")[0]: {"architecture": "skip"} for name in layers}
    attributes["mapping.fc0"] = {"bias_gain": 0.01}
    tree = {
        "training_set_kwargs": EasyDict(class_name="training.dataset.ImageFolderDataset", max_size=7),
        "G": None,
        "D": None,
        "G_ema": nvidia_module(tensors, attributes),
        "augment_pipe": None,
        **extra,
    }
    return write_pickle(path, tree, protocol)
