"""Scores of a column as sums and counts; the benchmark's mean as a function of how often each record counts.

M methods, R records drawn from together (a stratum), C cells (a mean is taken in each first), B weightings.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mosaic.evaluation.records import Mean
from mosaic.evaluation.rows import Row

Floats = NDArray[np.float64]
Unit = Literal["records", "records of a group", "groups"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stratum:
    """What is resampled together: sums and numbers of scores by method, unit and cell."""

    units: tuple[str, ...]  # R, sorted
    totals: Floats  # (M, R, C)
    counts: Floats  # (M, R, C)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Scores of one column by several methods over the same records."""

    methods: tuple[str, ...]
    strata: tuple[Stratum, ...]
    unit: Unit

    @property
    def freedom(self) -> int:
        """Units less strata: the degrees of freedom of the spread."""
        return self.units - len(self.strata)

    @property
    def units(self) -> int:
        return sum(len(stratum.units) for stratum in self.strata)

    def entries(self, method: int) -> int:
        """Scores that went into the mean of one method."""
        return int(sum(stratum.counts[method].sum() for stratum in self.strata))


def mean(rows: Iterable[Row], kind: Mean) -> float:
    """The mean of one method's rows of one column and part.

    "groups": of each (group, subject) over all images and photographs, then over the subjects of a group,
    then over groups. "entries": over all rows at once. ValueError if there is no row, or one is not finite.
    """
    return float(means(tally_of(rows, kind))[0])


def tally_of(rows: Iterable[Row], kind: Mean, *, scale: float = 1.0) -> Tally:
    """Rows of one column and part, by one or several methods.

    ValueError if there is no row, if a value is not finite, or if the methods do not have scores of the same
    records: it names what is missing.
    """
    listed = list(rows)
    _check_values(listed)
    methods = tuple(dict.fromkeys(row.method for row in listed))
    _check_records(listed, methods)
    by_group: dict[str, list[Row]] = {}
    for row in listed:
        by_group.setdefault("" if kind == "entries" else row.group, []).append(row)
    groups = sorted(by_group)
    strata = [_stratum(by_group[group], methods, kind, scale) for group in groups]
    if kind == "entries":
        return Tally(methods=methods, strata=tuple(strata), unit="records")
    if min(len(stratum.units) for stratum in strata) > 1:
        return Tally(methods=methods, strata=tuple(strata), unit="records of a group")
    return _groups_as_units(methods, strata, groups)


def joined(tallies: Sequence[Tally]) -> Tally:
    """The mean of several columns, each a mean over its own entries, as a tally of the records of them all.

    Columns may have scores of different records (faces only where a person is asked for); a resample draws
    records, and each column's mean follows. ValueError unless all are of "entries" and the same methods.
    """
    first = tallies[0]
    if any(one.unit != "records" or one.methods != first.methods for one in tallies):
        raise ValueError("only columns whose mean is over entries, by the same methods, can be averaged.")
    parts = [one.strata[0] for one in tallies]
    units = tuple(sorted({unit for part in parts for unit in part.units}))
    at = {unit: n for n, unit in enumerate(units)}
    totals, counts = np.zeros((2, len(first.methods), len(units), len(parts)))
    for n, part in enumerate(parts):
        where = [at[unit] for unit in part.units]
        totals[:, where, n], counts[:, where, n] = part.totals[..., 0], part.counts[..., 0]
    return Tally(
        methods=first.methods,
        strata=(Stratum(units=units, totals=totals, counts=counts),),
        unit="records",
    )


def means(tally: Tally) -> Floats:
    """(M,), in the order of `tally.methods`."""
    return weighted(tally, [np.ones((1, len(stratum.units))) for stratum in tally.strata])[0]


def exchanged(tally: Tally, one: int, other: int, swaps: Sequence[Floats]) -> Floats:
    """Swaps (B, R) of 0 and 1 of each stratum → differences (B,) with the scores of those units exchanged."""
    sides: list[list[Floats]] = [[], []]
    for swap, s in zip(swaps, tally.strata, strict=True):
        moved = [swap @ (array[other] - array[one]) for array in (s.totals, s.counts)]  # (B, C)
        for side, sign, method in ((sides[0], 1, one), (sides[1], -1, other)):
            side.append(
                mean_over(
                    s.totals[method].sum(axis=0) + sign * moved[0],
                    s.counts[method].sum(axis=0) + sign * moved[1],
                )
            )
    first, second = (mean_of(np.stack(side, axis=-1)) for side in sides)
    return first - second


def _check_values(rows: Sequence[Row]) -> None:
    if not rows:
        raise ValueError("there is no score to take a mean of: score at least one record.")
    for row in rows:
        if not math.isfinite(row.value):
            raise ValueError(
                f"{row.column} of {row.method}, record {row.record}, is {row.value}: leave the score out, "
                "or give the value its protocol says, with a note."
            )


def _check_records(rows: Sequence[Row], methods: Sequence[str]) -> None:
    have = {method: {row.record for row in rows if row.method == method} for method in methods}
    everything = set().union(*have.values())
    for method in methods:
        if absent := sorted(everything - have[method]):
            named = ", ".join(absent[:5]) + (", …" if len(absent) > 5 else "")
            raise ValueError(
                f"{method} has no score in {rows[0].column} for {len(absent)} of {len(everything)} records "
                f"({named}): methods are compared over the same records; score these too."
            )


def _stratum(rows: Sequence[Row], methods: Sequence[str], kind: Mean, scale: float) -> Stratum:
    """Sums by record; a cell is a subject for "groups", everything for "entries"."""
    cell_of = [-1 if kind == "entries" or row.subject is None else row.subject for row in rows]
    units, cells = sorted({row.record for row in rows}), sorted(set(cell_of))
    at = {unit: n for n, unit in enumerate(units)}
    where = (
        [methods.index(row.method) for row in rows],
        [at[row.record] for row in rows],
        [cells.index(cell) for cell in cell_of],
    )
    totals, counts = np.zeros((2, len(methods), len(units), len(cells)))
    # sorted, so that sums are the same to the last bit in whatever order the rows come
    order = np.lexsort(([row.value for row in rows], *where))
    np.add.at(
        totals, tuple(np.asarray(axis)[order] for axis in where), np.array([r.value for r in rows])[order]
    )
    np.add.at(counts, where, 1.0)
    return Stratum(units=tuple(units), totals=scale * totals, counts=counts)


def _groups_as_units(methods: tuple[str, ...], strata: Sequence[Stratum], groups: Sequence[str]) -> Tally:
    one = [mean_over(s.totals.sum(axis=1), s.counts.sum(axis=1)) for s in strata]  # each (M,)
    values = np.stack(one, axis=1)[..., None]  # (M, G, 1)
    there = ~np.isnan(values)
    whole = Stratum(units=tuple(groups), totals=np.where(there, values, 0.0), counts=there.astype(np.float64))
    return Tally(methods=methods, strata=(whole,), unit="groups")


def mean_over(totals: Floats, counts: Floats) -> Floats:
    """The mean of the cells (last axis) that have scores; NaN where none has."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return mean_of(totals / counts)


def mean_of(values: Floats) -> Floats:
    """Over the last axis, NaN left out."""
    there = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(there, values, 0.0).sum(axis=-1) / there.sum(axis=-1)


def weighted(tally: Tally, weights: Sequence[Floats]) -> Floats:
    """Weights (B, R) of each stratum's units → means (B, M)."""
    found = [
        mean_over(np.tensordot(w, s.totals, (1, 1)), np.tensordot(w, s.counts, (1, 1)))  # (B, M, C) → (B, M)
        for w, s in zip(weights, tally.strata, strict=True)
    ]
    return mean_of(np.stack(found, axis=-1))
