"""Safetensors files that lie, made in code. Format: 8 bytes header length, a JSON header, the numbers."""

from __future__ import annotations

import json
import struct
from typing import Any

BODY = struct.pack("<6f", *range(6))


def entry(start: Any = 0, end: Any = 24, shape: Any = (2, 3), dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def safetensors(header: Any, body: bytes = BODY, length: int | None = None) -> bytes:
    """A file with any header: text and bytes stand as they are, other values as JSON."""
    if not isinstance(header, bytes):
        header = (header if isinstance(header, str) else json.dumps(header)).encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + body


def lying_files() -> dict[str, bytes]:
    """Name -> file that no reader may accept."""
    good = {"a": entry()}
    text = json.dumps(good)
    files = {
        "nothing": b"",
        "seven bytes": bytes(7),
        "only a length": bytes(8),
        "header of zero": safetensors("", length=0),
        "no tensors but numbers": safetensors({}),
        "text after the header's end": safetensors(text + "x"),
        "header is a list": safetensors([good]),
        "header is a number": safetensors("1"),
        "header is no JSON": safetensors("{'a': 1}"),
        "header is no UTF-8": safetensors(b'{"\xff\xfe": 1}'),
        "header is cut": safetensors(text[:-1]),
        "header nests deeply": safetensors('{"a":' * 100_000 + "1" + "}" * 100_000),
        "header nests lists": safetensors('{"a":' + "[" * 100_000),
        "giant header": safetensors("{" + " " * (101 << 20) + text[1:]),
        "a number of a million digits": safetensors('{"a": ' + "9" * 1_000_000 + "}"),
        "tensor is text": safetensors({"a": "os.system"}),
        "tensor is nothing": safetensors({"a": None}),
        "metadata of numbers": safetensors({"__metadata__": {"a": 1}, **good}),
        "metadata is a list": safetensors({"__metadata__": [], **good}),
        "body too short": safetensors(good, BODY[:-1]),
        "body too long": safetensors(good, BODY + b"x"),
        "no body": safetensors(good, b""),
        "hole before": safetensors({"a": entry(4, 28)}, BODY + bytes(4)),
        "hole between": safetensors({"a": entry(0, 4, (1,)), "b": entry(8, 24, (4,))}),
        "overlap": safetensors({"a": entry(0, 16, (4,)), "b": entry(8, 24, (4,))}),
        "one inside another": safetensors({"a": entry(), "b": entry(4, 8, (1,))}),
        "two in one place": safetensors({"a": entry(), "b": entry()}),
        "end before start": safetensors({"a": entry(24, 0)}),
        "end outside": safetensors({"a": entry(0, 2400, (600,))}),
        "offsets of 2^63": safetensors({"a": entry(2**63, 2**63 + 24)}),
        "offsets of 2^64": safetensors({"a": entry(2**64, 2**64 + 24)}),
        "three offsets": safetensors({"a": {**entry(), "data_offsets": [0, 12, 24]}}),
        "no offsets": safetensors({"a": {"dtype": "F32", "shape": [2, 3]}}),
        "another shape": safetensors({"a": entry(shape=(2, 4))}),
        "shape of 2^62 by 4": safetensors({"a": entry(shape=(2**62, 4))}),
        "shape of 2^32 by 2^32 by 6": safetensors({"a": entry(shape=(2**32, 2**32, 6))}),
        "shape is a number": safetensors({"a": entry(shape=6)}),
        "shape is text": safetensors({"a": entry(shape="6")}),
        "another type": safetensors({"a": entry(dtype="F64")}),
        "unknown type": safetensors({"a": entry(dtype="O")}),
        "type is a number": safetensors({"a": entry(dtype=1)}),
        "type is a call": safetensors({"a": entry(dtype="__import__('os').system('id')")}),
        "a pickle": b"cos\nsystem\n(S'id'\ntR.",
        "a zip archive": b"PK\3\4" + bytes(100),
    }
    for value in (-1, 0.5, "0", None, True):
        files[f"offset {value!r}"] = safetensors({"a": entry(value)})
        files[f"size {value!r}"] = safetensors({"a": entry(shape=(value, 3))})
    for length in (1, len(text) - 1, len(text) + 1, 2**31, 2**40, 2**62, 2**63, 2**64 - 1):
        files[f"header of {length} bytes"] = safetensors(good, length=length)
    for percent in range(0, 100, 2):
        whole = safetensors(good)
        files[f"cut at {percent} %"] = whole[: len(whole) * percent // 100]
    return files


def lying_configs() -> list[str]:
    """Texts of config.json, each of which must end in one of our errors."""
    values = ["1", "null", '"x"', "[1]", "true", "1e999", '{"a": 1}', '{"a": null}', '{"a": []}', '{"../a": {}}']
    values += ['{"mapper\\u0000": {}}', '{"' + "a" * 5000 + '": {}}']
    return [f'{{"format": 1, "networks": {value}}}' for value in values]


def lying_manifests() -> list[str]:
    """Texts of manifest.json, each of which must end in one of our errors."""
    entries = ["1", "null", '"x"', "[]", "{}", '{"bytes": 1}', '{"bytes": "x", "sha256": []}', '{"bytes": NaN}']
    files = ["1", "null", '"x"', "[]", "{}", '["config.json", "mapper.safetensors"]', "true"]
    names = ("config.json", "mapper.safetensors", "../x", "/etc/passwd", "", ".", "\\u0000", "a/b")
    files += [f'{{"{names[0]}": {value}, "{names[1]}": {value}}}' for value in entries]
    files += [f'{{"{name}": {{"bytes": 1, "sha256": "x"}}}}' for name in names]
    texts = [f'{{"files": {value}}}' for value in files]
    return [
        *texts,
        "",
        "{",
        "[]",
        "{}",
        "1",
        "[" * 100_000,
        '{"files": {}, "files": 1}',
        '{"files": ' + "9" * 10_000 + "}",
    ]
