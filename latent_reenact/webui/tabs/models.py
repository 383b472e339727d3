"""The tab Models: what is installed, what can be fetched, and under which licences."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from latent_reenact.third_party.registry import load_registry
from latent_reenact.webui.inputs import QUIET
from latent_reenact.webui.studio import Studio
from latent_reenact.weights import list_models

if TYPE_CHECKING:
    from latent_reenact.third_party.registry import PublishedFile, PublishedModel, Registry

_HOW = """
<p class="lr-note">Fetch and use one on the machine that runs this app:</p>
<pre class="lr-code">latent-reenact models fetch NAME
latent-reenact app --model NAME</pre>
<p class="lr-note">Files that only a browser gets are named together with where to put them. Weights trained on FFHQ are
for non-commercial use: the licence of each file binds whoever uses it.</p>
"""


def build(studio: Studio) -> None:
    import gradio as gr

    shown = gr.HTML(page(studio), elem_id="lr-models")
    again = gr.Button("Look again", size="sm", elem_id="lr-models-again")
    again.click(lambda: page(studio), None, shown, **QUIET)


def page(studio: Studio) -> str:
    registry = load_registry()
    by_use = sorted(
        registry.models, key=lambda model: not any(file.non_commercial for file in registry.files_of(model))
    )
    published = "".join(_published(registry, model) for model in by_use)
    return (
        f"<h2>Installed</h2>{_installed(studio)}<h2>Published, to fetch</h2>{_HOW}"
        f'<div class="lr-list">{published}</div>'
    )


def _installed(studio: Studio) -> str:
    rows = []
    for info in list_models():
        here = ' <span class="lr-pill">in use</span>' if info.name == studio.reenactor.name else ""
        size = f"{info.resolution} × {info.resolution}, " if info.resolution else ""
        words = html.escape(info.description)
        rows.append(
            f'<article class="lr-item"><h3>{html.escape(info.name)}{here}</h3><p>{words}</p>'
            f"<p>{size}{info.bytes / 1e6:.1f} MB. Licence: {html.escape(info.licence)}</p></article>"
        )
    return f'<div class="lr-list">{"".join(rows)}</div>'


def _published(registry: Registry, model: PublishedModel) -> str:
    files = registry.files_of(model)
    closed = any(file.non_commercial for file in files)
    pill = '<span class="lr-pill lr-warn">non-commercial</span>' if closed else ""
    items = "".join(f"<li>{_file(file)}</li>" for file in files)
    return (
        f'<article class="lr-item"><h3>{html.escape(model.name)} {pill}</h3>'
        f"<p>{html.escape(model.description)}</p><ul>{items}</ul></article>"
    )


def _file(file: PublishedFile) -> str:
    how = "by browser" if file.needs_browser else "direct download"
    return f"<b>{html.escape(file.name)}</b>, {file.size}, {how}. {html.escape(file.licence)}"


def as_data(studio: Studio) -> dict[str, Any]:
    """The same for programs."""
    registry = load_registry()
    return {
        "in_use": studio.reenactor.name,
        "controls": list(studio.reenactor.controls),
        "installed": [
            {"name": i.name, "resolution": i.resolution, "bytes": i.bytes, "licence": i.licence} for i in list_models()
        ],
        "published": [
            {
                "name": model.name,
                "files": list(model.files),
                "non_commercial": any(file.non_commercial for file in registry.files_of(model)),
            }
            for model in registry.models
        ],
    }
