"""Features of self-supervised vision transformers: DINOv2, with or without registers, and DINOv3.

B pictures (1), T patches, C channels. DIY-SC's refiner goes on top of DINOv2's where one is given.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mosaic.geometry import Box
from mosaic.matching.diysc import Refiner, load_refiner
from mosaic.matching.features import FeatureMap, as_map, canvas_of
from mosaic.perception.loading import load_model
from mosaic.sample import Picture

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as all of them were trained


class Dino:
    """A layer of a vision transformer on a square canvas.

    model: a folder or hub id that transformers' AutoModel reads. layer: whose tokens, 0 the embeddings, −1
    the last (before its final norm). patches: how many the canvas has a side (DIY-SC: 60). tokens: of the
    feature map a side, where more are wanted than patches; a canvas of few patches gains by it. refiner:
    DIY-SC's file, or none.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        layer: int = -1,
        patches: int = 60,
        tokens: int | None = None,
        refiner: str | Path | None = None,
        device: str = "cpu",
    ) -> None:
        from transformers import AutoModel

        self.model: Any = load_model(AutoModel, model, device, dtype="float32")
        depth = self.model.config.num_hidden_layers
        if not -depth - 1 <= layer <= depth:
            raise ValueError(f"{model} has layers 0 to {depth}, so no layer {layer}.")
        self.tokens = tokens or patches
        self.layer, self.side = layer, patches * int(self.model.config.patch_size)
        self.refiner = None if refiner is None else _refiner(refiner, self.model.config.hidden_size, device)
        self.name = f"{'DIY-SC' if refiner else self.model.config.model_type} layer {layer % (depth + 1)}"

    @torch.no_grad()
    def __call__(self, picture: Picture, box: Box | None = None) -> FeatureMap:
        """Its features of the picture, or of a box of it."""
        canvas, placement = canvas_of(picture, self.side, box)
        grid = self._tokens(canvas.to(self.model.device))
        values = grid if self.refiner is None else self.refiner(grid)
        found = as_map(values[0], placement)
        return found if found.grid.width == self.tokens else found.finer(self.tokens)

    def _tokens(self, canvas: Tensor) -> Tensor:
        """(B, 3, side, side) in [0, 1] → the layer's patches (B, C, h, w), which come last."""
        mean, deviation = (canvas.new_tensor(v).view(3, 1, 1) for v in (MEAN, DEVIATION))
        pixels = (canvas - mean) / deviation
        hidden = self.model(pixel_values=pixels, output_hidden_states=True).hidden_states[self.layer]
        patches = self.side // int(self.model.config.patch_size)
        return hidden[:, -patches * patches :].transpose(1, 2).unflatten(2, (patches, patches))


def _refiner(path: str | Path, width: int, device: str) -> Refiner:
    refiner = load_refiner(path)
    if refiner.conv1.in_channels != width:
        raise ValueError(
            f"{path} refines {refiner.conv1.in_channels} channels and the model has {width}: "
            "give the DINOv2 it was trained on (facebook/dinov2-base for 768)."
        )
    return refiner.to(device)
