"""Where things are: pixels, latents, tokens and [0, 1]², and how a picture is placed on a canvas.

A point is (x, y) in [0, 1]²: (0, 0) is the top-left corner of the picture, 1 its right or bottom edge; pixel
i of a side of n covers [i / n, (i + 1) / n]. Sizes are (height, width), boxes (left, top, right, bottom).
NumPy and Pillow alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageOps

LATENT = 8  # pixels a latent, a side
TOKEN = 16  # pixels a token, a side: latents packed 2×2

Size = tuple[int, int]
Box = tuple[float, float, float, float]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Grid:
    """A picture's tokens in raster order: index = row · width + column."""

    height: int
    width: int

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ValueError(f"A grid needs at least one token a side, not {self.width}×{self.height}.")

    @classmethod
    def of_pixels(cls, height: int, width: int) -> Grid:
        """The grid of a picture of height × width pixels. ValueError unless TOKEN divides both."""
        if height < TOKEN or width < TOKEN or height % TOKEN or width % TOKEN:
            near = "×".join(str(max(TOKEN, round(side / TOKEN) * TOKEN)) for side in (width, height))
            raise ValueError(f"Sides must be multiples of {TOKEN} pixels: use {near}, not {width}×{height}.")
        return cls(height // TOKEN, width // TOKEN)

    @property
    def size(self) -> int:
        """How many tokens."""
        return self.height * self.width

    @property
    def latents(self) -> Size:
        """(height, width) in latents, before packing."""
        return self.height * TOKEN // LATENT, self.width * TOKEN // LATENT

    @property
    def pixels(self) -> Size:
        """(height, width) in pixels."""
        return self.height * TOKEN, self.width * TOKEN


def token_of(points: ArrayLike, grid: Grid) -> NDArray[np.int64]:
    """The token each point lies in: points (..., 2) in [0, 1]² → int64 (...); beyond an edge, the edge's."""
    cells = np.floor(np.asarray(points, np.float64) * (grid.width, grid.height))
    x, y = np.moveaxis(np.clip(cells, 0, (grid.width - 1, grid.height - 1)).astype(np.int64), -1, 0)
    return np.asarray(y * grid.width + x)


def center_of(tokens: ArrayLike, grid: Grid) -> Floats:
    """The middle of each token: int (...) → points (..., 2) in [0, 1]². ValueError if off the grid."""
    tokens = np.asarray(tokens, np.int64)
    if np.any((tokens < 0) | (tokens >= grid.size)):
        raise ValueError(f"Token indices must lie in 0…{grid.size - 1} on a {grid.width}×{grid.height} grid.")
    y, x = np.divmod(tokens, grid.width)
    return np.stack(((x + 0.5) / grid.width, (y + 0.5) / grid.height), axis=-1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """How a picture lies on a canvas: its `box` is stretched over `onto`, mirrored where left > right.

    Nothing outside `box` is shown. Points and pixels move by one map, invertible even for points it hides.
    """

    source: Size
    canvas: Size
    box: Box  # in pixels of the source
    onto: Box  # in pixels of the canvas; may reach beyond it

    def __post_init__(self) -> None:
        if min(*self.source, *self.canvas) < 1:
            raise ValueError("A picture and its canvas need at least one pixel a side.")
        left, top, right, bottom = self.box
        height, width = self.source
        if not (0 <= left < right <= width and 0 <= top < bottom <= height):
            raise ValueError(f"The box {self.box} is not a part of a {width}×{height} picture.")
        if not np.isfinite(self.onto).all() or self.onto[0] == self.onto[2] or self.onto[1] == self.onto[3]:
            raise ValueError(f"The picture would vanish: {self.onto} has no area.")

    @classmethod
    def letterbox(cls, source: Size, canvas: Size, fraction: float = 1, box: Box | None = None) -> Placement:
        """Centre the source's box (default: all of it), aspect kept, within `fraction` of the canvas.

        Sides are truncated to whole pixels, margins rounded down, as in the released canvas (fraction 0.9).
        ValueError for a fraction outside (0, 1].
        """
        if not 0 < fraction <= 1:
            raise ValueError(f"The fraction of the canvas must lie in (0, 1], not {fraction}.")
        box = _whole(source) if box is None else box
        sides = box[2] - box[0], box[3] - box[1]
        scale = fraction * min(canvas[1] / sides[0], canvas[0] / sides[1])
        width, height = (max(1, math.floor(side * scale + 1e-6)) for side in sides)
        left, top = (canvas[1] - width) // 2, (canvas[0] - height) // 2
        return cls(source=source, canvas=canvas, box=box, onto=(left, top, left + width, top + height))

    @classmethod
    def crop(cls, source: Size, box: tuple[int, int, int, int]) -> Placement:
        """Keep the box (left, top, right, bottom) in whole pixels; the canvas is as large as the box."""
        canvas = (box[3] - box[1], box[2] - box[0])
        return cls(source=source, canvas=canvas, box=box, onto=_whole(canvas))

    @classmethod
    def flip(cls, source: Size) -> Placement:
        """Mirror left and right."""
        return cls(source=source, canvas=source, box=_whole(source), onto=(source[1], 0, 0, source[0]))

    @classmethod
    def resize(cls, source: Size, canvas: Size) -> Placement:
        """Stretch to the canvas, whatever its aspect."""
        return cls(source=source, canvas=canvas, box=_whole(source), onto=_whole(canvas))

    def then(self, other: Placement) -> Placement:
        """This placement, then `other` of its canvas. ValueError if nothing of the picture is left."""
        if other.source != self.canvas:
            raise ValueError(f"A {self.canvas} canvas cannot be placed as a {other.source} picture.")
        shown = _overlap(_upright(self.onto), other.box)
        box = _overlap(_upright(_carry(shown, self.onto, self.box)), self.box)
        onto = _carry(_carry(box, self.box, self.onto), other.box, other.onto)
        return Placement(source=self.source, canvas=other.canvas, box=box, onto=onto)

    def apply(self, points: ArrayLike) -> Floats:
        """Points (..., 2) of the source → points of the canvas; beyond [0, 1]² where it does not reach."""
        return _move(points, self.source, self.box, self.canvas, self.onto)

    def invert(self, points: ArrayLike) -> Floats:
        """Points (..., 2) of the canvas → points of the source."""
        return _move(points, self.canvas, self.onto, self.source, self.box)

    def shows(self, points: ArrayLike) -> NDArray[np.bool_]:
        """Which points (..., 2) of the source are on the canvas: bool (...)."""
        pixels = np.asarray(points, np.float64) * self.source[::-1]
        landed = self.apply(points) * self.canvas[::-1]
        return _within(pixels, self.box) & _within(landed, _whole(self.canvas))


def render(picture: Image.Image, placement: Placement, fill: int = 255, nearest: bool = False) -> Image.Image:
    """The picture on its canvas, in its own mode, `fill` where it does not reach. Lanczos; nearest for masks.

    Borders fall on whole pixels: exact for crop, flip, resize and letterbox, half a pixel off at most after
    `then`. ValueError for a picture of another size than the placement's source.
    """
    height, width = placement.canvas
    if (picture.height, picture.width) != placement.source:
        raise ValueError(f"This placement is of a {placement.source} picture, not {picture.size[::-1]}.")
    color: Any = (fill,) * len(picture.getbands()) if len(picture.getbands()) > 1 else fill
    canvas = Image.new(picture.mode, (width, height), color)
    visible = _overlap(_upright(placement.onto), _whole(placement.canvas))
    left, top, right, bottom = (round(side) for side in visible)
    if left < right and top < bottom:
        box = _upright(_carry((left, top, right, bottom), placement.onto, placement.box))
        resample = Image.Resampling.NEAREST if nearest else Image.Resampling.LANCZOS
        part = picture.resize((right - left, bottom - top), resample, box=_overlap(box, placement.box))
        part = ImageOps.mirror(part) if placement.onto[0] > placement.onto[2] else part
        part = ImageOps.flip(part) if placement.onto[1] > placement.onto[3] else part
        canvas.paste(part, (left, top))
    return canvas


def render_array(array: NDArray[Any], placement: Placement, fill: int = 255) -> NDArray[Any]:
    """`render` of a picture uint8 (H, W, 3), or of a mask bool (H, W): nearest, False where nothing lies."""
    if array.dtype == np.bool_:
        mask = Image.fromarray(array.astype(np.uint8) * 255)
        return np.asarray(render(mask, placement, fill=0, nearest=True)) > 0
    return np.array(render(Image.fromarray(array), placement, fill))


def _whole(size: Size) -> Box:
    return 0, 0, size[1], size[0]


def _upright(box: Box) -> Box:
    return min(box[0], box[2]), min(box[1], box[3]), max(box[0], box[2]), max(box[1], box[3])


def _overlap(a: Box, b: Box) -> Box:
    left, top, right, bottom = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
    if left >= right or top >= bottom:
        raise ValueError("Nothing of the picture is left on the canvas.")
    return left, top, right, bottom


def _carry(box: Box, before: Box, after: Box) -> Box:
    """Move the corners of a box by the map that takes box `before` to box `after`."""
    left, top, right, bottom = _stretch(np.reshape(box, (2, 2)), before, after).ravel().tolist()
    return left, top, right, bottom


def _move(points: ArrayLike, size: Size, before: Box, new_size: Size, after: Box) -> Floats:
    return _stretch(np.asarray(points, np.float64) * size[::-1], before, after) / new_size[::-1]


def _stretch(pixels: NDArray[Any], before: Box, after: Box) -> Floats:
    (low, high), (new_low, new_high) = np.reshape(before, (2, 2)), np.reshape(after, (2, 2))
    return np.asarray(new_low + (pixels - low) / (high - low) * (new_high - new_low), np.float64)


def _within(pixels: Floats, box: Box) -> NDArray[np.bool_]:
    low, high = np.reshape(box, (2, 2))
    slack = 1e-6  # pixels: rounding of the map itself
    return np.asarray(((pixels >= low - slack) & (pixels <= high + slack)).all(-1))
