"""The tab Pose and expression: sliders that draw while they are dragged, presets, and key-frames to a film."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latent_reenact.editing import PRESETS, load_preset, of_part, save_preset
from latent_reenact.media import Provenance, write_image
from latent_reenact.systems.plan import IDENTITY_SUFFIX
from latent_reenact.webui import fragments, inputs
from latent_reenact.webui.messages import Trouble, about
from latent_reenact.webui.running import Done, Progress, run
from latent_reenact.webui.session import Desk, Sitter
from latent_reenact.webui.sliders import GROUPS, Slider, changed, sliders_of
from latent_reenact.webui.studio import Studio

_PARTS = [("Pose and expression", "both"), ("Expression only", "expression"), ("Pose only", "pose")]


@dataclass
class PoseTab:
    """What other tabs need: functions of the desk whose outputs are `outputs`."""

    open_first: Callable[[Desk], tuple[Any, ...]]
    take_random: Callable[[Desk], tuple[Any, ...]]
    take_subject: Callable[[Desk], tuple[Any, ...]]
    outputs: list[Any]


class Easel:
    """Draws what is on a desk. It knows the sliders' order, and holds nothing of anybody."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.sliders = sliders_of(studio.reenactor.controls)

    def open(self, desk: Desk, sitter: Sitter) -> None:
        """Lay a person on the desk, sliders where their picture has them. Raises Trouble."""
        own = self.studio.settings(sitter)
        desk.sitter, desk.own, desk.key_frames = sitter, own, []
        desk.before = self.studio.workspace.new_folder() / "before.jpg"
        marks = Provenance(model=self.studio.reenactor.name, operation="identity")
        write_image(desk.before, self.studio.read(sitter).picture, marks=marks)
        desk.history.start({s.name: s.shown(own[s.name]) for s in self.sliders})

    def values(self, desk: Desk) -> list[float]:
        now = desk.history.now
        return [now.get(s.name, s.shown(0.0)) for s in self.sliders]

    def move(self, desk: Desk, values: dict[str, float]) -> None:
        """Set sliders, all or some, as one step that can be taken back."""
        shown = {s.name: s.shown(values[s.name]) for s in self.sliders if s.name in values}
        desk.history.record({**desk.history.now, **shown}, time.monotonic())

    def moved(self, desk: Desk, settings: dict[str, float] | None = None) -> dict[str, float]:
        return changed(self.sliders, desk.own, settings or desk.history.now)

    def picture(self, desk: Desk) -> str:
        """The stage. Raises Trouble."""
        marks = Provenance(model=self.studio.reenactor.name, operation="pose")
        image = self.studio.render(desk.sitter, self.moved(desk))
        before = fragments.file_url(desk.before) if desk.before else None
        return fragments.picture(fragments.data_url(image, marks), f"{desk.sitter.title}, drawn", before)


def build(studio: Studio, desk: Any) -> PoseTab:
    import gradio as gr

    easel = Easel(studio)
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    ours: dict[str, Any] = {**quiet, "concurrency_id": "model", "concurrency_limit": 1}
    quick: dict[str, Any] = {**quiet, "concurrency_id": "sliders", "concurrency_limit": 2}

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
                    "Download", "lr-pose-download", save_picture, [desk, badge], how=quick, variant="primary"
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
                        "Save this person", "lr-pose-save", save_sitter, [desk], how=ours, size="sm"
                    )
                    gr.HTML('<p class="lr-note">Real people: only with their consent.</p>')
            with gr.Accordion("Copy from a picture", open=False, elem_id="lr-copy"), gr.Row():
                model = inputs.picture_input("Whose pose and expression", height=200, elem_id="lr-copy-picture")
                with gr.Column(min_width=200):
                    part = gr.Radio(_PARTS, value="both", label="Copy", elem_id="lr-part")
                    copy = gr.Button("Set the sliders like this", size="sm", elem_id="lr-copy-go")
            with gr.Accordion("My presets", open=False, elem_id="lr-my-presets"), gr.Row():
                inputs.download_made_on_click(
                    "Save preset", "lr-preset-save", save_settings, [desk], how=quick, size="sm"
                )
                load = gr.UploadButton("Load preset", file_types=[".json"], size="sm", elem_id="lr-preset-load")
            with gr.Accordion("Film from key-frames", open=False, elem_id="lr-film"):
                strip = gr.HTML(_strip([]), elem_id="lr-strip")
                with gr.Row():
                    add = gr.Button("Add key-frame", size="sm", elem_id="lr-key-add")
                    drop = gr.Button("Remove last", size="sm", elem_id="lr-key-drop")
                    clear = gr.Button("Clear", size="sm", elem_id="lr-key-clear")
                with gr.Row():
                    seconds = gr.Slider(0.2, 4, 1, step=0.1, label="Seconds from one to the next", min_width=200)
                    kind = gr.Radio([("Video", "mp4"), ("GIF", "gif")], value="mp4", label="As", min_width=140)
                    loop = gr.Checkbox(True, label="Back to the first", min_width=140)
                with gr.Row():
                    shoot = gr.Button("Make the film", variant="primary", elem_id="lr-film-go")
                    stop = gr.Button("Cancel", variant="stop", visible=False, elem_id="lr-film-stop")
                film = gr.HTML(elem_id="lr-film-stage")
                film_file = gr.DownloadButton("Download film", visible=False, elem_id="lr-film-download")

    outputs = [stage, *sliders, strip]

    def all_of(desk: Desk) -> tuple[Any, ...]:
        return easel.picture(desk), *easel.values(desk), _strip(_thumbs(desk))

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
                easel.open(desk, Sitter(studio.workspace.sample("portrait_a.png"), title="Sample"))
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
        easel.move(desk, {**_start(easel, desk), **PRESETS.get(sample[0], {})})

    def use_file(desk: Desk, path: str) -> None:
        with about("the preset"):
            found = load_preset(path, [s.name for s in easel.sliders])
        easel.move(desk, {**_start(easel, desk), **found})

    def copy_from(desk: Desk, path: str | None, part: Any) -> None:
        if path is None:
            raise Trouble("There is no picture to copy from.", "Choose one first.")
        easel.move(desk, of_part(studio.settings_of_picture(Path(path)), part))

    def take_back(desk: Desk) -> None:
        desk.history.undo()

    def do_again(desk: Desk) -> None:
        desk.history.redo()

    def start_over(desk: Desk) -> None:
        easel.move(desk, _start(easel, desk))

    def add_frame(desk: Desk) -> str:
        if len(desk.key_frames) < studio.limits.key_frames:
            desk.key_frames.append(desk.history.now)
        return _strip(_thumbs(desk))

    def drop_frame(desk: Desk) -> str:
        del desk.key_frames[-1:]
        return _strip(_thumbs(desk))

    def clear_frames(desk: Desk) -> str:
        desk.key_frames.clear()
        return _strip([])

    def _thumbs(desk: Desk) -> list[str]:
        marks = Provenance(model=studio.reenactor.name, operation="pose")
        images = [studio.render(desk.sitter, easel.moved(desk, settings)) for settings in desk.key_frames]
        return [fragments.data_url(image, marks) for image in images]

    def make_film(desk: Desk, seconds: float, kind: Any, loop: bool, badge: bool) -> Iterator[tuple[Any, ...]]:
        busy = (gr.update(visible=False), gr.update(visible=False), gr.update(visible=True))
        idle = (gr.update(visible=True), gr.update(visible=False))
        try:
            if len(desk.key_frames) < 2:
                raise Trouble("A film needs two key-frames or more.", "Move the sliders, add a key-frame, and again.")
            frames = [easel.moved(desk, settings) for settings in desk.key_frames]
            wishes = {"kind": kind, "seconds_per_step": seconds, "loop": loop, "badge": badge}
            with about("the film"):
                for now in run(
                    lambda tell: studio.film(desk.sitter, frames, tell, **wishes), limit_s=studio.limits.job_seconds
                ):
                    if isinstance(now, Progress):
                        yield fragments.progress(now, "Filming"), *busy
                    else:
                        yield fragments.video(now.value, "The film"), _file(now), *idle
        except Trouble as trouble:
            yield fragments.trouble(trouble), gr.update(visible=False), *idle

    def _file(done: Done[Path]) -> Any:
        return gr.update(value=str(done.value), visible=True)

    for event in (slider.input for slider in sliders):
        event(drag, [desk, *sliders], stage, trigger_mode="always_last", **quick)
    for trigger, act, given, how in (
        (undo.click, take_back, [], quick),
        (redo.click, do_again, [], quick),
        (reset.click, start_over, [], quick),
        (presets.click, use_preset, [presets], quick),
        (load.upload, use_file, [load], quick),
        (copy.click, copy_from, [model, part], ours),
        (picture.input, open_picture, [picture], ours),
        (saved.upload, open_picture, [saved], ours),
    ):
        trigger(shown(act), [desk, *given], outputs, **how)
    add.click(add_frame, desk, strip, **quick)
    drop.click(drop_frame, desk, strip, **quick)
    clear.click(clear_frames, desk, strip, **quick)
    shooting = shoot.click(make_film, [desk, seconds, kind, loop, badge], [film, film_file, shoot, stop], **ours)
    stop.click(
        lambda: (fragments.empty("Cancelled. Nothing was kept."), gr.update(visible=True), gr.update(visible=False)),
        None,
        [film, shoot, stop],
        cancels=[shooting],
        **quiet,
    )
    return PoseTab(shown(open_sample), shown(open_random), shown(open_subject), outputs)


def _start(easel: Easel, desk: Desk) -> dict[str, float]:
    return {s.name: s.shown(desk.own[s.name]) for s in easel.sliders}


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


def _strip(urls: list[str]) -> str:
    """The key-frames in a row."""
    if not urls:
        return fragments.note("Set the sliders, add a key-frame, set them anew, add another: the film moves on.")
    cells = "".join(f'<img src="{url}" alt="Key-frame {n}">' for n, url in enumerate(urls, start=1))
    return f'<div class="lr-strip">{cells}</div>'


def _or_toast(make: Callable[[], str]) -> str:
    import gradio as gr

    try:
        return make()
    except Trouble as trouble:
        raise gr.Error(str(trouble), print_exception=False) from None
