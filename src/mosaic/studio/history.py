"""Pictures made, on disk: each a PNG with its recipe, found again after a restart.

20260131-174105-318-seed7.png    the picture; its recipe remakes it with `mosaic generate` as well
20260131-174105-318-seed7.webp   a small one for the gallery
20260131-174105-318-seed7.npz    what its attention did, where that was read (`why.py`)
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from PIL import Image

from mosaic.pictures import read_recipe, write_png
from mosaic.studio.limits import within
from mosaic.studio.shelf import Shelf
from mosaic.studio.why import Why

KEY = "studio"  # of a recipe: what the Studio needs to show the references again
SMALL = 320  # pixels of the longer side in the gallery
NAME = re.compile(r"\d{8}-\d{6}-\d{3}-seed\d+(-\d+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """One reference as it was given: its subject's name, the picture, and the file the model sees."""

    name: str
    original: Path
    file: Path  # the cut-out, where cutout is on, else the original
    cutout: bool = False
    subject: str | None = None  # of the library


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A picture of the history."""

    name: str
    file: Path
    recipe: Mapping[str, Any]

    @property
    def small(self) -> Path:
        """What the gallery shows."""
        small = self.file.with_suffix(".webp")
        return small if small.is_file() else self.file

    @property
    def caption(self) -> str:
        """Prompt and seed, for those who cannot see the picture too."""
        return f"{self.recipe.get('prompt', '')} (seed {self.recipe.get('seed', '?')})"


@dataclass(frozen=True, slots=True)
class History:
    """Writes and finds entries; references lie on a shelf."""

    folder: Path
    shelf: Shelf

    def new_file(self, seed: int) -> Path:
        """A name not yet taken."""
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")[:-3]
        file = self.folder / f"{stamp}-seed{seed}.png"
        number = 1
        while file.exists():
            number += 1
            file = file.with_stem(f"{stamp}-seed{seed}-{number}")
        return file

    def save(
        self,
        file: Path,
        image: Image.Image,
        recipe: Mapping[str, Any],
        references: Sequence[Given],
        why: Why | None,
    ) -> Entry:
        """Write a picture made; the PNG last, so that what is found is whole."""
        shown = [
            {"original": one.original.name, "cutout": one.cutout, "subject": one.subject}
            for one in references
        ]
        recipe = dict(recipe) | {KEY: {"references": shown}}
        self.folder.mkdir(parents=True, exist_ok=True)
        within(image, SMALL).save(file.with_suffix(".webp"), quality=88)
        if why is not None:
            why.save(file.with_suffix(".npz"))
        write_png(image, file, recipe)
        return Entry(name=file.stem, file=file, recipe=recipe)

    def entries(self, most: int | None = 48) -> list[Entry]:
        """The newest first, None: all; a file that is no entry is passed over."""
        files = sorted(
            (file for file in self.folder.glob("*.png") if NAME.fullmatch(file.stem)), reverse=True
        )
        found: list[Entry] = []
        for file in files:
            if len(found) == most:
                break
            try:
                found.append(self.entry(file.stem))
            except (ValueError, json.JSONDecodeError):
                continue
        return found

    def used(self) -> set[str]:
        """Names on the shelf of all references of all pictures."""
        found: set[str] = set()
        for entry in self.entries(most=None):
            shown = entry.recipe.get(KEY, {}).get("references", [])
            found |= {str(one["file"]) for one in entry.recipe.get("references", [])}
            found |= {str(one["original"]) for one in shown}
        return found

    def entry(self, name: str) -> Entry:
        """One by its name. ValueError if there is none."""
        file = self.folder / f"{name}.png"
        if not NAME.fullmatch(name) or not file.is_file():
            raise ValueError(f"There is no picture {name} in the history: choose another.")
        return Entry(name=name, file=file, recipe=read_recipe(file))

    def remove(self, name: str) -> None:
        """Delete a picture and what was kept with it; `Shelf.prune` takes its references later. ValueError if
        there is none."""
        file = self.entry(name).file
        for suffix in (".png", ".webp", ".npz"):  # the PNG first: it is what makes an entry
            file.with_suffix(suffix).unlink(missing_ok=True)

    def references(self, entry: Entry) -> list[Given]:
        """Its references. ValueError if a file of one is gone."""
        used = entry.recipe.get("references", [])
        shown = entry.recipe.get(KEY, {}).get("references", [{}] * len(used))
        return [
            Given(
                name=str(one["name"]),
                original=self.shelf.get(str(extra.get("original", one["file"]))),
                file=self.shelf.get(str(one["file"])),
                cutout=bool(extra.get("cutout", False)),
                subject=extra.get("subject"),
            )
            for one, extra in zip(used, shown, strict=True)
        ]

    def why(self, entry: Entry) -> Why | None:
        """What its attention did, where that was kept."""
        file = entry.file.with_suffix(".npz")
        return Why.load(file) if file.is_file() else None
