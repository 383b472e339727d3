"""The tab Pose and expression: sliders that draw while they are dragged, presets, and key-frames to a film."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latent_reenact.editing import PRESETS, load_preset, of_part, save_preset
from latent_reenact.systems.plan import IDENTITY_SUFFIX
from latent_reenact.webui import filming, fragments, inputs
from latent_reenact.webui.easel import Easel
from latent_reenact.webui.inputs import OURS, QUICK
from latent_reenact.webui.messages import Trouble, about
from latent_reenact.webui.session import Desk, Sitter
from latent_reenact.webui.sliders import GROUPS, Slider
from latent_reenact.webui.studio import Studio

_PARTS = [("Pose and expression", "both"), ("Expression only", "expression"), ("Pose only", "pose")]


@dataclass
class PoseTab:
    """What other tabs need: functions of the desk whose outputs are `outputs`."""

    open_first: Callable[[Desk], tuple[Any, ...]]
    take_random: Callable[[Desk], tuple[Any, ...]]
    take_subject: Callable[[Desk], tuple[Any, ...]]
    outputs: list[Any]


def build(studio: Studio, desk: Any) -> PoseTab:
    import gradio as gr

    easel = Easel(studio)

    def save_picture(desk: Desk, badge: bool) -> str:
        return _or_toast(lambda: str(studio.save_render(desk.sitter, easel.moved(desk), badge=badge)))

    def save_sitter(desk: Desk) -> str:
        return _or_toast(lambda: str(studio.save_person(desk.sitter)))

    def save_settings(desk: Desk) -> str:
        path = studio.workspace.new_folder() / "preset.json"
        save_preset(path, desk.history.now)
        return str(path)

    with gr.Row(elem_classes="lr-columns"):
        with gr.Column(scale=5, min_width=320, elem_classes="lr-sticky"):
            stage = gr.HTML(fragments.empty("One moment: a first person is coming."), elem_id="lr-pose-stage")
            with gr.Row(elem_classes="lr-tools"):
                gr.Button("Hold to compare", size="sm", elem_id="lr-hold", min_width=120)
                undo = gr.Button("Undo", size="sm", elem_id="lr-undo", min_width=60)
                redo = gr.Button("Redo", size="sm", elem_id="lr-redo", min_width=60)
                reset = gr.Button("Reset", size="sm", elem_id="lr-reset", min_width=60)
            with gr.Row(elem_classes="lr-bar-row"):
                badge = gr.Checkbox(
                    label="Visible badge", min_width=110, container=False, elem_id="lr-pose-badge", render=False
                )
                inputs.download_made_on_click(
                    "Download", "lr-pose-download", save_picture, [desk, badge], how=QUICK, variant="primary"
                )
                badge.render()
        with gr.Column(scale=7, min_width=320):
            presets = gr.Dataset(
                components=[gr.Textbox(visible=False, render=False)],
                samples=[[name] for name in _presets(easel)],
                type="values",
                label="Presets",
                show_label=False,
                layout="gallery",
                samples_per_page=20,
                elem_id="lr-presets",
                visible=bool(easel.sliders),
            )
            sliders = _slider_groups(easel.sliders)
            with gr.Accordion("Another person", open=False, elem_id="lr-another"), gr.Row():
                picture = inputs.picture_input("Picture of a person", height=200, elem_id="lr-pose-picture")
                with gr.Column(min_width=180):
                    saved = gr.UploadButton(
                        "Open a saved person", file_types=[IDENTITY_SUFFIX], size="sm", elem_id="lr-pose-open"
                    )
                    inputs.download_made_on_click(
                        "Save this person", "lr-pose-save", save_sitter, [desk], how=OURS, size="sm"
                    )
                    gr.HTML('<p class="lr-note">Real people: only with their consent.</p>')
            with gr.Accordion("Copy from a picture", open=False, elem_id="lr-copy"), gr.Row():
                model = inputs.picture_input("Whose pose and expression", height=200, elem_id="lr-copy-picture")
                with gr.Column(min_width=200):
                    part = gr.Radio(_PARTS, value="both", label="Copy", elem_id="lr-part")
                    copy = gr.Button("Set the sliders like this", size="sm", elem_id="lr-copy-go")
            with gr.Accordion("My presets", open=False, elem_id="lr-my-presets"), gr.Row():
                inputs.download_made_on_click(
                    "Save preset", "lr-preset-save", save_settings, [desk], how=QUICK, size="sm"
                )
                load = gr.UploadButton("Load preset", file_types=[".json"], size="sm", elem_id="lr-preset-load")
            strip = filming.build(studio, easel, desk, badge)

    outputs = [stage, *sliders, strip]

    def all_of(desk: Desk) -> tuple[Any, ...]:
        return easel.picture(desk), *easel.values(desk), filming.strip(easel, desk)

    def shown(act: Callable[..., None]) -> Callable[..., tuple[Any, ...]]:
        """Do something to the desk, then show all of it; where that fails, say why in place of the picture."""

        def doing(desk: Desk, *given: Any) -> tuple[Any, ...]:
            try:
                act(desk, *given)
                return all_of(desk)
            except Trouble as trouble:
                return fragments.trouble(trouble), *[gr.skip()] * (len(outputs) - 1)

        return doing

    def drag(desk: Desk, *values: float) -> str:
        try:
            if not desk.own:
                open_sample(desk)
            easel.move(desk, {s.name: float(v) for s, v in zip(easel.sliders, values, strict=True)})
            return easel.picture(desk)
        except Trouble as trouble:
            return fragments.trouble(trouble)

    def open_sample(desk: Desk) -> None:
        easel.open(desk, Sitter(studio.workspace.sample("portrait_a.png"), title="Sample portrait"))

    def open_picture(desk: Desk, path: str | None) -> None:
        if path is not None:
            easel.open(desk, studio.open_person(Path(path)))

    def open_random(desk: Desk) -> None:
        if desk.picked is None:
            raise Trouble("Nobody is chosen yet.", "Choose a face on the tab Random people.")
        easel.open(desk, studio.random_person(desk.picked))

    def open_subject(desk: Desk) -> None:
        easel.open(desk, Sitter(desk.subject.picture, desk.subject.face, desk.subject.identity, desk.subject.title))

    def use_preset(desk: Desk, sample: list[str]) -> None:
        easel.move(desk, {**easel.start(desk), **PRESETS.get(sample[0], {})})

    def use_file(desk: Desk, path: str) -> None:
        with about("the preset"):
            found = load_preset(path, [s.name for s in easel.sliders])
        easel.move(desk, {**easel.start(desk), **found})

    def copy_from(desk: Desk, path: str | None, part: Any) -> None:
        if path is None:
            raise Trouble("There is no picture to copy from.", "Choose one first.")
        easel.move(desk, of_part(studio.settings_of_picture(Path(path)), part))

    def take_back(desk: Desk) -> None:
        desk.history.undo()

    def do_again(desk: Desk) -> None:
        desk.history.redo()

    def start_over(desk: Desk) -> None:
        easel.move(desk, easel.start(desk))

    for event in (slider.input for slider in sliders):
        event(drag, [desk, *sliders], stage, trigger_mode="always_last", **QUICK)
    for trigger, act, given, how in (
        (undo.click, take_back, [], QUICK),
        (redo.click, do_again, [], QUICK),
        (reset.click, start_over, [], QUICK),
        (presets.click, use_preset, [presets], QUICK),
        (load.upload, use_file, [load], QUICK),
        (copy.click, copy_from, [model, part], OURS),
        (picture.input, open_picture, [picture], OURS),
        (saved.upload, open_picture, [saved], OURS),
    ):
        trigger(shown(act), [desk, *given], outputs, **how)
    return PoseTab(shown(open_sample), shown(open_random), shown(open_subject), outputs)


def _presets(easel: Easel) -> list[str]:
    """Those of which the model has every slider."""
    names = {s.name for s in easel.sliders}
    return [name for name, settings in PRESETS.items() if settings.keys() <= names]


def _slider_groups(sliders: list[Slider]) -> list[Any]:
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


def _or_toast(make: Callable[[], str]) -> str:
    import gradio as gr

    try:
        return make()
    except Trouble as trouble:
        raise gr.Error(str(trouble), print_exception=False) from None
