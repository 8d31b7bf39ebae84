"""AES: Aesthetic Predictor V2.5, 1 to 10, told times 10; on the whole 2 × 2 grid as XVerseBench has it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from mosaic.evaluation.features import Ask, Case, Column, Extractor, Feature, Features, PictureFile, Score
from mosaic.evaluation.metrics.columns import numbers, seen
from mosaic.sample import Picture

if TYPE_CHECKING:
    from mosaic.perception.aesthetic import Aesthetic

ROLE = "aesthetic"


class GridAesthetic:
    """One score a record: of its grid. Where a benchmark keeps no grid, one an image."""

    def __init__(self, column: Column) -> None:
        self.column = column
        self.roles: tuple[str, ...] = (ROLE,)

    def asks(self, case: Case) -> Iterator[Ask]:
        for _, picture in _shown(case):
            yield Ask(ROLE, picture)

    def scores(self, case: Case, features: Features) -> Iterator[Score]:
        for image, picture in _shown(case):
            yield Score(image=image, value=float(features[Ask(ROLE, picture)]["score"][0]))


class ImageAesthetic:
    """One score an image, never of a grid."""

    def __init__(self, column: Column) -> None:
        self.column = column
        self.roles: tuple[str, ...] = (ROLE,)

    def asks(self, case: Case) -> Iterator[Ask]:
        for picture in case.pictures:
            yield Ask(ROLE, picture)

    def scores(self, case: Case, features: Features) -> Iterator[Score]:
        for image, picture in enumerate(case.pictures):
            yield Score(image=image, value=float(features[Ask(ROLE, picture)]["score"][0]))


class AestheticExtractor:
    """{"score": (1,)} of a picture."""

    batch = 8

    def __init__(self, aesthetic: Aesthetic) -> None:
        self.name, self._aesthetic = aesthetic.name, aesthetic

    def __call__(self, pictures: Sequence[Picture | None], texts: Sequence[str]) -> list[Feature]:
        return numbers(self._aesthetic(seen(pictures)))


def load_aesthetic(parts: Mapping[str, str], device: str | None) -> Extractor:
    """The backbone in bfloat16 on a GPU, as XVerseBench has it; the head in float32 everywhere."""
    from mosaic.perception.aesthetic import AestheticPredictor, head_file
    from mosaic.perception.encoders import load_encoder

    encoder = load_encoder(parts["backbone"], device=device, dtype="auto", batch=AestheticExtractor.batch)
    return AestheticExtractor(AestheticPredictor(encoder, head_file(parts["head"])))


def _shown(case: Case) -> list[tuple[int | None, PictureFile]]:
    if case.grid is not None:
        return [(None, case.grid)]
    return list(enumerate(case.pictures))
