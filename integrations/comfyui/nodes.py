"""The nodes: load a model, gather references, make pictures, see where the references look.

Written to the published interface (docs.comfy.org/custom-nodes): a class with INPUT_TYPES, RETURN_TYPES,
FUNCTION and CATEGORY. `mosaic` is imported when a node runs, so that ComfyUI starts as fast as without it.
ComfyUI runs nodes in inference mode; what is kept (the model) is made outside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .host import make_room, progress
from .tensors import image_of, owner_masks, pictures_of, references_of

if TYPE_CHECKING:
    from mosaic.pictures.attention import Seen
    from mosaic.pipeline import Attention, EncodedReference, MadePicture, MosaicPipeline
    from mosaic.sample import Reference

TRAINED = "as trained"
GUIDANCE = "How closely to follow the prompt; -1: the model's own."
LARGEST_SEED = 2**63 - 1


class LoadModel:
    """A pipeline with its LoRA."""

    CATEGORY, FUNCTION = "MOSAIC", "load"
    RETURN_TYPES, RETURN_NAMES = ("MOSAIC_MODEL",), ("model",)
    DESCRIPTION = "embedded (toys, 128 pixels), a folder in diffusers' FLUX layout, or a hub id."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {"model": ("STRING", {"default": "embedded", "tooltip": cls.DESCRIPTION})},
            "optional": {
                "lora": ("STRING", {"default": "", "tooltip": "A file or hub id; empty: the model's own."}),
                "offload": (
                    ["none", "model", "group", "sequential"],
                    {"default": "none", "tooltip": "Keep resting weights in main memory: slower, smaller."},
                ),
                "quantize": (
                    ["none", "fp8", "int8", "int4"],
                    {"default": "none", "tooltip": "Store the base in fewer bits; the LoRA stays."},
                ),
            },
        }

    def load(
        self, model: str, lora: str = "", offload: str = "none", quantize: str = "none"
    ) -> tuple[MosaicPipeline]:
        from mosaic.pipeline import load

        make_room()
        with torch.inference_mode(False), torch.no_grad():
            return (load(model.strip(), lora.strip() or None, offload=offload, quantize=quantize),)


class AddReference:
    """Views of one subject, after those before it."""

    CATEGORY, FUNCTION = "MOSAIC", "add"
    RETURN_TYPES, RETURN_NAMES = ("MOSAIC_REFERENCES",), ("references",)
    DESCRIPTION = "A subject's picture; a batch of images are views of one subject. Chain up to eight."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "image": ("IMAGE", {"tooltip": "On white, transparent, or with a mask."}),
                "name": ("STRING", {"default": "bear", "tooltip": "The noun the prompt calls it by."}),
            },
            "optional": {
                "references": ("MOSAIC_REFERENCES", {"tooltip": "Those before it."}),
                "mask": (
                    "MASK",
                    {"tooltip": "Where the subject is, or is not; none: all that is not white."},
                ),
                "mask_is": (["background", "subject"], {"tooltip": "Load Image's mask marks background."}),
                "cutout": ("BOOLEAN", {"default": False, "tooltip": "Remove a photograph's background."}),
            },
        }

    def add(
        self,
        image: Tensor,
        name: str,
        references: tuple[Reference, ...] = (),
        mask: Tensor | None = None,
        mask_is: str = "background",
        cutout: bool = False,
    ) -> tuple[tuple[Reference, ...]]:
        if not name.strip():
            raise ValueError("A reference needs the noun that the prompt calls it by.")
        views = references_of(name.strip(), pictures_of(image, mask, mask_is), cutout)
        return ((*references, *views),)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Read:
    """What the attention view draws: a picture made, and what was read of the attention meanwhile."""

    made: MadePicture
    attention: Attention
    seen: tuple[Seen, ...]


class Generate:
    """Pictures of a prompt in which every reference keeps its identity."""

    CATEGORY, FUNCTION = "MOSAIC", "generate"
    RETURN_TYPES, RETURN_NAMES = ("IMAGE", "MOSAIC_ATTENTION"), ("images", "attention")
    DESCRIPTION = "0 or -1 leaves a number to the model; name each subject in the prompt."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        pixels = {"default": 0, "min": 0, "max": 4096, "step": 16, "tooltip": "Pixels; 0: the model's own."}
        return {
            "required": {
                "model": ("MOSAIC_MODEL", {"tooltip": "Of MOSAIC: load model."}),
                "prompt": (
                    "STRING",
                    {"default": "a bear on grass", "multiline": True, "tooltip": "Name each subject in it."},
                ),
                "seed": ("INT", {"default": 0, "min": 0, "max": LARGEST_SEED, "tooltip": "Of the first."}),
            },
            "optional": {
                "references": ("MOSAIC_REFERENCES", {"tooltip": "Up to eight, of MOSAIC: reference."}),
                "width": ("INT", pixels),
                "height": ("INT", pixels),
                "steps": (
                    "INT",
                    {"default": 0, "min": 0, "max": 1000, "tooltip": "Of the sampler; 0: the model's own."},
                ),
                "guidance": (
                    "FLOAT",
                    {"default": -1.0, "min": -1.0, "max": 100.0, "step": 0.1, "tooltip": GUIDANCE},
                ),
                "count": ("INT", {"default": 1, "min": 1, "max": 64, "tooltip": "Of seeds in a row."}),
                "visibility": (
                    [TRAINED, "full", "release", "isolated"],
                    {"default": TRAINED, "tooltip": "What a reference sees."},
                ),
                "canvas": (
                    [TRAINED, "released", "letterbox"],
                    {"default": TRAINED, "tooltip": "How a reference is laid out."},
                ),
                "attention": ("BOOLEAN", {"default": False, "tooltip": "Read it for the attention view."}),
            },
        }

    def generate(
        self,
        model: MosaicPipeline,
        prompt: str,
        seed: int,
        references: tuple[Reference, ...] = (),
        width: int = 0,
        height: int = 0,
        steps: int = 0,
        guidance: float = -1.0,
        count: int = 1,
        visibility: str = TRAINED,
        canvas: str = TRAINED,
        attention: bool = False,
    ) -> tuple[Tensor, tuple[Read, ...]]:
        from mosaic.generate import warn_of_names

        warn_of_names(prompt, [reference.subject.name for reference in references])
        size = model.size(height or None, width or None)
        encoded = model.encode_references(references, size, _own(canvas))
        plan = model.plan(
            prompt,
            encoded,
            size=size,
            steps=steps or None,
            guidance=guidance if guidance >= 0 else None,
            visibility=_own(visibility),
        )
        request = _request(encoded) if attention and encoded else None
        step = progress(count * (len(plan.sigmas) - 1))
        made = [model.make(plan, seed + i, request, lambda *_: step()) for i in range(count)]
        model.maybe_free_model_hooks()
        names = [reference.subject.name for reference in references]
        return image_of([one.image for one in made]), tuple(
            _read(one, encoded, names) for one in made if request
        )


class ViewAttention:
    """Where places of the references look in the picture, or which reference owns each place of it."""

    CATEGORY, FUNCTION = "MOSAIC", "draw"
    RETURN_TYPES, RETURN_NAMES = ("IMAGE", "MASK"), ("view", "owned")
    DESCRIPTION = "One colour a reference. The masks, one a reference, are 1 where it leads."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "attention": ("MOSAIC_ATTENTION", {"tooltip": "Of MOSAIC: generate, with attention on."}),
                "show": (
                    ["where references look", "who owns each place"],
                    {"tooltip": "Lines from places of each reference, or one colour a reference."},
                ),
            },
            "optional": {
                "picture": ("INT", {"default": 1, "min": 1, "max": 64, "tooltip": "Which of the batch."})
            },
        }

    def draw(self, attention: tuple[Read, ...], show: str, picture: int = 1) -> tuple[Tensor, Tensor]:
        from mosaic.pictures.attention import draw_looks, draw_owners

        if not attention:
            raise ValueError("Nothing was read: switch attention on in Generate, and give it a reference.")
        if not 1 <= picture <= len(attention):
            raise ValueError(f"There is no picture {picture}: {len(attention)} were made.")
        one = attention[picture - 1]
        image, read = one.made.image, one.attention
        if show == "who owns each place":
            view = draw_owners(image, read.target, one.seen, read.owners)
        else:
            view = draw_looks(image, read.target, one.seen)
        rows, columns = read.target.height, read.target.width
        return image_of([view]), owner_masks(read.owners, image.height, image.width, rows, columns)


def _own(chosen: str) -> str | None:
    return None if chosen == TRAINED else chosen


def _request(encoded: tuple[EncodedReference, ...]) -> Any:
    from mosaic.generate import attention_request

    return attention_request(encoded)


def _read(made: MadePicture, encoded: tuple[EncodedReference, ...], names: list[str]) -> Read:
    from mosaic.pictures.attention import Seen

    read = made.attention
    assert read is not None
    seen = [
        Seen(
            name=name, image=one.canvas.image, mask=one.canvas.mask, grid=one.grid, tokens=tokens, looks=looks
        )
        for name, one, tokens, looks in zip(names, encoded, read.tokens, read.looks, strict=True)
        if one.canvas is not None
    ]
    return Read(made=made, attention=read, seen=tuple(seen))


NODE_CLASS_MAPPINGS = {
    "MosaicLoadModel": LoadModel,
    "MosaicReference": AddReference,
    "MosaicGenerate": Generate,
    "MosaicAttention": ViewAttention,
}
NODE_DISPLAY_NAME_MAPPINGS = {
    "MosaicLoadModel": "MOSAIC: load model",
    "MosaicReference": "MOSAIC: reference",
    "MosaicGenerate": "MOSAIC: generate",
    "MosaicAttention": "MOSAIC: attention view",
}
