"""Names that reach through allowed ones, and names that only look like them."""

from __future__ import annotations

from attacks.pickle_payloads import Payload


def disguised() -> list[Payload]:
    """Ways through names that are allowed, and names that only look like them."""
    through = [
        ("collections", "OrderedDict.__init_subclass__"),
        ("collections", "OrderedDict.fromkeys"),
        ("collections", "OrderedDict.__class__"),
        ("collections", "OrderedDict.__class__.__base__.__subclasses__"),
        ("collections", "OrderedDict.__reduce__"),
        ("collections", "_sys.modules"),
        ("collections", "namedtuple"),
        ("collections.abc", "sys.exit"),
        ("torch._utils", "_rebuild_tensor.__globals__"),
        ("torch._utils", "_rebuild_tensor.__globals__.get"),
        ("torch._utils", "_rebuild_tensor.__code__.replace"),
        ("torch._utils", "_rebuild_tensor_v2.__call__"),
        ("torch._utils", "sys.exit"),
        ("argparse", "Namespace.__init__.__globals__"),
        ("argparse", "Namespace.__init__.__builtins__"),
        ("argparse", "FileType"),
        ("argparse", "_os.system"),
        ("argparse", "ArgumentParser.parse_args"),
        ("numpy", "core.multiarray.sys"),
        ("numpy", "ndarray.tofile"),
        ("numpy", "dtype.__class__"),
        ("numpy", "os.system"),
        ("numpy.core.multiarray", "functools.partial"),
        ("numpy.core.multiarray", "os.system"),
        ("torch", "serialization.os.system"),
        ("torch", "FloatStorage.__class__"),
        ("torch", "FloatStorage.from_file"),
        ("torch", "os.system"),
        ("torch", "device.__class__"),
        ("torch.storage", "_load_from_bytes.__globals__"),
        ("torch.storage", "io.open"),
        ("torch.storage", "TypedStorage.pickle_storage_type"),
        ("torch_utils.persistence", "_reconstruct_persistent_obj.__globals__"),
        ("_codecs", "encode.__self__"),
        ("_codecs", "decode"),
        ("_codecs", "register"),
        ("builtins", "set.__class__"),
        ("builtins", "dict.__subclasses__"),
        ("builtins", "list.__class__.__base__"),
        ("builtins", "bytes.__getattribute__"),
        ("pathlib", "PosixPath.write_text"),
        ("pathlib", "os.system"),
    ]
    alike = [("torch._utils", "_rebuild_tensor_v2"), ("collections", "OrderedDict"), ("builtins", "set")]
    changes = {
        "upper": str.upper,
        "title": str.title,
        "space before": lambda s: " " + s,
        "space after": lambda s: s + " ",
        "tab": lambda s: s + "\t",
        "return": lambda s: s + "\r",
        "newline": lambda s: s + "\n",
        "NUL": lambda s: s + "\0",
        "NUL and more": lambda s: s + "\0.system",
        "Cyrillic": lambda s: s.replace("e", "\u0435"),
        "full width": lambda s: s.replace("t", "\uff54"),
        "ligature": lambda s: s.replace("l", "\U0001d4c1") + "\ufb01",
        "zero width": lambda s: s[:1] + "\u200b" + s[1:],
        "right to left": lambda s: "\u202e" + s,
        "byte order mark": lambda s: "\ufeff" + s,
        "surrogate": lambda s: s + "\ud800",
        "dot": lambda s: s + ".",
        "relative": lambda s: "." + s,
        "empty": lambda s: "",
        "colon": lambda s: s.replace(".", ":") + ":",
        "long": lambda s: s + "x" * 5000,
    }
    found = [Payload("through allowed names", module, name, ("x",)) for module, name in through]
    for what, change in changes.items():
        for module, name in alike:
            found += [
                Payload(f"alike: {what}", change(module), name, ()),
                Payload(f"alike: {what}", module, change(name), ()),
            ]
    return [p for p in found if (p.module, p.name) not in alike] + [
        Payload("alike: split", "torch", "_utils._rebuild_tensor_v2", ()),
        Payload("alike: split", "torch._utils _rebuild_tensor_v2", "", ()),
        Payload("alike: split", "", "torch._utils _rebuild_tensor_v2", ()),
        Payload("alike: swapped", "OrderedDict", "collections", ()),
    ]
