"""A picture's foreground, and a picture laid on a canvas: as the authors do, whole, or as it is.

Pixels are uint8 (H, W, 3), masks bool (H, W); sizes are (height, width).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mosaic.geometry import Box, Placement, Size, render, render_array
from mosaic.pictures.reading import load_picture
from mosaic.sample import Mask, Picture, Reference, Subject

WHITE = 255
RELEASED_FRACTION = 0.9  # of the canvas the foreground's longer side takes


class Segmenter(Protocol):
    """Finds the subject of a picture: uint8 (H, W, 3) → opacity float (H, W) in [0, 1]."""

    def __call__(self, picture: Picture) -> NDArray[np.floating[Any]]: ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Canvas:
    """A picture on its canvas, where its foreground is, and how it got there."""

    image: Picture  # (H, W, 3)
    mask: Mask  # (H, W)
    placement: Placement  # moves points of the picture to the canvas


# ---------------------------------------------------------------- foreground


def on_white(picture: Image.Image) -> Image.Image:
    """Transparency composited on white: mode RGB."""
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    picture = picture.convert("RGBA")
    white = Image.new("RGBA", picture.size, (WHITE,) * 4)
    return Image.alpha_composite(white, picture).convert("RGB")


def foreground(picture: Image.Image) -> Mask:
    """What is not background, bool (H, W): at least half opaque, or, without transparency, not white."""
    if picture.has_transparency_data:
        return np.asarray(picture.convert("RGBA").getchannel("A")) >= 128
    return _not_white(picture)


def foreground_box(picture: Image.Image) -> Box:
    """(left, top, right, bottom) of what is not white once composited; the whole picture if nothing is."""
    mask = _not_white(on_white(picture))
    if not mask.any():
        return 0, 0, picture.width, picture.height
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def whitened(picture: Image.Image, tolerance: int) -> Image.Image:
    """Near white made white: no channel more than `tolerance` below 255. Undoes the noise of a JPEG."""
    if not 0 <= tolerance < WHITE:
        raise ValueError(f"The tolerance must lie in 0…{WHITE - 1}, not {tolerance}.")
    image = np.array(picture)
    image[image[..., :3].min(axis=2) >= WHITE - tolerance, :3] = WHITE
    return Image.fromarray(image)


def noisy_white_border(image: Picture, noise: int = 12) -> bool:
    """Whether a border meant to be white is only nearly so, as JPEG leaves it; the foreground's box grows."""
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    return WHITE - noise <= int(border.min()) < WHITE


def cut_out(picture: Image.Image, segmenter: Segmenter | None = None) -> Image.Image:
    """The picture with its background made transparent (mode RGBA); one that has transparency is kept.

    segmenter: None takes `mosaic.pictures.cutout.segment`. ValueError if it finds no subject.
    """
    if picture.has_transparency_data:
        return picture.convert("RGBA")
    if segmenter is None:
        from mosaic.pictures.cutout import segment

        segmenter = segment
    image = picture.convert("RGB")
    opacity = np.asarray(segmenter(np.asarray(image)), np.float64)
    if not (opacity >= 0.5).any():
        raise ValueError("No subject was found to cut out: give a picture on white, or a transparent one.")
    image.putalpha(Image.fromarray(np.clip(opacity * 255 + 0.5, 0, 255).astype(np.uint8)))
    return image


def _not_white(image: Image.Image) -> Mask:
    return np.asarray(np.asarray(image.convert("RGB")).min(axis=2) < WHITE)


# ---------------------------------------------------------------- canvases


def released_canvas(picture: Image.Image, side: int, mask: Mask | None = None) -> Canvas:
    """The authors' preparation: the foreground's box, its longer side 0.9 of a white square, centred.

    Only (255, 255, 255) is background, so a photograph is cut out first, a JPEG on white `whitened`. Sides
    are truncated to whole pixels, Lanczos. mask bool (H, W): where the subject is; None: the foreground.
    """
    return _laid(picture, (side, side), RELEASED_FRACTION, foreground_box(picture), mask)


def letterbox_canvas(picture: Image.Image, canvas: Size, mask: Mask | None = None) -> Canvas:
    """The whole picture, as large as it fits, centred on white."""
    return _laid(picture, canvas, 1.0, (0, 0, picture.width, picture.height), mask)


def plain_canvas(picture: Image.Image, mask: Mask | None = None) -> Canvas:
    """The picture as it is, transparency on white."""
    size = (picture.height, picture.width)
    return _laid(picture, size, 1.0, (0, 0, picture.width, picture.height), mask)


def _laid(picture: Image.Image, canvas: Size, fraction: float, box: Box, mask: Mask | None) -> Canvas:
    # cropped before it is scaled: what lies outside the box must not ring into it
    left, top, right, bottom = (round(side) for side in box)
    inner = Placement.letterbox((bottom - top, right - left), canvas, fraction)
    image = render(on_white(picture).crop((left, top, right, bottom)), inner)
    mask = (foreground(picture) if mask is None else mask)[top:bottom, left:right]
    placement = Placement(source=(picture.height, picture.width), canvas=canvas, box=box, onto=inner.onto)
    return Canvas(image=np.asarray(image), mask=render_array(mask, inner), placement=placement)


def load_reference(
    name: str, path: str | Path, cutout: bool = False, tolerance: int = 0, segmenter: Segmenter | None = None
) -> Reference:
    """The reference of the subject `name` in a file, at the file's own size; equal names are one subject.

    cutout: remove the background. tolerance: what counts as white of a picture that has no transparency.
    """
    picture = load_picture(path)
    if cutout:
        picture = cut_out(picture, segmenter)
    elif tolerance and not picture.has_transparency_data:
        picture = whitened(picture, tolerance)
    image = np.asarray(on_white(picture))
    return Reference(subject=Subject(id=name, name=name), image=image, mask=foreground(picture))
