"""Methods side by side on the same prompts, as in figure 4 of the paper: references, then the methods."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from mosaic.evaluation.features import PictureFile
from mosaic.evaluation.records import Record
from mosaic.evaluation.summary import Method

CELL, GAP, MARGIN = 320, 10, 24  # pixels
NAME, PROMPT, SMALL = 22, 18, 15  # sizes of letters
INK, FAINT, PAPER, EMPTY = "#1c1f26", "#5d6470", "#ffffff", "#f1efe9"


def draw_grid(
    methods: Sequence[Method], output: Path, *, records: Sequence[str] | None = None, count: int = 6
) -> Path:
    """One PNG: a row a record, chosen by id, or the first `count` of the first method.

    A method that has no picture of a record gets an empty cell that says so. ValueError if no method is
    given, if a record is unknown to all of them, or if a picture cannot be read.
    """
    chosen = _chosen(methods, records, count)
    height = _cell_height(methods, chosen)
    columns = len(methods) + 1
    width = 2 * MARGIN + columns * CELL + (columns - 1) * GAP
    font = _font(PROMPT)
    captions = [_wrapped(record.prompt, font, width - 2 * MARGIN) for record in chosen]
    heights = [height + 8 + len(lines) * (PROMPT + 7) + 14 for lines in captions]
    sheet = Image.new("RGB", (width, 2 * MARGIN + NAME + 14 + sum(heights)), PAPER)
    pen = ImageDraw.Draw(sheet)
    for n, name in enumerate(["references", *(method.name for method in methods)]):
        _centred(pen, name, MARGIN + n * (CELL + GAP) + CELL // 2, MARGIN, _font(NAME, bold=bool(n)))
    top = MARGIN + NAME + 14
    for record, lines, tall in zip(chosen, captions, heights, strict=True):
        _draw_row(sheet, methods, record, top, height)
        for n, line in enumerate(lines):
            pen.text((MARGIN, top + height + 8 + n * (PROMPT + 7)), line, FAINT, font)
        top += tall
    output.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(output, "PNG")
    return output


def _chosen(methods: Sequence[Method], ids: Sequence[str] | None, count: int) -> list[Record]:
    if not methods:
        raise ValueError("there is no method to show: give at least one folder of pictures.")
    if ids is None and count < 1:
        raise ValueError(f"a grid of {count} records shows nothing: ask for at least one.")
    known = {case.record.id: case.record for method in methods for case in method.cases}
    if unknown := [name for name in ids or () if name not in known]:
        raise ValueError(
            f"no record is called {', '.join(unknown)}: their names are like {', '.join(list(known)[:3])}."
        )
    return [known[name] for name in (ids if ids is not None else list(known)[:count])]


def _cell_height(methods: Sequence[Method], records: Sequence[Record]) -> int:
    """Cells have the shape of the first picture, within reason."""
    for method in methods:
        if picture := _picture(method, records[0]):
            high, wide = picture.read().shape[:2]
            return round(CELL * min(2.0, max(0.5, high / wide)))
    return CELL


def _picture(method: Method, record: Record) -> PictureFile | None:
    """The first image a method made of a record."""
    case = next((case for case in method.cases if case.record.id == record.id), None)
    return case.pictures[0] if case and case.pictures else None


def _draw_row(sheet: Image.Image, methods: Sequence[Method], record: Record, top: int, height: int) -> None:
    _draw_references(sheet, record, top, height)
    for n, method in enumerate(methods, start=1):
        left = MARGIN + n * (CELL + GAP)
        if picture := _picture(method, record):
            _paste(sheet, picture, (left, top, CELL, height))
        else:
            pen = ImageDraw.Draw(sheet)
            pen.rectangle((left, top, left + CELL - 1, top + height - 1), fill=EMPTY)
            _centred(pen, "no picture", left + CELL // 2, top + height // 2 - SMALL, _font(SMALL))


def _draw_references(sheet: Image.Image, record: Record, top: int, height: int) -> None:
    """All in one cell: as many rows and columns as hold them with the least waste."""
    count = len(record.subjects)
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    label = SMALL + 6
    wide, tall = (CELL - (columns - 1) * GAP) // columns, (height - (rows - 1) * GAP) // rows
    pen, font = ImageDraw.Draw(sheet), _font(SMALL)
    for n, subject in enumerate(record.subjects):
        row, column = divmod(n, columns)
        left, upper = MARGIN + column * (wide + GAP), top + row * (tall + GAP)
        below = _paste(sheet, PictureFile(subject.reference), (left, upper, wide, tall - label))
        _centred(pen, _cut(subject.noun, font, wide), left + wide // 2, below + 3, font, FAINT)


def _paste(sheet: Image.Image, picture: PictureFile, box: tuple[int, int, int, int]) -> int:
    """Whole, in the middle of its box (left, top, width, height); where it ends below."""
    left, top, width, height = box
    image = Image.fromarray(picture.read())
    scale = min(width / image.width, height / image.height)
    size = (max(1, round(scale * image.width)), max(1, round(scale * image.height)))
    image = image.resize(size, Image.Resampling.LANCZOS)
    upper = top + (height - size[1]) // 2
    sheet.paste(image, (left + (width - size[0]) // 2, upper))
    return upper + size[1]


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Lines no wider than `width`; a word too long is cut."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return [_cut(line, font, width) for line in lines]


def _cut(line: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(f"{line}…") > width:
        line = line[:-1]
    return f"{line}…"


def _centred(
    pen: ImageDraw.ImageDraw, text: str, x: int, y: int, font: ImageFont.FreeTypeFont, color: str = INK
) -> None:
    pen.text((x, y), _cut(text, font, CELL), color, font, anchor="ma")


def _font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib and has the letters of most languages."""
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size)
