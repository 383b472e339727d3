"""What the app can do, without the page: one shared model, files in and files out. It holds no state of any user."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from latent_reenact.editing import film
from latent_reenact.errors import LatentReenactError, LimitExceededError, UsageError
from latent_reenact.evaluation.estimators import Estimator
from latent_reenact.evaluation.one_pair import available_systems, compare_on_pair
from latent_reenact.face import PasteBack
from latent_reenact.face.detect import FaceDetector
from latent_reenact.media import Provenance, read_image, with_badge, write_image
from latent_reenact.systems import Reenactor, load
from latent_reenact.systems.plan import Task
from latent_reenact.systems.protocol import Part
from latent_reenact.systems.reenactment import ReenactOptions, Report, Stage, Work, set_stage
from latent_reenact.webui.comparing import Compared, laid_out
from latent_reenact.webui.files import Workspace
from latent_reenact.webui.limits import Limits
from latent_reenact.webui.messages import about
from latent_reenact.webui.people import IDENTITY, People, file_name
from latent_reenact.webui.running import Tell
from latent_reenact.webui.session import Sitter

DRIVING = "the driving picture or video"
_MOST_SYSTEMS, _KEPT_SYSTEMS = 6, 2


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """How somebody wants a reenactment.

    take: what of the driving. relative: add the driving's change to the identity's own. paste_back: into the identity's
    picture. in_a_row: identity, driving and result side by side. badge: a label that people see.
    """

    take: Part = "both"
    relative: bool = False
    paste_back: bool = False
    in_a_row: bool = False
    badge: bool = False


@dataclass(frozen=True)
class Outcome:
    """A file, and for pictures what was before and after, uint8 [H, W, 3]."""

    path: Path
    report: Report
    before: np.ndarray | None = None
    after: np.ndarray | None = None


class Studio:
    """Serves every user with one reenactor; threads share it.

    Args:
        detector: finds the faces to choose from. judge: reads the pictures of a comparison; dlib by default.
    """

    def __init__(
        self,
        reenactor: Reenactor,
        workspace: Workspace,
        limits: Limits,
        detector: FaceDetector | None = None,
        judge: Estimator | None = None,
    ) -> None:
        self.reenactor, self.workspace, self.limits = reenactor, workspace, limits
        self.people = People(reenactor, workspace, limits, detector)
        self._judge = judge
        self._others: dict[str, Reenactor] = {}
        self._loading = threading.Lock()

    def reenact(self, sitter: Sitter, driving: Path, face: int, wishes: Wishes, tell: Tell) -> Outcome:
        """Draw somebody doing what a picture or video does. Raises Trouble."""
        tell(0, None, "reading the person")
        with about(DRIVING):
            is_video = self.limits.check(driving)
        stage = self._stage(sitter, face, wishes)
        with about(DRIVING), self.workspace.job_folder() as folder:
            out = folder / ("reenacted.mp4" if is_video else "reenacted.png")
            work = Work(stage, self._counted(tell))
            work.run(Task(driving, out, is_video), work.progress)
            if is_video:
                return Outcome(out, work.report())
            return Outcome(out, work.report(), self._before(sitter, stage), read_image(out))

    def _stage(self, sitter: Sitter, face: int, wishes: Wishes) -> Stage:
        identity = self.people.read(sitter)
        with about(IDENTITY):
            original = None
            if wishes.paste_back:
                if sitter.picture is None:
                    raise UsageError("there is no picture to put the face back into; leave that out for this person")
                found = self.reenactor.align(sitter.picture, face=sitter.face)
                original = PasteBack(*found, self.reenactor.resolution)
            options = ReenactOptions(
                face=face,
                identity_face=sitter.face,
                relative=wishes.relative,
                paste_back=wishes.paste_back,
                side_by_side=wishes.in_a_row,
                badge=wishes.badge,
                part=wishes.take,
            )
            return set_stage(self.reenactor, identity, options, original)

    def _counted(self, tell: Tell) -> Tell:
        def counted(done: float, total: float | None, unit: str) -> None:
            if done > self.limits.video_frames:
                raise LimitExceededError(f"a video may have {self.limits.video_frames} frames here; cut it shorter")
            tell(done, total, unit)

        return counted

    def _before(self, sitter: Sitter, stage: Stage) -> np.ndarray | None:
        """What the result is compared with: the same cut, or the same picture."""
        if stage.options.side_by_side:
            return None
        if stage.original is not None:
            return stage.original.original
        return self.people.cut(sitter)

    def render(self, sitter: Sitter, moved: dict[str, float]) -> np.ndarray:
        """One picture with some sliders moved; uint8 [R, R, 3]. Raises Trouble."""
        identity = self.people.read(sitter)
        with about("the picture"):
            return self.reenactor.pose(identity, **moved).image

    def save_render(self, sitter: Sitter, moved: dict[str, float], *, badge: bool, suffix: str = ".png") -> Path:
        """That picture as a marked file. Raises Trouble."""
        image = self.render(sitter, moved)
        with about("the picture"), self.workspace.job_folder() as folder:
            path = folder / f"{file_name(sitter.title or 'portrait')}{suffix}"
            marks = Provenance(model=self.reenactor.name, operation="pose")
            write_image(path, with_badge(image) if badge else image, marks=marks)
            return path

    def save_portrait(self, seed: int) -> Path:
        """A random person's picture as a marked file. Raises Trouble."""
        image = self.people.portrait(seed)
        with about("the picture"), self.workspace.job_folder() as folder:
            path = folder / f"random-person-{seed}.png"
            write_image(path, image, marks=Provenance(model=self.reenactor.name, operation="sample"))
            return path

    def film(
        self,
        sitter: Sitter,
        key_frames: Sequence[dict[str, float]],
        tell: Tell,
        *,
        kind: Literal["mp4", "gif"] = "mp4",
        seconds_per_step: float = 1.0,
        loop: bool = True,
        badge: bool = False,
    ) -> Path:
        """A short video or GIF through key-frames. Raises Trouble."""
        tell(0, None, "reading the person")
        identity = self.people.read(sitter)
        fps = 25 if kind == "mp4" else 20
        with about("the film"), self.workspace.job_folder() as folder:
            frames = fps * seconds_per_step * (len(key_frames) if loop else len(key_frames) - 1)
            if len(key_frames) > self.limits.key_frames or frames > self.limits.video_frames:
                most = f"{self.limits.key_frames} key-frames and {self.limits.video_frames} frames"
                raise LimitExceededError(f"a film may have {most} here; take fewer or faster ones")
            path = folder / f"film.{kind}"
            finish = with_badge if badge else lambda image: image
            options = {"fps": fps, "seconds_per_step": seconds_per_step, "loop": loop}
            film(self.reenactor, identity, key_frames, path, finish=finish, progress=tell, **options)  # type: ignore
            return path

    def compare(self, identity: Path, driving: Path, tell: Tell) -> Compared:
        """One pair through every system that is installed. Raises Trouble."""
        with about(IDENTITY):
            self.people.check_picture(identity)
            cut = self.people.cut(Sitter(identity))
        with about(DRIVING), self.workspace.job_folder() as folder:
            systems = available_systems(clips=self.limits.check(driving))[:_MOST_SYSTEMS]
            loaders = [(name, partial(self._system, name)) for name in systems]
            results = list(compare_on_pair(loaders, identity, driving, judge=self._judge, tell=tell))
            if not any(result.scores for result in results):
                raise LatentReenactError("; ".join(result.problem for result in results) or "no system is installed")
            return laid_out(results, cut, folder)

    def _system(self, name: str) -> Reenactor:
        """The shared reenactor, or another one; the last few stay loaded."""
        if name == self.reenactor.name:
            return self.reenactor
        with self._loading:
            if name not in self._others:
                while len(self._others) >= _KEPT_SYSTEMS:
                    self._others.pop(next(iter(self._others)))
                self._others[name] = load(name)
            return self._others[name]
