"""The pictures of docs/studio-data.md: a dataset, and two reports side by side, as the Studio shows them.

mosaic curate recipes/curate-toybox.toml --output work/toys --set samples=60 --set shard=25 \
    --set 'thresholds.segment/*/area.least=0.09'
mosaic evaluate toybox --limit 8 --steps 6 --output work/toybox-6-steps
mosaic evaluate toybox --limit 8 --steps 1 --output work/toybox-1-step
python examples/studio_data_pictures.py work docs/pictures

Needs the extra `dev` and Debian's Chromium.
"""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

from mosaic.studio.app import build, open_page, prepare
from mosaic.studio.options import StudioOptions

QUIET = (
    "--no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync"
)
REPORTS = ("toybox-6-steps", "toybox-1-step")


def main(data: Path, output: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        options = StudioOptions(folder=Path(folder), port=0, data=(data,))
        prepare(options)
        page, _ = build(options)
        _, address, _ = open_page(page, options, prevent_thread_lock=True)
        with sync_playwright() as playwright:
            chromium = shutil.which("chromium")
            browser = playwright.chromium.launch(executable_path=chromium, args=QUIET.split())
            draw(browser, address, output)
            browser.close()
        page.close(verbose=False)
    shutil.rmtree(data / "toys" / "reviews", ignore_errors=True)


def draw(browser: Any, address: str, output: Path) -> None:
    page = browser.new_context(viewport={"width": 1360, "height": 1080}).new_page()
    page.goto(address)
    page.get_by_role("tab", name="Data").click()
    dataset(page)
    shoot(page, output / "studio-dataset.png")
    page.get_by_role("tab", name="Points").click()
    page.locator("#check-panel img").first.wait_for()
    for n in range(23):
        mark(page, "r" if n % 11 else "w")
    shoot(page, output / "studio-points.png", height=1020)
    page.get_by_role("tab", name="Reports").click()
    page.set_viewport_size({"width": 1360, "height": 1340})
    reports(page)
    shoot(page, output / "studio-reports.png")


def dataset(page: Any) -> None:
    box = page.locator("#data-path input")
    box.fill("toys")
    box.press("Enter")
    page.locator("#data-open").click()
    page.locator(".ms-card").first.wait_for()
    page.get_by_text("1 – 12").wait_for()
    for number, key in ((2, "k"), (4, "d"), (5, "k"), (1, "")):
        card = page.locator(".ms-card").nth(number)
        card.click()
        page.locator(f'[data-shown="{card.get_attribute("data-sample")}"]').wait_for()
        if key:
            page.keyboard.press(key)
            card.locator(".ms-keep, .ms-drop").wait_for()
    page.locator("#data-picture svg").wait_for()
    page.evaluate("document.querySelectorAll('*').forEach(e => e.scrollTop = 0)")


def mark(page: Any, key: str) -> None:
    asked = page.locator("#check-panel [data-question]").get_attribute("data-question")
    page.keyboard.press(key)
    other = "asked => document.querySelector('#check-panel [data-question]').dataset.question != asked"
    page.wait_for_function(other, arg=asked)


def reports(page: Any) -> None:
    box = page.locator("#report-paths input")
    for name in REPORTS:
        box.fill(name)
        box.press("Enter")
    box.blur()
    page.locator("#report-open").click()
    page.locator("#report-tables table").first.wait_for()
    page.get_by_role("tab", name="Grid").click()
    page.locator("#report-grid-part input").click()
    page.get_by_role("option", name="K=3").click()
    page.wait_for_timeout(2000)
    page.locator("#report-grid img.ms-result").first.wait_for()


def shoot(page: Any, file: Path, height: int | None = None) -> None:
    page.mouse.move(0, 0)
    page.wait_for_timeout(1500)
    size = {"width": 1360, "height": height} if height else None
    page.screenshot(path=file, clip={"x": 0, "y": 0, **size} if size else None)
    Image.open(file).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(file, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
