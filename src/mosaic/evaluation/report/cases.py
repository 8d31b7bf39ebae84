"""Which pictures of a column are worth a look: its worst and its best, one image a record."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mosaic.evaluation.features import Case, Column, PictureFile
from mosaic.evaluation.rows import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One image of one record with its score, the mean of its rows, in the column's scale."""

    case: Case
    image: int | None  # None: a score of all images of the record
    score: float
    subjects: tuple[float | None, ...]  # of each subject of the record, where the column tells them apart
    notes: tuple[str, ...]

    @property
    def picture(self) -> PictureFile:
        """The image scored; the whole grid, or the first image, where a score is of all of them."""
        if self.image is None:
            return self.case.grid or self.case.pictures[0]
        return self.case.pictures[self.image]


def extremes(seen: Iterable[Seen], column: Column, count: int) -> tuple[list[Seen], list[Seen]]:
    """Up to `count` worst and `count` best, the worst and the best first; no record twice.

    Equal scores come in the order of records.
    """
    ranked = sorted(
        seen, key=lambda one: (one.score * (-1 if column.lower_is_better else 1), one.case.record.id)
    )
    worst = _one_a_record(ranked, count)
    taken = {one.case.record.id for one in worst}
    best = _one_a_record([one for one in reversed(ranked) if one.case.record.id not in taken], count)
    return worst, best


def all_seen(rows: Iterable[Row], cases: Sequence[Case], column: Column) -> list[Seen]:
    """Every image that has a score. rows: of one method, part and column."""
    of_record = {case.record.id: case for case in cases}
    by_image: dict[tuple[str, int | None], list[Row]] = defaultdict(list)
    for row in rows:
        by_image[row.record, row.image].append(row)
    return [
        _seen(of_record[record], image, found, column.scale) for (record, image), found in by_image.items()
    ]


def by_record(seen: Iterable[Seen]) -> dict[tuple[str, int | None], Seen]:
    """(record's id, image) → that one."""
    return {(one.case.record.id, one.image): one for one in seen}


def _seen(case: Case, image: int | None, rows: Sequence[Row], scale: float) -> Seen:
    by_subject = [[row.value for row in rows if row.subject == n] for n in range(len(case.record.subjects))]
    return Seen(
        case=case,
        image=image,
        score=scale * sum(row.value for row in rows) / len(rows),
        subjects=tuple(scale * sum(found) / len(found) if found else None for found in by_subject),
        notes=tuple(dict.fromkeys(row.note for row in rows if row.note)),
    )


def _one_a_record(ranked: Iterable[Seen], count: int) -> list[Seen]:
    found: dict[str, Seen] = {}
    for one in ranked:
        if len(found) == count:
            break
        found.setdefault(one.case.record.id, one)
    return list(found.values())
