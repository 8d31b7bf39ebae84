"""The toybox page's pictures: scenes of one to eight toys, and one sample with its correspondences as lines.

python examples/toybox_pictures.py FOLDER
"""

import colorsys
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from mosaic import toybox
from mosaic.sample import Sample

SIDE = 256
SEED = 21


def scenes() -> Image.Image:
    """Four by two scenes, K = 1 to 8."""
    sheet = Image.new("RGB", (4 * SIDE, 2 * SIDE))
    for k in range(1, 9):
        picture = toybox.sample(SEED, subjects=k, size=SIDE, reference_size=64).target
        sheet.paste(Image.fromarray(picture), ((k - 1) % 4 * SIDE, (k - 1) // 4 * SIDE))
    return sheet


def correspondences(sample: Sample, lines: int = 14) -> Image.Image:
    """References in a column, the target beside them twice as large, one colour a reference."""
    count = len(sample.references)
    big = count * SIDE
    sheet = Image.new("RGB", (SIDE + big, big), "white")
    sheet.paste(Image.fromarray(sample.target).resize((big, big), Image.Resampling.LANCZOS), (SIDE, 0))
    for k, reference in enumerate(sample.references):
        sheet.paste(Image.fromarray(reference.image), (0, k * SIDE))
    draw = ImageDraw.Draw(sheet)
    for k, points in enumerate(sample.correspondences):
        colour = tuple(int(255 * c) for c in colorsys.hsv_to_rgb(k / count, 0.9, 0.85))
        chosen = np.linspace(0, len(points) - 1, lines).astype(int)
        for here, there in zip(points.reference[chosen], points.target[chosen], strict=True):
            start = (here[0] * SIDE, k * SIDE + here[1] * SIDE)
            end = (SIDE + there[0] * big, there[1] * big)
            draw.line([start, end], fill=colour, width=1)
            for x, y in (start, end):
                draw.ellipse([x - 3, y - 3, x + 3, y + 3], fill=colour, outline="white")
    return sheet


def main(folder: Path) -> None:
    """Writes both pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    scenes().save(folder / "toybox.png", optimize=True)
    sample = toybox.sample(SEED, subjects=3, index=1, size=2 * SIDE, reference_size=SIDE)
    correspondences(sample).save(folder / "toybox-correspondences.png", optimize=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
