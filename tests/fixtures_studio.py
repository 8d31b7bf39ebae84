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
