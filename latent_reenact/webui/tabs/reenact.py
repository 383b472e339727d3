"""The tab Reenact: whose face, whose pose and expression, and the result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latent_reenact.media import Provenance, write_image
from latent_reenact.webui import fragments, inputs
from latent_reenact.webui.inputs import OURS, QUIET
from latent_reenact.webui.messages import Trouble, about
from latent_reenact.webui.people import IDENTITY
from latent_reenact.webui.running import Done, Progress, Stopped, run
from latent_reenact.webui.session import Desk, Sitter
from latent_reenact.webui.studio import DRIVING, Outcome, Studio, Wishes
from latent_reenact.webui.tabs.reenact_form import EXAMPLES, Form, lay_out


@dataclass
class ReenactTab:
    """What other tabs need: a function that lays a random person on the desk, its outputs, and the way onward."""

    take_random: Callable[[Desk], tuple[Any, ...]]
    taken: list[Any]
    to_pose: Any


def build(studio: Studio, desk: Any) -> ReenactTab:
    form, acts = lay_out(studio.workspace), _Acts(studio)
    _wire_fields(form, acts, desk)
    _wire_runs(form, acts, desk)
    return ReenactTab(acts.take_random, [form.who.picture, form.who.faces, form.result.stage], form.result.to_pose)


def _wire_fields(form: Form, acts: _Acts, desk: Any) -> None:
    import gradio as gr

    who, what = form.who, form.what
    gr.on([who.picture.input, who.picture.clear], acts.identity_chosen, [desk, who.picture], who.faces, **QUIET)
    for field in (what.picture, what.video):
        field.input(acts.driving_chosen, [desk, field], what.faces, **QUIET)
    what.picture_tab.select(lambda: "picture", None, what.kind, **QUIET)
    what.video_tab.select(lambda: "video", None, what.kind, **QUIET)
    who.faces.select(inputs.selects(acts.choose_identity_face), [desk], None, **QUIET)
    what.faces.select(inputs.selects(acts.choose_driving_face), [desk], None, **QUIET)
    who.saved.upload(acts.open_saved, [desk, who.saved], [who.picture, who.faces, form.result.stage], **OURS)


def _wire_runs(form: Form, acts: _Acts, desk: Any) -> None:
    who, what, result = form.who, form.what, form.result
    wanted = [desk, who.picture, what.kind, what.picture, what.video, *form.wishes]
    shown = [result.stage, result.told, result.after, form.start, form.stop, result.download, result.keep]
    filled = [who.picture, what.picture, what.video, what.kind, what.kinds, who.faces, what.faces]
    form.start.click(acts.reenact, wanted, shown, **OURS)
    form.examples.click(acts.open_example, [desk, form.examples], filled, **QUIET).then(
        acts.reenact, wanted, shown, trigger_mode="multiple", **OURS
    )
    form.stop.click(acts.stop, [desk], None, queue=False, **QUIET)


class _Acts:
    """What happens on the tab. What it remembers lies on the desk it is given."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio

    def identity_chosen(self, desk: Desk, path: str | None) -> Any:
        desk.subject = _pictured(path) if path else Sitter()
        return self._faces_of(path)

    def driving_chosen(self, desk: Desk, path: str | None) -> Any:
        desk.driving_face = 0
        return self._faces_of(path)

    @staticmethod
    def choose_identity_face(desk: Desk, event: Any) -> None:
        desk.subject.choose(int(event.index))

    @staticmethod
    def choose_driving_face(desk: Desk, event: Any) -> None:
        desk.driving_face = int(event.index)

    def open_saved(self, desk: Desk, path: str) -> tuple[Any, ...]:
        import gradio as gr

        try:
            desk.subject = self.studio.people.open(Path(path))
        except Trouble as trouble:
            return gr.skip(), gr.skip(), fragments.trouble(trouble)
        return self._taken(desk)

    def take_random(self, desk: Desk) -> tuple[Any, ...]:
        import gradio as gr

        if desk.picked is None:
            raise gr.Error("Choose a person first.", duration=4, print_exception=False)
        desk.subject = self.studio.people.random(desk.picked)
        return self._taken(desk)

    def _taken(self, desk: Desk) -> tuple[Any, ...]:
        person = desk.subject.identity
        assert person is not None
        path = self.studio.workspace.new_folder() / "person.png"
        write_image(path, person.picture, marks=Provenance(model=self.studio.reenactor.name, operation="identity"))
        return str(path), _no_faces(), fragments.empty("Now choose what they should do.")

    def open_example(self, desk: Desk, index: int) -> tuple[Any, ...]:
        import gradio as gr

        who, what, _ = EXAMPLES[index]
        person, driving = self.studio.workspace.sample(who), self.studio.workspace.sample(what)
        desk.subject, desk.driving_face = _pictured(person), 0
        desk.stop("reenact")
        is_video = driving.suffix == ".mp4"
        kind = "video" if is_video else "picture"
        shown = (gr.skip(), str(driving)) if is_video else (str(driving), gr.skip())
        return str(person), *shown, kind, gr.Tabs(selected=kind), _no_faces(), _no_faces()

    def reenact(
        self, desk: Desk, who: str | None, kind: str, picture: str | None, video: str | None, take: Any, *ticks: bool
    ) -> Iterator[tuple[Any, ...]]:
        if desk.subject.picture is None and desk.subject.identity is None and who:
            desk.subject = _pictured(who)
        subject, face, job = desk.subject, desk.driving_face, desk.begin("reenact")
        driving = (picture or video) if kind == "picture" else (video or picture)
        wishes = _wishes(take, *ticks)
        yield _busy(Progress(0, None, "starting", 0))
        try:
            if driving is None:
                raise Trouble("There is nothing to imitate yet.", "Choose a driving picture or video.")
            if subject.picture is None and subject.identity is None:
                raise Trouble("There is nobody to draw yet.", "Choose a picture of a person.")
            work = run(
                lambda tell: self.studio.reenact(subject, Path(driving), face, wishes, tell),
                limit_s=self.studio.limits.job_seconds,
                job=job,
            )
            with about(DRIVING):
                for now in work:
                    yield _busy(now) if isinstance(now, Progress) else self._finished(subject, now)
        except Stopped:
            yield _nothing(fragments.empty("Cancelled. Nothing was kept."))
        except Trouble as trouble:
            yield _nothing(fragments.trouble(trouble))

    @staticmethod
    def stop(desk: Desk) -> None:
        desk.stop("reenact")

    def _finished(self, subject: Sitter, done: Done[Outcome]) -> tuple[Any, ...]:
        import gradio as gr

        made = done.value
        person = self.studio.people.save(subject)
        return (
            self._shown(made),
            fragments.caption(_told(made.report)),
            gr.update(visible=True),
            *_buttons(False),
            gr.update(value=str(made.path)),
            gr.update(value=str(person)),
        )

    def _shown(self, made: Outcome) -> str:
        if made.after is None:
            return fragments.video(made.path, "The result, a video")
        marks = Provenance(model=self.studio.reenactor.name, operation="reenact")
        after = fragments.data_url(made.after, marks)
        if made.before is None:
            return fragments.picture(after, "The result")
        return fragments.compare(fragments.data_url(made.before, marks), after, "The result")

    def _faces_of(self, path: str | None) -> Any:
        """The picker, shown only where there is a choice. A picture with trouble says so when it is used."""
        import gradio as gr

        if path is None:
            return _no_faces()
        try:
            with about(IDENTITY):
                found = self.studio.people.faces(Path(path))
        except Trouble:
            return _no_faces()
        if len(found) < 2:
            return _no_faces()
        folder = self.studio.workspace.new_folder()
        paths = [folder / f"face-{number}.png" for number in range(len(found))]
        for face, at in zip(found, paths, strict=True):
            write_image(at, face, marks=None)
        return gr.update(visible=True, value=[str(at) for at in paths], selected_index=0)


def _pictured(path: str | Path) -> Sitter:
    return Sitter(Path(path), title=Path(path).stem)


def _wishes(take: Any, relative: bool, paste_back: bool, in_a_row: bool, badge: bool) -> Wishes:
    return Wishes(take=take, relative=relative, paste_back=paste_back, in_a_row=in_a_row, badge=badge)


def _told(report: Any) -> str:
    number = f"{report.frames} frames" if report.frames > 1 else "One picture"
    words = [f"{number} in {report.seconds:.1f} s."]
    if report.frames_without_face:
        words.append(f"In {report.frames_without_face} of them no face was found: the last pose was held.")
    if report.warnings:
        words.append("The driving video is cut off: the result has the frames that could be read.")
    return " ".join(words)


# -- what is shown: stage, told, after, start, stop, download, keep ----------------------------------------------


def _busy(now: Progress) -> tuple[Any, ...]:
    import gradio as gr

    words = fragments.progress(now, "Drawing")
    return words, "", gr.update(visible=False), *_buttons(True), gr.skip(), gr.skip()


def _nothing(words: str) -> tuple[Any, ...]:
    import gradio as gr

    return words, "", gr.update(visible=False), *_buttons(False), gr.skip(), gr.skip()


def _buttons(busy: bool) -> tuple[Any, Any]:
    import gradio as gr

    return gr.update(visible=not busy), gr.update(visible=busy)


def _no_faces() -> Any:
    import gradio as gr

    return gr.update(visible=False, value=None)
