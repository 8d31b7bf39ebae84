"""The tabs of datasets and reports in a real browser: by mouse, by keys, narrow and wide."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio")
pytest.importorskip("playwright")

from fixtures_studio import CHROMIUM, chromium

from mosaic.studio.data.edits import Review, read_edits
from mosaic.studio.options import StudioOptions

from .sets import curated, sample, write_shard
from .test_reports import evaluated

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")
ANOTHER = "asked => document.querySelector('#check-panel [data-question]').dataset.question != asked"
ODD = "a ${window.hit = 1} {{value}} <img src=x onerror=hit=1> bear"
WAIT = 60_000  # ms: several tests may share one core


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    curated(folder / "set", accepted=10, rejected=6, parts=2)
    write_shard(folder / "hidden" / "x.tar", [sample("x")])
    odd = replace(sample("odd"), caption=ODD)
    write_shard(folder / "odd" / "<i onclick=hit>.tar", [odd])
    evaluated(folder / "reports" / "one", {"mosaic": 0.0, "rival": -0.1})
    evaluated(folder / "reports" / "two", {"mosaic": 0.2})
    return folder


@pytest.fixture(scope="module")
def address(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The two tabs alone, served as the Studio serves them."""
    import gradio as gr

    from mosaic.studio.app import open_page, prepare
    from mosaic.studio.data import tab as dataset_tab
    from mosaic.studio.reports import tab as reports_tab

    options = StudioOptions(
        folder=tmp_path_factory.mktemp("studio"), port=0, data=(data / "set", data / "odd", data / "reports")
    )
    before = dict(os.environ)
    prepare(options)
    with gr.Blocks(fill_width=True, analytics_enabled=False) as page, gr.Tabs():
        with gr.Tab("Data"):
            dataset_tab.tab(options)
        with gr.Tab("Reports"):
            reports_tab.tab(options)
    page.queue()
    _, found, _ = open_page(page, options, prevent_thread_lock=True)
    yield found
    page.close(verbose=False)
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    found = browser.new_context(viewport={"width": 1280, "height": 1000}).new_page()
    found.set_default_timeout(WAIT)
    errors: list[str] = []
    found.on("pageerror", lambda error: errors.append(str(error)))
    found.goto(address)
    found.wait_for_selector("#data-open")
    yield found
    assert not errors, errors
    found.context.close()


def open_set(page: Any, typed: str, reviewer: str) -> None:
    box = page.locator("#data-path input")
    box.fill(typed)
    box.press("Enter")
    page.get_by_label("Reviewer").fill(reviewer)
    page.locator("#data-open").click()


def edits(data: Path, reviewer: str) -> Review:
    return Review.of(read_edits(data / "set" / "reviews" / f"{reviewer}.jsonl"))


def test_a_dataset_is_looked_at_judged_and_checked_by_keys(page: Any, data: Path) -> None:
    open_set(page, str(data / "set"), "ann")
    cards = page.locator(".ms-card")
    cards.first.wait_for()
    assert cards.count() == 12
    page.get_by_text("1 – 12").wait_for()
    first = cards.first
    assert first.locator("img").first.get_attribute("alt").startswith("target: a bear")
    first.focus()
    page.keyboard.press("Enter")  # a card is a button
    page.locator("#data-picture svg").wait_for()
    address, second = first.get_attribute("data-sample"), cards.nth(1).get_attribute("data-sample")
    page.locator(f'[data-shown="{address}"]').wait_for()
    assert not page.get_by_label("What the fields began with").is_visible()
    page.keyboard.press("ArrowRight")
    page.locator(f'[data-shown="{second}"]').wait_for()
    page.locator("#data-keep").focus()  # keys are heard wherever nothing is typed
    page.keyboard.press("d")
    page.locator(".ms-card .ms-drop").first.wait_for()
    assert edits(data, "ann").decision(second) == "drop"
    page.keyboard.press("ArrowLeft")
    page.locator(f'[data-shown="{address}"]').wait_for()
    page.keyboard.press("l")
    cards.first.wait_for(state="hidden")
    page.locator("#data-large").click()
    cards.first.wait_for()
    page.locator("#data-caption textarea").fill("a thing on sand")
    page.get_by_role("button", name="Save what was mended").click()
    page.get_by_text("The caption lacks: bear, mug").wait_for()
    assert edits(data, "ann").value(address, "caption") == "a thing on sand"
    page.locator("#data-caption textarea").fill("a bear, a mug")
    cards.nth(1).click()  # what is typed is not lost
    page.locator(f'[data-shown="{second}"]').wait_for()
    assert edits(data, "ann").value(address, "caption") == "a bear, a mug"

    page.get_by_role("tab", name="Points").click()
    panel = page.locator("#check-panel [data-question]")
    panel.wait_for()
    asked = panel.get_attribute("data-question")
    page.keyboard.press("r")
    page.wait_for_function(ANOTHER, arg=asked)
    page.get_by_role("button", name="Wrong (W)").click()
    page.get_by_text("1 right, 1 wrong, of 2 samples").wait_for()
    page.keyboard.press("z")
    page.get_by_text("1 right, 0 wrong, of 1 samples").wait_for()
    marks = [edit for edit in edits(data, "ann").edits.values() if edit.thing == "point"]
    assert [(f"{edit.sample}#{edit.which}", edit.value) for edit in marks] == [(asked, "right")]


def test_what_lies_outside_cannot_be_opened(page: Any, data: Path) -> None:
    open_set(page, str(data / "set" / ".." / "hidden"), "eve")
    page.locator("#data-status [role=alert]").get_by_text("There is no").wait_for()
    assert page.locator(".ms-card").count() == 0


def test_what_is_made_later_is_offered(page: Any, data: Path) -> None:
    made = write_shard(data / "set" / "made-later" / "y.tar", [sample("y")])
    try:
        page.locator("#data-path input").click()
        page.get_by_role("option", name="set/made-later").wait_for()
    finally:
        shutil.rmtree(made.parent)


@pytest.mark.slow
def test_two_windows_on_one_sample(page: Any, browser: Any, address: str, data: Path) -> None:
    other = browser.new_context(viewport={"width": 1280, "height": 1000}).new_page()
    other.set_default_timeout(WAIT)
    other.goto(address)
    for window in (page, other):
        window.wait_for_selector("#data-open")
        open_set(window, str(data / "set"), "dan")
        window.locator(".ms-card").first.click()
        window.locator("#data-picture svg").wait_for()
    caption = page.locator("#data-caption textarea").input_value()
    page.locator("#data-caption textarea").fill(f"{caption}, one")
    page.get_by_role("button", name="Save what was mended").click()
    page.locator(".ms-card .ms-mended").first.wait_for()
    other.locator("#data-caption textarea").fill(f"{caption}, two")
    other.locator(".ms-card").nth(1).click()
    other.get_by_text("was mended in another window").first.wait_for()
    other.locator(".ms-card").first.click()  # the way out: the sample as it is now
    other.locator(".ms-card .ms-mended").first.wait_for()
    assert other.locator("#data-caption textarea").input_value() == f"{caption}, one"
    other.context.close()


@pytest.mark.slow
def test_what_people_wrote_is_shown_as_text(page: Any, data: Path) -> None:
    open_set(page, str(data / "odd"), "ann")
    page.locator(".ms-card").first.wait_for()
    assert page.locator(".ms-caption").inner_text() == ODD
    page.locator(".ms-card").first.click()
    page.locator("#data-picture svg").wait_for()
    assert page.locator("#data-caption textarea").input_value() == ODD
    assert page.locator("#data-picture svg").get_attribute("aria-label") == f"references and target: {ODD}"
    assert not page.evaluate("window.hit")


@pytest.mark.slow
def test_filters_pages_comparison_and_export(page: Any, data: Path) -> None:
    open_set(page, str(data / "set"), "bob")
    page.locator(".ms-card").first.wait_for()
    page.get_by_text("1 – 12 of 32").wait_for()
    page.get_by_role("button", name="Later").click()
    page.get_by_text("13 – 24 of 32").wait_for()
    page.get_by_label("Verdict").click()
    page.get_by_role("option", name="rejected").click()
    page.get_by_text("1 – 12 of 12").wait_for()
    page.get_by_label("Search").fill("duck segment/0")
    page.keyboard.press("Enter")
    page.get_by_text("1 – 6 of 6").wait_for()
    page.get_by_role("tab", name="Points").click()
    panel = page.locator("#check-panel [data-question]")
    panel.wait_for()
    for key in "rwu":
        asked = panel.get_attribute("data-question")
        page.keyboard.press(key)
        page.wait_for_function(ANOTHER, arg=asked)
    page.get_by_role("tab", name="Export").click()
    page.get_by_label("Name of the new dataset").fill("mine")
    page.locator("#export").click()
    page.get_by_text("Written to").wait_for()
    page.get_by_text("samples 20").wait_for()
    page.locator("#export").click()
    page.get_by_text("There is an export mine already").first.wait_for()


@pytest.mark.slow
def test_two_reports_are_compared(page: Any) -> None:
    page.get_by_role("tab", name="Reports").click()
    box = page.locator("#report-paths input")
    for name in ("one", "two"):
        box.fill(name)
        box.press("Enter")
    page.locator("#report-open").click()
    page.locator("#report-tables table").first.wait_for()
    page.get_by_role("tab", name="Differences").click()
    assert page.locator("#report-differences svg").count() == 2
    page.get_by_role("tab", name="Cases").click()
    page.locator("#report-cases img.ms-result").first.wait_for()
    page.get_by_role("tab", name="Grid").click()
    page.locator("#report-grid img.ms-result").first.wait_for()


@pytest.mark.slow
@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_is_wider_than_the_window(browser: Any, address: str, data: Path, width: int) -> None:
    page = browser.new_context(viewport={"width": width, "height": 900}).new_page()
    page.set_default_timeout(WAIT)
    page.goto(address)
    page.wait_for_selector("#data-open")
    open_set(page, str(data / "set"), "cat")
    page.locator(".ms-card").first.wait_for()
    page.locator(".ms-card").first.click()
    page.locator("#data-picture svg").wait_for()
    for name in ("Points", "Export"):
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.get_by_role("tab", name=name).click()
        page.wait_for_timeout(500)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.context.close()
