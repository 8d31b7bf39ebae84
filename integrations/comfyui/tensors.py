"""Between ComfyUI's tensors and pictures: IMAGE (B, H, W, C), MASK (B, H, W) or (H, W), floats in 0…1."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

if TYPE_CHECKING:
    from mosaic.sample import Reference


def pictures_of(image: Tensor, mask: Tensor | None = None, mask_is: str = "background") -> list[Image.Image]:
    """A picture for each of an IMAGE's batch; RGBA where a mask says what is subject.

    mask_is: "background" as Load Image gives it (1 where the file is transparent), or "subject". A mask that
    marks nothing is none: Load Image hands one of 64 by 64 zeros for a file without transparency.
    """
    pictures = [Image.fromarray(_bytes(one)) for one in image]
    if mask is None or not bool((mask > 0).any()):
        return pictures
    masks = mask[None] if mask.ndim == 2 else mask.reshape(-1, *mask.shape[-2:])
    if len(masks) not in (1, len(pictures)):
        raise ValueError(f"{len(masks)} masks for {len(pictures)} images: give one, or one each.")
    masks = masks if mask_is == "subject" else 1 - masks
    for i, picture in enumerate(pictures):
        opacity = Image.fromarray(_bytes(masks[min(i, len(masks) - 1)]))
        pictures[i] = picture.convert("RGB")
        pictures[i].putalpha(opacity.resize(picture.size, Image.Resampling.BILINEAR))
    return pictures


def references_of(name: str, pictures: Sequence[Image.Image], cutout: bool) -> Iterator[Reference]:
    """Each picture as a view of the one subject `name`, as `mosaic generate` would read it from a file."""
    from mosaic.pictures import cut_out, foreground, on_white
    from mosaic.sample import Reference, Subject

    for picture in pictures:
        shown = cut_out(picture) if cutout else picture
        image = np.asarray(on_white(shown))
        yield Reference(subject=Subject(id=name, name=name), image=image, mask=foreground(shown))


def image_of(pictures: Sequence[Image.Image]) -> Tensor:
    """Pictures of one size → IMAGE (B, H, W, 3)."""
    arrays = [np.asarray(picture.convert("RGB"), np.float32) / 255 for picture in pictures]
    return torch.from_numpy(np.stack(arrays))


def owner_masks(owners: np.ndarray, height: int, width: int, rows: int, columns: int) -> Tensor:
    """Owners (K, T) of a target of rows by columns tokens → MASK (K, H, W): 1 where a reference leads."""
    best = torch.from_numpy(np.asarray(owners).argmax(axis=0).reshape(rows, columns))
    masks = torch.stack([(best == k).float() for k in range(len(owners))])
    return torch.nn.functional.interpolate(masks[None], (height, width), mode="nearest")[0]


def _bytes(values: Tensor) -> np.ndarray:
    return (values.detach().float().clamp(0, 1).cpu().numpy() * 255).round().astype(np.uint8)
