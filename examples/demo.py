"""The two ends of `make demo`: four toy references as PNG files, and a sheet of them beside the result.

python examples/demo.py references FOLDER
python examples/demo.py sheet FOLDER
"""

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

NOUNS = {"bear": 11, "duck": 12, "robot": 13, "mug": 14}  # noun → the seed that makes this one toy
SIDE = 256  # of a reference and of its place on the sheet
MARGIN = 16
CAPTION = 28  # pixels left for a line of text


def write_references(folder: Path) -> None:
    from mosaic import toybox

    folder.mkdir(parents=True, exist_ok=True)
    for noun, seed in NOUNS.items():
        picture, _ = toybox.portrait(noun, seed=seed, size=SIDE)
        Image.fromarray(picture).save(folder / f"{noun}.png")
        print(folder / f"{noun}.png")


def write_sheet(folder: Path) -> None:
    """References two by two on the left, the result as tall as both rows on the right."""
    cell = SIDE + CAPTION
    tall = 2 * cell - CAPTION
    sheet = Image.new("RGB", (2 * SIDE + tall + 4 * MARGIN, 2 * cell + 2 * MARGIN), "white")
    for place, noun in enumerate(NOUNS):
        corner = (MARGIN + place % 2 * (SIDE + MARGIN), MARGIN + place // 2 * cell)
        _paste(sheet, folder / f"{noun}.png", corner, SIDE, noun)
    _paste(sheet, folder / "result.png", (2 * SIDE + 3 * MARGIN, MARGIN), tall, "all four, one picture")
    sheet.save(folder / "sheet.png")
    print(folder / "sheet.png")


def _paste(sheet: Image.Image, file: Path, corner: tuple[int, int], side: int, caption: str) -> None:
    with Image.open(file) as picture:
        sheet.paste(picture.convert("RGB").resize((side, side), Image.Resampling.BICUBIC), corner)
    below = (corner[0] + side // 2, corner[1] + side + CAPTION // 2)
    ImageDraw.Draw(sheet).text(below, caption, fill="black", font=ImageFont.load_default(18), anchor="mm")


if __name__ == "__main__":
    actions = {"references": write_references, "sheet": write_sheet}
    if len(sys.argv) != 3 or sys.argv[1] not in actions:
        sys.exit(__doc__)
    actions[sys.argv[1]](Path(sys.argv[2]))
