"""How much the images of one prompt differ among themselves."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from mosaic.evaluation.features import Ask, Case, Column, Features, Score
from mosaic.evaluation.metrics.columns import cosine


class Diversity:
    """1 − cos, mean over the J(J−1)/2 pairs of a record's images: one score a record, none where J is 1.

    Of DINOv2's vectors: they tell instances, poses and settings apart, and need no torchvision, as
    LPIPS does. More is more varied, not better: noise is the most varied.
    """

    def __init__(self, column: Column, role: str = "dinov2") -> None:
        self.column = column
        self.roles: tuple[str, ...] = (role,)

    def asks(self, case: Case) -> Iterator[Ask]:
        if len(case.pictures) > 1:
            for picture in case.pictures:
                yield Ask(self.roles[0], picture)

    def scores(self, case: Case, features: Features) -> Iterator[Score]:
        """0 to 2."""
        vectors = [features[ask]["vector"] for ask in self.asks(case)]
        if vectors:
            distances = [1 - cosine(first, second) for first, second in combinations(vectors, 2)]
            yield Score(image=None, value=float(np.mean(distances)))
