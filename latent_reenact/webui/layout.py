"""The page: a head, five tabs and what leads from one to another."""

from __future__ import annotations

from typing import Any

from latent_reenact import __version__
from latent_reenact.webui import api
from latent_reenact.webui.inputs import QUIET
from latent_reenact.webui.session import Desk
from latent_reenact.webui.studio import Studio
from latent_reenact.webui.tabs import compare, models, pose, random_people, reenact

_HEAD = """
<header class="lr-head">
 <div><h1>latent_reenact</h1><p>One portrait, someone else's pose and expression.</p></div>
 <button type="button" class="lr-theme" data-lr="theme" aria-label="Switch between light and dark">◐</button>
</header>
"""
_FOOT = f"""
<footer class="lr-foot">
 <p>Draw people who agreed to it, or people who do not exist. Every file you download says that AI made it.</p>
 <p>What you upload stays on this machine and is deleted within the hour after its last use.
 latent_reenact {__version__}</p>
</footer>
"""


def build(studio: Studio) -> Any:
    """Gradio's Blocks of the whole app."""
    import gradio as gr

    with gr.Blocks(title="latent_reenact", analytics_enabled=False) as page:
        api.build(studio)  # first, so that its names are free
        desk = gr.State(Desk())
        gr.HTML(_HEAD)
        with gr.Tabs(elem_classes="lr-tabs") as tabs:
            with gr.Tab("Reenact", id="reenact"):
                reenacting = reenact.build(studio, desk)
            with gr.Tab("Pose and expression", id="pose"):
                posing = pose.build(studio, desk)
            with gr.Tab("Random people", id="random"):
                people = random_people.build(studio, desk)
            with gr.Tab("Compare", id="compare"):
                compare.build(studio, desk)
            with gr.Tab("Models", id="models"):
                models.build(studio)
        gr.HTML(_FOOT)

        # The desk goes out once, so that Gradio knows its age and forgets it an hour after the page was closed.
        page.load(lambda desk: desk, desk, desk, **QUIET).then(posing.open_first, [desk], posing.outputs, **QUIET).then(
            people.show, [desk, people.seed], people.outputs, **QUIET
        )
        people.to_reenact.click(reenacting.take_random, [desk], reenacting.taken, **QUIET).success(
            lambda: gr.Tabs(selected="reenact"), None, tabs, **QUIET
        )
        people.to_pose.click(posing.take_random, [desk], posing.outputs, **QUIET).success(
            lambda: gr.Tabs(selected="pose"), None, tabs, **QUIET
        )
        reenacting.to_pose.click(posing.take_subject, [desk], posing.outputs, **QUIET).success(
            lambda: gr.Tabs(selected="pose"), None, tabs, **QUIET
        )
    return page
