"""The maker's tab for everyone: by keyboard, on a narrow page, in the dark, by a screen reader."""

import re
from typing import Any

import pytest
from fixtures_studio import CHROMIUM, opened, until_made

from mosaic.studio.making import Maker

pytest.importorskip("gradio")
pytest.importorskip("playwright")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")


@pytest.mark.slow
def test_by_keyboard_alone(page: Any) -> None:
    """Four toys, a picture and a look, without a pointer."""

    def press_until(selector: str, key: str = "Tab") -> None:
        for _ in range(90):
            if page.evaluate("selector => document.activeElement.closest(selector) !== null", selector):
                return
            page.keyboard.press(key)
        raise AssertionError(f"{selector} is not reached by {key}")

    press_until("#toys")
    page.keyboard.press("Enter")
    page.wait_for_selector("#card-4 img")
    press_until("#prompt")
    page.keyboard.press("Shift+Enter")
    until_made(page)
    page.wait_for_selector("#why .point")
    press_until("#why .point")
    page.wait_for_function("document.querySelectorAll('[role=combobox][aria-expanded=true]').length === 0")
    page.keyboard.press("ArrowRight")
    page.get_by_text(re.compile("This place of “bear” looks most")).wait_for()
    first = page.locator("#why .point.on").get_attribute("data-column")
    page.keyboard.press("ArrowLeft")
    page.wait_for_function(
        "was => document.querySelector('#why .point.on').dataset.column !== was", arg=first
    )
    assert page.evaluate("document.activeElement.classList.contains('point')")


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(400, "light"), (400, "dark"), (1280, "dark")])
def test_narrow_and_dark(browser: Any, studio: tuple[str, Maker], width: int, scheme: str) -> None:
    page = opened(browser, studio[0], color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    whole = "document.querySelector('.gradio-container').getBoundingClientRect().width"
    assert page.evaluate(whole) == width  # whatever is on the page, and on every tab
    page.get_by_role("button", name="Try four toys").click()
    page.wait_for_selector("#card-4 img")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(map(int, re.findall(r"\d+", background)[:3])) / 3
    assert (brightness > 128) == (scheme == "light")
    page.context.close()


@pytest.mark.slow
def test_everything_has_a_name(page: Any) -> None:
    """Fields, buttons and pictures that are seen have a text a screen reader can say."""
    page.get_by_role("button", name="Try four toys").click()
    page.wait_for_selector("#card-4 img")
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("input, textarea, button, select, img")]
            .filter((one) => one.checkVisibility() && one.type !== "file")
            .filter((one) => !(one.getAttribute("aria-label") || one.title || one.hasAttribute("alt")
                || one.innerText?.trim() || [...(one.labels || [])].some((label) => label.innerText.trim())))
            .map((one) => one.outerHTML.slice(0, 120))"""
    )
    assert not nameless
    card = page.get_by_role("group", name="Reference 2", exact=True)
    assert card.get_by_role("button", name="Remove").count() == 1
    for where in ("#told", "#lacks", "#progress"):  # what comes into them is spoken
        assert page.locator(f"{where} [aria-live=polite]").count() == 1
