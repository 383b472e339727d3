"""What went wrong, in plain words, and what to try: never a path of the server, never a traceback."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass

from latent_reenact import errors
from latent_reenact.webui.running import Stopped

_FACE_ADVICE = (
    "One face should look roughly at the camera, in even light, and be at least a hand's breadth of the picture. "
    "Crop closer, choose a sharper picture, or take hair, hands and sunglasses out of the way."
)
_FILE_ADVICE = (
    "Pictures: PNG, JPEG, WebP, BMP or TIFF. Videos: MP4, MOV, WebM, MKV, AVI or GIF. A phone's HEIC picture opens "
    "everywhere once it is saved as JPEG."
)
_WORDS: dict[type[Exception], tuple[str, str]] = {
    errors.NoFaceError: ("No face was found in {what}.", _FACE_ADVICE),
    errors.ManyFacesError: ("That face is not in {what} any more.", "Choose the face again, or load the picture anew."),
    errors.CorruptFileError: ("{What} cannot be opened.", _FILE_ADVICE),
    errors.LimitExceededError: ("{What} is more than this app takes.", "{detail}"),
    errors.ConfigError: ("This model cannot do that.", "{detail}"),
    errors.UsageError: ("That does not fit together.", "{detail}"),
    errors.OutputError: ("The result could not be written.", "The machine is out of room: try again a little later."),
}


@dataclass
class Trouble(Exception):
    """What the page shows in place of a result."""

    title: str
    advice: str

    def __str__(self) -> str:
        return f"{self.title} {self.advice}"


@contextlib.contextmanager
def about(what: str) -> Iterator[None]:
    """Whatever goes wrong in here goes wrong with `what`: "the identity picture", say.

    Raises:
        Trouble: instead of any error. One that is our own mistake is printed for whoever runs the app.
        Stopped: nothing went wrong.
    """
    try:
        yield
    except (Trouble, Stopped):
        raise
    except errors.LatentReenactError as error:
        raise explained(error, what) from error
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        raise Trouble("Something went wrong on our side.", "Try once more, or reload the page.") from error


def explained(error: errors.LatentReenactError, what: str) -> Trouble:
    known = [_WORDS[kind] for kind in type(error).__mro__ if kind in _WORDS]
    title, advice = known[0] if known else ("That did not work.", "{detail}")
    return Trouble(_filled(title, what, error), _filled(advice, what, error))


def _filled(words: str, what: str, error: Exception) -> str:
    return (
        words.replace("{what}", what).replace("{What}", what[:1].upper() + what[1:]).replace("{detail}", _detail(error))
    )


def _detail(error: Exception) -> str:
    """The error's own words without the server's paths."""
    words = ["the file" if "/" in word else word for word in str(error).split()]
    text = " ".join(words)
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
