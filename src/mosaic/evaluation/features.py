"""What is measured once of a picture or a sentence, and what asks for it.

A metric never runs a model: it says which features it needs (asks) and computes scores of them. So a picture
is encoded once, whoever asks, and all of it can be done batch by batch, in any order, by any process.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from mosaic.evaluation.records import Record
from mosaic.pictures import load_picture, on_white
from mosaic.sample import Picture

Feature = Mapping[str, NDArray[Any]]  # numeric arrays by name, at least one: {"vector": (D,)}
Features = Mapping["Ask", Feature]


@dataclass(frozen=True, slots=True)
class PictureFile:
    """A picture on disk, or one quadrant of a 2 × 2 grid, numbered row by row."""

    path: Path
    quadrant: int | None = None

    def read(self) -> Picture:
        """uint8 (H, W, 3), transparency on white; ValueError for what is no picture."""
        picture = _decoded(self.path, self.path.stat().st_mtime_ns if self.path.is_file() else 0)
        if self.quadrant is None:
            return picture
        height, width = picture.shape[0] // 2, picture.shape[1] // 2
        row, column = divmod(self.quadrant, 2)
        return picture[row * height : (row + 1) * height, column * width : (column + 1) * width]


@lru_cache(maxsize=8)  # a grid is asked for by its quadrants and questions in turn
def _decoded(path: Path, modified: int) -> Picture:
    return np.asarray(on_white(load_picture(path)))


@dataclass(frozen=True, slots=True)
class Ask:
    """One thing to be measured by one extractor: of a picture, of a text, or of both."""

    role: str  # a key of extractors.ROLES
    picture: PictureFile | None
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What one method made for one record."""

    method: str
    record: Record
    pictures: tuple[PictureFile, ...]  # J, one a seed
    grid: PictureFile | None = None  # all of them in one file, where the benchmark keeps them so


class Extractor(Protocol):
    """A model that measures batches; `name` says model and thresholds, for the report."""

    name: str
    batch: int

    def __call__(self, pictures: Sequence[Picture | None], texts: Sequence[str]) -> Sequence[Feature]:
        """N pictures (uint8 (H, W, 3)) or None and N texts, "" where there is none → N features."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One number of one image; `subject` and `photograph` count from 0, None where a score has none."""

    image: int | None
    value: float  # as the published code has it, 0 to 1 mostly; tables multiply by Column.scale
    subject: int | None = None
    photograph: int | None = None
    note: str = ""  # why a value is a substitute: "no face in the picture"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table."""

    name: str  # as published: "CLIP-I"
    model: str  # that made it
    official: bool  # whether that model is the published one
    scale: float = 100.0
    mean: Literal["groups", "entries", ""] = ""  # "": the benchmark's own
    lower_is_better: bool = False

    @property
    def title(self) -> str:
        """The published name for the published model alone."""
        return self.name if self.official else f"{self.name} [{self.model}]"


class Metric(Protocol):
    """A column: what it asks of a case, and the scores it makes of the answers."""

    column: Column
    roles: tuple[str, ...]  # of the extractors it asks; without one of them the column is left out

    def asks(self, case: Case) -> Iterable[Ask]:
        """What must be measured of the case's pictures, references and prompt."""
        ...

    def scores(self, case: Case, features: Features) -> Iterable[Score]:
        """Of what was asked: a pure function, in the units of the published code."""
        ...
