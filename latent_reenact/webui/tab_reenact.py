"""The tab Reenact: whose face, whose pose and expression, and the result."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latent_reenact.media import Provenance, read_image, side_by_side, write_image
from latent_reenact.webui import fragments, inputs
from latent_reenact.webui.inputs import OURS, QUIET
from latent_reenact.webui.messages import Trouble, about
from latent_reenact.webui.running import Done, Progress, run
from latent_reenact.webui.session import Desk, Sitter
from latent_reenact.webui.studio import DRIVING, IDENTITY, Studio, Wishes

EXAMPLES = (
    ("portrait_a.png", "driving.png", "The first portrait laughs, from a picture"),
    ("portrait_b.png", "driving.png", "The second portrait laughs, from a picture"),
    ("portrait_a.png", "driving.mp4", "The first portrait talks, from a video"),
    ("portrait_b.png", "driving.mp4", "The second portrait talks, from a video"),
)
_TAKE = [("Pose and expression", "both"), ("Expression only", "expression"), ("Pose only", "pose")]
_EMPTY = "Click an example, or choose a person and what they should do."


@dataclass
class ReenactTab:
    """What other tabs need: a function that lays a random person on the desk, its outputs, and the way onward."""

    take_random: Callable[[Desk], tuple[Any, ...]]
    taken: list[Any]
    to_pose: Any


def build(studio: Studio, desk: Any) -> ReenactTab:
    import gradio as gr

    with gr.Row(elem_classes="lr-columns"):
        with gr.Column(scale=6, min_width=320):
            names = html.escape("|".join(name for _, _, name in EXAMPLES))
            gr.HTML(f'<p class="lr-label" data-lr-examples="{names}">Try one</p>')
            examples = gr.Dataset(
                components=[gr.Image(visible=False, render=False)],
                samples=[[str(path)] for path in _thumbnails(studio)],
                sample_labels=None,
                type="index",
                show_label=False,
                layout="gallery",
                elem_id="lr-examples",
            )
            with gr.Row(elem_classes="lr-inputs"):
                with gr.Column(min_width=220):
                    identity = inputs.picture_input("Who", height=300, elem_id="lr-identity")
                    faces = _face_picker("lr-identity-faces")
                    saved = gr.UploadButton(
                        "Open a saved person", file_types=[".safetensors"], size="sm", elem_id="lr-open-person"
                    )
                with gr.Column(min_width=220):
                    kind = gr.State("picture")
                    with gr.Tabs(elem_classes="lr-kinds", elem_id="lr-driving") as kinds:
                        with gr.Tab("Picture", id="picture") as picture_tab:
                            picture = inputs.picture_input("Does what", height=252, elem_id="lr-driving-picture")
                        with gr.Tab("Video", id="video") as video_tab:
                            video = inputs.video_input("Does what", height=252, elem_id="lr-driving-video")
                    driving_faces = _face_picker("lr-driving-faces")
            gr.HTML(
                '<p class="lr-note">Real people: only with their consent. '
                "Webcam, drag and drop and pasting work too.</p>"
            )
            with gr.Accordion("Options", open=False, elem_id="lr-options"):
                take = gr.Radio(_TAKE, value="both", label="Take", elem_id="lr-take")
                with gr.Row():
                    relative = gr.Checkbox(label="Add to the person's own expression", min_width=200)
                    paste = gr.Checkbox(label="Paste back into the whole picture", min_width=200)
                    row = gr.Checkbox(label="Show all three in a row", min_width=200)
                    badge = gr.Checkbox(label="Visible badge “AI generated”", min_width=200)
            with gr.Row():
                start = gr.Button("Reenact", variant="primary", elem_id="lr-start")
                stop = gr.Button("Cancel", variant="stop", visible=False, elem_id="lr-stop")
        with gr.Column(scale=5, min_width=320):
            stage = gr.HTML(fragments.empty(_EMPTY), elem_id="lr-result")
            told = gr.HTML(elem_id="lr-told")
            with gr.Row(visible=False) as after:
                download = gr.DownloadButton("Download", variant="primary", elem_id="lr-download")
                keep = gr.DownloadButton("Save the person", elem_id="lr-save-person")
                to_pose = gr.Button("Adjust with sliders", elem_id="lr-to-pose")

    def chosen_identity(desk: Desk, path: str | None) -> Any:
        desk.subject = Sitter(Path(path), title=Path(path).stem) if path else Sitter()
        return _faces_of(studio, path)

    def chosen_driving(desk: Desk, path: str | None) -> Any:
        desk.driving_face = 0
        return _faces_of(studio, path)

    @inputs.selects
    def choose_identity_face(desk: Desk, event: Any) -> None:
        desk.subject.choose(int(event.index))

    @inputs.selects
    def choose_driving_face(desk: Desk, event: Any) -> None:
        desk.driving_face = int(event.index)

    def open_saved(desk: Desk, path: str) -> tuple[Any, ...]:
        try:
            desk.subject = studio.open_person(Path(path))
        except Trouble as trouble:
            return gr.skip(), gr.skip(), fragments.trouble(trouble)
        return _shown(desk), _no_faces(), fragments.empty("Now choose what they should do.")

    def take_random(desk: Desk) -> tuple[Any, ...]:
        if desk.picked is None:
            raise gr.Error("Choose a person first.", duration=4, print_exception=False)
        desk.subject = studio.random_person(desk.picked)
        return _shown(desk), _no_faces(), fragments.empty("Now choose what they should do.")

    def _shown(desk: Desk) -> str:
        person = desk.subject.identity
        assert person is not None
        folder = studio.workspace.new_folder()
        marks = Provenance(model=studio.reenactor.name, operation="identity")
        write_image(folder / "person.png", person.picture, marks=marks)
        return str(folder / "person.png")

    def open_example(desk: Desk, index: int) -> tuple[Any, ...]:
        who, what, _ = EXAMPLES[index]
        person, driving = studio.workspace.sample(who), studio.workspace.sample(what)
        desk.subject, desk.driving_face = Sitter(person, title=person.stem), 0
        is_video = driving.suffix == ".mp4"
        new = "video" if is_video else "picture"
        shown = (gr.skip(), str(driving)) if is_video else (str(driving), gr.skip())
        return str(person), *shown, new, gr.Tabs(selected=new), _no_faces(), _no_faces()

    def reenact(
        desk: Desk, who: str | None, kind: str, picture: str | None, video: str | None, take: str, *ticks: bool
    ) -> Iterator[tuple[Any, ...]]:
        subject = desk.subject
        if subject.picture is None and subject.identity is None and who:
            subject = desk.subject = Sitter(Path(who), title=Path(who).stem)
        driving = (picture or video) if kind == "picture" else (video or picture)
        wishes = _wishes(take, ticks)
        yield _busy(fragments.progress(Progress(0, None, "starting", 0), "Drawing"))
        try:
            if driving is None:
                raise Trouble("There is nothing to imitate yet.", "Choose a driving picture or video.")
            if subject.picture is None and subject.identity is None:
                raise Trouble("There is nobody to draw yet.", "Choose a picture of a person.")
            job = run(
                lambda tell: studio.reenact(subject, Path(driving), desk.driving_face, wishes, tell),
                limit_s=studio.limits.job_seconds,
            )
            with about(DRIVING):
                for now in job:
                    if isinstance(now, Progress):
                        yield _busy(fragments.progress(now, "Drawing"))
                    else:
                        yield _finished(subject, now)
        except Trouble as trouble:
            yield fragments.trouble(trouble), "", gr.update(visible=False), *_buttons(False), gr.skip(), gr.skip()

    def _finished(subject: Sitter, done: Done[Any]) -> tuple[Any, ...]:
        made = done.value
        marks = Provenance(model=studio.reenactor.name, operation="reenact")
        if made.after is None:
            shown = fragments.video(made.path, "The result, a video")
        elif made.before is None:
            shown = fragments.picture(fragments.data_url(made.after, marks), "The result")
        else:
            before, after = (fragments.data_url(image, marks) for image in (made.before, made.after))
            shown = fragments.compare(before, after, "The result")
        words = _told(made.report)
        return (
            shown,
            fragments.caption(words),
            gr.update(visible=True),
            *_buttons(False),
            gr.update(value=str(made.path)),
            gr.update(value=str(studio.save_person(subject))),
        )

    def _busy(shown: str) -> tuple[Any, ...]:
        return shown, "", gr.update(visible=False), *_buttons(True), gr.skip(), gr.skip()

    def _buttons(busy: bool) -> tuple[Any, Any]:
        return gr.update(visible=not busy), gr.update(visible=busy)

    def cancelled() -> tuple[Any, ...]:
        return fragments.empty("Cancelled. Nothing was kept."), *_buttons(False)

    wanted = [desk, identity, kind, picture, video, take, relative, paste, row, badge]
    shown = [stage, told, after, start, stop, download, keep]
    running = start.click(reenact, wanted, shown, **OURS)
    filled = [identity, picture, video, kind, kinds, faces, driving_faces]
    again = examples.click(open_example, [desk, examples], filled, **QUIET).then(reenact, wanted, shown, **OURS)
    stop.click(cancelled, None, [stage, start, stop], cancels=[running, again], **QUIET)

    gr.on([identity.input, identity.clear], chosen_identity, [desk, identity], faces, **QUIET)
    picture.input(chosen_driving, [desk, picture], driving_faces, **QUIET)
    video.input(chosen_driving, [desk, video], driving_faces, **QUIET)
    picture_tab.select(lambda: "picture", None, kind, **QUIET)
    video_tab.select(lambda: "video", None, kind, **QUIET)
    faces.select(choose_identity_face, [desk], None, **QUIET)
    driving_faces.select(choose_driving_face, [desk], None, **QUIET)
    saved.upload(open_saved, [desk, saved], [identity, faces, stage], **OURS)
    return ReenactTab(take_random, [identity, faces, stage], to_pose)


def _wishes(take: Any, ticks: tuple[bool, ...]) -> Wishes:
    relative, paste, row, badge = ticks
    return Wishes(take=take, relative=relative, paste_back=paste, in_a_row=row, badge=badge)


def _told(report: Any) -> str:
    number = f"{report.frames} frames" if report.frames > 1 else "One picture"
    words = [f"{number} in {report.seconds:.1f} s."]
    if report.frames_without_face:
        words.append(f"In {report.frames_without_face} of them no face was found: the last pose was held.")
    if report.warnings:
        words.append("The driving video is cut off: the result has the frames that could be read.")
    return " ".join(words)


def _thumbnails(studio: Studio) -> list[Path]:
    """Each example as one small picture: who, and what they will do."""
    folder = studio.workspace.uploads / "samples"
    folder.mkdir(exist_ok=True)
    paths = []
    for number, (who, what, _) in enumerate(EXAMPLES):
        driving = "driving.png" if what.endswith(".png") else what
        pair = [read_image(studio.workspace.sample(who)), _first_picture(studio, driving)]
        path = folder / f"example-{number}.jpg"
        write_image(path, side_by_side(pair, 160))
        paths.append(path)
    return paths


def _first_picture(studio: Studio, name: str) -> np.ndarray:
    from latent_reenact.media import VideoReader

    path = studio.workspace.sample(name)
    if path.suffix != ".mp4":
        return read_image(path)
    with VideoReader(path) as video:
        return next(iter(video))


def _face_picker(elem_id: str) -> Any:
    import gradio as gr

    return gr.Gallery(
        label="Several faces: choose one",
        visible=False,
        columns=4,
        height=130,
        allow_preview=False,
        object_fit="cover",
        interactive=False,
        buttons=[],
        elem_id=elem_id,
    )


def _no_faces() -> Any:
    import gradio as gr

    return gr.update(visible=False, value=None)


def _faces_of(studio: Studio, path: str | None) -> Any:
    """The picker, shown only where there is a choice. A picture with trouble says so when it is used."""
    import gradio as gr

    if path is None:
        return _no_faces()
    try:
        with about(IDENTITY):
            found = studio.faces(Path(path))
    except Trouble:
        return _no_faces()
    if len(found) < 2:
        return _no_faces()
    folder = studio.workspace.new_folder()
    for number, face in enumerate(found):
        write_image(folder / f"face-{number}.png", face, marks=None)
    return gr.update(visible=True, value=[str(folder / f"face-{n}.png") for n in range(len(found))], selected_index=0)
