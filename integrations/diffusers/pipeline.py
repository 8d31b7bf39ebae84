"""MOSAIC for `DiffusionPipeline.from_pretrained(MODEL, custom_pipeline="integrations/diffusers")`.

    pipeline = DiffusionPipeline.from_pretrained(MODEL, custom_pipeline=FOLDER, trust_remote_code=True)
    pipeline.load_lora_weights("lora.safetensors")
    pipeline("a bear on grass", references={"bear": picture}).images[0]

The package `mosaic` does the work; here are only diffusers' names for it. diffusers wants one pipeline class
in this file, so mosaic's own is not imported by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

import mosaic.pipeline as room
from mosaic.model.checkpoint import lora_file
from mosaic.pictures import foreground, on_white
from mosaic.sample import Reference, Subject

Pictures = Image.Image | Sequence[Image.Image]


class MosaicFluxPipeline(room.MosaicPipeline):
    """MosaicPipeline under diffusers' names. Its own call is `MosaicPipeline.__call__`."""

    def load_lora_weights(self, source: Any, weight_name: str | None = None) -> None:
        """A LoRA file, folder or hub id; it acts on reference tokens alone, and its metadata is obeyed."""
        self.load_lora(lora_file(source if weight_name is None else f"{source}/{weight_name}"))

    @torch.no_grad()
    def __call__(
        self,
        prompt: str,
        references: Mapping[str, Pictures] | Sequence[Any] = (),
        *,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        num_images_per_prompt: int = 1,
        generator: torch.Generator | None = None,
        output_type: str = "pil",
        callback_on_step_end: Callable[[Any, int, float, dict[str, Any]], Any] | None = None,
        **options: Any,
    ) -> room.MosaicOutput:
        """references: noun → a PIL picture, or several views of that subject; or what MosaicPipeline takes.

        generator: its initial seed is the first picture's, the next ones follow; None: 0. output_type
        "pil", "np" (B, H, W, 3) or "pt" (B, 3, H, W), 0 to 1. callback_on_step_end(pipeline, step, sigma,
        {latents}). options: MosaicPipeline's own (visibility, canvas, attention …). ValueError for values
        out of range.
        """
        if output_type not in ("pil", "np", "pt"):
            raise ValueError(f'output_type is "pil", "np" or "pt", not "{output_type}".')

        self._of_one_dtype()

        def step(number: int, latents: torch.Tensor, sigma: float) -> None:
            if callback_on_step_end is not None:
                callback_on_step_end(self, number, sigma, {"latents": latents})

        made = super().__call__(
            prompt,
            list(_references(references)) if isinstance(references, Mapping) else references,
            height=height,
            width=width,
            steps=num_inference_steps,
            guidance=guidance_scale,
            seed=0 if generator is None else generator.initial_seed(),
            count=num_images_per_prompt,
            callback=step,
            **options,
        )
        images: Any = made.images if output_type == "pil" else _numbers(made.images, output_type)
        return room.MosaicOutput(images=images, attention=made.attention)

    def _of_one_dtype(self) -> None:
        """Text encoders as the transformer: without dtype= these keep that of their files, it does not."""
        dtype = self.transformer.dtype
        for encoder in (self.text_encoder, self.text_encoder_2):
            if encoder.dtype != dtype and dtype.is_floating_point:
                encoder.to(dtype)


def _references(named: Mapping[str, Pictures]) -> Any:
    for name, pictures in named.items():
        for picture in [pictures] if isinstance(pictures, Image.Image) else pictures:
            image = np.asarray(on_white(picture))
            subject = Subject(id=name, name=name)
            yield Reference(subject=subject, image=image, mask=foreground(picture))


def _numbers(images: Sequence[Image.Image], kind: str) -> Any:
    values = np.stack([np.asarray(image, np.float32) / 255 for image in images])
    return values if kind == "np" else torch.from_numpy(values).permute(0, 3, 1, 2)
