"""What is laid out on the tab Reenact: the fields, filled by hand or by an example, and where the result goes."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latent_reenact.media import VideoReader, read_image, side_by_side, write_image
from latent_reenact.systems.plan import IDENTITY_SUFFIX
from latent_reenact.webui import fragments, inputs
from latent_reenact.webui.files import Workspace

EXAMPLES = (
    ("portrait_a.png", "driving.png", "The first portrait laughs, from a picture"),
    ("portrait_b.png", "driving.png", "The second portrait laughs, from a picture"),
    ("portrait_a.png", "driving.mp4", "The first portrait talks, from a video"),
    ("portrait_b.png", "driving.mp4", "The second portrait talks, from a video"),
)
_TAKE = [("Pose and expression", "both"), ("Expression only", "expression"), ("Pose only", "pose")]
_EMPTY = "Click an example, or choose a person and what they should do."


@dataclass
class Who:
    """picture: the field. faces: which of several. saved: a person from a file."""

    picture: Any
    faces: Any
    saved: Any


@dataclass
class What:
    """kind: which of the two fields is open, "picture" or "video". faces: which of several."""

    kind: Any
    kinds: Any
    picture_tab: Any
    video_tab: Any
    picture: Any
    video: Any
    faces: Any


@dataclass
class Result:
    """stage: the picture or video. told: a line under it. after: what can be done with it."""

    stage: Any
    told: Any
    after: Any
    download: Any
    keep: Any
    to_pose: Any


@dataclass
class Form:
    """wishes: `take` and the ticks, in the order of `Wishes`."""

    examples: Any
    who: Who
    what: What
    wishes: list[Any]
    start: Any
    stop: Any
    result: Result


def lay_out(workspace: Workspace) -> Form:
    import gradio as gr

    with gr.Row(elem_classes="lr-columns"):
        with gr.Column(scale=6, min_width=320):
            examples = _examples(workspace)
            with gr.Row(elem_classes="lr-inputs"):
                who, what = _who(), _what()
            gr.HTML(
                '<p class="lr-note">Real people: only with their consent. '
                "Webcam, drag and drop and pasting work too.</p>"
            )
            wishes = _wishes()
            with gr.Row():
                start = gr.Button("Reenact", variant="primary", elem_id="lr-start")
                stop = gr.Button("Cancel", variant="stop", visible=False, elem_id="lr-stop")
        with gr.Column(scale=5, min_width=320):
            result = _result()
    return Form(examples, who, what, wishes, start, stop, result)


def _examples(workspace: Workspace) -> Any:
    import gradio as gr

    names = html.escape("|".join(name for _, _, name in EXAMPLES))
    gr.HTML(f'<p class="lr-label" data-lr-examples="{names}">Try one</p>')
    return gr.Dataset(
        components=[gr.Image(visible=False, render=False)],
        samples=[[str(path)] for path in _thumbnails(workspace)],
        sample_labels=None,
        type="index",
        show_label=False,
        layout="gallery",
        elem_id="lr-examples",
    )


def _who() -> Who:
    import gradio as gr

    with gr.Column(min_width=220):
        picture = inputs.picture_input("Who", height=300, elem_id="lr-identity")
        faces = _face_picker("lr-identity-faces")
        saved = gr.UploadButton(
            "Open a saved person", file_types=[IDENTITY_SUFFIX], size="sm", elem_id="lr-open-person"
        )
    return Who(picture, faces, saved)


def _what() -> What:
    import gradio as gr

    with gr.Column(min_width=220):
        kind = gr.State("picture")
        with gr.Tabs(elem_classes="lr-kinds", elem_id="lr-driving") as kinds:
            with gr.Tab("Picture", id="picture") as picture_tab:
                picture = inputs.picture_input("Does what", height=252, elem_id="lr-driving-picture")
            with gr.Tab("Video", id="video") as video_tab:
                video = inputs.video_input("Does what", height=252, elem_id="lr-driving-video")
        faces = _face_picker("lr-driving-faces")
    return What(kind, kinds, picture_tab, video_tab, picture, video, faces)


def _wishes() -> list[Any]:
    import gradio as gr

    with gr.Accordion("Options", open=False, elem_id="lr-options"):
        take = gr.Radio(_TAKE, value="both", label="Take", elem_id="lr-take")
        with gr.Row():
            relative = gr.Checkbox(label="Add to the person's own expression", min_width=200)
            paste_back = gr.Checkbox(label="Paste back into the whole picture", min_width=200)
            in_a_row = gr.Checkbox(label="Show all three in a row", min_width=200)
            badge = gr.Checkbox(label="Visible badge “AI generated”", min_width=200)
    return [take, relative, paste_back, in_a_row, badge]


def _result() -> Result:
    import gradio as gr

    stage = gr.HTML(fragments.empty(_EMPTY), elem_id="lr-result")
    told = gr.HTML(elem_id="lr-told")
    with gr.Row(visible=False) as after:
        download = gr.DownloadButton("Download", variant="primary", elem_id="lr-download")
        keep = gr.DownloadButton("Save the person", elem_id="lr-save-person")
        to_pose = gr.Button("Adjust with sliders", elem_id="lr-to-pose")
    return Result(stage, told, after, download, keep, to_pose)


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


def _thumbnails(workspace: Workspace) -> list[Path]:
    """Each example as one small picture: who, and what they will do."""
    folder = workspace.uploads / "samples"
    folder.mkdir(exist_ok=True)
    paths = []
    for number, (who, what, _) in enumerate(EXAMPLES):
        pair = [read_image(workspace.sample(who)), _first_picture(workspace.sample(what))]
        path = folder / f"example-{number}.jpg"
        write_image(path, side_by_side(pair, 160))
        paths.append(path)
    return paths


def _first_picture(path: Path) -> np.ndarray:
    if path.suffix != ".mp4":
        return read_image(path)
    with VideoReader(path) as video:
        return next(iter(video))
