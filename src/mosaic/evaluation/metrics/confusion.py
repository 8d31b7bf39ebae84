"""Which reference does each found subject resemble most: its own, or another's?

Of K references the nearest is another's by chance 1 − 1 / K of the time: a method that follows no reference
stands there, one that never confuses subjects at 0. K is the record's number of subjects, scenes left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mosaic.evaluation.extractors import Scorers
from mosaic.evaluation.features import Ask, Case, Features, Score
from mosaic.evaluation.metrics import cropped
from mosaic.evaluation.metrics.assignment import cosines, matched, things
from mosaic.evaluation.metrics.columns import column_of
from mosaic.evaluation.metrics.instances import subjects_of
from mosaic.evaluation.records import Record

NAME, BY_CHANCE = "confusion", "confusion by chance"


class Confusion:
    """0 for each found subject that resembles its own reference most, 1 for each that resembles another's.

    Which crop is a subject's is the detector's to say, not the similarity's, which would favour its own
    reference: the surest crop of its noun. Only where m subjects share a noun, the noun's m surest crops go
    to them by the assignment of the largest sum. A subject that is not found has no score: "DINO-min
    (cropped)" counts it. Records of one subject have none, nothing could be confused.
    """

    roles: tuple[str, ...] = (cropped.ROLE,)

    def __init__(self, scorers: Scorers) -> None:
        self.column = replace(column_of(NAME, scorers, cropped.ROLE), lower_is_better=True)

    def asks(self, case: Case) -> Iterator[Ask]:
        return cropped.asks(case) if chance(case.record) < 1 else iter(())

    def scores(self, case: Case, features: Features) -> Iterator[Score]:
        if chance(case.record) == 1:
            return
        chosen = list(subjects_of(case, cropped.KINDS))
        references = cropped.references_of([subject for _, subject in chosen], features)
        nouns = np.array([subject.noun for _, subject in chosen], object)
        for image, picture in enumerate(case.pictures):
            for noun in dict.fromkeys(nouns):
                feature = features[Ask(cropped.ROLE, picture, noun)]
                own = np.flatnonzero(nouns == noun)
                for place, right in resemble(references, own, feature["vectors"], feature["boxes"]).items():
                    yield Score(image=image, subject=chosen[place][0], value=float(not right))


class ConfusionByChance:
    """1 − 1 / K for each of the same subjects: what `Confusion` is where references are not followed."""

    roles = Confusion.roles

    def __init__(self, scorers: Scorers) -> None:
        self._found = Confusion(scorers)
        self.column = replace(self._found.column, name=BY_CHANCE)

    def asks(self, case: Case) -> Iterator[Ask]:
        return self._found.asks(case)

    def scores(self, case: Case, features: Features) -> Iterator[Score]:
        for score in self._found.scores(case, features):
            yield replace(score, value=1 - chance(case.record))


def chance(record: Record) -> float:
    """1 / K: how often a subject resembles itself most by chance; 1 where there is nothing to confuse."""
    subjects = [one for one in record.subjects if one.kind in cropped.KINDS]
    return 1 / max(1, len(subjects))


def resemble(
    references: NDArray[np.floating],
    own: NDArray[np.integer],
    crops: NDArray[np.floating],
    boxes: NDArray[np.floating],
) -> dict[int, bool]:
    """Of the subjects `own` (m,) that share a noun, those found, and whether each resembles itself most.

    references (K, D); crops (n, D) of the noun and their boxes (n, 4), surest first; two of one thing count
    once.
    """
    _, first = np.unique(things(boxes), return_index=True)
    surest = np.sort(first)[: len(own)]
    similar = cosines(references, crops[surest])  # (K, m or fewer)
    crop_of = matched(similar[own])
    return {
        int(place): bool(similar[place, crop] >= similar[:, crop].max())
        for place, crop in zip(own, crop_of, strict=True)
        if crop >= 0
    }
