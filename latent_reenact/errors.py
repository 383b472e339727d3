"""One tree of errors for users.

Every message says what was got, what was expected and what to do next, in one line.
The command line prints the message alone and exits with `exit_code`; anything that is
not a `LatentReenactError` is our own mistake and keeps its traceback.
"""

from __future__ import annotations


class LatentReenactError(Exception):
    """Base of all errors a user can cause or repair. Exit code 1."""

    exit_code = 1


class UsageError(LatentReenactError):
    """The arguments do not make sense together. Exit code 2."""

    exit_code = 2


class NoFaceError(LatentReenactError):
    """No face was found in a picture or frame."""


class ManyFacesError(LatentReenactError):
    """Several faces were found and the caller asked for exactly one, or for one that is not there."""


class CorruptFileError(LatentReenactError):
    """A file is not what it should be: unreadable, truncated, of another format, or altered."""


class LimitExceededError(LatentReenactError):
    """A file is larger, longer or deeper than the limits allow."""


class UnsafeCheckpointError(LatentReenactError):
    """A checkpoint asks for more than plain tensors and was refused."""


class ConfigError(LatentReenactError):
    """A configuration value is unknown, of the wrong type or out of range."""


class BackendError(LatentReenactError):
    """A forced back end cannot run here."""


class WeightsNotFoundError(LatentReenactError):
    """No model of that name or in that folder."""


class DownloadError(LatentReenactError):
    """A published file cannot be downloaded: no connection, another answer than the file, or connections forbidden."""


class MissingDependencyError(LatentReenactError):
    """An optional package is needed for this and is not installed."""


class OutputError(LatentReenactError):
    """A result cannot be written: no such folder, no permission, disk full, unknown format."""


class DivergedError(LatentReenactError):
    """Training gave no finite gradient for many steps in a row."""


class InterruptedRunError(LatentReenactError):
    """The run was stopped and can be resumed. Exit code 3."""

    exit_code = 3
