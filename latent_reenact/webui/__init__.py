"""The app that artists use: a page in the browser, and the same functions over HTTP. Needs the extra `app` (Gradio)."""

from __future__ import annotations

from latent_reenact.webui.limits import Limits
from latent_reenact.webui.server import AppOptions, serve

__all__ = ["AppOptions", "Limits", "serve"]
