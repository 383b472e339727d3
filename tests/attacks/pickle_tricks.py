"""Attacks on the containers themselves: archives, legacy files, NVIDIA's objects and numpy's arrays that lie."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from attacks import pickle_assembler as asm
from attacks import pickle_containers as box
from attacks.pickle_payloads import Payload


@dataclass(frozen=True)
class Case:
    """One file.

    refused: the name that the error must tell; "" where any of our errors will do; None where the file may be read,
    as long as nothing happens.
    """

    name: str
    data: bytes
    refused: str | None
    suffix: str = ".pt"


def touch(canary: str) -> Payload:
    """The payload of most tricks: it makes a file."""
    return Payload("builtins", "builtins", "open", (canary, "w"))


def _zip_tricks(canary: str) -> Iterator[Case]:
    p = touch(canary)
    evil = asm.whole(asm.reduce(p.module, p.name, p.args))
    s = box.Storages()
    good = asm.whole(asm.push(box.rosinality(s)))
    whole_members, evil_member = box.torch_members(good, s.numbers), box.ZipMember("archive/data.pkl", evil)
    rest = whole_members[1:]

    def case(name: str, members: list[box.ZipMember], refused: str | None = "", **lies: object) -> Case:
        return Case(name, box.zip_file(members, **lies), refused)

    yield case("payload, true checksum", [evil_member, *rest], p.dotted)
    yield case("payload, wrong checksum", [box.ZipMember("archive/data.pkl", evil, crc=1), *rest])
    yield case("data.pkl twice, payload last", [*whole_members, evil_member])
    yield case("data.pkl twice, payload first", [evil_member, *whole_members])
    yield case("two archives in one", [*whole_members, box.ZipMember("other/data.pkl", evil)])
    yield case(
        "two names for one member", [box.ZipMember("archive/data.pkl", evil, local_name="archive/data.txt"), *rest]
    )
    yield case("encrypted", [box.ZipMember("archive/data.pkl", evil, flags=1), *rest])
    yield case("unknown packing", [box.ZipMember("archive/data.pkl", evil, method=99), *rest])
    yield case("bytes before", whole_members, prefix=b"MZ" + bytes(500))
    yield case("a bare pickle before", [evil_member, *rest], p.dotted, prefix=evil)
    yield case("fewer members than there are", [evil_member, *rest], count=1)
    yield case("more members than there are", [evil_member, *rest], count=99)
    yield case("no members", [evil_member, *rest], count=0)
    yield case("checkpoint in the comment", whole_members, comment=box.zip_file([evil_member, *rest]))
    yield case("payload as another member", [*whole_members, box.ZipMember("archive/other.pkl", evil)], None)
    yield case("payload as version", [*whole_members[:-1], box.ZipMember("archive/version", evil)], None)
    yield case("payload as byteorder", [whole_members[0], box.ZipMember("archive/byteorder", evil), *whole_members[2:]])
    yield case("payload as numbers", box.torch_members(good, {**s.numbers, "0": evil}))
    yield case(
        "TorchScript",
        [*whole_members, box.ZipMember("archive/constants.pkl", evil), box.ZipMember("archive/code/x.py", b"x")],
    )
    yield case("numpy archive", [box.ZipMember("data.npy", _npy_of("O", evil))])
    for root in ("..", "/tmp", "../../tmp/x", "C:", "a\\..\\b", "."):
        yield case(f"payload in root {root}", box.torch_members(evil, {}, root))
    for name in (
        "../canary",
        "/tmp/canary",
        "archive/../../canary",
        "archive/data/../../../canary",
        "C:\\canary",
        "\0",
        "x" * 5000,
    ):
        yield case(f"another member {name[:40]!a}", [*whole_members, box.ZipMember(name, b"x")], None)
        key = asm.push(box.Storages().tensor(storage=box.Storages().storage(bytes(24), key=name)))
        yield case(f"storage key {name[:40]!a}", box.torch_members(asm.whole(key), {"0": bytes(24)}))


def _legacy_tricks(canary: str) -> Iterator[Case]:
    p = touch(canary)
    evil = asm.reduce(p.module, p.name, p.args)
    s = box.Storages(viewed=True)
    good = asm.push(box.rosinality(s))
    yield Case("payload as system", box.legacy_file(good, s.numbers, system=evil), p.dotted)
    yield Case(
        "payload in system", box.legacy_file(good, s.numbers, system={**box.SYSTEM, "type_sizes": evil}), p.dotted
    )
    yield Case("payload as keys", box.legacy_file(good, s.numbers, keys=evil), p.dotted)
    yield Case("payload among keys", box.legacy_file(good, s.numbers, keys=[*s.numbers, evil]), p.dotted)
    yield Case("key twice", box.legacy_file(good, s.numbers, keys=[*s.numbers, "0"]), "")
    yield Case("unknown key", box.legacy_file(good, s.numbers, keys=[*s.numbers, "../x"]), "")
    yield Case("missing key", box.legacy_file(good, s.numbers, keys=[*s.numbers][1:]), "")
    yield Case("big-endian", box.legacy_file(good, s.numbers, system={**box.SYSTEM, "little_endian": False}), "")
    whole_file = box.legacy_file(good, s.numbers)
    for number in range(3):  # the payload in place of the magic number, the version, the system
        at, pickles = 0, [asm.push(box.MAGIC), asm.push(1001), asm.push(box.SYSTEM)]
        for program in pickles[:number]:
            at += len(asm.whole(program))
        end = at + len(asm.whole(pickles[number]))
        yield Case(f"payload as pickle {number}", whole_file[:at] + asm.whole(evil) + whole_file[end:], p.dotted)
    tar = b"sys_info" + bytes(92) + b"0000644\0" + bytes(1024)
    yield Case("torch's first format, a tar", tar, "")


def _nvidia_tricks(canary: str) -> Iterator[Case]:
    p = touch(canary)
    evil = asm.reduce(p.module, p.name, p.args)
    for name in ("_parameters", "_buffers", "_modules", "init_args", "__setstate__", "__class__", "training"):
        state = {name: evil}
        yield Case(
            f"payload as {name}", asm.whole(asm.push({"G_ema": box.persistent_object("Generator", state)})), p.dotted
        )
    sources = {
        "source": f"open({canary!r}, 'w')",
        "source of a class": f"class Generator:\n    x = open({canary!r}, 'w')\n",
    }
    for what, source in sources.items():
        record = box.persistent_object("Generator", {}, module_src=source)
        yield Case(what, asm.whole(asm.push({"G_ema": record})), None)
    for kind in ("function", "module", "hook", "", 5, None):
        record = box.persistent_object("Generator", {}, type=kind)
        yield Case(f"object of type {kind!r}", asm.whole(asm.push({"G_ema": record})), "")
    for class_name in ("os.system", "__import__('os')", "../../x", "x" * 5000):
        record = box.persistent_object(class_name, {}, module=class_name)
        yield Case(f"class {class_name[:20]}", asm.whole(asm.push({"G_ema": record})), None)
    state = asm.build(box.persistent_object("Generator", {}), {"__dict__": 1})
    yield Case("a second state", asm.whole(state), "")
    inner = asm.reduce("torch.storage", "_load_from_bytes", (box.legacy_file(evil, {}),))
    for depth in range(1, 5):
        yield Case(f"{depth} files within files", asm.whole(inner), p.dotted if depth <= 2 else "")
        inner = asm.reduce("torch.storage", "_load_from_bytes", (asm.whole(inner),))


def _npy_of(kind: str, body: bytes, shape: str = "(1,)", header: str | None = None) -> bytes:
    text = header or f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    return b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text.encode("latin-1") + body


def _bare_tricks(canary: str) -> Iterator[Case]:
    p = touch(canary)
    evil = asm.whole(asm.reduce(p.module, p.name, p.args))
    call = f"open({canary!r}, 'w')"
    for kind in ("O", "|O", "<O", "|O8"):
        yield Case(f"array of objects {kind}", _npy_of(kind, evil), p.dotted if kind in ("O", "|O") else "", ".npy")
    headers = {
        "call as header": call,
        "call as type": f"{{'descr': {call}, 'fortran_order': False, 'shape': (1,), }}",
        "call as shape": f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({call},), }}",
        "call as order": f"{{'descr': '<f4', 'fortran_order': {call}, 'shape': (1,), }}",
        "record type": "{'descr': [('a', 'O')], 'fortran_order': False, 'shape': (1,), }",
        "deep header": "(" * 4000,
        "power": "{'descr': '<f4', 'fortran_order': False, 'shape': (9**9**9,), }",
    }
    for name, header in headers.items():
        yield Case(name, _npy_of("", evil, header=header), "", ".npy")
    for shape in (
        "(-1,)",
        f"({2**60},)",
        f"({2**62}, 4)",
        "(" + "9" * 4000 + ",)",
        "(1, 2, 3, 4, 5, 6, 7, 8, 9)",
        f"(0, {2**70})",
    ):
        yield Case(f"shape {shape[:30]}", _npy_of("<f4", bytes(4), shape), "", ".npy")
    for kind in ("<U9999999", "<V16", "<M8", "<m8", "<f16", "<c8", "<S8", "x", "<f4" * 99):
        yield Case(f"type {kind[:20]}", _npy_of(kind, bytes(16)), "", ".npy")


TRICKS: dict[str, Callable[[str], Iterator[Case]]] = {
    "bare": _bare_tricks,
    "zip": _zip_tricks,
    "legacy": _legacy_tricks,
    "nvidia": _nvidia_tricks,
}
