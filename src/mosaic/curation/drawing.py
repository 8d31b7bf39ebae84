"""A sample as a picture: its references beside its target, and lines between the points they share."""

from PIL import Image

from mosaic.geometry import Floats
from mosaic.matching.spread import thinned
from mosaic.pictures.attention import COLORS, FINE, PAPER, Sheet, enlarged
from mosaic.sample import Sample

TARGET, THUMBNAIL, BRIDGE, GAP = 400, 130, 70, 14  # in pixels of the outcome
LINES = 12  # a reference
DOT = 3 * FINE  # half of one, in pixels of the drawing

Place = tuple[float, float]


def draw_sample(sample: Sample, lines: int = LINES) -> Image.Image:
    """References at the left, in two columns beyond four; at most `lines` points of each, a colour each."""
    target = enlarged(Image.fromarray(sample.target), TARGET)
    columns = max(1, -(-len(sample.references) // 4))
    rows = min(4, len(sample.references))
    side = columns * (THUMBNAIL + GAP)
    height = max(target.height, rows * (THUMBNAIL + GAP) - GAP)
    sheet = Sheet(2 * GAP + side + BRIDGE + target.width, height + 2 * GAP)
    corner = (GAP + side + BRIDGE, GAP + (height - target.height) // 2)
    sheet.paste(target, *corner)
    ends = []
    for k, (reference, points) in enumerate(zip(sample.references, sample.correspondences, strict=True)):
        picture = enlarged(Image.fromarray(reference.image), THUMBNAIL)
        x = GAP + (k % columns) * (THUMBNAIL + GAP)
        y = (
            GAP
            + round((k // columns + 0.5) * height / -(-len(sample.references) // columns))
            - THUMBNAIL // 2
        )
        sheet.paste(picture, x, y)
        shown = thinned(points, lines)
        starts = _places(shown.reference, picture, (x, y))
        ends.append((starts, _places(shown.target, target, corner), COLORS[k % len(COLORS)]))
    for starts, stops, color in ends:
        for start, stop in zip(starts, stops, strict=True):
            _line(sheet, start, stop, color)
    return sheet.done()


def _places(points: Floats, picture: Image.Image, corner: tuple[int, int]) -> list[Place]:
    return [(corner[0] + x * picture.width, corner[1] + y * picture.height) for x, y in points.tolist()]


def _line(sheet: Sheet, start: Place, stop: Place, color: str) -> None:
    path = [(x * FINE, y * FINE) for x, y in (start, stop)]
    sheet.draw.line(path, fill=PAPER, width=2 * FINE + 1)
    sheet.draw.line(path, fill=color, width=FINE + 1)
    for x, y in path:
        sheet.draw.ellipse((x - DOT, y - DOT, x + DOT, y + DOT), fill=color, outline=PAPER)
