"""A tiny random model, makers that run on it, the Studio served, and a browser."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fixtures_model import draw_subject, write_lora, write_model

from mosaic.studio.history import Given
from mosaic.studio.library import Library
from mosaic.studio.making import Maker
from mosaic.studio.options import StudioOptions
from mosaic.studio.shelf import Shelf

PROMPT = "a bear and a robot on grass"


def write_models(root: Path) -> dict[str, Path]:
    """folder, release (sees the target) and isolated (can be cached)."""
    folder = write_model(root / "model", default_size=64, default_steps=3, default_guidance=2.0)
    isolated = {"visibility": "isolated", "reference_pooled": "null", "canvas_size": 32}
    return {
        "folder": folder,
        "release": write_lora(folder, root / "release.safetensors", canvas_size=32),
        "isolated": write_lora(folder, root / "isolated.safetensors", **isolated),
    }


def maker_on(models: dict[str, Path], folder: Path, lora: str = "release", **more: Any) -> Maker:
    options = StudioOptions(model=str(models["folder"]), lora=str(models[lora]), folder=folder, **more)
    return Maker(options, Library(options.library, Shelf(options.pictures)))


def given(maker: Maker, name: str, index: int = 0) -> Given:
    file = maker.shelf.put(draw_subject(index))
    return Given(name=name, original=file, file=file)


def options_on(models: dict[str, Path], folder: Path, **more: Any) -> StudioOptions:
    values = {"model": str(models["folder"]), "lora": str(models["release"]), "folder": folder, "port": 0}
    return StudioOptions(**values | more)


@contextmanager
def served(options: StudioOptions) -> Iterator[tuple[str, Maker]]:
    """The Studio at an address of its own, in this process."""
    from mosaic.studio.app import build, open_page, prepare

    before = dict(os.environ)
    prepare(options)
    page, maker = build(options)
    try:
        _, address, _ = open_page(page, options, prevent_thread_lock=True)
        yield address.rstrip("/"), maker
    finally:
        page.close(verbose=False)
        os.environ.clear()
        os.environ.update(before)


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync")  # fmt: skip


@contextmanager
def chromium() -> Iterator[Any]:
    """Playwright's browser on the system's Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=list(QUIET))
        try:
            yield browser
        finally:
            browser.close()


# ---------------------------------------------------------------- what a person does

WAIT = 60_000  # ms: several tests may share one core


def opened(browser: Any, address: str, **more: Any) -> Any:
    page = browser.new_context(viewport={"width": 1280, "height": 1000}, **more).new_page()
    page.set_default_timeout(WAIT)
    page.errors, page.asked = [], []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto(address)
    page.wait_for_selector("#generate")
    return page


def drop(page: Any, *files: Path) -> None:
    """As a person drops files: a DataTransfer let go over the drop zone."""
    for file in files:
        data = list(file.read_bytes())
        transfer = page.evaluate_handle(
            """([data, name]) => {
                const transfer = new DataTransfer();
                transfer.items.add(new File([new Uint8Array(data)], name, {type: "image/png"}));
                return transfer;
            }""",
            [data, file.name],
        )
        before = page.locator(".card img").count()
        told = page.locator("#told").inner_text()
        page.dispatch_event("#drop button.upload-container", "drop", {"dataTransfer": transfer})
        page.wait_for_function(
            """([cards, told]) => document.querySelectorAll(".card img").length > cards
                || document.querySelector("#told").innerText !== told""",
            arg=[before, told],
        )


def until_made(page: Any, told: str = "Made in") -> None:
    page.wait_for_function(
        "told => document.querySelector('#progress').innerText.includes(told)", arg=told, timeout=WAIT
    )
