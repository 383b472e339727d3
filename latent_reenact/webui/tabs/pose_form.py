"""What is laid out on the tab Pose and expression: the picture, the sliders, and where faces come from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from latent_reenact.systems.plan import IDENTITY_SUFFIX
from latent_reenact.webui import fragments, inputs
from latent_reenact.webui.inputs import OURS, QUICK
from latent_reenact.webui.session import Desk
from latent_reenact.webui.sliders import GROUPS, Slider

_PARTS = [("Pose and expression", "both"), ("Expression only", "expression"), ("Pose only", "pose")]


@dataclass(frozen=True)
class Downloads:
    """What makes the file of a download when it is clicked: its path as text."""

    picture: Callable[[Desk, bool], str]
    person: Callable[[Desk], str]
    preset: Callable[[Desk], str]


@dataclass
class Form:
    """stage: the picture. picture, saved: another person. model, part, copy: whose sliders to copy. load: a preset."""

    stage: Any
    undo: Any
    redo: Any
    reset: Any
    badge: Any
    presets: Any
    sliders: list[Any]
    picture: Any
    saved: Any
    model: Any
    part: Any
    copy: Any
    load: Any
    strip: Any


def lay_out(
    desk: Any, sliders: Sequence[Slider], presets: Sequence[str], downloads: Downloads, films: Callable[[Any], Any]
) -> Form:
    """films: lays out key-frames, given the badge, and returns their row."""
    import gradio as gr

    with gr.Row(elem_classes="lr-columns"):
        with gr.Column(scale=5, min_width=320, elem_classes="lr-sticky"):
            stage = gr.HTML(fragments.empty("One moment: a first person is coming."), elem_id="lr-pose-stage")
            undo, redo, reset = _tools()
            badge = _bar(desk, downloads)
        with gr.Column(scale=7, min_width=320):
            ready = _presets(presets)
            fields = _slider_groups(sliders)
            picture, saved = _another_person(desk, downloads)
            model, part, copy = _copy()
            load = _own_presets(desk, downloads)
            strip = films(badge)
    return Form(stage, undo, redo, reset, badge, ready, fields, picture, saved, model, part, copy, load, strip)


def _tools() -> tuple[Any, Any, Any]:
    import gradio as gr

    with gr.Row(elem_classes="lr-tools"):
        gr.Button("Hold to compare", size="sm", elem_id="lr-hold", min_width=120)
        undo = gr.Button("Undo", size="sm", elem_id="lr-undo", min_width=60)
        redo = gr.Button("Redo", size="sm", elem_id="lr-redo", min_width=60)
        reset = gr.Button("Reset", size="sm", elem_id="lr-reset", min_width=60)
    return undo, redo, reset


def _bar(desk: Any, downloads: Downloads) -> Any:
    import gradio as gr

    with gr.Row(elem_classes="lr-bar-row"):
        badge = gr.Checkbox(
            label="Visible badge", min_width=110, container=False, elem_id="lr-pose-badge", render=False
        )
        inputs.download_made_on_click(
            "Download", "lr-pose-download", downloads.picture, [desk, badge], how=QUICK, variant="primary"
        )
        badge.render()
    return badge


def _presets(names: Sequence[str]) -> Any:
    import gradio as gr

    return gr.Dataset(
        components=[gr.Textbox(visible=False, render=False)],
        samples=[[name] for name in names],
        type="values",
        label="Presets",
        show_label=False,
        layout="gallery",
        samples_per_page=20,
        elem_id="lr-presets",
        visible=bool(names),
    )


def _slider_groups(sliders: Sequence[Slider]) -> list[Any]:
    import gradio as gr

    made: dict[str, Any] = {}
    with gr.Row(elem_classes="lr-groups"):
        for group in GROUPS:
            members = [slider for slider in sliders if slider.group == group]
            if not members:
                continue
            with gr.Column(min_width=260, elem_classes="lr-group"):
                gr.HTML(f'<p class="lr-label">{group}</p>')
                for s in members:
                    made[s.name] = gr.Slider(
                        s.low, s.high, s.shown(0.0), step=s.step, label=s.label, elem_id=f"lr-{s.name}", buttons=[]
                    )
    if not sliders:
        gr.HTML('<p class="lr-note">This model has no sliders. Start the app with the model builtin to use them.</p>')
    return [made[slider.name] for slider in sliders]


def _another_person(desk: Any, downloads: Downloads) -> tuple[Any, Any]:
    import gradio as gr

    with gr.Accordion("Another person", open=False, elem_id="lr-another"), gr.Row():
        picture = inputs.picture_input("Picture of a person", height=200, elem_id="lr-pose-picture")
        with gr.Column(min_width=180):
            saved = gr.UploadButton(
                "Open a saved person", file_types=[IDENTITY_SUFFIX], size="sm", elem_id="lr-pose-open"
            )
            inputs.download_made_on_click(
                "Save this person", "lr-pose-save", downloads.person, [desk], how=OURS, size="sm"
            )
            gr.HTML('<p class="lr-note">Real people: only with their consent.</p>')
    return picture, saved


def _copy() -> tuple[Any, Any, Any]:
    import gradio as gr

    with gr.Accordion("Copy from a picture", open=False, elem_id="lr-copy"), gr.Row():
        model = inputs.picture_input("Whose pose and expression", height=200, elem_id="lr-copy-picture")
        with gr.Column(min_width=200):
            part = gr.Radio(_PARTS, value="both", label="Copy", elem_id="lr-part")
            copy = gr.Button("Set the sliders like this", size="sm", elem_id="lr-copy-go")
    return model, part, copy


def _own_presets(desk: Any, downloads: Downloads) -> Any:
    import gradio as gr

    with gr.Accordion("My presets", open=False, elem_id="lr-my-presets"), gr.Row():
        inputs.download_made_on_click("Save preset", "lr-preset-save", downloads.preset, [desk], how=QUICK, size="sm")
        return gr.UploadButton("Load preset", file_types=[".json"], size="sm", elem_id="lr-preset-load")
