"""How the page looks: greys, so that the pictures have the colours, one accent, and the fonts of the machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_STATIC = Path(__file__).parent / "static"
_FONT = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif")
_MONO = ("ui-monospace", "SFMono-Regular", "Consolas", "DejaVu Sans Mono", "monospace")
_FRAME = """
.gradio-container { width: 100% !important; max-width: 1180px !important; margin: 0 auto !important;
  overflow: clip !important; /* hidden would keep the picture from staying in sight */ }
.lr-holding .lr-before { opacity: 1 !important; }
@media (max-width: 700px) { .gradio-container > .main { padding: 4px 12px !important; } }
"""  # around the part of the page whose css Gradio lets one write: it gives selectors a prefix


def page_style() -> dict[str, Any]:
    """Arguments of Gradio's `launch`: theme, css, head."""
    import gradio as gr

    theme = gr.themes.Base(
        primary_hue=gr.themes.colors.teal,
        secondary_hue=gr.themes.colors.teal,
        neutral_hue=gr.themes.colors.stone,
        radius_size=gr.themes.sizes.radius_lg,
        font=list(_FONT),
        font_mono=list(_MONO),
    ).set(
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        block_background_fill="white",
        block_background_fill_dark="*neutral_900",
        block_border_width="1px",
        block_label_background_fill="white",
        block_label_background_fill_dark="*neutral_900",
        block_label_border_width="0px",
        block_shadow="none",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_500",
        button_primary_text_color="white",
        input_background_fill="white",
        input_background_fill_dark="*neutral_800",
    )
    script, style = ((_STATIC / name).read_text(encoding="utf-8") for name in ("app.js", "app.css"))
    head = f'<meta name="color-scheme" content="light dark"><style>{_FRAME}</style><script>{script}</script>'
    return {"theme": theme, "css": style, "head": head}
