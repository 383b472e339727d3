"""From upstream's checkpoint files to a model folder: read, recognise, compare every tensor, write."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from latent_reenact.config import to_dict
from latent_reenact.errors import CorruptFileError, OutputError, UsageError
from latent_reenact.models.build import build_network, describe_differences
from latent_reenact.models.stylegan2 import StyleGAN2Generator
from latent_reenact.models.unfilled import unfilled
from latent_reenact.third_party.estimators import join_lpips
from latent_reenact.third_party.recognise import Upstream, read_upstream
from latent_reenact.third_party.upstream import Network
from latent_reenact.weights import ModelFolder, all_finite, write_model

LATENT_SYSTEM = ("generator", "inversion", "motion_encoder", "mapper")
_AVERAGE_SAMPLES, _AVERAGE_SEED = 10_000, 0
_SHOWN = 20


@dataclass(frozen=True)
class ConvertReport:
    """What was made of which files.

    networks: name -> class. left_out: file -> entries that are not used. notes: what a reader should know.
    """

    folder: str
    formats: Mapping[str, str]
    networks: Mapping[str, str]
    left_out: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...]
    system: str | None

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


def convert(files: Sequence[str | Path], out: str | Path, *, name: str | None = None) -> ConvertReport:
    """Convert checkpoint files that belong together into one model folder. No code of theirs is run.

    Args:
        files: for example one generator; or the method's `best_model.pt` with its ReStyle file; or a trunk and
            LPIPS heads.
        out: a folder that does not exist yet.
        name: the model's own name; that of the folder by default.

    Raises:
        UnsafeCheckpointError, LimitExceededError, UsageError, OutputError.
        CorruptFileError: not a known file, or not with every tensor it should have: lists them.
    """
    out = Path(out)
    if out.exists():
        raise OutputError(f"{out} is there already; choose a new folder, or remove it first")
    if not out.parent.is_dir():
        raise OutputError(f"cannot write {out}: no folder {out.parent}; make it first")
    if onnx := [path for path in files if Path(path).suffix.lower() == ".onnx"]:
        raise UsageError(
            f"{onnx[0]} is an ONNX network, which runs as it is: models.OnnxIdentityEmbedder.load opens it"
        )
    read = {str(path): read_upstream(path) for path in files}
    networks, notes = _join(read)
    _check(networks, notes)
    system = "latent" if set(LATENT_SYSTEM) <= networks.keys() else None
    about = {
        "name": name or out.name,
        "system": system,
        "framing": 1.0,
        "licence": "that of the files it was converted from",
        "description": f"Converted from {', '.join(Path(path).name for path in read)}.",
        "converted_from": [
            {"file": Path(p).name, "bytes": Path(p).stat().st_size, "format": u.format} for p, u in read.items()
        ],
        "networks": {n: {"class": net.kind, "config": to_dict(net.config)} for n, net in networks.items()},
    }
    _write(out, about, networks)
    return ConvertReport(
        folder=str(out),
        formats={path: upstream.format for path, upstream in read.items()},
        networks={n: network.kind for n, network in networks.items()},
        left_out={path: upstream.left_out for path, upstream in read.items() if upstream.left_out},
        notes=tuple(notes),
        system=system,
    )


def _join(read: Mapping[str, Upstream]) -> tuple[dict[str, Network], list[str]]:
    """The networks of all files; a generator that two files share is kept once."""
    networks: dict[str, Network] = {}
    notes: list[str] = []
    heads = next(((path, u.heads) for path, u in read.items() if u.heads is not None), None)
    # the inversion's file knows the average latent: its generator comes first
    for path, upstream in sorted(read.items(), key=lambda item: "inversion" not in item[1].networks):
        if upstream.arrays:
            raise UsageError(f"{path} holds latents or a direction, not a network; convert it alone")
        for name, network in upstream.networks.items():
            if name not in networks:
                networks[name] = network
            elif name == "generator" and _same_generator(networks[name], network):
                notes.append("both files hold the same generator; it is kept once")
            elif name == "generator" and "inversion" in networks:
                networks = _with_own_generator(networks, network)
                notes.append("the two files' generators differ: the inversion keeps its own")
            else:
                raise UsageError(f"{path} holds a second {name}; convert files that belong together, one of each kind")
    if heads is not None:
        trunk = networks.pop("trunk", None)
        if trunk is None or trunk.kind != "PerceptualFeatures":
            raise UsageError(f"{heads[0]} holds the heads of LPIPS; give torchvision's alexnet or vgg16 file beside it")
        networks |= join_lpips(trunk.state, heads[1] or {}, heads[0])
    return networks, notes


def _same_generator(a: Network, b: Network) -> bool:
    """Whether two generators draw the same; the average latent, which some files lack, does not count."""
    names = a.state.keys() | b.state.keys()
    if a.config != b.config or a.state.keys() != b.state.keys():
        return False
    return all(torch.equal(a.state[n], b.state[n]) for n in names if n != "mapping.w_avg")


def _with_own_generator(networks: dict[str, Network], drawing: Network) -> dict[str, Network]:
    """The first generator goes on serving the inversion alone; `drawing` draws."""
    first, inversion = networks["generator"], networks["inversion"]
    state = {**drawing.state, "mapping.w_avg": first.state["mapping.w_avg"]}
    kept = Network(inversion.kind, {**inversion.config, "generator": "inversion_generator"}, inversion.state)
    others = {n: network for n, network in networks.items() if n not in ("generator", "inversion")}
    return {
        "generator": Network(drawing.kind, drawing.config, state),
        "inversion_generator": first,
        "inversion": kept,
        **others,
    }


def _check(networks: dict[str, Network], notes: list[str]) -> None:
    """Every tensor there, of its shape, finite, and none left over."""
    built: dict[str, torch.nn.Module] = {}
    problems = []
    for name, network in networks.items():
        with unfilled():
            built[name] = build_network(name, {"class": network.kind, "config": to_dict(network.config)}, built)
        problems += [f"{name}: {difference}" for difference in describe_differences(built[name], network.state)]
        problems += [
            f"{name}: {n} has values that are not finite" for n, t in network.state.items() if not all_finite(t)
        ]
        if isinstance(built[name], StyleGAN2Generator) and not problems:
            networks[name] = _with_average(network, notes)
    if problems:
        shown = "; ".join(problems[:_SHOWN]) + (
            f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        )
        raise CorruptFileError(f"the file's tensors are not those of its network: {shown}; get the file again")


def _with_average(network: Network, notes: list[str]) -> Network:
    """A generator whose file has no average latent gets the mean over many z, as upstream's programs compute it."""
    if network.state["mapping.w_avg"].any() or network.config.get("label_dim"):
        return network
    generator = build_network("generator", {"class": network.kind, "config": to_dict(network.config)}, {})
    assert isinstance(generator, StyleGAN2Generator)
    prefix = "mapping."
    mapping = {n.removeprefix(prefix): t for n, t in network.state.items() if n.startswith(prefix)}
    generator.mapping.load_state_dict(mapping)
    z = torch.randn(_AVERAGE_SAMPLES, generator.config.z_dim, generator=torch.Generator().manual_seed(_AVERAGE_SEED))
    with torch.no_grad():
        average = generator.mapping(z).mean(0)
    notes.append(f"the file has no average latent: it is the mean over {_AVERAGE_SAMPLES} random z")
    return Network(network.kind, network.config, {**network.state, "mapping.w_avg": average})


def _write(out: Path, about: Mapping[str, Any], networks: Mapping[str, Network]) -> None:
    """The folder appears whole or not at all."""
    temporary = out.with_name(f".tmp-{os.getpid()}-{out.name}")
    try:
        write_model(temporary, about, {n: net.state for n, net in networks.items()}, half_precision=False)
        ModelFolder(temporary).mark_verified()
        os.rename(temporary, out)
    except OSError as error:
        raise OutputError(f"cannot write {out}: {error.strerror}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
