"""The baseline that needs no model: the references' cut-outs side by side on a plain canvas.

It keeps every subject and follows no prompt. A score that does not tell it from a model measures copying.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image

from mosaic.evaluation.generating import NOISE, produce, told_references
from mosaic.evaluation.records import Benchmark, Record, Settings
from mosaic.pictures import (
    cut_out,
    foreground,
    foreground_box,
    load_picture,
    noisy_white_border,
    on_white,
    whitened,
)

WHITE = (255, 255, 255)
FILL = 0.9  # of its cell that a cut-out's longer side takes
KEPT = 64  # cut-outs
ONE_ROW = 3  # subjects that stand in one row; more stand in two


def copy_paste(
    benchmark: Benchmark,
    folder: Path,
    *,
    rank: int = 0,
    world: int = 1,
    advance: Callable[[], None] = lambda: None,
) -> None:
    """Make one process's share of the pictures, as `generating.generate` does; all seeds look alike."""
    produce(CopyPaste(), benchmark, folder, rank=rank, world=world, advance=advance)


class CopyPaste:
    """Cut-outs on white as a painter; a scene fills the canvas behind the others."""

    def recipe(self, record: Record, settings: Settings, seed: int) -> dict[str, Any]:
        return {
            "record": record.id,
            "prompt": record.prompt,
            "seed": seed,
            "size": [settings.width, settings.height],
            "baseline": "copy-paste",
            "references": told_references(record),
        }

    def picture(self, record: Record, settings: Settings, seed: int) -> Image.Image:
        scenes = [one.reference for one in record.subjects if one.kind == "scene"]
        others = [one.reference for one in record.subjects if one.kind != "scene"]
        canvas = Image.new("RGB", (settings.width, settings.height), WHITE)
        if scenes:
            canvas.paste(covering(on_white(load_picture(scenes[0])), canvas.size))
        paste(canvas, [cutout(path) for path in others])
        return canvas


@lru_cache(maxsize=KEPT)
def cutout(path: Path) -> Image.Image:
    """The subject of a picture, RGBA, cropped to its box; the whole picture where no subject is found."""
    picture = load_picture(path)
    if not picture.has_transparency_data:
        picture = _without_background(picture)
    left, top, right, bottom = _box(picture)
    return picture.crop((left, top, right, bottom))


def _without_background(picture: Image.Image) -> Image.Image:
    """A picture on white by its white, any other by what stands out from its border."""
    border = foreground_box(whitened(picture, NOISE))
    whole = (0, 0, picture.width, picture.height)
    if border != whole or noisy_white_border(_array(picture)):
        white = whitened(picture, NOISE)
        cut = white.convert("RGBA")
        cut.putalpha(Image.fromarray(foreground(white)).convert("L"))
        return cut
    try:
        return cut_out(picture)
    except ValueError:  # nothing stands out: the picture is all there is to paste
        return picture.convert("RGBA")


def _array(picture: Image.Image) -> Any:
    import numpy as np

    return np.asarray(picture.convert("RGB"))


def _box(picture: Image.Image) -> tuple[int, int, int, int]:
    """Of what is at all opaque; the whole picture where nothing is."""
    return picture.getchannel("A").getbbox() or (0, 0, picture.width, picture.height)


def paste(canvas: Image.Image, cutouts: Sequence[Image.Image]) -> None:
    """Lay cut-outs on equal cells of one or two rows, each as large as it fits, on the canvas."""
    rows = 1 if len(cutouts) <= ONE_ROW else 2
    columns = math.ceil(len(cutouts) / rows)
    for k, one in enumerate(cutouts):
        width, height = canvas.width // columns, canvas.height // rows
        scale = FILL * min(width / one.width, height / one.height)
        small = one.resize((max(1, round(one.width * scale)), max(1, round(one.height * scale))))
        left = k % columns * width + (width - small.width) // 2
        top = k // columns * height + (height - small.height) // 2
        canvas.paste(small.convert("RGB"), (left, top), small.getchannel("A"))


def covering(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture's middle, as large as it takes to cover `size` (width, height)."""
    scale = max(size[0] / picture.width, size[1] / picture.height)
    large = picture.resize((math.ceil(picture.width * scale), math.ceil(picture.height * scale)))
    left, top = (large.width - size[0]) // 2, (large.height - size[1]) // 2
    return large.crop((left, top, left + size[0], top + size[1]))
