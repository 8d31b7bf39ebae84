"""The maker's tab in a real browser: from dropped pictures to the attention, and what goes wrong.

On a tiny random model, so that a picture takes a second; what is looked at is the page, not the picture.
"""

import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from fixtures_studio import CHROMIUM, drop, opened, until_made
from PIL import Image

from mosaic.pictures import read_recipe
from mosaic.pictures.attention import COLORS
from mosaic.studio.making import Maker

pytest.importorskip("gradio")
pytest.importorskip("playwright")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")


def steps_of(page: Any, number: int) -> None:
    page.get_by_text("More settings").click()
    field = page.locator("#steps input[type=number]")
    field.fill(str(number))
    field.press("Tab")


# ---------------------------------------------------------------- the main path


def test_from_dropped_pictures_to_why(
    page: Any, studio: tuple[str, Maker], pictures: dict[str, Path]
) -> None:
    drop(page, pictures["bear"], pictures["robot"])
    assert page.get_by_label("Name of reference 1").input_value() == "bear"
    assert page.get_by_alt_text("Reference 2: robot, cut out").is_visible()
    assert (
        page.get_by_label("Cut out").nth(1).is_checked()
        and not page.get_by_label("Cut out").nth(0).is_checked()
    )

    page.get_by_label("Prompt").fill("a bear on grass")
    page.get_by_text("The prompt does not mention “robot”.").wait_for()
    assert page.locator("#strip mark").all_inner_texts() == ["bear"]
    page.get_by_label("Prompt").fill("a bear and a robot on grass")
    page.wait_for_function("document.querySelectorAll('#strip mark').length === 2")
    style = page.locator("#strip mark").nth(1).get_attribute("style")
    assert COLORS[1] in style and COLORS[1] in page.locator(".thumb").nth(1).get_attribute("style")

    page.get_by_label("Seed").fill("21")
    page.get_by_role("button", name="Generate").click()
    until_made(page)
    made = page.locator("#result img")
    assert "a bear and a robot on grass (seed 21)" in made.get_attribute("alt")

    page.wait_for_selector("#why .point img")
    point = page.locator("#why .point").nth(1)
    assert COLORS[1] in point.locator("xpath=..").get_attribute("style")
    before = page.locator("#seen img").get_attribute("src")
    point.click(position={"x": 30, "y": 30})
    page.get_by_text(re.compile("This place of “robot” looks most at the point")).wait_for()
    assert page.locator("#seen img").get_attribute("src") != before
    page.get_by_label("who owns what").check()
    page.get_by_text(re.compile("Of the picture, “bear” owns")).wait_for()

    entry = studio[1].history.entries()[0]
    assert entry.recipe["seed"] == 21 and read_recipe(entry.file)["prompt"].startswith("a bear and")
    with page.expect_download() as download:
        page.locator("#result a[download]").click()
    assert read_recipe(download.value.path())["seed"] == 21  # the file that is saved carries its recipe
    here = urlsplit(studio[0]).netloc
    assert {urlsplit(url).netloc for url in page.asked if not url.startswith(("data:", "blob:"))} == {here}


# ---------------------------------------------------------------- what goes wrong


@pytest.mark.slow
def test_a_bad_file_is_one_sentence(page: Any, pictures: dict[str, Path]) -> None:
    drop(page, pictures["bad"])
    note = page.locator("#told [role=alert]")
    assert note.inner_text() == "bad.png is no picture that Pillow reads: save it as PNG or JPEG."
    drop(page, pictures["bear"])
    page.wait_for_selector("#card-1 img")
    assert page.locator("#told [role=alert]").count() == 0


@pytest.mark.slow
def test_refusals_are_told_on_the_page(page: Any, pictures: dict[str, Path]) -> None:
    page.set_viewport_size({"width": 1280, "height": 500})
    page.get_by_role("button", name="Generate").click()
    page.get_by_text("The prompt is empty: say what the picture shows.").wait_for()
    page.wait_for_function("document.querySelector('#progress .alert').getBoundingClientRect().top >= 0")
    page.get_by_label("Prompt").fill("a bear")
    page.locator("#size input").fill("large")
    page.locator("#size input").press("Enter")
    page.get_by_label("Seed").fill("-1")
    page.get_by_role("button", name="Generate").click()
    page.get_by_text("The size is width × height in pixels, for example 512 × 512, not “large”.").wait_for()
    page.locator("#size input").fill("64x64")
    page.locator("#size input").press("Enter")
    page.get_by_role("button", name="Generate").click()
    page.get_by_text("The seed lies in 0…2⁶³−1, not at -1.").wait_for()
    drop(page, pictures["bear"])
    page.get_by_label("Name of reference 1").fill("")
    page.get_by_text("One reference has no name: call it by its noun, as the prompt does.").wait_for()


@pytest.mark.slow
def test_nine_references_are_eight(page: Any, pictures: dict[str, Path]) -> None:
    for _ in range(8):
        drop(page, pictures["bear"])
    drop(page, pictures["bear"])
    page.get_by_text("A picture takes at most 8 references and would have 9: remove some first.").wait_for()
    assert page.locator(".card img").count() == 8
    assert page.get_by_text("another view").count() == 7
    page.get_by_role("button", name="Remove all").click()
    page.wait_for_function("document.querySelectorAll('.card img').length === 0")


@pytest.mark.slow
def test_cancel_stops(page: Any, studio: tuple[str, Maker]) -> None:
    before = len(studio[1].history.entries())
    page.get_by_label("Prompt").fill("a bear on grass")
    steps_of(page, 100)
    page.get_by_role("button", name="Generate").click()
    page.wait_for_selector("#progress [role=progressbar]")
    page.get_by_role("button", name="Cancel").click()
    until_made(page, "Cancelled.")
    page.get_by_text("Cancelled.").wait_for()
    page.wait_for_selector("#result .empty")  # no preview stays as if it were a picture
    assert page.get_by_role("button", name="Generate").is_enabled()
    assert not page.get_by_role("button", name="Cancel").is_visible()
    assert len(studio[1].history.entries()) == before and not studio[1].turns._line


@pytest.mark.slow
def test_leaving_the_page_stops_the_picture(browser: Any, studio: tuple[str, Maker]) -> None:
    page = opened(browser, studio[0])
    page.get_by_label("Prompt").fill("a bear on grass")
    steps_of(page, 100)
    page.get_by_role("button", name="Generate").click()
    page.wait_for_selector("#progress [role=progressbar]")
    page.context.close()
    end = time.monotonic() + 30
    while studio[1].turns._line and time.monotonic() < end:
        time.sleep(0.1)
    assert not studio[1].turns._line


@pytest.mark.slow
def test_two_at_once(browser: Any, studio: tuple[str, Maker], pictures: dict[str, Path]) -> None:
    """Both are made, one after the other; neither sees the other's references or picture."""
    pages = [opened(browser, studio[0]) for _ in range(2)]
    for number, (page, name) in enumerate(zip(pages, ("bear", "robot"), strict=True)):
        drop(page, pictures[name])
        page.get_by_label("Prompt").fill(f"a {name} on grass")
        page.get_by_label("Seed").fill(str(40 + number))
        steps_of(page, 30)
    for page in pages:
        page.get_by_role("button", name="Generate").click()
    waits = pages[1].locator("#progress", has_text="One picture comes first")
    waits.wait_for()
    for number, page in enumerate(pages):
        until_made(page, f"seed {40 + number}.")
        assert f"(seed {40 + number})" in page.locator("#result img").get_attribute("alt")
        assert page.locator(".card img").count() == 1
    assert pages[1].locator("#why figcaption").first.inner_text() == "robot"
    for page in pages:
        assert not page.errors
        page.context.close()


@pytest.mark.slow
def test_history_and_library_outlive_the_page(
    page: Any, browser: Any, studio: tuple[str, Maker], pictures: dict[str, Path]
) -> None:
    drop(page, pictures["robot"])
    page.get_by_role("button", name="Keep").first.click()
    page.get_by_text("“robot” is in the library now.").wait_for()
    page.get_by_label("Prompt").fill("a robot on sand")
    page.get_by_label("Seed").fill("77")
    page.get_by_role("button", name="Generate").click()
    until_made(page)

    again = opened(browser, studio[0])
    pressed = again.get_by_role("button", name="a robot on sand (seed 77)")
    again.wait_for_function("document.querySelector('#history img').naturalWidth === 64")
    pressed.click()
    again.get_by_text(re.compile("seed 77: settings and references are as they were")).wait_for()
    again.wait_for_selector("#card-1 img")
    assert again.get_by_label("Prompt").input_value() == "a robot on sand"
    assert again.get_by_label("Seed").input_value() == "77"
    assert again.get_by_label("Cut out").first.is_checked()
    again.wait_for_selector("#why .point")
    again.get_by_role("button", name="Remove all").click()
    again.wait_for_function("document.querySelectorAll('.card img').length === 0")
    again.get_by_label("From the library").click()
    again.get_by_role("option", name="robot").click()
    again.wait_for_selector("#card-1 img")
    again.wait_for_function("document.querySelector('#name-1 input, #name-1 textarea').value === 'robot'")
    assert not again.errors
    again.context.close()


@pytest.mark.slow
def test_a_picture_is_deleted_after_a_question(page: Any, studio: tuple[str, Maker]) -> None:
    page.get_by_label("Prompt").fill("a bear on snow")
    page.get_by_label("Seed").fill("78")
    page.get_by_role("button", name="Generate").click()
    until_made(page)
    small = page.locator("#history").get_by_role("button", name="a bear on snow (seed 78)")
    page.get_by_role("button", name="Delete this picture").click()
    page.get_by_role("button", name="Leave it").click()
    page.get_by_role("button", name="Delete this picture").click()
    assert small.is_visible()
    page.get_by_role("button", name="Delete it for good").click()
    page.get_by_text("Deleted. References that no picture shows").wait_for()
    page.wait_for_selector("#result .empty")
    page.wait_for_function("!document.querySelector('#delete')?.offsetParent")
    assert small.count() == 0
    assert "a bear on snow" not in [entry.recipe["prompt"] for entry in studio[1].history.entries()]


@pytest.mark.slow
def test_which_gpu(page: Any) -> None:
    page.get_by_text("Which GPU makes a picture?").click()
    page.get_by_role("button", name="Estimate").click()
    page.get_by_role("row", name=re.compile("4090")).wait_for()
    assert "--offload model --quantize fp8" in page.get_by_role("row", name=re.compile("4090")).inner_text()
    assert page.get_by_text(re.compile("an estimate from the sizes of its parts")).is_visible()


def test_the_pictures_of_the_documents_are_there() -> None:
    folder = Path(__file__).parents[2] / "docs" / "pictures"
    for name in ("studio-light", "studio-dark", "studio-narrow"):
        with Image.open(folder / f"{name}.png") as picture:
            assert picture.width >= 400
