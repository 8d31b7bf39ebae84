"""The references as the page holds them: one card each, with the cut-out it was given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from mosaic.pictures import cut_out, load_picture
from mosaic.studio.history import Given
from mosaic.studio.limits import check_count, read_upload
from mosaic.studio.shelf import Shelf
from mosaic.studio.words import name_from


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A reference on the page. cut: its cut-out, once there is one; note: why there is none."""

    name: str
    original: Path
    cut: Path | None = None
    cutout: bool = False
    subject: str | None = None
    note: str = ""

    @property
    def file(self) -> Path:
        """What the model sees."""
        return self.cut if self.cutout and self.cut is not None else self.original

    @property
    def given(self) -> Given:
        """For the maker."""
        return Given(
            name=self.name.strip(),
            original=self.original,
            file=self.file,
            cutout=self.file != self.original,
            subject=self.subject,
        )

    @classmethod
    def of(cls, given: Given) -> Card:
        """From the history or the library."""
        cut = given.file if given.cutout else None
        return cls(
            name=given.name, original=given.original, cut=cut, cutout=given.cutout, subject=given.subject
        )


def add(cards: Sequence[Card], files: Sequence[str | Path], shelf: Shelf) -> Iterator[tuple[list[Card], str]]:
    """The cards with each file added in turn, and the refusal of it or "".

    A photograph is cut out at once; a picture with transparency or a white border is left as it is.
    """
    have = list(cards)
    for file in files:
        try:
            check_count(len(have), 1)
            picture = read_upload(file)
            card = Card(name=name_from(Path(file).name), original=shelf.put(picture))
            have.append(toggled(card, True, shelf) if wants_cutout(picture) else card)
            yield list(have), ""
        except ValueError as error:
            yield list(have), str(error)


def toggled(card: Card, on: bool, shelf: Shelf) -> Card:
    """The card with its cut-out on or off; off with a note where no subject is found."""
    if not on or card.cut is not None:
        return replace(card, cutout=on, note="")
    try:
        cut = shelf.put(cut_out(load_picture(card.original)))
    except ValueError as error:
        return replace(card, cutout=False, note=str(error))
    return replace(card, cut=cut, cutout=True, note="")


def wants_cutout(picture: Image.Image) -> bool:
    """Whether there is a background to remove: neither transparent nor white all around."""
    if picture.has_transparency_data:
        return False
    pixels = np.asarray(picture.convert("RGB"))
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return bool((border.min(axis=1) < 250).mean() > 0.02)


def renamed(cards: Sequence[Card], names: Sequence[str | None]) -> list[Card]:
    """The cards with these names, of which there may be more; one that is renamed leaves its subject."""
    return [
        card
        if name is None or card.name == name
        else replace(card, name=name, subject=card.subject if card.name.strip() == name.strip() else None)
        for card, name in zip(cards, names, strict=False)
    ]
