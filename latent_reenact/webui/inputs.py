"""Input fields whose files our own readers open (Gradio decodes nothing), and how events run."""

from __future__ import annotations

from typing import Any

PICTURES = [".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"]
VIDEOS = [".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif"]

# How events run: beside everything, one at a time with the model, or two at a time for sliders.
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
OURS: dict[str, Any] = {**QUIET, "concurrency_id": "model", "concurrency_limit": 1}
QUICK: dict[str, Any] = {**QUIET, "concurrency_id": "sliders", "concurrency_limit": 2}


def picture_input(label: str, **options: Any) -> Any:
    """A field for a picture: dropped, chosen, pasted or from the webcam; gives its path."""
    import gradio as gr

    options = {"sources": ["upload", "webcam", "clipboard"], "type": "filepath", "image_mode": None, **options}
    return _undecoded(gr.Image(label=label, interactive=True, buttons=["fullscreen"], **options))


def video_input(label: str, **options: Any) -> Any:
    """A field for a video: dropped, chosen or recorded; gives its path."""
    import gradio as gr
    from gradio.data_classes import FileData

    field = _undecoded(gr.Video(label=label, interactive=True, sources=["upload", "webcam"], **options))
    field.postprocess = lambda value: None if value is None else FileData(path=str(value))
    return field


def _undecoded(field: Any) -> Any:
    field.preprocess = lambda payload: None if payload is None else payload.path
    return field


def selects(function: Any) -> Any:
    """Tell Gradio that the argument `event` wants to know what was selected: it looks for the type itself."""
    import gradio as gr

    function.__annotations__["event"] = gr.SelectData
    return function


def download_made_on_click(
    label: str, elem_id: str, make: Any, takes: list[Any], *, how: dict[str, Any], **options: Any
) -> Any:
    """A button that makes a file and then hands it to the browser: `make` returns its path."""
    import gradio as gr

    button = gr.Button(label, elem_id=elem_id, **options)
    file = gr.DownloadButton(visible="hidden", elem_id=f"{elem_id}-file")
    click = f"() => setTimeout(() => document.querySelector('#{elem_id}-file').click(), 60)"
    button.click(make, takes, file, **how).success(None, js=click)
    return button
