"""Attention as pictures, after the paper's Fig. 6: where places of references look, who owns the target.

K references, P points of one, T target tokens. One colour a reference. Drawn at twice the size and reduced.
NumPy and Pillow alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mosaic.geometry import Grid, center_of
from mosaic.sample import Mask, Picture

COLORS = ("#e4572e", "#2f7fd1", "#2fa866", "#e0a100", "#8d5bc1", "#12a8a8", "#d6246e", "#6b7280")
INK, FAINT, PAPER = "#1f2430", "#8a909c", "#ffffff"
FINE = 2  # drawn this much larger
TARGET, THUMBNAIL, BRIDGE, GAP, CAPTION = 640, 180, 90, 36, 30  # in pixels of the outcome

Floats = NDArray[np.float32]
Point = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """One reference as drawn: its canvas, the places followed, and where in the target each of them looks."""

    name: str
    image: Picture  # (h, w, 3)
    mask: Mask  # (h, w)
    grid: Grid
    tokens: tuple[int, ...]  # (P,) of its grid
    looks: Floats  # (P, T); rows sum to 1

    def places(self) -> list[Point]:
        """Each followed token in [0, 1]²: the middle of what it holds of the subject, else its own."""
        found = []
        for token in self.tokens:
            y, x = np.nonzero(self.mask & (blocks(self._numbers(), self.mask.shape[::-1]) == token))
            inside = (
                ((x.mean() + 0.5) / self.mask.shape[1], (y.mean() + 0.5) / self.mask.shape[0])
                if x.size
                else None
            )
            found.append(inside or tuple(center_of(token, self.grid).tolist()))
        return found

    def _numbers(self) -> NDArray[np.int64]:
        return np.arange(self.grid.size).reshape(self.grid.height, self.grid.width)


def write_attention(
    folder: str | Path,
    target: Image.Image,
    grid: Grid,
    seen: Sequence[Seen],
    owners: Floats,
    prefix: str = "",
) -> list[Path]:
    """looks.png (all references), owners.png, and a sheet a reference; owners (K, T). Returns the files."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {"looks": draw_looks(target, grid, seen), "owners": draw_owners(target, grid, seen, owners)}
    for k, one in enumerate(seen):
        safe = "".join(letter if letter.isalnum() else "-" for letter in one.name)
        pictures[f"reference-{k + 1}-{safe}"] = draw_reference(target, grid, one, COLORS[k % len(COLORS)])
    files = [folder / f"{prefix}{name}.png" for name in pictures]
    for file, picture in zip(files, pictures.values(), strict=True):
        picture.save(file)
    return files


# ---------------------------------------------------------------- the three pictures


def draw_looks(target: Image.Image, grid: Grid, seen: Sequence[Seen]) -> Image.Image:
    """References beside the target, beyond four on both sides; a line from each place to where it looks."""
    large = enlarged(target, TARGET)
    rows = len(seen) if len(seen) <= 4 else math.ceil(len(seen) / 2)
    margin = GAP + THUMBNAIL + BRIDGE
    right = margin if len(seen) > rows else GAP
    height = max(large.height, rows * (THUMBNAIL + CAPTION + GAP // 2))
    middle = max(large.width, TARGET * 2 // 3)  # room for the line below
    sheet = Sheet(margin + middle + right, height + 2 * GAP + CAPTION)
    corner = (margin + (middle - large.width) // 2, GAP + (height - large.height) // 2)
    sheet.paste(glowing(large, grid, [one.looks.mean(axis=0) for one in seen]), *corner)
    told = "where each numbered place looks in the picture"
    sheet.text(told, margin + middle / 2, corner[1] + large.height + 10, 15, FAINT)
    for k, one in enumerate(seen):
        x = GAP if k < rows else margin + middle + BRIDGE
        y = round(GAP + (k % rows + 0.5) * height / rows - (THUMBNAIL + CAPTION) / 2)
        color = COLORS[k % len(COLORS)]
        starts = sheet.reference(one, x, y, THUMBNAIL, color)
        for start, row in zip(starts, one.looks, strict=True):
            sheet.line(start, place(int(row.argmax()), grid, large.size, corner), color)
        sheet.numbers(starts, color)
    return sheet.done()


def draw_owners(target: Image.Image, grid: Grid, seen: Sequence[Seen], owners: Floats) -> Image.Image:
    """Each target token in the colour of the reference it takes most from, paler where it hesitates."""
    large = enlarged(target, TARGET)
    thumb = min(THUMBNAIL // 2, (large.height - 20) // max(4, len(seen)) - 14)
    left = 2 * GAP + large.width
    sheet = Sheet(left + thumb + 190, large.height + 2 * GAP)
    sheet.paste(owned(large, grid, owners), GAP, GAP)
    shares = np.bincount(owners.argmax(axis=0), minlength=len(seen)) / grid.size
    for k, one in enumerate(seen):
        y = GAP + k * (thumb + 14)
        color = COLORS[k % len(COLORS)]
        sheet.reference(one, left, y, thumb, color, caption=False)
        sheet.text(one.name, left + thumb + 14, y + thumb / 2 - 19, 17, INK, centered=False)
        told = f"{100 * shares[k]:.0f} % of the picture"
        sheet.text(told, left + thumb + 14, y + thumb / 2 + 3, 13, FAINT, centered=False)
    return sheet.done()


def draw_reference(target: Image.Image, grid: Grid, one: Seen, color: str) -> Image.Image:
    """One reference with its places numbered, and where in the target each of them looks."""
    side = 300
    large = enlarged(target, side)
    count = len(one.tokens)
    sheet = Sheet(GAP + side + count * (large.width + GAP // 2) + GAP + GAP // 2, 2 * GAP + side + CAPTION)
    sheet.numbers(sheet.reference(one, GAP, GAP, side, color), color)
    for p, row in enumerate(one.looks):
        x, y = GAP + side + GAP + p * (large.width + GAP // 2), GAP + (side - large.height) // 2
        sheet.paste(glowing(large, grid, [row], [color]), x, y)
        sheet.ring(place(int(row.argmax()), grid, large.size, (x, y)), color, 9)
        told = f"{p + 1}: {100 * float(row.max()):.0f} % in one of {grid.size} places"
        sheet.text(told, x + large.width / 2, GAP + side + 8, 14, FAINT)
    return sheet.done()


# ---------------------------------------------------------------- layers


def enlarged(picture: Image.Image, longer: int) -> Image.Image:
    """To `longer` pixels on its longer side; a small one by whole pixels first, so that they stay pixels."""
    scale = longer / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    if scale > 1:
        whole = math.ceil(scale)
        picture = picture.resize((picture.width * whole, picture.height * whole), Image.Resampling.NEAREST)
    return picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def glowing(
    picture: Image.Image, grid: Grid, heats: Sequence[Floats], colors: Sequence[str] = COLORS
) -> Image.Image:
    """The picture, paler, with each heat (T,) glowing in its colour where it is above an even 1/T."""
    canvas = _muted(picture, 0.8)
    for heat, color in zip(heats, colors, strict=False):
        above = np.maximum(heat - 1 / grid.size, 0)
        opacity = 0.72 * spread(above / max(float(above.max()), 1e-12), grid, picture.size)[..., None]
        canvas = canvas * (1 - opacity) + _rgb(color) * opacity
    return Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))


def owned(picture: Image.Image, grid: Grid, owners: Floats) -> Image.Image:
    """The picture with every token tinted by its owner, and lines where owners meet."""
    best = owners.argmax(axis=0).reshape(grid.height, grid.width)
    share = owners.max(axis=0).reshape(best.shape)
    even = 1 / len(owners)
    certain = (share - even) / (1 - even) if len(owners) > 1 else np.ones_like(share)
    tint = np.stack([_rgb(COLORS[k % len(COLORS)]) for k in best.ravel()]).reshape(*best.shape, 3)
    opacity = blocks(0.15 + 0.45 * np.clip(certain, 0, 1) ** 0.7, picture.size)[..., None]
    canvas = _muted(picture, 0.85) * (1 - opacity) + blocks(tint, picture.size) * opacity
    owner = blocks(best, picture.size)
    edge = np.zeros(owner.shape, bool)
    edge[:, 1:] |= owner[:, 1:] != owner[:, :-1]
    edge[1:] |= owner[1:] != owner[:-1]
    edge[:-1] |= edge[1:]
    edge[:, :-1] |= edge[:, 1:]
    canvas[edge] = 255
    return Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))


def spread(values: Floats, grid: Grid, size: tuple[int, int]) -> Floats:
    """Values of tokens (T,) as a smooth map (h, w) of a picture of size (w, h), between 0 and 1."""
    cells = Image.fromarray(values.reshape(grid.height, grid.width).astype(np.float32))
    return np.clip(np.asarray(cells.resize(size, Image.Resampling.BICUBIC)), 0, 1)


def blocks(values: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Values (rows, columns, …) of tokens over the pixels of a picture of size (w, h), as plain blocks."""
    rows = np.arange(size[1]) * values.shape[0] // size[1]
    columns = np.arange(size[0]) * values.shape[1] // size[0]
    return values[rows][:, columns]


def place(token: int, grid: Grid, size: tuple[int, int], corner: tuple[int, int]) -> Point:
    """The middle of a token of a picture of `size` that lies at `corner`."""
    x, y = center_of(token, grid)
    return corner[0] + float(x) * size[0], corner[1] + float(y) * size[1]


def _muted(picture: Image.Image, strength: float) -> NDArray[np.float64]:
    """Half grey, and mixed with white."""
    image = np.asarray(picture.convert("RGB"), np.float64)
    grey = np.asarray(picture.convert("L"), np.float64)[..., None]
    return np.asarray(255 + strength * ((image + grey) / 2 - 255))


def _rgb(color: str) -> NDArray[np.float64]:
    return np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)], np.float64)


# ---------------------------------------------------------------- drawing


class Sheet:
    """White paper, measured in pixels of the outcome."""

    def __init__(self, width: int, height: int) -> None:
        self.size = (width, height)
        self.image = Image.new("RGB", (width * FINE, height * FINE), PAPER)
        self.draw = ImageDraw.Draw(self.image)

    def done(self) -> Image.Image:
        return self.image.resize(self.size, Image.Resampling.LANCZOS)

    def paste(self, picture: Image.Image, x: float, y: float) -> None:
        size = (picture.width * FINE, picture.height * FINE)
        self.image.paste(picture.resize(size, Image.Resampling.NEAREST), (round(x * FINE), round(y * FINE)))

    def text(self, text: str, x: float, y: float, size: int, color: str, centered: bool = True) -> None:
        font = ImageFont.load_default(size * FINE)
        self.draw.text((x * FINE, y * FINE), text, fill=color, font=font, anchor="ma" if centered else "la")

    def reference(
        self, one: Seen, x: int, y: int, side: int, color: str, caption: bool = True
    ) -> list[Point]:
        """A framed reference in a square; where its places came to lie."""
        picture = enlarged(Image.fromarray(one.image), side)
        corner = (x + (side - picture.width) // 2, y + (side - picture.height) // 2)
        self.paste(picture, *corner)
        box = (corner[0] - 4, corner[1] - 4, corner[0] + picture.width + 4, corner[1] + picture.height + 4)
        self.draw.rounded_rectangle([v * FINE for v in box], 7 * FINE, outline=color, width=3 * FINE)
        if caption:
            self.text(one.name, x + side / 2, y + side + 9, 17, INK)
        return [(corner[0] + px * picture.width, corner[1] + py * picture.height) for px, py in one.places()]

    def numbers(self, places: Sequence[Point], color: str) -> None:
        """A numbered dot on each place."""
        for number, (x, y) in enumerate(places, start=1):
            self._circle((x, y), 12, fill=PAPER)
            self._circle((x, y), 10, fill=color)
            self.text(str(number), x, y - 7, 13, PAPER)

    def ring(self, at: Point, color: str, radius: float) -> None:
        self._circle(at, radius + 2, outline=PAPER, width=7 * FINE)
        self._circle(at, radius, outline=color, width=3 * FINE)

    def line(self, start: Point, end: Point, color: str) -> None:
        """A curve from beside a numbered dot to a ring."""
        bend = (end[0] - start[0]) * 0.45
        t = np.linspace(0, 1, 60)[:, None]
        corners = np.array([start, (start[0] + bend, start[1]), (end[0] - bend, end[1]), end])
        weights = np.concatenate([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3], axis=1)
        path = weights @ corners
        apart = np.hypot(*(path - start).T) > 12
        shown = [tuple(point) for point in path[apart & (np.hypot(*(path - end).T) > 8)] * FINE]
        self.draw.line(shown, fill=PAPER, width=6 * FINE, joint="curve")
        self.draw.line(shown, fill=color, width=3 * FINE, joint="curve")
        self.ring(end, color, 8)

    def _circle(self, at: Point, radius: float, **style: object) -> None:
        box = [(v + side * radius) * FINE for side in (-1, 1) for v in at]
        self.draw.ellipse(box, **style)  # type: ignore[arg-type]
