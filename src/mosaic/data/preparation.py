"""A sample as training sees it: cropped to a bucket's aspect, mirrored, its references on their canvas.

Points move with their pictures. Sizes are (height, width), boxes (left, top, right, bottom).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from PIL import Image

from mosaic.geometry import TOKEN, Size
from mosaic.pictures import Canvas, letterbox_canvas, released_canvas
from mosaic.sample import Mask, Reference, Sample

TRIES = 10  # places a crop is tried at
WholeBox = tuple[int, int, int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Preparation:
    """What is done to a sample."""

    sizes: tuple[Size, ...]  # of targets: each takes the one whose aspect is nearest
    crop: float = 1.0  # least share of the largest crop's sides that a random one keeps; 1: the largest
    keep: float = 0.9  # least share of every subject's target mask in a random crop
    flip: float = 0.0  # share of samples that are mirrored
    canvas: Literal["released", "letterbox"] = "released"
    reference_size: int  # a side of the canvas

    def __call__(self, sample: Sample, generator: np.random.Generator) -> Sample:
        """The sample cropped, perhaps mirrored, its references laid out; captions follow the mirror."""
        size = nearest(sample.size, self.sizes)
        box = crop_box(sample.size, sample.target_masks, size, self.crop, self.keep, generator)
        sample = sample.crop(box).resize(*size)
        if generator.random() < self.flip:
            sample = sample.flip()
        return on_canvases(sample, self.canvas, self.reference_size)


def target_sizes(side: int, aspects: Sequence[float]) -> tuple[Size, ...]:
    """Sizes of about side² pixels, their sides multiples of 16, one an aspect (width / height)."""
    roots = [math.sqrt(aspect) for aspect in aspects]
    sizes = [(side / root, side * root) for root in roots]
    return tuple(dict.fromkeys((_whole_tokens(height), _whole_tokens(width)) for height, width in sizes))


def nearest(size: Size, sizes: Sequence[Size]) -> Size:
    """The size whose aspect is nearest to that of `size`."""
    return min(sizes, key=lambda other: abs(math.log(other[1] * size[0] / (other[0] * size[1]))))


def crop_box(
    size: Size, masks: Sequence[Mask], wanted: Size, least: float, keep: float, generator: np.random.Generator
) -> WholeBox:
    """Where to crop a picture to the aspect of `wanted`.

    A random box that keeps `keep` of every mask, after a few tries the largest box where it keeps most.
    """
    height, width = size
    tall = min(height, width * wanted[0] / wanted[1])
    wide = tall * wanted[1] / wanted[0]
    if least < 1:
        for _ in range(TRIES):
            share, x, y = generator.random(3)
            share = least + share * (1 - least)
            box = _box(size, wide * share, tall * share, x, y)
            if kept(masks, box) >= keep:
                return box
    middle_first = sorted(np.linspace(0, 1, 2 * TRIES + 1), key=lambda place: abs(place - 0.5))
    boxes = dict.fromkeys(_box(size, wide, tall, place, place) for place in middle_first)
    return max(boxes, key=lambda box: kept(masks, box)) if len(boxes) > 1 else next(iter(boxes))


def kept(masks: Sequence[Mask], box: WholeBox) -> float:
    """The share of the mask that loses most which lies in the box; empty masks lose nothing."""
    left, top, right, bottom = box
    shares = [mask[top:bottom, left:right].sum() / total for mask in masks if (total := mask.sum())]
    return float(min(shares, default=1.0))


def on_canvases(sample: Sample, kind: Literal["released", "letterbox"], side: int) -> Sample:
    """Every reference on a square canvas of `side` pixels, its points with it."""
    canvases = [on_canvas(reference, kind, side) for reference in sample.references]
    pairs = zip(sample.references, canvases, strict=True)
    return replace(
        sample,
        references=tuple(replace(r, image=canvas.image, mask=canvas.mask) for r, canvas in pairs),
        correspondences=tuple(
            points.placed(reference=canvas.placement)
            for points, canvas in zip(sample.correspondences, canvases, strict=True)
        ),
    )


def on_canvas(reference: Reference, kind: Literal["released", "letterbox"], side: int) -> Canvas:
    """A reference on its canvas. The released one wants a subject alone: a photograph is cut by its mask."""
    if kind == "letterbox":
        return letterbox_canvas(Image.fromarray(reference.image), (side, side), reference.mask)
    image = reference.image
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    if reference.mask.any() and border.min() < 255:
        image = np.where(reference.mask[..., None], image, np.uint8(255))
    return released_canvas(Image.fromarray(image), side, reference.mask)


def _box(size: Size, wide: float, tall: float, x: float, y: float) -> WholeBox:
    """A box of about that size, x and y of the way from the top-left corner to the other end."""
    width, height = (max(1, round(side)) for side in (wide, tall))
    left, top = round(x * (size[1] - width)), round(y * (size[0] - height))
    return left, top, left + width, top + height


def _whole_tokens(side: float) -> int:
    return max(TOKEN, round(side / TOKEN) * TOKEN)
