"""The app's functions over HTTP, as docs/app.md shows them, with gradio_client."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from app_process import REPO, AppProcess

from latent_reenact import samples
from latent_reenact.media import probe_video, read_image, read_provenance
from latent_reenact.systems import Identity

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def client(app: AppProcess, tmp_path_factory: pytest.TempPathFactory) -> Any:
    from gradio_client import Client

    return Client(app.url, verbose=False, download_files=str(tmp_path_factory.mktemp("downloads")))


def sample(name: str) -> Any:
    from gradio_client import handle_file

    return handle_file(samples.path(name))


def marked(path: str) -> Path:
    assert read_provenance(path) is not None, f"{path} carries no mark"
    return Path(path)


def test_feature_reenact_a_picture(client: Any) -> None:
    result = client.predict(identity=sample("portrait_a.png"), driving=sample("driving.png"), api_name="/reenact")
    assert read_image(marked(result)).shape == (128, 128, 3)


def test_feature_person_pose_film(client: Any) -> None:
    """Read once, use often: the saved person goes into the other calls."""
    from gradio_client import handle_file

    saved, settings = client.predict(identity=sample("portrait_b.png"), api_name="/read_person")
    assert Identity.load(saved).model == "builtin"
    assert settings.keys() >= {"yaw_deg", "smile"}
    wanted = json.dumps({"yaw_deg": 20, "smile": 0.8})
    posed = client.predict(identity=handle_file(saved), settings=wanted, badge=True, api_name="/pose")
    assert read_image(marked(posed)).shape == (128, 128, 3)
    frames = json.dumps([{"smile": 0}, {"smile": 1}])
    film = client.predict(
        identity=handle_file(saved), key_frames=frames, kind="gif", seconds_per_step=0.5, api_name="/film"
    )
    assert probe_video(marked(film)).frames > 10


def test_feature_random_person_and_settings(client: Any) -> None:
    picture, saved = client.predict(seed=7, api_name="/random_person")
    assert read_image(marked(picture)).std() > 10
    assert Identity.load(saved).model == "builtin"
    settings = client.predict(driving=sample("driving.png"), part="pose", api_name="/settings_of")
    assert set(settings) == {"yaw_deg", "pitch_deg", "roll_deg"}


def test_feature_compare_and_models(client: Any) -> None:
    sheet, scores = client.predict(sample("portrait_a.png"), sample("driving.png"), api_name="/compare")
    assert read_image(marked(sheet)).shape[0] == 256
    assert scores["builtin"]["pose"] < 20
    models = client.predict(api_name="/models")
    assert models["in_use"] == "builtin"


@pytest.mark.parametrize(
    ("call", "given", "words"),
    [
        ("/pose", {"settings": "{"}, "no JSON"),
        ("/pose", {"settings": '{"nose": 1}'}, "no slider 'nose'"),
        ("/pose", {"settings": '{"smile": NaN}'}, "no number"),
        ("/film", {"key_frames": "[]"}, "key-frame"),
        ("/film", {"key_frames": json.dumps([{"smile": 0}] * 25)}, "may have 24 key-frames"),
    ],
)
def test_exception_bad_arguments_are_explained(client: Any, call: str, given: dict[str, str], words: str) -> None:
    from gradio_client.exceptions import AppError

    with pytest.raises(AppError, match=words):
        client.predict(identity=sample("portrait_a.png"), **given, api_name=call)


def test_exception_no_face_is_explained(client: Any, tmp_path: Path) -> None:
    from gradio_client import handle_file
    from gradio_client.exceptions import AppError

    (tmp_path / "x.png").write_bytes(samples.path("driving.png").read_bytes()[:3000])
    with pytest.raises(AppError, match="cannot be opened"):
        client.predict(handle_file(tmp_path / "x.png"), sample("driving.png"), api_name="/reenact")


def test_feature_only_these_are_public(client: Any) -> None:
    named = client.view_api(return_format="dict")["named_endpoints"]
    assert set(named) == {
        *("/reenact", "/read_person", "/pose", "/film", "/settings_of", "/random_person", "/compare", "/models")
    }


def test_feature_examples_of_the_docs_run(app: AppProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (REPO / "docs" / "app.md").read_text(encoding="utf-8")
    (block,) = (b for b in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "Client(" in b)
    monkeypatch.chdir(tmp_path)
    for name, kept in {"portrait.jpg": "portrait_a.png", "smile.jpg": "driving.png"}.items():
        Path(name).write_bytes(samples.path(kept).read_bytes())
    names: dict[str, Any] = {}
    exec(compile(block.replace("http://127.0.0.1:7860", app.url), "docs/app.md", "exec"), names)
    for value in ("result", "turned", "film"):
        marked(names[value])
