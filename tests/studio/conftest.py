"""The Studio on a tiny random model, a browser, a page of it, and pictures to drop.

A picture takes a second there; what is looked at is the page, not the picture.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fixtures_model import draw_photo, draw_subject
from fixtures_studio import chromium, opened, options_on, served, write_models

from mosaic.studio.making import Maker


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The model folder and LoRAs of `write_models`."""
    return write_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Maker]]:
    root = tmp_path_factory.mktemp("studio")
    with served(options_on(write_models(root / "models"), root / "folder")) as found:
        found[1].warm()
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pictures")
    files = {name: folder / f"{name}.png" for name in ("bear", "robot", "bad")}
    draw_subject(0).save(files["bear"])
    draw_photo(1).save(files["robot"])
    files["bad"].write_bytes(b"this is no picture")
    return files


@pytest.fixture
def page(browser: Any, studio: tuple[str, Maker]) -> Iterator[Any]:
    found = opened(browser, studio[0])
    yield found
    assert not found.errors, found.errors
    found.context.close()
