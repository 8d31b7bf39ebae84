"""The pictures of docs/studio.md: four toys and what was made of them, light, dark, narrow.

python examples/studio_pictures.py docs/pictures

Needs the extra `dev` and Debian's Chromium.
"""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from mosaic.studio.app import build, open_page, prepare
from mosaic.studio.options import StudioOptions

QUIET = (
    "--no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync"
)
SEEDS = (4, 0, 11)  # the last is shown
WAIT = 180_000  # ms


def main(output: Path) -> None:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        options = StudioOptions(folder=Path(folder), port=0)
        prepare(options)
        page, _ = build(options)
        _, address, _ = open_page(page, options, prevent_thread_lock=True)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=QUIET.split())
        draw(browser, address, output)
        browser.close()
        page.close(verbose=False)


def draw(browser: Any, address: str, output: Path) -> None:
    page = opened(browser, address, 1360, "light")
    page.get_by_role("button", name="Try four toys").click()
    page.wait_for_selector("#card-4 img")
    for seed in SEEDS:
        page.get_by_label("Seed").fill(str(seed))
        page.get_by_role("button", name="Generate").click()
        page.wait_for_function(
            "seed => document.querySelector('#progress').innerText.includes(`with seed ${seed}.`)", arg=seed
        )
    see_why(page)
    page.screenshot(path=output / "studio-light.png", full_page=True)
    for name, width, scheme in (("studio-dark", 1360, "dark"), ("studio-narrow", 400, "light")):
        other = opened(browser, address, width, scheme)
        other.locator("#history img").first.click()
        other.wait_for_selector("#card-4 img")
        see_why(other, owners=True)
        other.screenshot(path=output / f"{name}.png", full_page=True)


def see_why(page: Any, owners: bool = False) -> None:
    """A place of the bear pinned, or who owns what."""
    page.wait_for_selector("#why .point img")
    box = page.locator("#why .point").first
    side = box.bounding_box()["width"]
    box.click(position={"x": side * 0.5, "y": side * 0.6})
    page.wait_for_timeout(2500)  # the answer
    if owners:
        page.get_by_label("who owns what").check()
        page.get_by_text("Of the picture, “bear” owns").wait_for()
    page.mouse.move(2, 2)
    page.evaluate("scrollTo(0, 0)")  # the picture stays in sight, wherever one is
    page.wait_for_timeout(1500)  # the last pictures are drawn


def opened(browser: Any, address: str, width: int, scheme: str) -> Any:
    page = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme).new_page()
    page.set_default_timeout(WAIT)
    page.goto(address)
    page.wait_for_selector("#generate")
    return page


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
