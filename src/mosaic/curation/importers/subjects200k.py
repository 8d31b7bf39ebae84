"""Subjects200K (Yuanshi/Subjects200K on the hub): Parquet of pairs of one subject, side by side in a picture.

A picture holds two square panels with 8 pixels around each: the target, which description_0 is of, and right
of it the reference.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mosaic.curation.importers.entry import Entry, Limits, View, attempt, load
from mosaic.curation.importers.parquet_rows import ParquetRows
from mosaic.curation.importers.released import Annotations, agreed_points, release_keys
from mosaic.curation.rows import Named

BORDER = 8  # pixels
MARKS = {
    "compositeStructure": "composite_structure",
    "objectConsistency": "object_consistency",
    "imageQuality": "image_quality",
}  # by a language model, 0 to 5


class Subjects200K:
    """The pairs of one collection, with the authors' annotations where a folder of them is given."""

    name, licence = "subjects200k", "apache-2.0"

    def __init__(self, path: str, collection: str, annotations: str, limits: Limits) -> None:
        self._limits, self._collection = limits, collection
        self._rows = ParquetRows(path, ["image", "collection", "quality_assessment", "description"])
        self._annotations = Annotations(Path(annotations).expanduser(), limits) if annotations else None

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, indices: Sequence[int]) -> Iterator[Entry | ValueError]:
        """See `Reader`."""
        return (attempt(functools.partial(self._entry, row)) for row in self._rows.rows(indices))

    def _entry(self, row: Mapping[str, Any]) -> Entry:
        if row["collection"] != self._collection:
            raise ValueError(f"it is of {row['collection']}, import.collection is {self._collection}")
        told, marks = row["description"], row["quality_assessment"] or {}
        if not told or not told.get("item") or not told.get("description_0"):
            raise ValueError("it has no item or no description_0")
        picture = load(row["image"]["bytes"], "the pair", replace_longest(self._limits)).convert("RGB")
        target, reference = panels(picture)
        named = Named(name=told["item"].strip())
        view, found = self._annotated(named, told["description_0"], target, reference)
        scores = {name: float(marks[key]) for key, name in MARKS.items() if marks.get(key) is not None}
        return Entry(
            target=target,
            caption=" ".join(told["description_0"].split()),
            views=(view,),
            scores=scores | found,
            origin={"collection": self._collection},
        )

    def _annotated(
        self, named: Named, description: str, target: Image.Image, reference: Image.Image
    ) -> tuple[View, dict[str, float]]:
        """The reference with what the authors say of it, and a score: whether they do."""
        view = View(named=named, picture=reference)
        if self._annotations is None:
            return view, {}
        keys = release_keys(named.name, description, target)
        mask, grids = self._annotations.mask(keys), self._annotations.grids(keys)
        points = agreed_points(*grids, mask) if mask is not None and grids is not None else None
        whole = np.ones((reference.height, reference.width), bool)  # they have no mask of the reference
        annotated = View(
            named=named,
            picture=reference,
            target_mask=mask,
            mask=whole if points is not None else None,
            points=points,
        )
        return annotated, {"annotated": float(mask is not None) * 0.5 + float(points is not None) * 0.5}


def panels(picture: Image.Image) -> tuple[Image.Image, Image.Image]:
    """(target, reference). ValueError for a picture that does not hold two panels and their borders."""
    side = picture.height - 2 * BORDER
    if side < 16 or picture.width < 2 * side + 3 * BORDER:
        raise ValueError(f"{picture.width}×{picture.height} pixels do not hold two panels with borders of 8")
    first, second = BORDER, side + 2 * BORDER  # columns 8 and 528 at 512 pixels a panel
    return (
        picture.crop((first, BORDER, first + side, BORDER + side)),
        picture.crop((second, BORDER, second + side, BORDER + side)),
    )


def replace_longest(limits: Limits) -> Limits:
    """The same limits, but nothing is shrunk: borders are counted in pixels."""
    return Limits(most_bytes=limits.most_bytes, most_pixels=limits.most_pixels, longest=0)
