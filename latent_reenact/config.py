"""Frozen dataclasses as configuration: to and from plain mappings, YAML files and `key=value` words."""

from __future__ import annotations

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from latent_reenact.errors import ConfigError

T = TypeVar("T")
_EXPONENT = re.compile(r"[-+]?\d+[eE][-+]?\d+")


def from_dict(cls: type[T], values: Mapping[str, Any], *, where: str = "") -> T:
    """Build the dataclass `cls` from a mapping, checking names and types.

    Args:
        cls: a dataclass type; fields may themselves be dataclasses.
        values: field name -> value. Missing names take the default.
        where: the dotted path of this mapping, for messages.

    Raises:
        ConfigError: unknown key (names the nearest one), wrong type, or missing value.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where or cls.__name__}: got {values!r}, expected a mapping of {cls.__name__} fields")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            raise ConfigError(_unknown_key(f"{where}{key}", str(key), list(fields)))
    known = {name: _convert(hints[name], value, f"{where}{name}") for name, value in values.items()}
    try:
        return cls(**known)
    except TypeError as error:
        missing = [
            n
            for n, f in fields.items()
            if n not in known and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        ]
        raise ConfigError(f"{where or cls.__name__}: missing {', '.join(missing) or error}") from None


def to_dict(config: Any) -> dict[str, Any]:
    """The dataclass as plain dictionaries, lists, numbers and strings (ready for JSON or YAML)."""

    def plain(value: Any) -> Any:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        if isinstance(value, Mapping):
            return {k: plain(v) for k, v in value.items()}
        if isinstance(value, tuple | list):
            return [plain(v) for v in value]
        return str(value) if isinstance(value, Path) else value

    return plain(config)


def load_yaml(cls: type[T], path: str | Path, overrides: Sequence[str] = ()) -> T:
    """Read `cls` from a YAML file, then apply `key.subkey=value` words from the command line.

    Raises:
        ConfigError: unreadable file, bad YAML, or whatever `from_dict` finds wrong.
    """
    values = read_yaml(path)
    for word in overrides:
        _override(values, word)
    return from_dict(cls, values)


def read_yaml(path: str | Path) -> Any:
    """What a YAML file says; a mapping with the key `base` is laid over what that file, beside it, says.

    Raises:
        ConfigError: unreadable file, bad YAML, or a base that has a base.
    """
    values = _parsed(path)
    if not isinstance(values, dict) or "base" not in values:
        return values
    base = _parsed(Path(path).parent / str(values["base"]))
    if not isinstance(base, dict) or "base" in base:
        raise ConfigError(f"{path}: base: got {values['base']!r}, expected a config without a base of its own")
    return _laid_over(base, {key: value for key, value in values.items() if key != "base"})


def _parsed(path: str | Path) -> Any:
    try:
        return yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise ConfigError(f"cannot read the config {path}: {error.strerror}; give the path of a YAML file") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid YAML: {str(error).splitlines()[0]}") from None


def _laid_over(below: dict[Any, Any], above: dict[Any, Any]) -> dict[Any, Any]:
    """Mappings are merged key by key; anything else is replaced."""
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(below.get(key), dict)
        merged[key] = _laid_over(below[key], value) if both else value
    return merged


def _override(values: dict[str, Any], word: str) -> None:
    key, sep, text = word.partition("=")
    if not sep or not key:
        raise ConfigError(f"got {word!r}, expected key=value")
    *parents, leaf = key.split(".")
    for name in parents:
        values = values.setdefault(_known_key(values, name), {})
        if not isinstance(values, dict):
            raise ConfigError(f"{key}: {name} is a value, not a group of settings")
    try:
        values[_known_key(values, leaf)] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"{key}: cannot read the value {text!r}") from None


def _known_key(values: Mapping[Any, Any], name: str) -> Any:
    """The key that `name` means: a number where the file has that number."""
    return int(name) if name not in values and name.isdecimal() and int(name) in values else name


def _unknown_key(path: str, key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
    return f"unknown key {path!r}; {hint}"


def _convert(kind: Any, value: Any, path: str) -> Any:
    """`value` as the annotated type `kind`, or a ConfigError naming `path`."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(args, value, path)
    if origin is typing.Literal:
        if value not in args:
            raise ConfigError(f"{path}: got {value!r}, expected one of {', '.join(map(repr, args))}")
        return value
    if origin is tuple:
        return _convert_tuple(args, value, path)
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{path}: got {value!r}, expected a mapping")
        return {_convert_key(args[0], k, path): _convert(args[1], v, f"{path}.{k}") for k, v in value.items()}
    if dataclasses.is_dataclass(kind):
        return value if isinstance(value, kind) else from_dict(kind, value, where=f"{path}.")  # type: ignore[arg-type]
    return _convert_scalar(kind, value, path)


def _convert_union(args: tuple[Any, ...], value: Any, path: str) -> Any:
    if value is None and type(None) in args:
        return None
    for kind in args:
        if kind is type(None):
            continue
        try:
            return _convert(kind, value, path)
        except ConfigError as error:
            last = error
    raise last


def _convert_tuple(args: tuple[Any, ...], value: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ConfigError(f"{path}: got {value!r}, expected a list")
    if len(args) == 2 and args[1] is Ellipsis:
        return tuple(_convert(args[0], v, f"{path}[{i}]") for i, v in enumerate(value))
    if len(args) != len(value):
        raise ConfigError(f"{path}: got {len(value)} values, expected {len(args)}")
    return tuple(_convert(a, v, f"{path}[{i}]") for i, (a, v) in enumerate(zip(args, value, strict=True)))


def _convert_key(kind: Any, key: Any, path: str) -> Any:
    """JSON has text for keys where we have numbers."""
    if kind is int and isinstance(key, str) and key.isdecimal():
        return int(key)
    return _convert(kind, key, path)


def _convert_scalar(kind: Any, value: Any, path: str) -> Any:
    if kind is Any:
        return value
    if kind is float and isinstance(value, str) and _EXPONENT.fullmatch(value):
        value = float(value)  # YAML 1.1 takes 1e-4, without a point, for text
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        if value != value or value in (float("inf"), float("-inf")):
            raise ConfigError(f"{path}: got {value!r}, expected a finite number")
        return float(value)
    if kind is Path and isinstance(value, str):
        return Path(value)
    if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    raise ConfigError(f"{path}: got {value!r} ({type(value).__name__}), expected {kind.__name__}")
