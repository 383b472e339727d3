"""What upstream publishes and this package can read: `registry.json`, with homes, sizes, hashes and licences.

Facts come from the upstream repositories; what is not known is null, never guessed.
"""

from __future__ import annotations

import difflib
import functools
import json
import re
from dataclasses import dataclass
from pathlib import Path

from latent_reenact.config import from_dict
from latent_reenact.errors import ConfigError, WeightsNotFoundError

REGISTRY = Path(__file__).with_name("registry.json")
_FILE_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True, kw_only=True)
class PublishedFile:
    """One file that its authors publish.

    name: what it is called here and on disk.
    url: where it can be downloaded from; None where only a browser gets it.
    page: where a person finds it.
    bytes, sha256, sha256_prefix: what is known beforehand.
    unpack: the one file that is taken out of this archive.
    licence, non_commercial: what binds whoever uses it.
    """

    name: str
    url: str | None
    page: str
    bytes: int | None
    sha256: str | None
    sha256_prefix: str | None
    unpack: str | None
    licence: str
    non_commercial: bool
    purpose: str
    citation: str

    def __post_init__(self) -> None:
        for field, form, value in (
            ("name", _FILE_NAME.pattern, self.name),
            ("unpack", _FILE_NAME.pattern, self.unpack),
            ("url", r"https?://\S+", self.url),
            ("page", r"https://\S+", self.page),
            ("sha256", r"[0-9a-f]{64}", self.sha256),
            ("sha256_prefix", r"[0-9a-f]{8,63}", self.sha256_prefix),
        ):
            if value is not None and not re.fullmatch(form, value):
                raise ConfigError(f"{self.name}: got {field} {value!r}, expected {form}")
        if self.bytes is not None and self.bytes < 1:
            raise ConfigError(f"{self.name}: got {self.bytes} bytes, expected at least one")

    @property
    def needs_browser(self) -> bool:
        """Whether its home hands it to people alone (Google Drive, OneDrive)."""
        return self.url is None

    @property
    def size(self) -> str:
        """For people: `244.4 MB`, `6.0 kB`, or `size unknown`."""
        if self.bytes is None:
            return "size unknown"
        return f"{self.bytes / 1e6:.1f} MB" if self.bytes >= 1e6 else f"{self.bytes / 1e3:.1f} kB"


@dataclass(frozen=True, kw_only=True)
class PublishedModel:
    """Published files that make one model folder together: `files` are their names."""

    name: str
    files: tuple[str, ...]
    description: str


@dataclass(frozen=True, kw_only=True)
class Registry:
    """All that can be fetched. Names are unique over files and models."""

    files: tuple[PublishedFile, ...]
    models: tuple[PublishedModel, ...]

    def __post_init__(self) -> None:
        names = [entry.name for entry in self.entries]
        twice = {name for name in names if names.count(name) > 1}
        missing = {name for model in self.models for name in model.files} - {file.name for file in self.files}
        if twice or missing:
            raise ConfigError(f"registry: listed twice: {sorted(twice)}; files that are not listed: {sorted(missing)}")

    @property
    def entries(self) -> tuple[PublishedFile | PublishedModel, ...]:
        """All that has a name here."""
        return (*self.files, *self.models)

    def files_of(self, entry: PublishedFile | PublishedModel) -> tuple[PublishedFile, ...]:
        """The files that an entry is made of."""
        if isinstance(entry, PublishedFile):
            return (entry,)
        by_name = {file.name: file for file in self.files}
        return tuple(by_name[name] for name in entry.files)


@functools.cache
def load_registry() -> Registry:
    """The registry of this release.

    Raises:
        ConfigError: `registry.json` was edited into something else.
    """
    try:
        values = json.loads(REGISTRY.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {REGISTRY}: {error}; install the package again") from None
    return from_dict(Registry, values)


def find(name: str) -> PublishedFile | PublishedModel:
    """The published model or file of that name.

    Raises:
        WeightsNotFoundError: there is none; names the nearest.
    """
    entries = {entry.name: entry for entry in load_registry().entries}
    if name not in entries:
        near = difflib.get_close_matches(name, entries, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "see latent-reenact models list --published"
        raise WeightsNotFoundError(f"nothing is published under the name {name!r}; {hint}")
    return entries[name]
