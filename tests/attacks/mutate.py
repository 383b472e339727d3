"""A small seeded mutator, and a child process that feeds its mutants to a reader under limits.

    python mutate.py KIND SEED_FOLDER COUNT RANDOM_SEED     (image, video, checkpoint, weights)

The child has 1 GB of address space more than its libraries and five seconds a mutant. It prints one JSON line; a
mutant that raises anything but the promised errors stays in SEED_FOLDER as `failed-*` and ends the run.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

_NUMBERS = [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\0\0\1", b"\0\0\xff\xff"]
_ADDRESS_SPACE = 1 << 30
_SECONDS = 5


def mutate(data: bytes, rng: random.Random) -> bytes:
    """One to four changes: flipped bits, odd numbers, bytes cut out, doubled, swapped, or the end cut off."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at, length = rng.randrange(len(out) or 1), rng.randrange(1, 32)
        kind = rng.randrange(6)
        if kind == 0 and out:
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            out[at : at + 4] = rng.choice(_NUMBERS)
        elif kind == 2:
            del out[at : at + length]
        elif kind == 3:
            out[at:at] = out[at : at + length]
        elif kind == 4:
            out[at : at + length] = rng.randbytes(length)
        else:
            del out[at:]
    return bytes(out)


def image(path: Path) -> None:
    from latent_reenact.media import read_image, read_provenance

    picture = read_image(path)
    assert picture.dtype == "uint8"
    assert picture.shape[2] == 3
    read_provenance(path)


def video(path: Path) -> None:
    from latent_reenact.media import VideoLimits, VideoReader, read_provenance

    for frame in VideoReader(path, VideoLimits(max_side=512, max_frames=200)):
        assert frame.shape[2] == 3
    read_provenance(path)


def checkpoint(path: Path) -> None:
    """Reads an upstream checkpoint, then every number in it."""
    from latent_reenact.third_party.containers import read_checkpoint

    waiting = [read_checkpoint(path)]
    while waiting:
        value = waiting.pop()
        if hasattr(value, "shape"):
            value.sum()
        elif isinstance(value, dict | list | tuple):
            waiting += value.values() if isinstance(value, dict) else value
        else:
            waiting += [value.meta] if hasattr(value, "meta") else []


def weights(path: Path) -> None:
    """Reads the model folder `whole` beside a file, with the file in place of the one that has its suffix."""
    from latent_reenact.weights import ModelFolder

    folder = path.parent / f"model-{os.getpid()}"
    folder.mkdir(exist_ok=True)
    suffixes = {".config": "config.json", ".manifest": "manifest.json", ".safetensors": "mapper.safetensors"}
    for suffix, name in suffixes.items():
        origin = path if path.suffix == suffix else path.parent / "whole" / name
        (folder / name).write_bytes(origin.read_bytes())
    model = ModelFolder(folder)
    for network in model.networks:
        for tensor in model.tensors(network, verify=False).values():
            tensor.sum()
    model.verify()


_READERS: dict[str, Callable[[Path], None]] = {
    "image": image,
    "video": video,
    "checkpoint": checkpoint,
    "weights": weights,
}


def _memory_kb(field: str = "VmHWM") -> int:
    """The most memory this program held; `ru_maxrss` would count what its parent held at the fork."""
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(field))


def main(kind: str, folder: Path, count: int, seed: int) -> int:
    from latent_reenact.errors import CorruptFileError, LimitExceededError, UnsafeCheckpointError

    read = _READERS[kind]
    seeds = sorted(path for path in folder.iterdir() if path.name.startswith("seed-"))
    for path in seeds:  # whole files are read first: they load the decoders, so growth is the mutants' own
        read(path)
    space = _ADDRESS_SPACE + _memory_kb("VmSize") * 1024
    resource.setrlimit(resource.RLIMIT_AS, (space, space))
    rng = random.Random(seed)
    start_kb, slowest_s, refused = _memory_kb(), 0.0, 0
    for number in range(count):
        origin = rng.choice(seeds)
        mutant = folder / f"mutant-{os.getpid()}{origin.suffix}"
        mutant.write_bytes(mutate(origin.read_bytes(), rng))
        signal.alarm(_SECONDS)  # not caught: a hang ends the child, and the mutant lies there
        started = time.process_time()
        try:
            read(mutant)
        except (CorruptFileError, LimitExceededError, UnsafeCheckpointError) as error:
            if "\n" in str(error):
                raise SystemExit(f"not one line: {error}") from error
            refused += 1
        except BaseException:
            mutant.rename(folder / f"failed-{number}-{origin.name}")
            raise
        signal.alarm(0)
        slowest_s = max(slowest_s, time.process_time() - started)
    grown_kb = _memory_kb() - start_kb
    print(json.dumps({"count": count, "refused": refused, "slowest_s": slowest_s, "grown_mb": grown_kb / 1024}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
