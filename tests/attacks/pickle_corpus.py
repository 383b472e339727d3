"""Every attack on a reader of checkpoints, as files: payloads x containers x forms, places and disguises.

    python tests/attacks/pickle_corpus.py OUT_DIR

writes them all, with index.json saying what each one asks for, so that any reader can be tried on them. Opening one
with Python's own unpickler runs what it holds (a file named `canary` appears, or worse): use a machine you can lose.
"""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # found when run as a script, too

from attacks import pickle_assembler as asm
from attacks import pickle_containers as box
from attacks.pickle_claims import claim_cases
from attacks.pickle_disguises import disguised
from attacks.pickle_limits import limit_cases
from attacks.pickle_payloads import Payload, payloads
from attacks.pickle_tricks import TRICKS, Case, touch

SUFFIXES = (".pt", ".pth", ".pkl", ".ckpt", ".bin", ".npy", ".npz", ".safetensors", ".onnx", ".jpg", ".zip", "")


def cases(kind: str, canary: str, port: int = 9) -> Iterator[Case]:
    """Every attack in one container."""
    yield from _families(kind, canary, port)
    yield from _forms(kind, canary)
    yield from _places(kind, canary)
    yield from _disguises(kind)
    yield from _odd_instructions(kind, canary)
    yield from _whole_files(kind, canary)
    yield from TRICKS[kind](canary)


def _families(kind: str, canary: str, port: int) -> Iterator[Case]:
    for i, p in enumerate(payloads(canary, port)):
        others = [*asm.FORMS][i % len(asm.FORMS) :][:2]
        for form in dict.fromkeys(["reduce", "stack_global", *others]):
            program = asm.FORMS[form](p.module, p.name, p.args, 4)
            data = box.container(kind, protocol=4, extra=lambda s, program=program: program)
            yield Case(f"{p.family}: {p.dotted} by {form}", data, p.dotted)


def _forms(kind: str, canary: str) -> Iterator[Case]:
    """Every form in every protocol, alone in the file and inside a checkpoint."""
    for p in (touch(canary), Payload("posix", "posix", "system", (f"touch {canary}",))):
        for protocol in asm.PROTOCOLS:
            for form, make in asm.FORMS.items():
                program = make(p.module, p.name, p.args, protocol)
                what = f"{p.dotted} by {form} in protocol {protocol}"
                unnamed = protocol == 0 and kind in ("bare", "nvidia")  # its nested files are in escapes nobody writes
                data = box.container(kind, protocol=protocol, extra=lambda s, program=program: program)
                yield Case(what, data, "" if unnamed else p.dotted)
                yield Case(what + " alone", box.pack(kind, program, box.Storages(), protocol), p.dotted)
        framed = asm.whole(asm.FORMS["stack_global"](p.module, p.name, p.args, 5), 5, framed=True)
        members = box.torch_members(framed, {})
        yield Case(f"{p.dotted} in a frame", box.zip_file(members) if kind == "zip" else framed, p.dotted)


def _places(kind: str, canary: str) -> Iterator[Case]:
    p = touch(canary)
    for protocol in (2, 4):
        for form in ("reduce", "bare"):
            program = asm.FORMS[form](p.module, p.name, p.args, protocol)
            for place, put in box.PLACES.items():
                data = box.container(
                    kind,
                    "restyle",
                    protocol,
                    extra=lambda s, put=put, program=program: asm.push(put(program, s), s.protocol),
                )
                yield Case(f"{place}, {form}, protocol {protocol}", data, p.dotted)


def _disguises(kind: str) -> Iterator[Case]:
    for p in disguised():
        program = asm.FORMS["stack_global"](p.module, p.name, p.args, 4)
        yield Case(
            f"{p.family}: {p.dotted!a:.80}", box.container(kind, extra=lambda s, program=program: program), p.dotted
        )


def _odd_instructions(kind: str, canary: str) -> Iterator[Case]:
    p = touch(canary)
    call = asm.reduce(p.module, p.name, p.args)
    odd: dict[str, tuple[bytes, str]] = {
        **{f"EXT{width} {code}": (asm.extension(code, width), "") for width in (1, 2, 4) for code in (0, 1, 240)},
        "EXT4 -1": (asm.extension(-1, 4), ""),
        "PERSID": (asm.persistent("storage"), ""),
        "BINPERSID of text": (asm.persistent_value("storage"), ""),
        "BINPERSID of a payload": (asm.persistent_value(call), p.dotted),
        "BINPERSID module": (asm.persistent_value(("module", call, "x.py", "source")), p.dotted),
        "NEXT_BUFFER": (pickle.NEXT_BUFFER, ""),
        "READONLY_BUFFER": (asm.join(asm.push(b"x", 4), pickle.READONLY_BUFFER), ""),
        "call of text": (asm.join(asm.push("os.system"), asm.push(("x",)), pickle.REDUCE), ""),
        "call of a tensor type": (asm.reduce("torch", "FloatStorage", (4,)), "torch.FloatStorage"),
        "call of a result": (asm.join(asm.reduce("collections", "OrderedDict"), asm.push(()), pickle.REDUCE), ""),
        "call of a call": (asm.join(call, asm.push(()), pickle.REDUCE), p.dotted),
        "call with a list": (asm.join(asm.glob("collections", "OrderedDict"), asm.push([]), pickle.REDUCE), ""),
        "named arguments": (
            asm.FORMS["named_arguments"]("collections", "OrderedDict", (1,), 4),
            "collections.OrderedDict",
        ),
        "global of numbers": (asm.join(asm.push(1), asm.push(2), pickle.STACK_GLOBAL), ""),
        "global of bytes": (asm.join(asm.push(b"os", 4), asm.push(b"system", 4), pickle.STACK_GLOBAL), ""),
        "global of old text": (asm.join(b"U\2osU\6system", pickle.STACK_GLOBAL), "os.system"),
        "global of a mark": (asm.join(pickle.MARK, pickle.MARK, pickle.STACK_GLOBAL), ""),
        "global by a dictionary's value": (
            asm.join(asm.push({"a": call}), asm.push("x"), pickle.STACK_GLOBAL),
            p.dotted,
        ),
        "quoted global": (asm.join(b"S'os'\nS'system'\n", pickle.STACK_GLOBAL), "os.system"),
        "global in two lines of DOS": (asm.glob("os\r", "system\r"), "os\r.system\r"),
        "unknown instruction": (b"\xff", ""),
        "protocol 6": (asm.join(b"\x80\6", call), ""),
        "state for text": (asm.build(asm.push("x"), {"__class__": call}), p.dotted),
        "state for a list": (asm.build(asm.push([]), {"append": 1}), ""),
        "items for a tuple": (asm.join(asm.push(()), pickle.MARK, asm.push(1), asm.push(2), pickle.SETITEMS), ""),
        "members for text": (asm.join(asm.push("x"), asm.push(1), pickle.APPEND), ""),
        "missing memo": (pickle.BINGET + b"\xfe", ""),
        "empty stack": (pickle.POP * 9, ""),
        "no mark": (pickle.TUPLE, ""),
    }
    for name, (program, refused) in odd.items():
        yield Case(name, box.container(kind, extra=lambda s, program=program: asm.Program(program)), refused)


def _whole_files(kind: str, canary: str) -> Iterator[Case]:
    """Lying names, a second pickle, and payloads that are only bytes."""
    p = touch(canary)
    program = asm.reduce(p.module, p.name, p.args)
    evil, benign = box.container(kind, extra=lambda s: program), box.container(kind)
    for suffix in SUFFIXES:
        yield Case(f"named {suffix or 'nothing'}", evil, p.dotted, suffix)
        yield Case(f"whole but named {suffix or 'nothing'}", benign, None, suffix)
    yield Case("a second pickle behind", benign + asm.whole(program), "")
    yield Case("a second file behind", benign + evil, "")
    yield Case("zeros behind", benign + bytes(512), "")
    for what, prefix in (
        ("newline", b"\n"),
        ("zeros", bytes(512)),
        ("JPEG", b"\xff\xd8\xff\xe0"),
        ("shebang", b"#!/bin/sh\n"),
    ):
        yield Case(f"{what} before", prefix + evil, "")
    yield Case("a pickle as bytes", box.container(kind, protocol=4, extra=lambda s: {"data": asm.whole(program)}), None)
    yield Case("source text", box.container(kind, extra=lambda s: {"code": f"open({canary!r}, 'w')"}), None)
    odd_names = {"__class__": 1, "__reduce__": 2, "__setstate__": 3, "../../x": 4, "/etc/passwd": 5, "\0": 6, "": 7}
    yield Case("odd names of options", box.container(kind, extra=lambda s: box.namespace(odd_names)), None)


def main(folder: Path) -> None:
    folder.mkdir(parents=True)
    index = {}
    every = [(kind, case) for kind in box.CONTAINERS for case in cases(kind, "canary")]
    every += [
        ("limits", Case(c.name, c.make(), "" if c.refused else None, c.suffix))
        for c in (*limit_cases(), *claim_cases())
    ]
    for number, (kind, case) in enumerate(every):
        name = f"{number:05d}-{kind}{case.suffix}"
        (folder / name).write_bytes(case.data)
        index[name] = {"what": case.name, "asks_for": case.refused}
    (folder / "index.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({"files": len(index), "folder": str(folder)}))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python tests/attacks/pickle_corpus.py OUT_DIR")
    main(Path(sys.argv[1]))
