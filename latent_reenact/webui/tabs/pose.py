"""The tab Pose and expression: sliders that draw while they are dragged, presets, and key-frames to a film."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latent_reenact.editing import PRESETS, load_preset, of_part, save_preset
from latent_reenact.webui import fragments
from latent_reenact.webui.easel import Easel
from latent_reenact.webui.inputs import OURS, QUICK
from latent_reenact.webui.messages import Trouble, about
from latent_reenact.webui.session import Desk, Sitter
from latent_reenact.webui.studio import Studio
from latent_reenact.webui.tabs import films
from latent_reenact.webui.tabs.pose_form import Downloads, Form, lay_out


@dataclass
class PoseTab:
    """What other tabs need: functions of the desk whose outputs are `outputs`."""

    open_first: Callable[[Desk], tuple[Any, ...]]
    take_random: Callable[[Desk], tuple[Any, ...]]
    take_subject: Callable[[Desk], tuple[Any, ...]]
    outputs: list[Any]


def build(studio: Studio, desk: Any) -> PoseTab:
    easel = Easel(studio)
    acts = _Acts(easel)
    form = lay_out(
        desk,
        easel.sliders,
        _presets(easel),
        Downloads(acts.save_picture, acts.save_sitter, acts.save_settings),
        lambda badge: films.build(studio, easel, desk, badge),
    )
    outputs = [form.stage, *form.sliders, form.strip]
    shown = _Shown(easel, len(outputs))
    _wire(form, acts, shown, desk, outputs)
    return PoseTab(shown(acts.open_sample), shown(acts.open_random), shown(acts.open_subject), outputs)


def _wire(form: Form, acts: _Acts, shown: _Shown, desk: Any, outputs: list[Any]) -> None:
    for slider in form.sliders:
        slider.input(acts.drag, [desk, *form.sliders], form.stage, trigger_mode="always_last", **QUICK)
    for trigger, act, given, how in (
        (form.undo.click, acts.take_back, [], QUICK),
        (form.redo.click, acts.do_again, [], QUICK),
        (form.reset.click, acts.start_over, [], QUICK),
        (form.presets.click, acts.use_preset, [form.presets], QUICK),
        (form.load.upload, acts.use_file, [form.load], QUICK),
        (form.copy.click, acts.copy_from, [form.model, form.part], OURS),
        (form.picture.input, acts.open_picture, [form.picture], OURS),
        (form.saved.upload, acts.open_picture, [form.saved], OURS),
    ):
        trigger(shown(act), [desk, *given], outputs, **how)


@dataclass
class _Shown:
    """Do something to the desk, then show all of it; where that fails, say why in place of the picture."""

    easel: Easel
    outputs: int

    def __call__(self, act: Callable[..., None]) -> Callable[..., tuple[Any, ...]]:
        import gradio as gr

        def doing(desk: Desk, *given: Any) -> tuple[Any, ...]:
            try:
                act(desk, *given)
                return self.easel.picture(desk), *self.easel.values(desk), films.strip(self.easel, desk)
            except Trouble as trouble:
                return fragments.trouble(trouble), *[gr.skip()] * (self.outputs - 1)

        return doing


class _Acts:
    """What happens on the tab: each changes the desk it is given, or makes a file of it. They raise Trouble."""

    def __init__(self, easel: Easel) -> None:
        self.easel, self.studio = easel, easel.studio

    def drag(self, desk: Desk, *values: float) -> str:
        try:
            if not desk.own:
                self.open_sample(desk)
            self.easel.move(desk, {s.name: float(v) for s, v in zip(self.easel.sliders, values, strict=True)})
            return self.easel.picture(desk)
        except Trouble as trouble:
            return fragments.trouble(trouble)

    def open_sample(self, desk: Desk) -> None:
        self.easel.open(desk, Sitter(self.studio.workspace.sample("portrait_a.png"), title="Sample portrait"))

    def open_picture(self, desk: Desk, path: str | None) -> None:
        if path is not None:
            self.easel.open(desk, self.studio.people.open(Path(path)))

    def open_random(self, desk: Desk) -> None:
        if desk.picked is None:
            raise Trouble("Nobody is chosen yet.", "Choose a face on the tab Random people.")
        self.easel.open(desk, self.studio.people.random(desk.picked))

    def open_subject(self, desk: Desk) -> None:
        subject = desk.subject
        self.easel.open(desk, Sitter(subject.picture, subject.face, subject.identity, subject.title))

    def use_preset(self, desk: Desk, sample: list[str]) -> None:
        self.easel.move(desk, {**self.easel.start(desk), **PRESETS.get(sample[0], {})})

    def use_file(self, desk: Desk, path: str) -> None:
        with about("the preset"):
            found = load_preset(path, [s.name for s in self.easel.sliders])
        self.easel.move(desk, {**self.easel.start(desk), **found})

    def copy_from(self, desk: Desk, path: str | None, part: Any) -> None:
        if path is None:
            raise Trouble("There is no picture to copy from.", "Choose one first.")
        self.easel.move(desk, of_part(self.studio.people.settings(Sitter(Path(path))), part))

    def take_back(self, desk: Desk) -> None:
        desk.history.undo()

    def do_again(self, desk: Desk) -> None:
        desk.history.redo()

    def start_over(self, desk: Desk) -> None:
        self.easel.move(desk, self.easel.start(desk))

    def save_picture(self, desk: Desk, badge: bool) -> str:
        return _or_toast(lambda: self.studio.save_render(desk.sitter, self.easel.moved(desk), badge=badge))

    def save_sitter(self, desk: Desk) -> str:
        return _or_toast(lambda: self.studio.people.save(desk.sitter))

    def save_settings(self, desk: Desk) -> str:
        path = self.studio.workspace.new_folder() / "preset.json"
        save_preset(path, desk.history.now)
        return str(path)


def _presets(easel: Easel) -> list[str]:
    """Those of which the model has every slider."""
    names = {s.name for s in easel.sliders}
    return [name for name, settings in PRESETS.items() if settings.keys() <= names]


def _or_toast(make: Callable[[], Path]) -> str:
    import gradio as gr

    try:
        return str(make())
    except Trouble as trouble:
        raise gr.Error(str(trouble), print_exception=False) from None
