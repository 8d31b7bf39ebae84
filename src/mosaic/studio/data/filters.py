"""Which samples of a dataset a person wants to see: a pure function of the sample and what was said of it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from mosaic.curation.verdicts import Bounds
from mosaic.studio.data.edits import Review
from mosaic.studio.data.listing import Entry

Reviewed = Literal["any", "not decided", "kept", "dropped", "mended"]
REVIEWED: tuple[Reviewed, ...] = ("any", "not decided", "kept", "dropped", "mended")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Nothing chosen lets everything through; what is chosen must all hold."""

    subjects: frozenset[int] = frozenset()  # K
    verdicts: frozenset[str] = frozenset()
    stages: frozenset[str] = frozenset()  # that rejected, or where it failed
    ranges: tuple[tuple[str, Bounds], ...] = ()  # score, * for any subject: all must hold
    text: str = ""  # every word must be in the key, the captions, the nouns or the reason
    reviewed: Reviewed = "any"

    def holds(self, entry: Entry, review: Review) -> bool:
        """Whether a sample is one of those wanted."""
        return (
            _among(len(entry.nouns), self.subjects)
            and _among(entry.verdict, self.verdicts)
            and _among(entry.stage, self.stages)
            and all(in_range(entry, pattern, bounds) for pattern, bounds in self.ranges)
            and _says(entry, self.text)
            and _was(review, entry.address, self.reviewed)
        )


def range_of(pattern: str | None, least: float | None, most: float | None) -> tuple[str, Bounds] | None:
    """A range as it is filled in; None where no score is chosen, or no bound given."""
    if not pattern or (least is None and most is None):
        return None
    return pattern, Bounds(least=least, most=most)


def in_range(entry: Entry, pattern: str, bounds: Bounds) -> bool:
    """Whether every score of that name lies within; False for a sample that has none."""
    found = [value for name, value in entry.scores.items() if fnmatchcase(name, pattern)]
    return bool(found) and all(bounds.holds(value) for value in found)


def score_names(entries: Collection[Entry]) -> list[str]:
    """The scores there are, * for a subject."""
    names = {name for entry in entries for name in entry.scores}
    return sorted({"/".join("*" if part.isdecimal() else part for part in name.split("/")) for name in names})


def _among(value: object, chosen: Collection[object]) -> bool:
    return not chosen or value in chosen


def _says(entry: Entry, text: str) -> bool:
    told = (entry.address, entry.caption, entry.detailed_caption, *entry.nouns, entry.reason)
    whole = " ".join(told).casefold()
    return all(word in whole for word in text.casefold().split())


def _was(review: Review, address: str, wanted: Reviewed) -> bool:
    if wanted == "any":
        return True
    if wanted == "mended":
        return address in review.mended
    decision = review.decision(address)
    return decision == {"not decided": "", "kept": "keep", "dropped": "drop"}[wanted]
