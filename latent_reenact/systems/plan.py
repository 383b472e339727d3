"""What a job reads and where it writes, checked before any model is loaded."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from latent_reenact.errors import CorruptFileError, OutputError, UsageError
from latent_reenact.media import atomic_path, is_image_path, is_video_path
from latent_reenact.media.files import require_file

IDENTITY_SUFFIX = ".safetensors"
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")  # those that can be written
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm")

_DRIVING = "a picture, a video or a folder of them"
_IDENTITY = f"a picture of one person or an identity saved as {IDENTITY_SUFFIX}"


@dataclass(frozen=True)
class Task:
    """One driving file and the file that answers it."""

    driving: Path
    out: Path
    is_video: bool


def plan_tasks(driving: Path, out: Path) -> list[Task]:
    """One task for a driving file; for a folder one for each picture and video in it, by name.

    A batch writes `out/<stem>`, with the driving file's suffix where that can be written and `.png` or `.mp4` else.

    Raises:
        CorruptFileError: no such file, neither picture nor video, or none of them in the folder.
        OutputError: `out` cannot hold a result of that kind.
        UsageError: two files of a folder would become one.
    """
    if not driving.is_dir():
        is_video = _is_video(require_file(driving, _DRIVING))
        _check_suffix(out, is_video, f"the driving {driving} is a {'video' if is_video else 'picture'}")
        return [Task(driving, out, is_video)]
    if out.exists() and not out.is_dir():
        raise OutputError(
            f"cannot write into {out}: it is a file, but the driving {driving} is a folder; name a folder"
        )
    tasks: dict[Path, Task] = {}
    for task in (_batch_task(path, out) for path in _media_files(driving)):
        if task.out in tasks:
            raise UsageError(
                f"{tasks[task.out].driving.name} and {task.driving.name} would both become {task.out}; rename one"
            )
        tasks[task.out] = task
    if not tasks:
        raise CorruptFileError(f"{driving} holds no picture and no video; expected {_DRIVING}")
    return list(tasks.values())


def check_identity(path: Path, reads_clips: Callable[[], bool] = lambda: False) -> None:
    """Raises CorruptFileError unless `path` may be a picture or a saved identity, or a clip where these are read."""
    require_file(path, _IDENTITY)
    if is_video_path(path) and reads_clips():
        return
    if not (is_saved_identity(path) or is_image_path(path)):
        what = "a video or animation" if is_video_path(path) else "not a picture"
        raise CorruptFileError(f"{path} is {what}; expected {_IDENTITY}")


def is_saved_identity(path: Path) -> bool:
    """Whether the name says that this is what `invert` writes."""
    return path.suffix.lower() == IDENTITY_SUFFIX


def check_outputs(outs: Iterable[Path], inputs: Iterable[Path] = (), suffixes: tuple[str, ...] = ()) -> None:
    """Make sure that every output can be written and is none of the inputs, under any name.

    Raises:
        OutputError: not writable, another suffix than `suffixes`, or an input.
    """
    taken = {_file_id(path): path for path in inputs}
    for out in outs:
        if suffixes and out.suffix.lower() not in suffixes:
            raise OutputError(f"cannot write {out}: got the suffix {out.suffix!r}, expected {' or '.join(suffixes)}")
        if out.is_file() and (path := taken.get(_file_id(out))):
            raise OutputError(f"cannot write {out}: it is the input {path}; choose another name")
        with contextlib.suppress(_ProbeDone), atomic_path(out):
            raise _ProbeDone  # the temporary file could be made; leaving this way removes it and touches nothing else


@contextlib.contextmanager
def output_folder(folder: Path) -> Iterator[None]:
    """Make `folder` if it is not there; if nothing was written into it, it goes again.

    Raises:
        OutputError: it cannot be made.
    """
    made = False
    if not folder.is_dir():
        try:
            folder.mkdir()
        except OSError as error:
            hint = "create the folder above it first" if not folder.parent.is_dir() else "choose another name"
            raise OutputError(f"cannot make the folder {folder}: {error.strerror}; {hint}") from None
        made = True
    try:
        yield
    finally:
        if made:
            with contextlib.suppress(OSError):  # not empty: it has results
                folder.rmdir()


class _ProbeDone(Exception):
    """Leaves `atomic_path` without putting anything in place."""


def _file_id(path: Path) -> tuple[int, int]:
    """The same for all names and links of one file."""
    status = path.stat()
    return status.st_dev, status.st_ino


def _is_video(path: Path) -> bool:
    if is_video_path(path):
        return True
    if is_image_path(path):
        return False
    raise CorruptFileError(f"{path} is neither a picture nor a video; expected {_DRIVING}")


def _check_suffix(out: Path, is_video: bool, because: str) -> None:
    suffixes = VIDEO_SUFFIXES if is_video else IMAGE_SUFFIXES
    if out.suffix.lower() not in suffixes:
        raise OutputError(f"cannot write {out}: {because}; expected a name that ends in {', '.join(suffixes)}")


def _media_files(folder: Path) -> list[Path]:
    visible = (path for path in sorted(folder.iterdir()) if not path.name.startswith(".") and path.is_file())
    return [path for path in visible if is_video_path(path) or is_image_path(path)]


def _batch_task(driving: Path, folder: Path) -> Task:
    is_video = is_video_path(driving)
    suffixes = VIDEO_SUFFIXES if is_video else IMAGE_SUFFIXES
    suffix = driving.suffix if driving.suffix.lower() in suffixes else suffixes[0]
    return Task(driving, folder / f"{driving.stem}{suffix}", is_video)
