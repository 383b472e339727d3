"""Where the app keeps files: one private folder that goes when the app ends, and a fresh one in it for every job."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from latent_reenact import samples

_PREFIX = "latent-reenact-app-"


class Workspace:
    """A folder that only this process's user can read.

    uploads: what browsers send, and what they may fetch: every file in a folder of its own with a name nobody can
    guess. `close` removes everything.
    """

    def __init__(self) -> None:
        _clean_up_after_the_dead()
        self.root = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))  # mode 0700
        self.uploads = self.root / "files"
        self.uploads.mkdir()

    def new_folder(self) -> Path:
        """An empty folder with a random name, for the files of one job."""
        folder = self.uploads / f"job-{secrets.token_hex(16)}"
        folder.mkdir(mode=0o700)
        return folder

    @contextlib.contextmanager
    def job_folder(self) -> Iterator[Path]:
        """A new folder that stays only if the job ends well."""
        folder = self.new_folder()
        try:
            yield folder
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def sample(self, name: str) -> Path:
        """A packaged sample, copied to where browsers may fetch it."""
        copy = self.uploads / "samples" / name
        if not copy.exists():
            copy.parent.mkdir(exist_ok=True)
            staging = copy.with_name(f".{os.getpid()}-{time.monotonic_ns()}-{name}")
            shutil.copyfile(samples.path(name), staging)
            os.replace(staging, copy)
        return copy

    def is_sample(self, path: Path) -> bool:
        """Whether this is one of those copies."""
        return path.parent == self.uploads / "samples"

    def holds(self, path: str) -> bool:
        """Whether this is the path of a file in `uploads`, by whatever links lead to it."""
        if "\0" in path or not os.path.isabs(path):
            return False
        try:
            real = os.path.realpath(path)
            return Path(real).is_relative_to(self.uploads.resolve()) and os.path.isfile(real)
        except (OSError, ValueError):
            return False

    def sweep(self, age_s: float) -> int:
        """Remove files and job folders older than that; packaged samples stay. Returns how many entries went."""
        gone, now = 0, time.time()
        with contextlib.suppress(OSError):
            for entry in list(os.scandir(self.uploads)):
                if entry.name != "samples" and now - _newest(Path(entry.path)) > age_s:
                    shutil.rmtree(entry.path, ignore_errors=True)
                    with contextlib.suppress(OSError):
                        os.unlink(entry.path)
                    gone += 1
        return gone

    def close(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)


def _clean_up_after_the_dead() -> None:
    """Remove the folders of apps that were killed: nobody else's process, and none that still runs."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*-*"):
        pid = folder.name.removeprefix(_PREFIX).split("-")[0]
        with contextlib.suppress(OSError):
            if pid.isdigit() and folder.lstat().st_uid == os.getuid() and not Path(f"/proc/{pid}").exists():
                shutil.rmtree(folder, ignore_errors=True)


def _newest(path: Path) -> float:
    """When the entry, or anything directly in it, was last changed."""
    times = [path.lstat().st_mtime]
    if path.is_dir() and not path.is_symlink():
        with contextlib.suppress(OSError):
            times += [entry.stat(follow_symlinks=False).st_mtime for entry in os.scandir(path)]
    return max(times)
