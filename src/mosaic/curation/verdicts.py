"""Whether a sample is good enough: a pure function of its scores and the recipe's thresholds.

Every score is kept, so thresholds can be moved, and shards packed again, without a model.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from pydantic import BaseModel, ConfigDict


class Bounds(BaseModel):
    """The values a score may take; a bound that is None does not bind."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    least: float | None = None
    most: float | None = None

    def holds(self, value: float) -> bool:
        """False for nan."""
        low = self.least is None or value >= self.least
        return low and (self.most is None or value <= self.most) and value == value


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """accepted, or the first score in the way."""

    accepted: bool = True
    stage: str = ""
    reason: str = ""  # e.g. "segment/1/area is 0.004, below 0.01"


def verdict(scores: Mapping[str, float], thresholds: Mapping[str, Bounds]) -> Verdict:
    """By the first score, in the order of the thresholds, out of bounds. Keys may be "segment/*/area"."""
    for pattern, bounds in thresholds.items():
        for name, value in _matching(scores, pattern):
            if not bounds.holds(value):
                return Verdict(
                    accepted=False, stage=name.partition("/")[0], reason=_words(name, value, bounds)
                )
    return Verdict()


def _matching(scores: Mapping[str, float], pattern: str) -> Iterator[tuple[str, float]]:
    return ((name, value) for name, value in sorted(scores.items()) if fnmatchcase(name, pattern))


def _words(name: str, value: float, bounds: Bounds) -> str:
    if bounds.least is not None and not value >= bounds.least:
        return f"{name} is {value:.4g}, below {bounds.least:g}"
    return f"{name} is {value:.4g}, above {bounds.most:g}"
