"""From a published name to a model folder: download what can be downloaded, say what cannot, convert the rest.

Upstream's files stay in `files/` beside the folder of models, so that a second model made of them needs no download.
"""

from __future__ import annotations

import os
import shutil
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from latent_reenact.errors import CorruptFileError
from latent_reenact.third_party import registry
from latent_reenact.third_party.registry import PublishedFile, PublishedModel
from latent_reenact.weights import models_home, verify_model
from latent_reenact.weights.download import MAX_BYTES, Progress, download, is_offline
from latent_reenact.weights.pins import Expected, check_file, locked, trust_file, write_error

PROGRAM = "latent-reenact"


@dataclass(frozen=True, kw_only=True)
class FetchReport:
    """What a fetch came to.

    folder: the model folder, for a model that is ready. files: the published files that are here.
    notices: licences. steps: what a person has to do first; none when all is here.
    """

    name: str
    folder: str | None
    files: tuple[str, ...]
    notices: tuple[str, ...]
    steps: tuple[str, ...]

    @property
    def is_ready(self) -> bool:
        """Whether nothing is left to do."""
        return not self.steps

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


def files_home(home: str | Path | None = None) -> Path:
    """Where published files are kept as they came: `files`, beside the folder of models."""
    return (models_home() if home is None else Path(home)).parent / "files"


def fetch(
    name: str,
    *,
    offline: bool = False,
    progress: Progress | None = None,
    home: str | Path | None = None,
    tell: Callable[[str], None] | None = None,
) -> FetchReport:
    """Have a published model ready under its name, or a published file in `files_home()`.

    Args:
        name: of a model, which is converted, or of one file, which is not.
        offline: make no connection; what is here already is used.
        progress: called with megabytes done and in all of each download.
        home: the folder of models; `models_home()` by default.
        tell: hears the licences before anything is downloaded.

    Raises:
        WeightsNotFoundError: nothing is published under that name.
        DownloadError, CorruptFileError, LimitExceededError, UnsafeCheckpointError, OutputError.
    """
    entry = registry.find(name)
    files = registry.load_registry().files_of(entry)
    notices = tuple(_notice(file) for file in files)
    models, store = models_home() if home is None else Path(home), files_home(home)
    folder = models / name if isinstance(entry, PublishedModel) else None
    if folder is not None and (folder / "config.json").is_file():
        _verify(name, folder)
        return FetchReport(name=name, folder=str(folder), files=(), notices=notices, steps=())
    if tell is not None:
        for notice in notices:
            tell(notice)
    here = [file for file in files if _get(file, store, offline=offline, progress=progress)]
    steps = _steps(name, [file for file in files if file not in here], store)
    if not steps and folder is not None:
        _convert([store / file.name for file in files], folder)
        for file in files:
            if file.needs_browser:  # trusted only now that it was converted: what a browser cut must not count
                trust_file(store / file.name, _expected(file), origin=file.page)
    return FetchReport(
        name=name,
        folder=None if folder is None or steps else str(folder),
        files=tuple(str(path) for file in here for path in _paths(file, store)),
        notices=notices,
        steps=steps,
    )


def _get(file: PublishedFile, store: Path, *, offline: bool, progress: Progress | None) -> bool:
    """Have a file in the store, checked; False where a person has to put it there."""
    path = store / file.name
    if not path.is_file() and (file.url is None or is_offline(offline)):
        return False
    if file.url is None:
        check_file(path, _expected(file))
    else:
        known = {"expected_bytes": file.bytes, "sha256": file.sha256, "sha256_prefix": file.sha256_prefix}
        download(file.url, path, progress=progress, **known)  # type: ignore[arg-type]
    if file.unpack is not None:
        _unpack(path, file.unpack)
    return True


def _verify(name: str, folder: Path) -> None:
    try:
        verify_model(folder)
    except CorruptFileError as error:
        raise CorruptFileError(f"{error}; remove {folder}, then run: {PROGRAM} models fetch {name}") from None


def _convert(paths: Sequence[Path], folder: Path) -> None:
    """The model folder, made by one process at a time."""
    from latent_reenact.models.convert import convert

    with locked(folder):
        if not (folder / "config.json").is_file():
            convert(paths, folder, name=folder.name)


def _expected(file: PublishedFile) -> Expected:
    return Expected(bytes=file.bytes, sha256=file.sha256, sha256_prefix=file.sha256_prefix)


def _notice(file: PublishedFile) -> str:
    limits = "; NOT FOR COMMERCIAL USE" if file.non_commercial else ""
    return f"{file.name} ({file.size}): {file.purpose}; licence: {file.licence}{limits}; please cite {file.citation}"


def _steps(name: str, missing: Sequence[PublishedFile], store: Path) -> tuple[str, ...]:
    """One line for each thing to do, ready to be followed from top to bottom; the folder they name exists."""
    if not missing:
        return ()
    try:
        store.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(error, store) from None
    gets = [
        f"open {file.page} in a browser and download {file.name} ({file.size})"
        if file.needs_browser
        else f"where there is a connection, download {file.url} ({file.size})"
        for file in missing
    ]
    names = " and ".join(file.name for file in missing)
    puts = [f"put {names}, so named, into {store}", f"run: {PROGRAM} models fetch {name}"]
    return tuple(f"{i}. {step}" for i, step in enumerate([*gets, *puts], 1))


def _paths(file: PublishedFile, store: Path) -> tuple[Path, ...]:
    return (store / file.name,) if file.unpack is None else (store / file.name, store / file.unpack)


def _unpack(archive: Path, member: str) -> None:
    """Put one file of an archive beside it, whole or not at all."""
    target = archive.with_name(member)
    temporary = target.with_name(f".tmp-{os.getpid()}-{member}")
    if target.is_file():
        return
    try:
        with zipfile.ZipFile(archive) as opened:
            infos = [info for info in opened.infolist() if info.filename.rpartition("/")[2] == member]
            if len(infos) != 1 or infos[0].file_size > MAX_BYTES:
                raise CorruptFileError(f"{archive}: got {len(infos)} files {member}, expected one; get it again")
            with opened.open(infos[0]) as packed, open(temporary, "wb") as file:
                shutil.copyfileobj(packed, file, 1 << 20)
        os.replace(temporary, target)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise CorruptFileError(f"{archive} cannot be unpacked: {error}; remove it and fetch it again") from None
    except OSError as error:
        raise write_error(error, target) from None
    finally:
        temporary.unlink(missing_ok=True)
