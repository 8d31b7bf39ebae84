"""Correspondences as lines between two pictures, after the paper's Fig. 2. Pillow and NumPy alone."""

from __future__ import annotations

import colorsys

from PIL import Image

from mosaic.matching.spread import thinned
from mosaic.pictures.attention import FINE, PAPER, Sheet, enlarged
from mosaic.sample import Correspondence, Picture

SIDE, GAP, MARGIN = 480, 60, 24  # in pixels of the outcome
LINES = 48  # as many as an eye can follow


def draw_lines(reference: Picture, target: Picture, points: Correspondence, most: int = LINES) -> Image.Image:
    """Both pictures side by side and a line a point, coloured by where in the reference it starts.

    Of more than `most` points those that lie well apart are drawn.
    """
    left, right = (enlarged(Image.fromarray(picture), SIDE) for picture in (reference, target))
    height = max(left.height, right.height)
    sheet = Sheet(2 * MARGIN + left.width + GAP + right.width, 2 * MARGIN + height)
    corners = (
        (MARGIN, MARGIN + (height - left.height) // 2),
        (MARGIN + left.width + GAP, MARGIN + (height - right.height) // 2),
    )
    sheet.paste(left, *corners[0])
    sheet.paste(right, *corners[1])
    shown = thinned(points, most)
    for here, there in zip(shown.reference, shown.target, strict=True):
        start, end = (
            (corner[0] + float(x) * picture.width, corner[1] + float(y) * picture.height)
            for (x, y), corner, picture in zip((here, there), corners, (left, right), strict=True)
        )
        _line(sheet, start, end, color_at(float(here[0]), float(here[1])))
    return sheet.done()


def color_at(x: float, y: float) -> str:
    """A colour of its own for each place: hue from left to right, darker towards the bottom."""
    red, green, blue = colorsys.hsv_to_rgb(0.85 * x, 0.85, 0.95 - 0.35 * y)
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"


def _line(sheet: Sheet, start: tuple[float, float], end: tuple[float, float], color: str) -> None:
    path = [(x * FINE, y * FINE) for x, y in (start, end)]
    sheet.draw.line(path, fill=PAPER, width=3 * FINE)
    sheet.draw.line(path, fill=color, width=round(1.5 * FINE))
    for x, y in path:
        for radius, fill in ((4 * FINE, PAPER), (3 * FINE, color)):
            sheet.draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)
