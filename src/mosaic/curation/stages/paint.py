"""paint: a picture for each prompt, drawn by the record's seed.

Files      target.webp
Scores     none
Facts      "paint": by (model) and licence of the picture
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from mosaic.curation.diffusers_backends import DiffusersPainter, Pipeline
from mosaic.curation.protocols import Painter, Stage
from mosaic.curation.rows import Outcome, Work
from mosaic.data.shards import webp_of


class Section(Pipeline):
    """[paint] of a recipe."""

    kind: Literal["toybox", "diffusers"] = "diffusers"
    model: str = "black-forest-labs/FLUX.1-dev"
    width: int = Field(1024, ge=16, multiple_of=16)  # pixels
    height: int = Field(1024, ge=16, multiple_of=16)
    quality: int | None = Field(None, ge=0, le=100)  # of the WebP; left out: exact
    batch: int = Field(8, ge=1)


def make(section: Section) -> Stage:
    """The stage with its model loaded."""
    painter = {"toybox": _toybox, "diffusers": _diffusers}[section.kind](section)
    return PaintStage(painter, section.quality, section.batch)


def _toybox(section: Section) -> Painter:
    from mosaic.curation import toybox_backends

    return toybox_backends.painter(section.height, section.width)


def _diffusers(section: Section) -> Painter:
    return DiffusersPainter(section, (section.height, section.width))


class PaintStage:
    """A painter's pictures as files."""

    def __init__(self, painter: Painter, quality: int | None, batch: int) -> None:
        self._painter, self._quality, self.batch = painter, quality, batch

    def __call__(self, work: Sequence[Work]) -> list[Outcome]:
        pictures = self._painter([one.record for one in work])
        made = {"paint": {"by": self._painter.name, "licence": self._painter.licence}}
        return [
            Outcome(id=one.id, facts=made, files={"target.webp": webp_of(picture, self._quality)})
            for one, picture in zip(work, pictures, strict=True)
        ]
