"""A child process that reads attacks under watch, and prints what happened as one JSON line.

    python watch.py payloads CONTAINER FOLDER     every attack of the corpus in one container, one after another
    python watch.py limits FOLDER                 files that lie or explode, in forks with 1 GB and five seconds a file
    python watch.py control FOLDER                the same ammunition given to Python's and torch's own unpicklers

While a file is read an audit hook notes every event but the opening of that file for reading, its memory map, and `id`.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from attacks import pickle_assembler as asm
from attacks import pickle_containers as box
from attacks import pickle_corpus
from attacks.pickle_claims import claim_cases, path_cases
from attacks.pickle_limits import LimitCase, limit_cases
from attacks.pickle_tricks import touch

from latent_reenact.errors import CorruptFileError, LimitExceededError, UnsafeCheckpointError
from latent_reenact.third_party.containers import read_checkpoint

_OURS = (UnsafeCheckpointError, CorruptFileError, LimitExceededError)
_SPARE_BYTES, _HANG_S = 1 << 30, 5


class Watch:
    """Notes audit events while it is on. A hook cannot be taken out again, so there is one in a process."""

    def __init__(self) -> None:
        self.on, self.path, self.events = False, "", []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event == "open" and str(args[0]) == self.path and not args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        if event not in ("mmap.__new__", "builtins.id"):
            self.events.append(f"{event} {args!a:.100}")

    def read(self, read: Callable[[str], Any], path: str) -> tuple[BaseException | None, float]:
        """The error of reading a file, if any, and seconds of processor time."""
        self.path, started, error = path, time.process_time(), None
        self.on = True
        try:
            read(path)
        except BaseException as raised:
            error = raised
        finally:
            self.on = False
        return error, time.process_time() - started


def judge(error: BaseException | None, refused: str | None) -> str:
    """What is wrong with an outcome; "" where nothing is. `refused` as in `pickle_corpus.Case`."""
    if error is None:
        return "" if refused is None else "was read"
    if not isinstance(error, _OURS):
        return f"raised {type(error).__name__}: {str(error)[:200]}"
    if "\n" in str(error):
        return f"not one line: {str(error)!a:.200}"
    if refused and not (isinstance(error, UnsafeCheckpointError) and repr(refused[:200])[1:-1] in str(error)):
        return f"does not name {refused!a:.100}: {type(error).__name__}: {str(error)!a:.200}"
    return ""


def memory_kb(field: str) -> int:
    """A field of this process's status: VmHWM (the most it held), VmRSS, VmSize."""
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(field))


def memory_before_kb() -> int:
    """What is held now; where the peak lies far above, the kernel is asked to begin it again from here."""
    if memory_kb("VmHWM") - memory_kb("VmRSS") > 16 << 10:
        with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    return memory_kb("VmRSS")


def warm_up(folder: Path) -> None:
    """Whole checkpoints first: what they import and allocate is no attack's."""
    for kind in box.CONTAINERS:
        for layout in box.LAYOUTS:
            path = folder / "warm"
            path.write_bytes(box.container(kind, layout))
            tree = read_checkpoint(path)
            assert {"g_ema", "state_dict", "G_ema"} & tree.keys()


def payloads(kind: str, folder: Path) -> dict[str, Any]:
    canary = folder / "canary"
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        cases = list(pickle_corpus.cases(kind, str(canary), server.getsockname()[1]))
        warm_up(folder)
        watch, wrong, slowest_s, before_kb = Watch(), {}, 0.0, memory_kb("VmHWM")
        for case in cases:
            path = folder / f"attack{case.suffix}"
            path.write_bytes(case.data)
            error, seconds = watch.read(read_checkpoint, str(path))
            path.unlink()
            if reason := judge(error, case.refused):
                wrong[case.name] = reason
            slowest_s = max(slowest_s, seconds)
        touched = sorted(p.name for p in folder.iterdir() if p.name != "warm")
        try:
            server.accept()
            touched.append("the port")
        except BlockingIOError:
            pass
    grown_mb = (memory_kb("VmHWM") - before_kb) / 1024
    return {
        "count": len(cases),
        "wrong": wrong,
        "events": watch.events[:20],
        "touched": touched,
        "slowest_s": slowest_s,
        "grown_mb": grown_mb,
    }


def limits(folder: Path) -> dict[str, Any]:
    """Name of a case -> what happened. Forks read one case after another; one that dies is followed by the next."""
    warm_up(folder)
    watch, log, results = Watch(), folder / "log", {}
    cases = [*limit_cases(), *claim_cases()]
    paths = path_cases(folder)
    names = [*(case.name for case in cases), *paths]
    while len(results) < len(names):
        log.write_text("")
        child = os.fork()
        if child == 0:
            space = memory_kb("VmSize") * 1024 + _SPARE_BYTES
            resource.setrlimit(resource.RLIMIT_AS, (space, space))
            for name in names[len(results) :]:
                case = None if name in paths else cases[names.index(name)]
                figures = _read_one(watch, paths[name] if case is None else case, folder)
                with open(log, "a") as file:
                    file.write(json.dumps(figures) + "\n")
            os._exit(0)
        ended = os.waitpid(child, 0)[1]
        done = [json.loads(line) for line in log.read_text().splitlines()]
        results |= dict(zip(names[len(results) :], done, strict=False))
        if ended:
            how = signal.strsignal(os.WTERMSIG(ended)) if os.WIFSIGNALED(ended) else "an error of the watch"
            results[names[len(results)]] = {"wrong": f"ended by {how}", "seconds": 0, "events": [], "grown_mb": 0}
    return results


def _read_one(watch: Watch, case: LimitCase | str, folder: Path) -> dict[str, Any]:
    """Read one file, or what is at a path, and measure."""
    if isinstance(case, str):
        path, refused = case, ""
    else:
        path, refused = str(folder / f"limit{case.suffix}"), "" if case.refused else None
        Path(path).write_bytes(case.make())
    signal.alarm(_HANG_S)  # not caught: a hang ends the fork
    before_kb = memory_before_kb()
    watch.events.clear()
    error, seconds = watch.read(read_checkpoint, path)
    signal.alarm(0)
    grown_mb = (memory_kb("VmHWM") - before_kb) / 1024
    return {"wrong": judge(error, refused), "seconds": seconds, "events": watch.events, "grown_mb": grown_mb}


def control(folder: Path) -> dict[str, Any]:
    """What the ammunition does to readers that are not ours; the attacks mean something only if it goes off."""
    import torch

    warm_up(folder)
    stand_in = ModuleType("torch_utils.persistence")
    stand_in._reconstruct_persistent_obj = dict  # type: ignore[attr-defined]
    easy = ModuleType("dnnlib.util")
    easy.EasyDict = type("EasyDict", (dict,), {})  # type: ignore[attr-defined]
    sys.modules |= {"torch_utils": stand_in, "torch_utils.persistence": stand_in, "dnnlib": easy, "dnnlib.util": easy}
    watch, fired, path, canary = Watch(), {}, folder / "control.pt", folder / "canary"

    def load(path: str) -> Any:
        return torch.load(path, weights_only=False)

    def unpickle(path: str) -> Any:
        with open(path, "rb") as file:
            return pickle.load(file)

    for kind in box.CONTAINERS:
        for form in asm.FIRING:
            p = touch(str(canary))
            for protocol in asm.PROTOCOLS:
                program = asm.FORMS[form](p.module, p.name, p.args, protocol)
                path.write_bytes(
                    box.container(
                        kind, protocol=protocol, extra=lambda s, code=program: asm.join(code, pickle.POP, pickle.NONE)
                    )
                )
                watch.events.clear()
                error, _ = watch.read(load if kind in ("zip", "legacy") else unpickle, str(path))
                noticed = any(e.startswith("open ") and "canary" in e for e in watch.events)
                fired[f"{kind} {form} {protocol}"] = [noticed, canary.exists(), repr(error)]
                canary.unlink(missing_ok=True)
    return fired


if __name__ == "__main__":
    modes = {"payloads": payloads, "limits": limits, "control": control}
    *words, place = sys.argv[2:]
    print(json.dumps(modes[sys.argv[1]](*words, Path(place))))
