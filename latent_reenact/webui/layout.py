"""The page: a head, five tabs and what leads from one to another."""

from __future__ import annotations

from typing import Any

from latent_reenact import __version__
from latent_reenact.webui import api, tab_compare, tab_models, tab_pose, tab_random, tab_reenact
from latent_reenact.webui.inputs import QUIET
from latent_reenact.webui.session import Desk
from latent_reenact.webui.studio import Studio

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
                reenact = tab_reenact.build(studio, desk)
            with gr.Tab("Pose and expression", id="pose"):
                pose = tab_pose.build(studio, desk)
            with gr.Tab("Random people", id="random"):
                random = tab_random.build(studio, desk)
            with gr.Tab("Compare", id="compare"):
                tab_compare.build(studio)
            with gr.Tab("Models", id="models"):
                tab_models.build(studio)
        gr.HTML(_FOOT)

        # The desk goes out once, so that Gradio knows its age and forgets it an hour after the page was closed.
        page.load(lambda desk: desk, desk, desk, **QUIET).then(pose.open_first, [desk], pose.outputs, **QUIET).then(
            random.show, [desk, random.seed], random.outputs, **QUIET
        )
        random.to_reenact.click(reenact.take_random, [desk], reenact.taken, **QUIET).success(
            lambda: gr.Tabs(selected="reenact"), None, tabs, **QUIET
        )
        random.to_pose.click(pose.take_random, [desk], pose.outputs, **QUIET).success(
            lambda: gr.Tabs(selected="pose"), None, tabs, **QUIET
        )
        reenact.to_pose.click(pose.take_subject, [desk], pose.outputs, **QUIET).success(
            lambda: gr.Tabs(selected="pose"), None, tabs, **QUIET
        )
    return page
