"""Any diffusers pipeline as painter or editor: by hub id or folder, on a device, a seed a picture.

One picture at a time: what a record becomes must not depend on which records come with it, and a model of
this kind fills a GPU with one.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from mosaic.curation.rows import Named, Record
from mosaic.sample import Picture

LICENCES = {  # of the weights, as their cards state it; read them before data is published
    "black-forest-labs/FLUX.1-dev": "FLUX.1 [dev] Non-Commercial License",
    "black-forest-labs/FLUX.1-Kontext-dev": "FLUX.1 [dev] Non-Commercial License",
    "black-forest-labs/FLUX.1-schnell": "Apache-2.0",
    "black-forest-labs/FLUX.2-klein-4B": "Apache-2.0",
    "Qwen/Qwen-Image": "Apache-2.0",
    "Qwen/Qwen-Image-Edit-2509": "Apache-2.0",
}
VIEWS = (
    "turned to show its left side",
    "turned to show its right side",
    "seen from a little above and to the left",
    "seen from a little above and to the right",
    "seen from the front at eye level",
    "seen from behind and to the side",
)


class Pipeline(BaseModel):
    """The keys of a recipe's section that say which pipeline runs where, and how it is called."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = ""  # hub id or folder
    licence: str = ""  # of its outputs; left out: by the hub id, where it is known
    steps: int = Field(28, ge=1)
    arguments: dict[str, float | int | str | bool] = {}  # more of the pipeline's own, guidance_scale say
    device: str | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    offload: Literal["none", "model", "sequential"] = "none"


class DiffusersPainter:
    """A `Painter`: AutoPipelineForText2Image, the detailed caption, noise drawn by the record's seed."""

    def __init__(self, section: Pipeline, size: tuple[int, int]) -> None:
        from diffusers import AutoPipelineForText2Image

        self.name, self.licence = section.model, licence_of(section)
        self._height, self._width = size
        self._section = section
        self._pipeline = open_pipeline(AutoPipelineForText2Image, section)
        check_arguments(self._pipeline, section.arguments)

    def __call__(self, records: Sequence[Record]) -> list[Picture]:
        return [self._one(record) for record in records]

    def _one(self, record: Record) -> Picture:
        return run_pipeline(
            self._pipeline,
            prompt=record.detailed_caption or record.caption,
            height=self._height,
            width=self._width,
            num_inference_steps=self._section.steps,
            generator=_noise(record.seed),
            **self._section.arguments,
        )


class DiffusersEditor:
    """An `Editor`: FLUX Kontext, or any pipeline that takes a picture and a prompt."""

    def __init__(self, section: Pipeline, prompt: str) -> None:
        from diffusers import DiffusionPipeline

        self.name, self.licence = section.model, licence_of(section)
        self._section, self._prompt = section, prompt
        self._pipeline = open_pipeline(DiffusionPipeline, section)
        known = check_arguments(self._pipeline, section.arguments)
        if not {"image", "prompt"} <= known:
            raise ValueError(f"{section.model} takes no picture with its prompt: give FLUX Kontext, say.")
        self._keeps_size = "_auto_resize" in known  # Kontext would choose among sizes of its own

    def __call__(
        self, cutouts: Sequence[Picture], subjects: Sequence[Named], seeds: Sequence[int]
    ) -> list[Picture]:
        return [self._one(*given) for given in zip(cutouts, subjects, seeds, strict=True)]

    def _one(self, cutout: Picture, subject: Named, seed: int) -> Picture:
        height, width = cutout.shape[:2]
        own = {"_auto_resize": False, "max_area": height * width} if self._keeps_size else {}
        return run_pipeline(
            self._pipeline,
            image=Image.fromarray(cutout),
            prompt=self._prompt.format(name=subject.name, view=VIEWS[seed % len(VIEWS)]),
            height=height,
            width=width,
            num_inference_steps=self._section.steps,
            generator=_noise(seed),
            **own,
            **self._section.arguments,
        )


def open_pipeline(kind: Any, section: Pipeline) -> Any:
    """The pipeline where the section wants it, without progress bars. ValueError if it cannot be."""
    from mosaic.perception.loading import device_of, dtype_of, opening, quiet

    device = device_of(section.device)
    if section.offload != "none" and device.type == "cpu":
        raise ValueError(f'offload = "{section.offload}" keeps weights away from a GPU, and there is none.')
    with opening("A diffusers pipeline", section.model or "nowhere"), quiet():
        pipeline = kind.from_pretrained(
            section.model, torch_dtype=dtype_of(section.dtype, device), use_safetensors=True
        )
    pipeline.set_progress_bar_config(disable=True)
    if section.offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    elif section.offload == "sequential":
        pipeline.enable_sequential_cpu_offload(device=device)
    else:
        pipeline.to(device)
    return pipeline


def check_arguments(pipeline: Any, arguments: Mapping[str, Any]) -> set[str]:
    """The arguments a pipeline's call knows. ValueError for one in `arguments` that it does not."""
    known = set(inspect.signature(pipeline.__call__).parameters)
    unknown = sorted(set(arguments) - known)
    if unknown:
        raise ValueError(
            f"{type(pipeline).__name__} knows no argument {unknown[0]}: take it out of arguments."
        )
    return known


def run_pipeline(pipeline: Any, **arguments: Any) -> Picture:
    """One picture, uint8 (H, W, 3). ValueError if it is not numbers, as in half precision without range."""
    import torch

    with torch.inference_mode():
        image = pipeline(**arguments, output_type="np").images[0]
    if not np.isfinite(image).all():
        raise ValueError(
            f'{type(pipeline).__name__} painted no numbers: try dtype = "bfloat16" or "float32".'
        )
    return (np.clip(image, 0, 1) * 255).round().astype(np.uint8)


def licence_of(section: Pipeline) -> str:
    """As the recipe says, else by the hub id, else that it is not stated."""
    return section.licence or LICENCES.get(section.model, "not stated: set licence in the recipe")


def _noise(seed: int) -> Any:
    """On the CPU, so that every device draws the same."""
    import torch

    return torch.Generator("cpu").manual_seed(seed % 2**63)
