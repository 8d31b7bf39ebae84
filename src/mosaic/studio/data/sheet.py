"""A sample as one drawing in the page: its references, its target, and a line a point, each to be pointed at.

Drawn by the browser, so that it stays sharp at any size and a line can be told from its neighbours.
"""

from __future__ import annotations

from html import escape

from PIL import Image

from mosaic.geometry import Floats
from mosaic.matching.spread import thinned
from mosaic.pictures.attention import COLORS
from mosaic.sample import Picture, Sample
from mosaic.studio.pieces import uri

TARGET, GAP, BRIDGE = 400.0, 14.0, 60.0  # in units of the drawing
LEAST, MOST = 130.0, 190.0  # a reference's longer side
ROWS = 4  # references one above the other; more take a second column
PIXELS = 1200  # a picture is sent with no more on its longer side

Box = tuple[float, float, float, float]  # x, y, width, height
Place = tuple[float, float]


def sheet(sample: Sample, lines: int, told: str) -> str:
    """References at the left, the target at the right, at most `lines` points of each reference as lines."""
    boxes, target, size = _places(sample)
    drawn = "".join(_reference(sample, k, box, target, lines) for k, box in enumerate(boxes))
    return (
        f'<svg class="ms-lines" viewBox="0 0 {size[0]:.0f} {size[1]:.0f}" role="img" '
        f'aria-label="{escape(told, quote=True)}">{_image(sample.target, target)}{drawn}</svg>'
    )


def _places(sample: Sample) -> tuple[list[Box], Box, Place]:
    """Where the references and the target lie, and (width, height) of all."""
    count = len(sample.references)
    columns = -(-count // ROWS)
    rows = -(-count // columns) if count else 0
    side = min(MOST, max(LEAST, (TARGET - GAP * (rows - 1)) / rows)) if rows else 0.0
    width, height = _fitted(sample.target, TARGET)
    tall = max(height, rows * (side + GAP) - GAP)
    left = GAP + columns * (side + GAP) + (BRIDGE if count else 0)
    boxes = []
    for k, reference in enumerate(sample.references):
        w, h = _fitted(reference.image, side)
        middle = GAP + (k // columns + 0.5) * tall / rows
        boxes.append((GAP + (k % columns) * (side + GAP) + (side - w) / 2, middle - h / 2, w, h))
    target = (left, GAP + (tall - height) / 2, width, height)
    return boxes, target, (left + width + GAP, tall + 2 * GAP)


def _fitted(picture: Picture, longer: float) -> Place:
    """(width, height) of a picture whose longer side is `longer`."""
    height, width = picture.shape[:2]
    return width * longer / max(width, height), height * longer / max(width, height)


def _image(picture: Picture, box: Box) -> str:
    x, y, width, height = box
    source = uri(Image.fromarray(picture), PIXELS)
    return f'<image href="{source}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>'


def _reference(sample: Sample, k: int, box: Box, target: Box, lines: int) -> str:
    shown = thinned(sample.correspondences[k], lines)
    starts, ends = _on(shown.reference, box), _on(shown.target, target)
    pairs = "".join(_pair(start, end) for start, end in zip(starts, ends, strict=True))
    picture = _image(sample.references[k].image, box)
    return f'<g class="ms-of" style="--own:{COLORS[k % len(COLORS)]}">{picture}{pairs}</g>'


def _on(points: Floats, box: Box) -> list[Place]:
    x, y, width, height = box
    return [(x + u * width, y + v * height) for u, v in points.tolist()]


def _pair(start: Place, end: Place) -> str:
    """A line with a pale edge, wide enough to be pointed at, and a dot at each end."""
    ends = f'x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}"'
    lines = "".join(f'<line class="{kind}" {ends}/>' for kind in ("ms-near", "ms-edge", "ms-own"))
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.4"/>' for x, y in (start, end))
    return f'<g class="ms-pair">{lines}{dots}</g>'
