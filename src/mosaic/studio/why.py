"""See why: where a point of a reference looks in the picture made, and which reference owns what of it.

K references, P places followed on one, T target tokens, N blocks. All places of a reference are followed, or
every n-th in both directions where that would be too much to hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mosaic.geometry import Grid, center_of, token_of
from mosaic.pictures.attention import Sheet, enlarged, glowing, owned, place
from mosaic.sample import Picture
from mosaic.studio.words import color_of, first_of

if TYPE_CHECKING:
    from mosaic.model.layout import TokenLayout
    from mosaic.pipeline import Attention, AttentionRequest, EncodedReference

MOST_VALUES = 1 << 24  # of the looks that are held: 64 MiB as float32
MOST_ON_DEVICE = 1 << 31  # bytes of rows a pass returns for its blocks one by one
SHOWN = 768  # pixels of the longer side of what is drawn

Floats = NDArray[np.float32]
Point = tuple[float, float]  # (x, y) in [0, 1]²


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Look:
    """Where one place of a reference looks: its own middle, the peak, and how much of the look is there."""

    start: Point
    peak: Point
    share: float
    heat: Floats  # (T,), sums to 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Why:
    """What was read while one picture was made. names, canvases, tokens, looks: one a reference."""

    target: Grid
    names: tuple[str, ...]
    canvases: tuple[Picture, ...]  # uint8 (h, w, 3), as the model saw them
    grids: tuple[Grid, ...]
    tokens: tuple[tuple[int, ...], ...]  # (P_k,) followed
    looks: tuple[Floats, ...]  # (P_k, T)
    owners: Floats  # (K, T)
    block_looks: tuple[Floats, ...] | None = None  # (N, P_k, T)
    block_owners: Floats | None = None  # (N, K, T)

    @property
    def blocks(self) -> int:
        """How many blocks can be looked at one by one; 0: only their mean was kept."""
        return 0 if self.block_owners is None else len(self.block_owners)

    def look(self, reference: int, point: Point, block: int | None = None) -> Look:
        """Where the place nearest to a point of a reference looks, on average or in one block (from 0).

        ValueError for a reference or a block that is not there, or a point outside the picture.
        """
        self._check(reference, block)
        if not all(0 <= value <= 1 for value in point):
            raise ValueError(f"A point lies in [0, 1]², not at {point[0]:g}, {point[1]:g}.")
        grid, tokens = self.grids[reference], np.array(self.tokens[reference])
        wanted = center_of(int(token_of(np.array(point), grid)), grid)
        nearest = int(((center_of(tokens, grid) - wanted) ** 2).sum(-1).argmin())
        rows = (
            self.looks if block is None or self.block_looks is None else [x[block] for x in self.block_looks]
        )
        heat = rows[reference][nearest].astype(np.float32)
        peak = int(heat.argmax())
        start, end = (_center(t, g) for t, g in ((int(tokens[nearest]), grid), (peak, self.target)))
        return Look(start=start, peak=end, share=float(heat[peak]), heat=heat)

    def owned(self, block: int | None = None) -> Floats:
        """Each subject's share of a target token's look, (K, T), further views added to its first one."""
        self._check(0, block)
        owners = self.owners if block is None or self.block_owners is None else self.block_owners[block]
        merged = np.zeros(owners.shape, np.float32)
        for k, row in enumerate(owners):
            merged[first_of(self.names, k)] += row
        return merged

    def shares(self, block: int | None = None) -> list[float]:
        """The part of the picture each reference's subject owns; 0 for its further views."""
        owner = self.owned(block).argmax(axis=0)
        return [float(share) for share in np.bincount(owner, minlength=len(self.names)) / self.target.size]

    def _check(self, reference: int, block: int | None) -> None:
        if not 0 <= reference < len(self.names):
            raise ValueError(f"There is no reference {reference + 1} of {len(self.names)}.")
        if block is not None and not 0 <= block < self.blocks:
            kept = (
                f"the {self.blocks} blocks of this picture" if self.blocks else "only the mean of the blocks"
            )
            raise ValueError(f"There is no block {block + 1}: {kept} were kept.")

    # ------------------------------------------------------------ on disk

    def save(self, file: Path) -> None:
        """As npz, float16, written whole or not at all."""
        arrays: dict[str, Any] = {
            "target": np.array([self.target.height, self.target.width]),
            "names": np.array(self.names),
            "owners": self.owners.astype(np.float16),
        }
        if self.block_owners is not None:
            arrays["block_owners"] = self.block_owners.astype(np.float16)
        for k, grid in enumerate(self.grids):
            arrays[f"grid.{k}"] = np.array([grid.height, grid.width])
            arrays[f"canvas.{k}"] = self.canvases[k]
            arrays[f"tokens.{k}"] = np.array(self.tokens[k])
            arrays[f"looks.{k}"] = self.looks[k].astype(np.float16)
            if self.block_looks is not None:
                arrays[f"block_looks.{k}"] = self.block_looks[k].astype(np.float16)
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".partial")
        with partial.open("wb") as stream:
            np.savez_compressed(stream, **arrays)
        partial.replace(file)

    @classmethod
    def load(cls, file: Path) -> Why:
        """What `save` wrote."""
        with np.load(file) as found:
            arrays = dict(found)
        names = tuple(str(name) for name in arrays["names"])
        each = range(len(names))
        per_block = "block_owners" in arrays
        return cls(
            target=_grid(arrays["target"]),
            names=names,
            canvases=tuple(arrays[f"canvas.{k}"] for k in each),
            grids=tuple(_grid(arrays[f"grid.{k}"]) for k in each),
            tokens=tuple(tuple(int(t) for t in arrays[f"tokens.{k}"]) for k in each),
            looks=tuple(arrays[f"looks.{k}"].astype(np.float32) for k in each),
            owners=arrays["owners"].astype(np.float32),
            block_looks=tuple(arrays[f"block_looks.{k}"].astype(np.float32) for k in each)
            if per_block
            else None,
            block_owners=arrays["block_owners"].astype(np.float32) if per_block else None,
        )

    @classmethod
    def of(cls, read: Attention, names: Sequence[str], encoded: Sequence[EncodedReference]) -> Why:
        """From what a pipeline read; every reference has its canvas."""
        return cls(
            target=read.target,
            names=tuple(names),
            canvases=tuple(one.canvas.image for one in encoded if one.canvas is not None),
            grids=read.references,
            tokens=read.tokens,
            looks=read.looks,
            owners=read.owners,
            block_looks=read.block_looks,
            block_owners=read.block_owners,
        )


# ---------------------------------------------------------------- what is read


def request(layout: TokenLayout, blocks: int, per_block: bool | None) -> AttentionRequest:
    """What to read of a picture. per_block None: where the model is small enough to hold it all.

    layout: of the pass with references. blocks: of the transformer. ValueError if blocks one by one are asked
    for and a pass would return more than 2 GiB of them.
    """
    from mosaic.pipeline import AttentionRequest

    columns = sum(grid.size for grid in layout.references)
    whole = 4 * blocks * layout.target.size * columns
    if per_block and whole > MOST_ON_DEVICE:
        raise ValueError(
            f"Keeping each block would take {whole / (1 << 30):.0f} GiB at this size: "
            "take a smaller one, fewer references, or the mean."
        )
    every = per_block if per_block is not None else whole // 4 <= MOST_VALUES
    held = layout.target.size * (blocks if every else 1)
    step = stride(layout.references, MOST_VALUES // held)
    return AttentionRequest(tokens=tuple(followed(grid, step) for grid in layout.references), per_block=every)


def stride(grids: Sequence[Grid], most: int) -> int:
    """The least n with which every n-th token in both directions are at most so many, if one can be."""
    n = 1
    while sum(len(followed(grid, n)) for grid in grids) > most and n < max(
        max(g.height, g.width) for g in grids
    ):
        n += 1
    return n


def followed(grid: Grid, n: int) -> tuple[int, ...]:
    """Every n-th token in both directions, from the middle of the first n."""
    rows, columns = (range(min((n - 1) // 2, side - 1), side, n) for side in (grid.height, grid.width))
    return tuple(row * grid.width + column for row in rows for column in columns)


def _center(token: int, grid: Grid) -> Point:
    x, y = center_of(token, grid)
    return float(x), float(y)


def _grid(size: NDArray[Any]) -> Grid:
    return Grid(int(size[0]), int(size[1]))


# ---------------------------------------------------------------- drawn


def draw_look(picture: Image.Image, why: Why, reference: int, look: Look) -> Image.Image:
    """The picture with the look glowing in the subject's colour and a ring about its peak."""
    large = enlarged(picture, SHOWN)
    color = color_of(why.names, reference)
    sheet = Sheet(*large.size)
    sheet.paste(glowing(large, why.target, [look.heat], [color]), 0, 0)
    peak = int(look.heat.argmax())
    sheet.ring(place(peak, why.target, large.size, (0, 0)), color, 14)
    return sheet.done()


def draw_owners(picture: Image.Image, why: Why, block: int | None = None) -> Image.Image:
    """The picture with each region in the colour of the subject that owns it."""
    return owned(enlarged(picture, SHOWN), why.target, why.owned(block))


def tell_look(why: Why, reference: int, look: Look) -> str:
    """The same as a sentence."""
    across, down = (round(100 * value) for value in look.peak)
    even = look.share * why.target.size
    return (
        f"This place of “{why.names[reference]}” looks most at the point {across} % from the left and "
        f"{down} % from the top: {100 * look.share:.1f} % of its attention, {even:.1f} times an even share."
    )


def middle(mask_of: Picture) -> Point:
    """The middle of what is not white on a canvas, to begin with."""
    y, x = np.nonzero(mask_of.min(axis=2) < 250)
    if not len(x):
        return 0.5, 0.5
    return float((x.mean() + 0.5) / mask_of.shape[1]), float((y.mean() + 0.5) / mask_of.shape[0])


def blocks_told(blocks: int) -> list[str]:
    """The choices of a menu: the mean first."""
    return ["mean of all blocks", *(f"block {i + 1}" for i in range(blocks))]


def block_of(choice: str | int | None) -> int | None:
    """A choice of that menu, or a number from 1 (0: the mean), as a block from 0."""
    if choice is None or choice == "" or choice == 0 or str(choice).startswith("mean"):
        return None
    number = str(choice).rsplit(" ", 1)[-1]
    if not number.isdecimal() or int(number) < 1:
        raise ValueError(f'A block is a number from 1, not "{choice}".')
    return int(number) - 1
