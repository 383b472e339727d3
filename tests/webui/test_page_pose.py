"""The tab Pose and expression in a real browser: sliders, presets, key-frames, and how fast a drag is answered."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from app_process import AppProcess
from test_page_reenact import assert_marked, downloaded, upload

from latent_reenact import samples
from latent_reenact.media import probe_video, read_image

pytestmark = pytest.mark.slow

Open = Callable[..., Any]
STAGE = "#lr-pose-stage .lr-now"
BAR_MS = 300  # on two cores with nothing else to do; LATENT_REENACT_MEASURE=1 holds the test to it


def opened(app: AppProcess, open_page: Open, **options: Any) -> Any:
    page = open_page(app.url, **options)
    page.get_by_role("tab", name="Pose and expression").click()
    page.locator(STAGE).wait_for()
    return page


def shown(page: Any) -> str:
    return page.locator(STAGE).get_attribute("src")


def set_slider(page: Any, name: str, value: float) -> None:
    """As somebody types it, and the new picture."""
    before = shown(page)
    box = page.locator(f"#lr-{name} input[type=number]")
    box.fill(str(value))
    box.press("Tab")
    page.wait_for_function(f"(was) => document.querySelector('{STAGE}').src !== was", arg=before)


def value_of(page: Any, name: str) -> float:
    return float(page.locator(f"#lr-{name} input[type=number]").input_value())


def test_smoke_slider_download(app: AppProcess, open_page: Open, tmp_path: Path) -> None:
    page = opened(app, open_page)
    assert page.locator(".lr-group input[type=range]").count() == 16
    set_slider(page, "yaw_deg", 20)
    path = downloaded(page, "#lr-pose-download", tmp_path)
    assert_marked(path, "pose")
    assert read_image(path).std() > 10


def test_feature_undo_redo_reset(app: AppProcess, open_page: Open) -> None:
    page = opened(app, open_page)
    first, yaw = shown(page), value_of(page, "yaw_deg")
    set_slider(page, "yaw_deg", 20)
    page.wait_for_timeout(900)  # more than what counts as one drag
    set_slider(page, "smile", 1)
    turned_and_smiling = shown(page)

    def click(button: str) -> None:
        before = shown(page)
        page.locator(button).click()
        page.wait_for_function(f"(was) => document.querySelector('{STAGE}').src !== was", arg=before)

    click("#lr-undo")
    assert (value_of(page, "yaw_deg"), value_of(page, "smile") < 1) == (20, True)
    click("#lr-undo")
    assert value_of(page, "yaw_deg") == yaw
    click("#lr-redo")
    click("#lr-redo")
    assert value_of(page, "smile") == 1
    assert shown(page)[:2000] != first[:2000] or shown(page) != first
    assert shown(page)[-2000:] == turned_and_smiling[-2000:]
    click("#lr-reset")
    assert value_of(page, "yaw_deg") == yaw


def test_feature_hold_to_compare(app: AppProcess, open_page: Open) -> None:
    page = opened(app, open_page)

    def opacity() -> str:
        return page.locator("#lr-pose-stage .lr-before").evaluate("e => getComputedStyle(e).opacity")

    assert opacity() == "0"
    page.locator("#lr-hold").hover()
    page.mouse.down()
    assert opacity() == "1"
    page.mouse.up()
    assert opacity() == "0"
    page.locator("#lr-hold").focus()
    page.keyboard.down("Space")
    assert opacity() == "1"
    page.keyboard.up("Space")
    assert opacity() == "0"


def test_feature_presets(app: AppProcess, open_page: Open, tmp_path: Path) -> None:
    page = opened(app, open_page)
    page.get_by_role("button", name="Surprise").click()
    page.wait_for_function("document.querySelector('#lr-brows_up input[type=number]').value === '0.9'")
    page.locator("#lr-my-presets button").first.click()
    saved = downloaded(page, "#lr-preset-save", tmp_path)
    settings = json.loads(saved.read_text())["settings"]
    assert settings["brows_up"] == 0.9
    page.locator("#lr-reset").click()
    page.wait_for_function("document.querySelector('#lr-brows_up input[type=number]').value !== '0.9'")
    page.locator("input[type=file][accept='.json']").set_input_files(saved)
    page.wait_for_function("document.querySelector('#lr-brows_up input[type=number]').value === '0.9'")


@pytest.mark.parametrize("part", ["Expression only", "Pose only"])
def test_feature_copy_a_part_of_a_picture(app: AppProcess, open_page: Open, part: str) -> None:
    """The driving sample is turned and laughs."""
    page = opened(app, open_page)
    yaw, smile = value_of(page, "yaw_deg"), value_of(page, "smile")
    page.locator("#lr-copy button").first.click()
    upload(page, "#lr-copy-picture", samples.path("driving.png"))
    page.get_by_label(part).check()
    before = shown(page)
    page.locator("#lr-copy-go").click()
    page.wait_for_function(f"(was) => document.querySelector('{STAGE}').src !== was", arg=before)
    turned, smiled = abs(value_of(page, "yaw_deg") - yaw) > 5, abs(value_of(page, "smile") - smile) > 0.1
    assert (turned, smiled) == ((False, True) if part == "Expression only" else (True, False))


@pytest.mark.parametrize(("kind", "suffix"), [("Video", ".mp4"), ("GIF", ".gif")])
def test_feature_film_from_key_frames(app: AppProcess, open_page: Open, tmp_path: Path, kind: str, suffix: str) -> None:
    page = opened(app, open_page)
    page.locator("#lr-film button").first.click()
    for number, yaw in enumerate((-20, 20), start=1):
        set_slider(page, "yaw_deg", yaw)
        page.locator("#lr-key-add").click()
        page.locator(f"#lr-strip img[alt='Key-frame {number}']").wait_for()
    page.get_by_label(kind, exact=True).check()
    page.locator("#lr-film-go").click()
    page.locator("#lr-film-stage .lr-now").wait_for()
    path = downloaded(page, "#lr-film-download", tmp_path)
    assert path.suffix == suffix
    assert_marked(path, "key-frames")
    assert probe_video(path).frames in (40, 50)


def test_feature_another_person(app: AppProcess, open_page: Open, tmp_path: Path) -> None:
    page = opened(app, open_page)
    first = read_image(downloaded(page, "#lr-pose-download", tmp_path)).astype(float)
    page.locator("#lr-another button").first.click()
    before = shown(page)
    upload(page, "#lr-pose-picture", samples.path("portrait_b.png"))
    page.wait_for_function(f"(was) => document.querySelector('{STAGE}').src !== was", arg=before)
    second = read_image(downloaded(page, "#lr-pose-download", tmp_path)).astype(float)
    assert np.abs(first - second).mean() > 20


def test_feature_keyboard_alone(app: AppProcess, open_page: Open) -> None:
    """From the tabs to a slider and back with Tab, arrows and Enter; what has the focus can be seen."""
    page = opened(app, open_page)
    slider = page.locator("#lr-yaw_deg input[type=range]")
    for _ in range(60):
        page.keyboard.press("Tab")
        if slider.evaluate("e => e === document.activeElement"):
            break
    else:
        pytest.fail("Tab never came to the first slider")
    assert slider.evaluate("e => getComputedStyle(e).outlineStyle") != "none"
    before, yaw = shown(page), value_of(page, "yaw_deg")
    page.keyboard.press("ArrowRight")
    page.wait_for_function(f"(was) => document.querySelector('{STAGE}').src !== was", arg=before)
    assert value_of(page, "yaw_deg") == yaw + 0.5


def test_feature_drag_is_answered_quickly(app: AppProcess, open_page: Open) -> None:
    """From an input event of the slider to the new picture decoded on the page, 60 times in a drag."""
    page = opened(app, open_page)
    times = page.evaluate(
        """async () => {
          const slider = document.querySelector('#lr-yaw_deg input[type=range]');
          const times = [];
          for (let i = 0; i < 60; i++) {
            const was = document.querySelector('#lr-pose-stage .lr-now').src;
            const began = performance.now();
            slider.value = -30 + i;
            slider.dispatchEvent(new Event('input', { bubbles: true }));
            for (;;) {
              await new Promise((done) => requestAnimationFrame(done));
              const image = document.querySelector('#lr-pose-stage .lr-now');
              if (image.src !== was) { await image.decode(); break; }
              if (performance.now() - began > 10000) throw new Error('no answer');
            }
            times.push(performance.now() - began);
          }
          return times;
        }"""
    )
    p50, p95 = np.percentile(times[5:], [50, 95])
    print(f"\nslider to picture: p50 {p50:.0f} ms, p95 {p95:.0f} ms")
    assert p95 < (BAR_MS if os.environ.get("LATENT_REENACT_MEASURE") else 10 * BAR_MS)
