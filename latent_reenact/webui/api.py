"""The app's functions over HTTP, for programs: `gradio_client` calls them by name, and they hold no state."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

from latent_reenact.editing import of_part
from latent_reenact.systems.plan import IDENTITY_SUFFIX
from latent_reenact.webui.inputs import PICTURES, VIDEOS
from latent_reenact.webui.messages import Trouble
from latent_reenact.webui.running import Done, Tell, run
from latent_reenact.webui.session import Sitter
from latent_reenact.webui.sliders import sliders_of
from latent_reenact.webui.studio import Studio, Wishes
from latent_reenact.webui.tabs import models as models_tab

T = TypeVar("T")
_PART = ["both", "pose", "expression"]


def build(studio: Studio) -> None:
    """Endpoints without a place on the page."""
    import gradio as gr

    def endpoint(function: Callable[..., Any], takes: list[Any], gives: Any) -> None:
        gr.Button(visible=False).click(
            _for_clients(function),
            takes,
            gives,
            api_name=function.__name__,
            concurrency_id="model",
            concurrency_limit=1,
        )

    def person() -> Any:
        return gr.File(label="identity", file_types=[*PICTURES, IDENTITY_SUFFIX], visible=False)

    def media(label: str = "driving") -> Any:
        return gr.File(label=label, file_types=[*PICTURES, *VIDEOS], visible=False)

    def tick(label: str) -> Any:
        return gr.Checkbox(False, label=label, visible=False)

    def whole(label: str, value: int = 0) -> Any:
        return gr.Number(value, label=label, precision=0, visible=False)

    def reenact(
        identity: str,
        driving: str,
        identity_face: int,
        driving_face: int,
        take: Literal["both", "pose", "expression"],
        relative: bool,
        paste_back: bool,
        in_a_row: bool,
        badge: bool,
    ) -> str:
        """Draw the identity (a picture, or a saved .safetensors) doing what a driving picture or video does."""
        wishes = Wishes(take=take, relative=relative, paste_back=paste_back, in_a_row=in_a_row, badge=badge)
        sitter = studio.people.open(_given(identity, "identity"), identity_face)
        what = _given(driving, "driving")
        return str(_done(studio, lambda tell: studio.reenact(sitter, what, driving_face, wishes, tell)).path)

    def read_person(identity: str, identity_face: int) -> tuple[str, dict[str, float]]:
        """Read a person from a picture once: the .safetensors for the other calls, and where the sliders stand."""
        sitter = studio.people.open(_given(identity, "identity"), identity_face)
        return str(_done(studio, lambda tell: studio.people.save(sitter))), studio.people.settings(sitter)

    def pose(identity: str, settings: str, badge: bool) -> str:
        """Draw the identity with some sliders set: settings is JSON, such as {"yaw_deg": 20, "smile": 0.8}."""
        sitter = studio.people.open(_given(identity, "identity"))
        wanted = _settings(studio, settings)
        return str(_done(studio, lambda tell: studio.save_render(sitter, wanted, badge=badge)))

    def film(
        identity: str, key_frames: str, kind: Literal["mp4", "gif"], seconds_per_step: float, loop: bool, badge: bool
    ) -> str:
        """Move the identity through key-frames: a JSON list of settings, as `pose` takes them."""
        sitter = studio.people.open(_given(identity, "identity"))
        frames = _key_frames(studio, key_frames)
        wishes = {"kind": kind, "seconds_per_step": seconds_per_step, "loop": loop, "badge": badge}
        return str(_done(studio, lambda tell: studio.film(sitter, frames, tell, **wishes)))  # type: ignore[arg-type]

    def settings_of(driving: str, part: Literal["both", "pose", "expression"]) -> dict[str, float]:
        """Where the sliders would stand for the person in a picture."""
        return of_part(studio.people.settings(Sitter(_given(driving, "driving"))), part)

    def random_person(seed: int) -> tuple[str, str]:
        """Somebody who does not exist: their picture, and the .safetensors for the other calls."""
        picture = studio.save_portrait(seed)
        return str(picture), str(_done(studio, lambda tell: studio.people.save(studio.people.random(seed))))

    def compare(identity: str, driving: str) -> tuple[str, dict[str, Any]]:
        """The pair through every installed system: a sheet to look at, and what was measured."""
        who, what = _given(identity, "identity"), _given(driving, "driving")
        made = _done(studio, lambda tell: studio.compare(who, what, tell))
        return str(made.sheet), {r.system: dict(r.scores) if r.scores else {"problem": r.problem} for r in made.results}

    def models() -> dict[str, Any]:
        """What is installed, what can be fetched, and the sliders of the model in use."""
        return models_tab.as_data(studio)

    result, answer = gr.File(label="result", visible=False), gr.JSON(label="answer", visible=False)
    saved = gr.File(label="saved person", visible=False)
    part = gr.Radio(_PART, value="both", label="take", visible=False)
    ticks = [tick(label) for label in ("relative", "paste_back", "in_a_row", "badge")]
    text = gr.Textbox('{"yaw_deg": 20, "smile": 0.8}', label="settings", visible=False)
    texts = gr.Textbox('[{"smile": 0}, {"smile": 1}]', label="key_frames", visible=False)
    kind = gr.Radio(["mp4", "gif"], value="mp4", label="kind", visible=False)
    step = gr.Number(1.0, label="seconds_per_step", visible=False)
    faces = [whole("identity_face"), whole("driving_face")]
    endpoint(reenact, [person(), media(), *faces, part, *ticks], result)
    endpoint(read_person, [person(), faces[0]], [saved, answer])
    endpoint(pose, [person(), text, ticks[3]], result)
    endpoint(film, [person(), texts, kind, step, gr.Checkbox(True, label="loop", visible=False), ticks[3]], result)
    endpoint(settings_of, [media(), part], answer)
    endpoint(random_person, [whole("seed", 1)], [result, saved])
    endpoint(compare, [person(), media()], [result, answer])
    endpoint(models, [], answer)


def _for_clients(function: Callable[..., T]) -> Callable[..., T]:
    """Trouble becomes the client's error, in the same plain words as on the page."""
    import functools

    @functools.wraps(function)
    def call(*given: Any) -> T:
        import gradio as gr

        try:
            return function(*given)
        except Trouble as trouble:
            raise gr.Error(str(trouble), print_exception=False) from None

    return call


def _done(studio: Studio, work: Callable[[Tell], T]) -> T:
    """Run a job to its end under the limit of time."""
    for now in run(work, limit_s=studio.limits.job_seconds):
        if isinstance(now, Done):
            return now.value
    raise AssertionError("a job ends with Done or an error")


def _given(path: str | None, what: str) -> Path:
    if path is None:
        raise Trouble(f"There is no {what}.", "Send a file: handle_file(PATH) of gradio_client.")
    return Path(path)


def _settings(studio: Studio, text: str) -> dict[str, float]:
    try:
        return _checked(studio, json.loads(text))
    except (ValueError, RecursionError):
        raise Trouble("The settings are no JSON.", 'Expected for example {"yaw_deg": 20, "smile": 0.8}.') from None


def _key_frames(studio: Studio, text: str) -> list[dict[str, float]]:
    try:
        frames = json.loads(text)
    except (ValueError, RecursionError):
        frames = None
    if not isinstance(frames, list):
        raise Trouble("The key-frames are no JSON list.", 'Expected for example [{"smile": 0}, {"smile": 1}].')
    return [_checked(studio, frame) for frame in frames]


def _checked(studio: Studio, settings: Any) -> dict[str, float]:
    """Known controls with numbers, each kept within its slider's range."""
    sliders = {slider.name: slider for slider in sliders_of(studio.reenactor.controls)}
    if not isinstance(settings, dict) or not settings:
        raise Trouble("There are no settings.", 'Expected for example {"yaw_deg": 20, "smile": 0.8}.')
    for name, value in settings.items():
        if name not in sliders:
            raise Trouble(f"There is no slider {str(name)[:40]!r}.", f"There are {', '.join(sliders)}.")
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
            raise Trouble(f"{name} is no number.", "Angles are in degrees, expressions in 0 to 1.")
    return {name: min(max(float(value), sliders[name].low), sliders[name].high) for name, value in settings.items()}
