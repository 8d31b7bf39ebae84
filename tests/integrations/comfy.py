"""ComfyUI as it is published, in the small: how it loads a pack, checks a graph and runs it.

Sources: docs.comfy.org (custom-nodes/backend: lifecycle, server_overview, datatypes, images_and_masks; the
workflow JSON 0.4) and what its executor is seen to do: values checked against their ranges and lists, types
of links compared, each node called with named arguments in inference mode, outputs kept by (node, slot).
"""

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

PACK = Path(__file__).parents[2] / "integrations" / "comfyui"
WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN"}
Graph = Mapping[str, Mapping[str, Any]]


class LoadImage:
    """IMAGE without alpha; MASK 1 where the file is transparent, 64 by 64 zeros where it has no alpha."""

    FUNCTION, RETURN_TYPES, CATEGORY = "load", ("IMAGE", "MASK"), "image"
    folder: ClassVar[Path]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"image": (sorted(file.name for file in cls.folder.iterdir()), {})}}

    def load(self, image: str) -> tuple[torch.Tensor, torch.Tensor]:
        picture = Image.open(self.folder / image)
        pixels = torch.from_numpy(np.asarray(picture.convert("RGB"), np.float32) / 255)[None]
        if "A" not in picture.getbands():
            return pixels, torch.zeros(1, 64, 64)
        return pixels, 1 - torch.from_numpy(np.asarray(picture.getchannel("A"), np.float32) / 255)[None]


class SaveImage:
    FUNCTION, RETURN_TYPES, CATEGORY, OUTPUT_NODE = "save", (), "image", True
    saved: ClassVar[list[torch.Tensor]] = []

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"images": ("IMAGE", {}), "filename_prefix": ("STRING", {"default": "ComfyUI"})}}

    def save(self, images: torch.Tensor, filename_prefix: str) -> tuple[()]:
        self.saved.append(images)
        return ()


class PreviewImage(SaveImage):
    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"images": ("IMAGE", {})}}

    def save(self, images: torch.Tensor) -> tuple[()]:
        self.saved.append(images)
        return ()


class Interrupted(Exception):
    pass


def load_pack() -> ModuleType:
    """As ComfyUI does: the folder's __init__.py, under a name that is its path."""
    name = str(PACK).replace(".", "_x_")
    spec = importlib.util.spec_from_file_location(name, PACK / "__init__.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def offer_comfy(monkeypatch: pytest.MonkeyPatch, stop_after: int | None = None) -> dict[str, list[Any]]:
    """The modules `comfy.utils` and `comfy.model_management`; notes what nodes ask of them."""
    noted: dict[str, list[Any]] = {"totals": [], "updates": [], "room": []}

    class ProgressBar:
        def __init__(self, total: int) -> None:
            noted["totals"].append(total)

        def update(self, value: int) -> None:
            noted["updates"].append(value)

    def throw_exception_if_processing_interrupted() -> None:
        if stop_after is not None and len(noted["updates"]) >= stop_after:
            raise Interrupted

    comfy, utils = ModuleType("comfy"), ModuleType("comfy.utils")
    management = ModuleType("comfy.model_management")
    vars(utils)["ProgressBar"] = ProgressBar
    vars(management).update(
        throw_exception_if_processing_interrupted=throw_exception_if_processing_interrupted,
        unload_all_models=lambda: noted["room"].append("unload"),
        soft_empty_cache=lambda: noted["room"].append("empty"),
    )
    vars(comfy).update(utils=utils, model_management=management)
    for module in (comfy, utils, management):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return noted


def inputs_of(node: type) -> dict[str, tuple[Any, dict[str, Any]]]:
    """Name → (type, options), required first."""
    declared = node.INPUT_TYPES()
    every = declared["required"] | declared.get("optional", {})
    return {name: (one[0], one[1] if len(one) > 1 else {}) for name, one in every.items()}


def check(graph: Graph, nodes: Mapping[str, type]) -> list[str]:
    """What ComfyUI would refuse to run."""
    wrong = []
    for id, item in graph.items():
        node = nodes.get(item["class_type"])
        if node is None:
            wrong.append(f"{id}: no node {item['class_type']}")
            continue
        declared = inputs_of(node)
        wrong += [f"{id}: lacks {n}" for n in node.INPUT_TYPES()["required"] if n not in item["inputs"]]
        wrong += [f"{id}: has no input {name}" for name in item["inputs"] if name not in declared]
        for name, value in item["inputs"].items():
            if name in declared and (told := _wrong(value, *declared[name], graph, nodes)):
                wrong.append(f"{id}.{name}: {told}")
    return wrong


def _wrong(value: Any, kind: Any, options: dict[str, Any], graph: Graph, nodes: Mapping[str, type]) -> str:
    if isinstance(value, list):
        given = nodes[graph[value[0]]["class_type"]].RETURN_TYPES[value[1]]
        return "" if given == kind else f"{given} for {kind}"
    if isinstance(kind, list):
        return "" if value in kind else f"{value!r} is not in the list"
    if kind not in WIDGETS:
        return "must be a link"
    wanted = {"INT": int, "FLOAT": (int, float), "STRING": str, "BOOLEAN": bool}[kind]
    if not isinstance(value, wanted) or (kind == "INT" and isinstance(value, bool)):
        return f"{value!r} is no {kind}"
    low, high = options.get("min"), options.get("max")
    return "out of range" if (low is not None and value < low) or (high is not None and value > high) else ""


def execute(graph: Graph, nodes: Mapping[str, type]) -> dict[str, tuple[Any, ...]]:
    """Every output node and what it depends on, each node once."""
    wrong = check(graph, nodes)
    assert not wrong, wrong
    outputs: dict[str, tuple[Any, ...]] = {}

    def run(id: str) -> tuple[Any, ...]:
        if id not in outputs:
            node = nodes[graph[id]["class_type"]]
            named = {
                name: run(value[0])[value[1]] if isinstance(value, list) else value
                for name, value in graph[id]["inputs"].items()
            }
            outputs[id] = getattr(node(), node.FUNCTION)(**named)
            assert len(outputs[id]) == len(node.RETURN_TYPES)
        return outputs[id]

    with torch.inference_mode():
        for id, item in graph.items():
            if getattr(nodes[item["class_type"]], "OUTPUT_NODE", False):
                run(id)
    return outputs


def graph_of(workflow: Mapping[str, Any], nodes: Mapping[str, type]) -> dict[str, dict[str, Any]]:
    """A saved workflow → what the frontend sends: widgets in the order of the inputs, links by node and slot.

    A number called seed is followed by one more widget (fixed, increment …), and Load Image's by its upload.
    """
    links = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    graph = {}
    for item in workflow["nodes"]:
        declared, values = inputs_of(nodes[item["type"]]), list(item["widgets_values"])
        linked = {one["name"]: links[one["link"]] for one in item["inputs"] if one["link"] is not None}
        own: dict[str, Any] = {}
        for name, (kind, _) in declared.items():
            if isinstance(kind, list) or kind in WIDGETS:
                own[name] = values.pop(0)
                if name == "seed" or item["type"] == "LoadImage":
                    values.pop(0)
        assert not values, f"node {item['id']} has widgets left over: {values}"
        named = {name: linked.get(name, own.get(name)) for name in declared if name in linked or name in own}
        graph[str(item["id"])] = {"class_type": item["type"], "inputs": named}
    return graph
