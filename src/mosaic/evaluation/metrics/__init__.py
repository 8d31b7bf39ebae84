"""Columns by their published names, each made for the scorers chosen."""

from __future__ import annotations

from collections.abc import Callable

from mosaic.evaluation.extractors import Scorers
from mosaic.evaluation.features import Metric

METRICS: dict[str, Callable[[Scorers], Metric]] = {}
