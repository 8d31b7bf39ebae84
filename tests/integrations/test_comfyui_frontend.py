"""The node pack in ComfyUI's real browser frontend: its forms, the saved workflow, and a run of it.

Needs what is not installed with this project: `pip install comfyui-frontend-package websockets`, a chromium.
MOSAIC_COMFYUI_PICTURE=FILE keeps a screenshot: docs/pictures/comfyui.png.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .comfy import PACK, LoadImage, PreviewImage, SaveImage, load_pack
from .frontend import Backend, serving

pytestmark = pytest.mark.slow

frontend = pytest.importorskip("comfyui_frontend_package")
playwright = pytest.importorskip("playwright.sync_api")
pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("websockets")

CHROMIUM = shutil.which("chromium")
FLAGS = "--no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update"
FORMS = "() => !!(window.app?.graph && window.LiteGraph?.registered_node_types['MosaicGenerate'])"
OPEN = "async workflow => { await window.app.loadGraphData(workflow); }"
PROMPT = "async () => (await window.app.graphToPrompt()).output"
RUN = "async () => { await window.app.queuePrompt(0, 1); }"
SHOWN = "() => [7, 9].every(id => window.app.graph.getNodeById(id)?.imgs?.length > 0)"


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Any]:
    """The frontend in a browser, over the pack's nodes and two toys to load; page.backend is what it asks."""
    if CHROMIUM is None:
        pytest.skip("no chromium here")

    demo = [sys.executable, str(PACK.parents[1] / "examples" / "demo.py"), "references", str(tmp_path)]
    subprocess.run(demo, check=True)  # a bear and a mug among them
    LoadImage.folder = tmp_path
    pack = load_pack()
    built_in = {"LoadImage": LoadImage, "SaveImage": SaveImage, "PreviewImage": PreviewImage}
    nodes = built_in | pack.NODE_CLASS_MAPPINGS
    backend = Backend(nodes=nodes, names=pack.NODE_DISPLAY_NAME_MAPPINGS, folder=tmp_path)
    static = Path(frontend.__file__).parent / "static"
    with serving(backend, static), playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        page = browser.new_page(viewport={"width": 1560, "height": 860})
        page.goto(backend.url, wait_until="domcontentloaded")
        page.wait_for_function(FORMS, timeout=120_000)
        page.backend = backend
        yield page
        browser.close()


def test_the_example_is_opened_and_run(page: Any) -> None:
    workflow, api = (
        json.loads((PACK / "example_workflows" / f"two_subjects{end}.json").read_text())
        for end in ("", "_api")
    )
    page.evaluate(OPEN, workflow)
    sent = page.evaluate(PROMPT)
    assert {id: {key: one[key] for key in ("class_type", "inputs")} for id, one in sent.items()} == api
    page.evaluate(RUN)
    page.wait_for_function(SHOWN, timeout=180_000)
    assert len(page.backend.prompts) == 1
    if "MOSAIC_COMFYUI_PICTURE" in os.environ:
        page.wait_for_timeout(2000)
        page.screenshot(path=os.environ["MOSAIC_COMFYUI_PICTURE"])
