"""What one open page has on its desk. It lives with that page's session and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from latent_reenact.systems.identity import Identity
from latent_reenact.webui.history import History
from latent_reenact.webui.running import Job


@dataclass
class Sitter:
    """A person to be drawn: a picture not yet read, or an identity.

    picture: the file, where there is one to cut the face from and paste back into. face: which of its faces.
    identity: once it was read, or was given. title: for people.
    """

    picture: Path | None = None
    face: int = 0
    identity: Identity | None = None
    title: str = ""

    def choose(self, face: int) -> None:
        if face != self.face:
            self.face, self.identity = face, None


@dataclass
class Desk:
    """subject: of the tab Reenact. driving_face: which face of the driving picture or video.
    sitter: of the tab Pose and expression, with where its sliders stand by nature, its picture to compare with, as a
        file, and what was done to it.
    key_frames: settings, as the sliders showed them. seed: of the first random person shown; picked: the chosen one's.
    jobs: the newest of each kind.
    """

    subject: Sitter = field(default_factory=Sitter)
    driving_face: int = 0
    sitter: Sitter = field(default_factory=Sitter)
    own: dict[str, float] = field(default_factory=dict)
    before: Path | None = None
    history: History = field(default_factory=History)
    key_frames: list[dict[str, float]] = field(default_factory=list)
    seed: int = 1
    picked: int | None = None
    jobs: dict[str, Job] = field(default_factory=dict)

    def begin(self, kind: str) -> Job:
        """A new job in place of the one before."""
        self.stop(kind)
        self.jobs[kind] = Job()
        return self.jobs[kind]

    def stop(self, kind: str) -> None:
        if kind in self.jobs:
            self.jobs[kind].stopped = True
