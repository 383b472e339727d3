"""The tab Random people: faces by their numbers, and a way to the other tabs for the one that was chosen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from latent_reenact.media import Provenance, write_image
from latent_reenact.webui import fragments, inputs
from latent_reenact.webui.inputs import OURS
from latent_reenact.webui.messages import Trouble
from latent_reenact.webui.session import Desk
from latent_reenact.webui.studio import Studio

_LARGEST_SEED = 2**31 - 1


@dataclass
class RandomTab:
    show: Callable[..., tuple[Any, ...]]
    seed: Any
    outputs: list[Any]
    to_reenact: Any
    to_pose: Any


def build(studio: Studio, desk: Any) -> RandomTab:
    import gradio as gr

    with gr.Row(elem_classes="lr-bar-row"):
        seed = gr.Number(
            1, label="Seed", precision=0, minimum=0, maximum=_LARGEST_SEED, min_width=120, elem_id="lr-seed"
        )
        again = gr.Button("Show these", elem_id="lr-seed-show", min_width=120)
        more = gr.Button("Other people", variant="primary", elem_id="lr-more", min_width=120)
    grid = gr.Gallery(
        show_label=False,
        columns=6,
        height="auto",
        object_fit="cover",
        allow_preview=False,
        interactive=False,
        buttons=[],
        elem_id="lr-people",
    )
    chosen = gr.HTML(fragments.caption("Nobody here exists. The same seed gives the same face: choose one."))
    with gr.Row():
        to_reenact = gr.Button("Use in Reenact", interactive=False, elem_id="lr-use-reenact")
        to_pose = gr.Button("Use in Pose and expression", interactive=False, elem_id="lr-use-pose")
        download = gr.DownloadButton("Download picture", interactive=False, elem_id="lr-random-download")

    def show(desk: Desk, seed: float | None) -> tuple[Any, ...]:
        desk.seed, desk.picked = _seed(seed), None
        folder = studio.workspace.new_folder()
        marks = Provenance(model=studio.reenactor.name, operation="sample")
        items = []
        try:
            for number in range(desk.seed, desk.seed + studio.limits.people):
                path = folder / f"person-{number}.jpg"
                write_image(path, studio.people.portrait(number), marks=marks)
                items.append((str(path), str(number)))
        except Trouble as trouble:
            return gr.skip(), desk.seed, fragments.caption(str(trouble)), *_off()
        words = "Nobody here exists. The same seed gives the same face: choose one."
        return gr.update(value=items, selected_index=None), desk.seed, fragments.caption(words), *_off()

    def others(desk: Desk) -> tuple[Any, ...]:
        return show(desk, (desk.seed + studio.limits.people) % _LARGEST_SEED)

    @inputs.selects
    def pick(desk: Desk, event: Any) -> tuple[Any, ...]:
        desk.picked = desk.seed + int(event.index)
        try:
            path = studio.save_portrait(desk.picked)
        except Trouble as trouble:
            return fragments.caption(str(trouble)), *_off()
        on = gr.update(interactive=True)
        words = fragments.caption(f"Person {desk.picked} is chosen.")
        return words, on, on, gr.update(interactive=True, value=str(path))

    def _off() -> tuple[Any, ...]:
        return (gr.update(interactive=False),) * 3

    outputs = [grid, seed, chosen, to_reenact, to_pose, download]
    again.click(show, [desk, seed], outputs, **OURS)
    seed.submit(show, [desk, seed], outputs, **OURS)
    more.click(others, [desk], outputs, **OURS)
    grid.select(pick, [desk], [chosen, to_reenact, to_pose, download], **OURS)
    return RandomTab(show, seed, outputs, to_reenact, to_pose)


def _seed(value: float | None) -> int:
    return min(max(0, int(value or 0)), _LARGEST_SEED)
