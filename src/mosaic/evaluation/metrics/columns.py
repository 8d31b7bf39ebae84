"""What metrics share: columns named by the chosen model, single numbers as features, cosines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mosaic.evaluation.extractors import NONE, Scorers
from mosaic.evaluation.features import Column, Feature
from mosaic.sample import Picture


def column_of(name: str, scorers: Scorers, role: str, *, scale: float = 100.0) -> Column:
    """The column `name`, made by whatever plays `role`; one without that role is never shown."""
    if role not in scorers:
        return Column(name=name, model=NONE, official=False, scale=scale)
    return Column(name=name, model=scorers.name(role), official=scorers.official(role), scale=scale)


def cosine(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Of two vectors (D,), −1 to 1, in double precision: of a vector and itself it is 1 to 1e-15."""
    a, b = first.astype(np.float64), second.astype(np.float64)
    return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12))


def numbers(values: Iterable[float], name: str = "score") -> list[Feature]:
    """Each as a feature of one array (1,)."""
    return [{name: np.array([value], np.float32)} for value in values]


def seen(pictures: Sequence[Picture | None]) -> list[Picture]:
    """The pictures of asks that all have one."""
    shown = [picture for picture in pictures if picture is not None]
    assert len(shown) == len(pictures), "this role was asked about a text alone"
    return shown
