"""The ComfyUI nodes against the published interface, and the example workflow run on the embedded model."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mosaic.generate import GenerateOptions, generate

from .comfy import (
    PACK,
    WIDGETS,
    Interrupted,
    LoadImage,
    PreviewImage,
    SaveImage,
    check,
    execute,
    graph_of,
    inputs_of,
    load_pack,
    offer_comfy,
)

ROOT = PACK.parents[1]
TYPES = WIDGETS | {"IMAGE", "MASK", "MOSAIC_MODEL", "MOSAIC_REFERENCES", "MOSAIC_ATTENTION"}
EXAMPLES = PACK / "example_workflows"


@pytest.fixture(scope="module")
def pack() -> Any:
    return load_pack()


@pytest.fixture
def nodes(pack: Any, tmp_path: Path) -> Iterator[dict[str, type]]:
    """The pack beside the built-in nodes it is used with; two toys to load, one on white, one transparent."""
    from mosaic.toybox.batches import sample

    scene = sample(0, subjects=2, size=64, reference_size=64)
    for name, reference in zip(("bear", "mug"), scene.references, strict=True):
        Image.fromarray(reference.image).save(tmp_path / f"{name}.png")
    cut = Image.fromarray(np.dstack([scene.references[1].image, scene.references[1].mask * np.uint8(255)]))
    cut.save(tmp_path / "mug.png")
    LoadImage.folder = tmp_path
    SaveImage.saved.clear()
    built_in = {"LoadImage": LoadImage, "SaveImage": SaveImage, "PreviewImage": PreviewImage}
    yield built_in | pack.NODE_CLASS_MAPPINGS


def read(name: str) -> Any:
    return json.loads((EXAMPLES / name).read_text())


def test_nodes_are_what_comfyui_asks_for(pack: Any) -> None:
    assert pack.NODE_CLASS_MAPPINGS.keys() == pack.NODE_DISPLAY_NAME_MAPPINGS.keys()
    assert set(pack.__all__) == {"NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"}
    for name, node in pack.NODE_CLASS_MAPPINGS.items():
        assert name.startswith("Mosaic")  # unique in an installation
        assert callable(getattr(node, node.FUNCTION)) and isinstance(node.CATEGORY, str)
        assert isinstance(node.RETURN_TYPES, tuple) and len(node.RETURN_TYPES) == len(node.RETURN_NAMES)
        assert set(node.RETURN_TYPES) <= TYPES
        assert node.INPUT_TYPES().keys() <= {"required", "optional", "hidden"}
        for kind, options in inputs_of(node).values():
            assert isinstance(kind, list) or kind in TYPES
            assert options["tooltip"].endswith(".")
            if isinstance(kind, str) and kind in WIDGETS:
                assert "default" in options
            if isinstance(kind, list):
                assert all(isinstance(choice, str) for choice in kind)
                assert options.get("default", kind[0]) in kind


def test_optional_inputs_may_be_left_out(pack: Any) -> None:
    import inspect

    for node in pack.NODE_CLASS_MAPPINGS.values():
        taken = inspect.signature(getattr(node, node.FUNCTION)).parameters
        declared = node.INPUT_TYPES()
        assert {*declared["required"], *declared.get("optional", {}), "self"} == set(taken)
        assert all(
            taken[name].default is not inspect.Parameter.empty for name in declared.get("optional", {})
        )


def test_defaults_of_the_form_are_those_of_the_function(pack: Any) -> None:
    import inspect

    for node in pack.NODE_CLASS_MAPPINGS.values():
        taken = inspect.signature(getattr(node, node.FUNCTION)).parameters
        for name in node.INPUT_TYPES().get("optional", {}):
            kind, options = inputs_of(node)[name]
            if isinstance(kind, list) or kind in WIDGETS:
                first = kind[0] if isinstance(kind, list) else None
                assert taken[name].default == options.get("default", first), (node, name)


def test_loading_the_pack_brings_no_models_code() -> None:
    program = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("pack", {str(PACK / "__init__.py")!r})
module = importlib.util.module_from_spec(spec)
sys.modules["pack"] = module
spec.loader.exec_module(module)
assert not [name for name in ("mosaic", "diffusers", "transformers") if name in sys.modules]
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_saved_workflow_is_the_one_of_the_api(nodes: dict[str, type]) -> None:
    assert graph_of(read("two_subjects.json"), nodes) == read("two_subjects_api.json")


def test_the_saved_workflow_is_of_the_published_form(nodes: dict[str, type]) -> None:
    workflow = read("two_subjects.json")
    assert workflow["version"] == 0.4
    items = {item["id"]: item for item in workflow["nodes"]}
    assert workflow["last_node_id"] == max(items)
    assert workflow["last_link_id"] == max(link[0] for link in workflow["links"])
    for item in items.values():
        assert {"id", "type", "pos", "size", "flags", "order", "mode", "properties"} <= item.keys()
        made = nodes[item["type"]].RETURN_TYPES
        assert tuple(one["type"] for one in item["outputs"]) == made
    for link, start, slot, end, place, kind in workflow["links"]:
        given, taken = items[start]["outputs"][slot], items[end]["inputs"][place]
        assert given["type"] == taken["type"] == kind
        assert link in given["links"] and taken["link"] == link


def test_a_wrong_graph_is_refused(nodes: dict[str, type]) -> None:
    graph = read("two_subjects_api.json")
    assert check(graph, nodes) == []
    graph["6"]["inputs"] |= {"steps": 2000, "visibility": "some", "model": ["3", 0]}
    graph["3"]["inputs"].pop("name")
    told = " ".join(check(graph, nodes))
    for part in (
        "steps: out of range",
        "visibility: 'some'",
        "MOSAIC_REFERENCES for MOSAIC_MODEL",
        "lacks name",
    ):
        assert part in told


def test_the_example_runs_and_equals_mosaic_generate(
    nodes: dict[str, type], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = offer_comfy(monkeypatch)
    graph = read("two_subjects_api.json")
    graph["6"]["inputs"] |= {"steps": 3, "count": 2}
    outputs = execute(graph, nodes)
    images, reads = outputs["6"]
    assert images.shape == (2, 128, 128, 3) and images.dtype is torch.float32
    assert 0 <= float(images.min()) < float(images.max()) <= 1
    assert noted["totals"] == [6] and noted["updates"] == [1] * 6 and noted["room"] == ["unload", "empty"]
    view, owned = outputs["8"]
    assert view.shape[0] == 1 and view.shape[3] == 3
    assert owned.shape == (2, 128, 128) and torch.equal(owned.sum(0), torch.ones(128, 128))
    assert len(reads) == 2 and len(SaveImage.saved) == 2

    files = tuple((name, tmp_path / f"{name}.png") for name in ("bear", "mug"))
    prompt = graph["6"]["inputs"]["prompt"]
    one = GenerateOptions(prompt=prompt, references=files, seed=5, steps=3, output=tmp_path / "out.png")
    (made,) = generate(one)
    theirs = np.asarray(Image.open(made).convert("RGB"), np.float32) / 255
    assert np.abs(images[1].numpy() - theirs).max() < 1e-6


def test_the_stop_button_ends_it_between_steps(
    nodes: dict[str, type], monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = offer_comfy(monkeypatch, stop_after=2)
    graph = read("two_subjects_api.json")
    graph["6"]["inputs"] |= {"steps": 5, "attention": False}
    with pytest.raises(Interrupted):
        execute(graph, nodes)
    assert len(noted["updates"]) == 2 and not SaveImage.saved


def test_without_references_and_without_comfyui(pack: Any) -> None:
    loaded = pack.NODE_CLASS_MAPPINGS["MosaicLoadModel"]().load("embedded")[0]
    images, reads = pack.NODE_CLASS_MAPPINGS["MosaicGenerate"]().generate(
        loaded, "a mug on sand", 1, steps=2, width=64, height=96, attention=True
    )
    assert images.shape == (1, 96, 64, 3) and reads == ()
    with pytest.raises(ValueError, match="switch attention on"):
        pack.NODE_CLASS_MAPPINGS["MosaicAttention"]().draw(reads, "where references look")


# ---------------------------------------------------------------- references


def grey(height: int = 8, width: int = 6, batch: int = 1) -> torch.Tensor:
    return torch.full((batch, height, width, 3), 0.5)


def add(pack: Any, **given: Any) -> tuple[Any, ...]:
    return pack.NODE_CLASS_MAPPINGS["MosaicReference"]().add(**{"image": grey(), "name": "cup"} | given)[0]


def test_references_are_chained_and_a_batch_is_views(pack: Any) -> None:
    first = add(pack, name="dog")
    both = add(pack, image=grey(batch=2), references=first, name=" cup ")
    assert [one.subject.name for one in both] == ["dog", "cup", "cup"]
    assert both[1].size == (8, 6) and set(np.unique(both[1].image)) == {128}


@pytest.mark.parametrize("shape", [(8, 6), (1, 8, 6), (1, 16, 12)])
def test_a_mask_tells_the_subject_either_way_round(pack: Any, shape: tuple[int, ...]) -> None:
    marks = torch.zeros(shape)
    marks[..., : shape[-1] // 2] = 1  # the left half
    left = np.zeros((8, 6), bool)
    left[:, :3] = True
    (subject,) = add(pack, mask=marks, mask_is="subject")
    (background,) = add(pack, mask=marks, mask_is="background")
    exact = shape[-1] == 6
    for one, inside in ((subject, left), (background, ~left)):
        if exact:
            assert np.array_equal(one.mask, inside)
            assert (one.image[~inside] == 255).all() and (one.image[inside] == 128).all()
        else:  # a mask of another size is resized: all but the column at the edge
            assert np.array_equal(one.mask[:, [0, 1, 4, 5]], inside[:, [0, 1, 4, 5]])


def test_the_empty_mask_of_load_image_is_none(pack: Any) -> None:
    for mask_is in ("background", "subject"):
        (one,) = add(pack, mask=torch.zeros(1, 64, 64), mask_is=mask_is)
        assert one.mask.all()


def test_values_beyond_the_range_are_clamped(pack: Any) -> None:
    (one,) = add(pack, image=torch.full((1, 4, 4, 3), 1.5))
    assert (one.image == 255).all()


def test_what_a_reference_cannot_be(pack: Any) -> None:
    with pytest.raises(ValueError, match="noun"):
        add(pack, name="  ")
    with pytest.raises(ValueError, match="3 masks for 2 images"):
        add(pack, image=grey(batch=2), mask=torch.ones(3, 8, 6))


def test_the_pack_has_the_version_of_the_package_and_fetches_none_of_that_name() -> None:
    import tomllib

    from mosaic import __version__

    project = tomllib.loads((PACK / "pyproject.toml").read_text())["project"]
    assert project["version"] == __version__ and project["dependencies"] == []  # PyPI has another mosaic
    readme = (PACK / "README.md").read_text()
    for name in load_pack().NODE_DISPLAY_NAME_MAPPINGS.values():
        assert re.search(re.escape(name), readme), name
