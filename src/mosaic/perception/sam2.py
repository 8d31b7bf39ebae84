"""Pictures to SAM 2 and its masks back, as transformers' Sam2Processor does, which needs torchvision.

N pictures, n boxes of one, S the model's side (1024), H × W pixels of a picture, h × w of a mask it returns.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from mosaic.geometry import Size
from mosaic.sample import Picture

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def pixel_values(pictures: Sequence[Picture], side: int) -> Tensor:
    """uint8 (H, W, 3) each → float32 (N, 3, S, S): stretched in whole levels, then normalised."""
    mean, spread = (255 * torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return torch.stack([(_stretched(picture, side).float() - mean) / spread for picture in pictures])


def _stretched(picture: Picture, side: int) -> Tensor:
    """(H, W, 3) → uint8 (3, S, S), bilinear with antialiasing: torchvision's resize of 8-bit tensors."""
    image = torch.tensor(picture).permute(2, 0, 1)[None]
    if image.shape[-2:] == (side, side):
        return image[0]
    return functional.interpolate(image, (side, side), mode="bilinear", antialias=True)[0]


def scaled_boxes(boxes: NDArray[np.floating], size: Size, side: int) -> Tensor:
    """Boxes in pixels of a picture of `size` → float32 (1, n, 4) in pixels of the model's square."""
    height, width = size
    scale = torch.tensor([side / width, side / height] * 2)
    return (torch.tensor(np.asarray(boxes, np.float32)).reshape(-1, 4) * scale)[None]


def full_masks(masks: Tensor, size: Size, threshold: float = 0.0) -> NDArray[np.bool_]:
    """Logits (n, h, w) → bool (n, H, W): enlarged first, then cut at the threshold."""
    if not len(masks):
        return np.zeros((0, *size), bool)
    large = functional.interpolate(masks.float()[None], size, mode="bilinear", align_corners=False)[0]
    return np.asarray((large > threshold).cpu().numpy())
