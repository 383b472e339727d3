"""The tab Reenact in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from app_process import AppProcess
from PIL import Image

from latent_reenact import samples
from latent_reenact.media import probe_video, read_image, read_provenance, write_image

pytestmark = pytest.mark.slow

Open = Callable[..., Any]


def downloaded(page: Any, button: str, folder: Path) -> Path:
    with page.expect_download() as waiting:
        page.locator(button).click()
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path


def upload(page: Any, field: str, file: Path) -> None:
    page.locator(f"{field} input[type=file]").first.set_input_files(file)
    page.locator(f"{field} :is(img, video)").first.wait_for()
    page.wait_for_timeout(300)


def await_new_result(page: Any, ask: Callable[[], None]) -> None:
    """Ask, and wait until another picture stands where the last one stood."""
    drawn = "document.querySelector('#lr-result .lr-wipe img')?.src"
    before = page.evaluate(f"{drawn} ?? ''")
    ask()
    page.wait_for_function(f"before => {{ const now = {drawn}; return now && now !== before }}", arg=before)
    page.locator("#lr-stop").wait_for(state="hidden")


def assert_marked(path: Path, operation: str) -> None:
    mark = read_provenance(path)
    assert mark is not None, f"{path.name} carries no mark"
    assert "AlgorithmicMedia" in mark.source_type
    assert mark.operation == operation


def test_smoke_one_click_from_the_page_to_a_picture(app: AppProcess, open_page: Open, tmp_path: Path) -> None:
    page = open_page(app.url)
    page.get_by_role("button", name="The first portrait laughs").click()
    page.locator("#lr-result .lr-wipe").wait_for()
    path = downloaded(page, "#lr-download", tmp_path)
    assert_marked(path, "reenact")
    assert read_image(path).std() > 10


def test_feature_upload_two_pictures(app: AppProcess, open_page: Open, tmp_path: Path) -> None:
    page = open_page(app.url)
    upload(page, "#lr-identity", samples.path("portrait_b.png"))
    upload(page, "#lr-driving-picture", samples.path("driving.png"))
    page.locator("#lr-options button").first.click()
    page.get_by_label("Visible badge “AI generated”").first.check()
    page.get_by_label("Paste back into the whole picture").check()
    page.locator("#lr-start").click()
    page.locator("#lr-result .lr-wipe").wait_for()
    result = read_image(downloaded(page, "#lr-download", tmp_path))
    original = read_image(samples.path("portrait_b.png"))
    assert result.shape == original.shape, "pasted back, the picture keeps its size"
    assert (result[:20] == original[:20]).all()
    assert (result != original).any(2).mean() > 0.05
    wipe = page.locator("#lr-result .lr-wipe input")
    wipe.focus()
    page.keyboard.press("Home")
    assert "--cut: 0%" in (page.locator("#lr-result .lr-wipe").get_attribute("style") or "").replace(":0", ": 0")


def test_feature_video_with_progress(app: AppProcess, open_page: Open, tmp_path: Path) -> None:
    page = open_page(app.url)
    page.get_by_role("button", name="The second portrait talks").click()
    page.locator("#lr-result .lr-progress").wait_for()
    page.wait_for_function("/\\d+ of 75 frames/.test(document.querySelector('#lr-result')?.innerText)")
    page.locator("#lr-result video").wait_for()
    page.wait_for_function("document.querySelector('#lr-result video')?.readyState > 1")
    path = downloaded(page, "#lr-download", tmp_path)
    assert_marked(path, "reenact")
    assert probe_video(path).frames == 75


def test_feature_cancel_leaves_nothing(app: AppProcess, open_page: Open) -> None:
    page = open_page(app.url)
    page.get_by_role("button", name="The first portrait talks").click()
    page.locator("#lr-stop").click()
    page.get_by_text("Cancelled. Nothing was kept.").wait_for()
    page.locator("#lr-start").wait_for()
    page.get_by_role("button", name="The first portrait laughs").click()  # the next job is not held up
    page.locator("#lr-result .lr-wipe").wait_for()


def test_feature_another_example_takes_the_place_of_a_running_job(app: AppProcess, open_page: Open) -> None:
    page = open_page(app.url)
    page.get_by_role("button", name="The first portrait talks").click()
    page.locator("#lr-stop").wait_for()
    page.get_by_role("button", name="The first portrait laughs").click()
    page.locator("#lr-result .lr-wipe").wait_for()
    page.locator("#lr-start").wait_for()
    assert not page.locator("#lr-result video").count()


def test_feature_saved_person_opens_again(app: AppProcess, open_page: Open, tmp_path: Path) -> None:
    page = open_page(app.url)
    page.get_by_role("button", name="The first portrait laughs").click()
    page.locator("#lr-result .lr-wipe").wait_for()
    saved = downloaded(page, "#lr-save-person", tmp_path)
    assert saved.suffix == ".safetensors"
    fresh = open_page(app.url)
    fresh.locator("#lr-open-person input[type=file], input[type=file][accept='.safetensors']").first.set_input_files(
        saved
    )
    fresh.get_by_text("Now choose what they should do.").wait_for()
    upload(fresh, "#lr-driving-picture", samples.path("driving.png"))
    fresh.locator("#lr-start").click()
    fresh.locator("#lr-result .lr-wipe").wait_for()


def test_feature_face_picker_where_there_are_several(app: AppProcess, open_page: Open, tmp_path: Path) -> None:
    pair = np.concatenate([read_image(samples.path(f"portrait_{name}.png")) for name in "ab"], axis=1)
    write_image(tmp_path / "two.png", pair, marks=None)
    page = open_page(app.url)
    upload(page, "#lr-identity", tmp_path / "two.png")
    faces = page.locator("#lr-identity-faces button.thumbnail-item")
    faces.nth(1).wait_for()
    assert faces.count() == 2
    upload(page, "#lr-driving-picture", samples.path("driving.png"))
    seen = []
    for number in range(2):
        faces.nth(number).click()
        page.wait_for_timeout(500)
        await_new_result(page, lambda: page.locator("#lr-start").click())
        seen.append(read_image(downloaded(page, "#lr-download", tmp_path)).astype(float))
    assert np.abs(seen[0] - seen[1]).mean() > 10, "two faces, two people"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("noise.png", "No face was found in the identity picture."),
        ("broken.png", "The identity picture cannot be opened."),
        ("text.jpg", "The identity picture cannot be opened."),
        ("huge.png", "The identity picture is more than this app takes."),
    ],
)
def test_exception_bad_pictures_are_explained(
    app: AppProcess, open_page: Open, tmp_path: Path, name: str, words: str
) -> None:
    path = tmp_path / name
    if name == "noise.png":
        write_image(path, np.random.default_rng(0).integers(0, 255, (300, 300, 3), dtype=np.uint8), marks=None)
    elif name == "broken.png":
        path.write_bytes(samples.path("portrait_a.png").read_bytes()[:5000])
    elif name == "text.jpg":
        path.write_text("not a picture")
    else:
        Image.new("1", (9000, 9000)).save(path)
    page = open_page(app.url)
    page.locator("#lr-identity input[type=file]").first.set_input_files(path)
    page.wait_for_timeout(1500)
    upload(page, "#lr-driving-picture", samples.path("driving.png"))
    page.locator("#lr-start").click()
    alert = page.locator("#lr-result [role=alert]")
    alert.wait_for()
    assert words in alert.inner_text()
    assert "/tmp" not in alert.inner_text()


def test_feature_webcam(app: AppProcess, open_page: Open) -> None:
    """The made-up camera shows no face, and the page says so of the picture that it took."""
    page = open_page(app.url, permissions=["camera"])
    page.locator("#lr-identity").get_by_label("Capture from camera").or_(
        page.locator("#lr-identity .source-selection button").nth(1)
    ).first.click()
    page.locator("#lr-identity button").get_by_text("Click to Access Webcam").or_(
        page.locator("#lr-identity [title='grant webcam access']")
    ).first.click()
    page.locator("#lr-identity video").wait_for()
    page.wait_for_timeout(1000)
    page.locator("#lr-identity").get_by_label("capture photo").click()
    page.locator("#lr-identity img").wait_for()
    page.wait_for_timeout(500)
    upload(page, "#lr-driving-picture", samples.path("driving.png"))
    page.locator("#lr-start").click()
    page.get_by_text("No face was found in the identity picture.").wait_for()


def test_exception_nothing_chosen_is_explained(app: AppProcess, open_page: Open) -> None:
    page = open_page(app.url)
    page.locator("#lr-start").click()
    page.get_by_text("There is nothing to imitate yet.").wait_for()


def test_feature_two_users_at_once(app: AppProcess, open_page: Open, tmp_path: Path) -> None:
    """Each sees their own person, though both jobs run on one model."""
    pages = [open_page(app.url) for _ in range(2)]
    for page, name in zip(pages, ("The first portrait laughs", "The second portrait laughs"), strict=True):
        page.get_by_role("button", name=name).click()
    results = []
    for number, page in enumerate(pages):
        page.locator("#lr-result .lr-wipe").wait_for()
        folder = tmp_path / str(number)
        folder.mkdir()
        results.append(read_image(downloaded(page, "#lr-download", folder)).astype(float))
    skin = [result[50:80, 50:80].mean((0, 1)) for result in results]
    assert skin[0].mean() - skin[1].mean() > 20, "the first has the lighter skin"
