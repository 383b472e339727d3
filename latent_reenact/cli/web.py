"""`app`: the page in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from latent_reenact.cli.command import Answer, Device, Model, command, say


def register(group: typer.Typer) -> None:
    command(group, "app", app)


def app(
    model: Model = "builtin",
    host: Annotated[str, typer.Option("--host", help="Listen here; other than this machine needs --auth.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 7860,
    auth: Annotated[
        Path | None, typer.Option("--auth", metavar="FILE", help="Who may enter: lines of user:password.")
    ] = None,
    root_path: Annotated[str, typer.Option("--root-path", help="Path under which a proxy serves the app.")] = "",
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = True,
    device: Device = "auto",
) -> Answer:
    """Open the app in a browser.

    Ctrl-C ends it, and deletes what was uploaded and made.
    """
    from latent_reenact.webui import AppOptions, serve
    from latent_reenact.webui.server import read_users

    options = AppOptions(host=host, port=port, users=read_users(auth), root_path=root_path)
    serve(model, options, device=device, open_browser=open_browser, tell=say)
    return Answer("", {})
