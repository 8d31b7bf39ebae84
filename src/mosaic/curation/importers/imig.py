"""IMIG-100K (ruihangxu/IMIG-100K on the hub): two to five and more references a target, in four sub-datasets.

Each is a folder with filtered_prompts.json, a list, and pictures named by an entry's index in six digits.
imig-basic, imig-complex: data/<index>, references repainted in kontext_data/<index>_<k> and their masks in
masked_kontext_data/<index>_<k>_mask.png; masked_instance_data/… masks the subject in its box of the target.
imig-composite, imig-multicomposite: composite_images/<index>, references reference_masks/<index>_<k> with
…_mask.png; instance_masks/<index>_<k>_mask.png, where there are any, in the box of the target.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mosaic.curation.importers.entry import Entry, Limits, View, attempt, fitted, load, load_mask
from mosaic.curation.importers.folder import read_bytes
from mosaic.curation.importers.json_list import JsonList
from mosaic.curation.rows import Named
from mosaic.sample import Mask

PARTS = ("imig-basic", "imig-complex", "imig-composite", "imig-multicomposite")
COMPOSITE = PARTS[2:]
LABELS = "filtered_prompts.json"
Size = tuple[int, int]


class Imig100K:
    """Those of its sub-datasets that a folder has."""

    name, licence = "imig-100k", "mit"

    def __init__(self, path: Path, limits: Limits) -> None:
        self._limits = limits
        self._parts = [path / part for part in PARTS if (path / part / LABELS).exists()]
        if not self._parts:
            raise ValueError(f"import.path: {path} has none of {', '.join(PARTS)} with a {LABELS}.")
        self._labels = [JsonList(part / LABELS) for part in self._parts]
        self._starts = list(accumulate(map(len, self._labels), initial=0))

    def __len__(self) -> int:
        return self._starts[-1]

    def read(self, indices: Sequence[int]) -> Iterator[Entry | ValueError]:
        """See `Reader`."""
        return (attempt(functools.partial(self._entry, index)) for index in indices)

    def _entry(self, index: int) -> Entry:
        which = int(np.searchsorted(self._starts, index, side="right")) - 1
        part, label = self._parts[which], self._labels[which][index - self._starts[which]]
        stem = f"{label['index']:06d}"
        composite = part.name in COMPOSITE
        target, size = self._picture(part / ("composite_images" if composite else "data") / stem)
        make = self._composite_views if composite else self._repainted_views
        return Entry(
            target=target,
            caption=" ".join(label["prompt"].split()),
            views=tuple(make(part, stem, label, size)),
            origin={"file": f"{part.name}/{stem}"},
        )

    def _repainted_views(self, part: Path, stem: str, label: Mapping[str, Any], size: Size) -> Iterator[View]:
        for k, shown in enumerate(label["reference_images"]):
            name = f"{stem}_{shown['index']}"
            picture, _ = self._picture(part / "kontext_data" / name)
            yield View(
                named=Named(name=shown["phrase"]),
                subject=str(k),
                picture=picture,
                mask=self._mask(part / "masked_kontext_data" / f"{name}_mask.png"),
                target_mask=self._boxed(
                    part / "masked_instance_data" / f"{name}_mask.png", shown["bbox"], size
                ),
            )

    def _composite_views(self, part: Path, stem: str, label: Mapping[str, Any], size: Size) -> Iterator[View]:
        lists = (label[name] for name in ("instance", "bbox", "indices"))
        for k, (phrase, found, number) in enumerate(zip(*lists, strict=True)):
            name = f"{stem}_{number}"
            picture, _ = self._picture(part / "reference_masks" / name)
            masked = part / "instance_masks" / f"{name}_mask.png"
            yield View(
                named=Named(name=phrase),
                subject=str(k),
                picture=picture,
                mask=self._mask(part / "reference_masks" / f"{name}_mask.png"),
                target_mask=self._boxed(masked, found["bbox"], size) if found and masked.exists() else None,
            )

    def _picture(self, stem: Path) -> tuple[Image.Image, Size]:
        """A picture, JPEG or PNG, and its (width, height) before it is shrunk."""
        path = next((p for p in (Path(f"{stem}{end}") for end in (".jpg", ".png")) if p.exists()), None)
        if path is None:
            raise ValueError(f"{stem.parent.name}/{stem.name}.jpg is not there")
        content = read_bytes(path, self._limits)
        picture = load(content, path.name, self._limits)
        with Image.open(path) as head:
            return picture, head.size

    def _mask(self, path: Path) -> Mask:
        return load_mask(read_bytes(path, self._limits), path.name, self._limits)

    def _boxed(self, path: Path, box: Sequence[float], size: Size) -> Mask:
        """The mask of a crop laid into its box (left, top, right, bottom) of a target of (width, height)."""
        left, top, right, bottom = (round(side) for side in box)
        if not (0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]):
            raise ValueError(f"the box {list(box)} is not within {size[0]}×{size[1]} pixels")
        whole = np.zeros((size[1], size[0]), bool)
        whole[top:bottom, left:right] = fitted(self._mask(path), (right - left, bottom - top), path.name)
        return whole
