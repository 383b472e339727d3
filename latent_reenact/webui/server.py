"""Starts the app: on this machine alone unless there is a password, with every bound in place."""

from __future__ import annotations

import contextlib
import hmac
import os
import signal
import sys
import threading
import time
import webbrowser
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latent_reenact.errors import MissingDependencyError, UsageError
from latent_reenact.webui.files import Workspace
from latent_reenact.webui.guard import LOOPBACK, Guard
from latent_reenact.webui.limits import Limits

if TYPE_CHECKING:
    from latent_reenact.face.detect import FaceDetector
    from latent_reenact.systems import Reenactor

AUTH_VARIABLE = "LATENT_REENACT_AUTH"
_SWEEP_EVERY_S, _KEEP_S = 600, 3600
_SESSIONS = 200


@dataclass(frozen=True, kw_only=True)
class AppOptions:
    """Where and for whom.

    host: an address of this machine; other machines reach only what is not 127.0.0.1, and that needs `users`.
    port: 0 takes a free one. users: name -> password. root_path: under which a proxy serves the app.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    users: dict[str, str] = field(default_factory=dict)
    root_path: str = ""
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if not self.is_loopback and not self.users:
            raise UsageError(
                f"listening on {self.host} lets other machines in: name who may enter with --auth FILE (lines of "
                f"user:password) or ${AUTH_VARIABLE}, or leave out --host"
            )
        if not 0 <= self.port <= 65535:
            raise UsageError(f"port: got {self.port}, expected 0 to 65535")

    @property
    def is_loopback(self) -> bool:
        return self.host in LOOPBACK


def read_users(path: str | Path | None) -> dict[str, str]:
    """name -> password, from lines `user:password` of a file, or from $LATENT_REENACT_AUTH where no file is given.

    Raises:
        UsageError: unreadable, or a line without both.
    """
    where, text = f"${AUTH_VARIABLE}", os.environ.get(AUTH_VARIABLE, "")
    if path is not None:
        where = str(path)
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read {path}: {error}; expected lines of user:password") from None
    users = {}
    for number, line in enumerate(text.splitlines(), start=1):
        name, colon, password = line.strip().partition(":")
        if line.strip() and not (colon and name and password):
            raise UsageError(f"{where}, line {number}: expected user:password")
        if line.strip():
            users[name] = password
    if path is not None and not users:
        raise UsageError(f"{where} names nobody; expected lines of user:password")
    return users


@contextlib.contextmanager
def running(
    reenactor: Reenactor, options: AppOptions, *, detector: FaceDetector | None = None, quiet: bool = True
) -> Iterator[str]:
    """Serve until the block ends; yields the address. Everything users sent is gone afterwards.

    Raises:
        MissingDependencyError: Gradio is not installed. UsageError: the port is taken.
    """
    from latent_reenact.models.memory import share_memory

    share_memory()  # every job has a thread of its own
    with contextlib.closing(Workspace()) as workspace, _environment(workspace):
        gradio = _gradio()
        from latent_reenact.webui.layout import build
        from latent_reenact.webui.studio import Studio
        from latent_reenact.webui.theme import page_style

        studio = Studio(reenactor, workspace, options.limits, detector)
        blocks = build(studio)
        blocks.queue(max_size=options.limits.waiting, default_concurrency_limit=1, api_open=False)
        try:
            _, url, _ = blocks.launch(
                server_name=options.host,
                server_port=options.port or _free_port(options.host),
                auth=_check_password(options.users) if options.users else None,
                share=False,
                strict_cors=True,
                max_file_size=options.limits.upload_mb << 20,
                allowed_paths=[],
                blocked_paths=_blocked(workspace),
                enable_monitoring=False,
                run_history=False,
                ssr_mode=False,
                mcp_server=False,
                pwa=False,
                show_error=False,
                footer_links=["api"],
                state_session_capacity=_SESSIONS,
                root_path=options.root_path or None,
                app_kwargs={"middleware": [_guard(options, workspace)], "docs_url": None, "redoc_url": None},
                prevent_thread_lock=True,
                quiet=True,
                **page_style(),
            )
        except OSError as error:
            raise UsageError(f"cannot listen on {options.host}:{options.port}: {error}; try another --port") from None
        stop = threading.Event()
        threading.Thread(target=_sweep, args=(workspace, stop), daemon=True, name="sweep").start()
        try:
            yield url.rstrip("/")
        finally:
            stop.set()
            blocks.close(verbose=False)
            gradio.close_all(verbose=False)


def serve(
    model: str | Path, options: AppOptions, *, device: str = "auto", open_browser: bool = False, tell: Callable = print
) -> None:
    """Load a model and serve the app until somebody interrupts. Raises LatentReenactError."""
    _gradio()
    from latent_reenact.systems import load

    told_to_end: list[int] = []  # whoever ends it, it tidies up
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda number, _: told_to_end.append(number))
    tell(f"loading {model} ...")
    with running(load(model, device=device), options) as url:
        tell(f"ready: open {url} in a browser (Ctrl-C ends the app)")
        if open_browser and _has_screen():
            webbrowser.open(url)
        with contextlib.suppress(KeyboardInterrupt):
            while not told_to_end:
                time.sleep(0.2)
    tell("the app has ended; what was uploaded and made is deleted")


def _has_screen() -> bool:
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _gradio() -> Any:
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    with contextlib.suppress(ImportError):
        import matplotlib  # noqa: F401  # Gradio imports it around every call; two threads at once would fail
    try:
        import gradio
    except ImportError:
        raise MissingDependencyError(
            "the app needs Gradio, which is not installed: pip install 'latent-reenact[app]'"
        ) from None
    return gradio


@contextlib.contextmanager
def _environment(workspace: Workspace) -> Iterator[None]:
    """Gradio reads from the environment where it keeps its files."""
    before = os.environ.get("GRADIO_TEMP_DIR")
    os.environ["GRADIO_TEMP_DIR"] = str(workspace.uploads)
    try:
        yield
    finally:
        os.environ.pop("GRADIO_TEMP_DIR", None)
        if before is not None:
            os.environ["GRADIO_TEMP_DIR"] = before


def _guard(options: AppOptions, workspace: Workspace) -> Any:
    from starlette.middleware import Middleware

    arguments = {"max_bytes": options.limits.upload_mb << 20, "holds": workspace.holds}
    return Middleware(Guard, loopback=options.is_loopback, **arguments)  # type: ignore[arg-type]


def _blocked(workspace: Workspace) -> list[str]:
    """Folders that are never served; those that the workspace lies in cannot be among them."""
    places = [Path.home(), Path.cwd(), Path("/etc"), Path("/proc")]
    return [str(place) for place in places if not workspace.root.is_relative_to(place)]


def _check_password(users: dict[str, str]) -> Callable[[str, str], bool]:
    def check(name: str, password: str) -> bool:
        wanted = users.get(name, "")
        return hmac.compare_digest(wanted.encode(), password.encode()) and bool(wanted)

    return check


def _free_port(host: str) -> int:
    import socket

    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _sweep(workspace: Workspace, stop: threading.Event) -> None:
    while not stop.wait(_SWEEP_EVERY_S):
        workspace.sweep(_KEEP_S)
