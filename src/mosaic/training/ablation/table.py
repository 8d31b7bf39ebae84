"""The table of an ablation: means over seeds with t intervals, paired differences, no winner in the noise.

Runs of one seed see the same batches, noise and dropout whatever their cell, so cells are compared seed by
seed: a difference is the mean of paired differences, its interval Student's t over seeds.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from mosaic.training.ablation.ledger import Entry

LEVEL = 0.95
PERCENT = ("presence", "identity", "leakage", "pose")  # of the toybox, in the order of the table
LOWER_IS_BETTER = ("leakage",)


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A figure of every run: a loss, the probe's hits, or a toybox measure at a K."""

    title: str
    path: tuple[str, ...]  # into an entry: ("losses", "flow"), ("measures", "4", "identity", "mean")
    scale: float = 1.0
    digits: int = 1
    lower: bool = False  # is better

    def of(self, entry: Entry) -> float:
        """NaN where a run has no such figure."""
        value: object = getattr(entry, self.path[0])
        for key in self.path[1:]:
            value = value.get(key) if isinstance(value, Mapping) else None
        return float("nan") if value is None else self.scale * float(value)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its interval over n values; without two values the interval is the whole line."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


def interval(values: Sequence[float], level: float = LEVEL) -> Interval:
    """Student's t interval of the mean of values; values that are not there (NaN) do not count."""
    found = np.array([value for value in values if not math.isnan(value)], np.float64)
    if not len(found):
        return Interval(math.nan, -math.inf, math.inf, 0)
    mean = float(found.mean())
    if len(found) == 1:
        return Interval(mean, -math.inf, math.inf, 1)
    half = student.ppf((1 + level) / 2, len(found) - 1) * found.std(ddof=1) / math.sqrt(len(found))
    return Interval(mean, mean - float(half), mean + float(half), len(found))


class Comparison:
    """The runs of one or more groups, cell by cell. ValueError for runs that cannot be compared."""

    def __init__(self, entries: Sequence[Entry], groups: Sequence[str] = ()) -> None:
        chosen = [entry for entry in entries if not groups or entry.group in groups]
        if not chosen:
            raise ValueError(f"the ledger has no run of {', '.join(groups) or 'any group'}.")
        for name in ("start", "steps", "samples", "measure"):
            _refuse_different(chosen, name)
        several = len({entry.group for entry in chosen}) > 1
        self.entries = chosen
        self.cells: dict[str, dict[int, Entry]] = {}
        order = list(groups) or sorted({entry.group for entry in chosen})
        for entry in sorted(chosen, key=lambda e: (order.index(e.group), e.place, e.seed)):
            name = f"{entry.group}/{entry.cell}" if several else entry.cell
            self.cells.setdefault(name, {})[entry.seed] = entry
        self.columns = _columns(chosen)

    def values(self, cell: str, column: Column) -> list[float]:
        return [column.of(entry) for entry in self.cells[cell].values()]

    def difference(self, cell: str, other: str, column: Column, level: float = LEVEL) -> Interval:
        """cell − other over the seeds both have."""
        first, second = self.cells[cell], self.cells[other]
        seeds = sorted(first.keys() & second.keys())
        return interval([column.of(first[s]) - column.of(second[s]) for s in seeds], level)

    def verdict(self, column: Column) -> str:
        """The best cell, if its lead over every other holds (Bonferroni); else who is within the noise."""
        if len(self.cells) < 2:
            return "one cell, nothing to compare."
        means = {cell: interval(self.values(cell, column)).mean for cell in self.cells}
        if any(math.isnan(mean) for mean in means.values()):
            return "no winner: some cell has no figure."
        best = min(means, key=lambda cell: means[cell] if column.lower else -means[cell])
        others = [cell for cell in means if cell != best]
        if tied := [cell for cell in others if means[cell] == means[best]]:
            return f"no winner: {', '.join((best, *tied))} have the same figure."
        level = 1 - (1 - LEVEL) / len(others)
        close = [c for c in others if not self.difference(best, c, column, level).excludes_zero]
        if not close:
            return f"**{best}**: its lead over every other cell holds."
        if any(self.difference(best, c, column).n < 2 for c in close):
            return f"no winner: {best} leads, and fewer than two seeds are shared with {', '.join(close)}."
        return f"no winner: {best} leads, within the noise of {', '.join(close)}."


def markdown(comparison: Comparison, baseline: str = "") -> str:
    """Every cell's figures, what each differs from the baseline (the first cell), and the verdicts."""
    first = baseline or next(iter(comparison.cells))
    if first not in comparison.cells:
        raise ValueError(f"there is no cell {first}: there are {', '.join(comparison.cells)}.")
    parts = [_figures(comparison), _differences(comparison, first), _verdicts(comparison), _told(comparison)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _figures(comparison: Comparison) -> str:
    lines = _head("cell", comparison.columns, "seeds")
    for cell, runs in comparison.cells.items():
        told = [_value(comparison.values(cell, column), column) for column in comparison.columns]
        lines.append(f"| {cell} | {len(runs)} | " + " | ".join(told) + " |")
    return "\n".join(lines)


def _differences(comparison: Comparison, baseline: str) -> str:
    if len(comparison.cells) < 2:
        return ""
    lines = _head(f"minus {baseline}", comparison.columns, "seeds shared")
    for cell in comparison.cells:
        if cell == baseline:
            continue
        found = [comparison.difference(cell, baseline, column) for column in comparison.columns]
        told = [_difference(one, column) for one, column in zip(found, comparison.columns, strict=True)]
        shared = len(comparison.cells[cell].keys() & comparison.cells[baseline].keys())
        lines.append(f"| {cell} | {shared} | " + " | ".join(told) + " |")
    return "\n".join([*lines, "", f"Bold: the {100 * LEVEL:.0f} % interval leaves 0 out."])


def _verdicts(comparison: Comparison) -> str:
    return "\n".join(f"- {column.title}: {comparison.verdict(column)}" for column in comparison.columns)


def _told(comparison: Comparison) -> str:
    one, entries = comparison.entries[0], comparison.entries
    commits, machines = (sorted({getattr(e, name) for e in entries}) for name in ("commit", "machine"))
    return (
        f"{len(entries)} runs of {one.steps} steps ({one.samples} samples) from the weights {one.start}; "
        f"{one.measure['scenes']} held-out scenes a K, {one.measure['steps']} sampler steps, guidance "
        f"{one.measure['guidance']:g}; losses over the last {one.measure['last']} steps. ± is a t "
        f"interval of {100 * LEVEL:.0f} % over seeds. Commits: {', '.join(commits)}. "
        f"Machines: {'; '.join(machines)}."
    )


def _columns(entries: Sequence[Entry]) -> list[Column]:
    losses = [name for name in ("flow", "sca", "md") if any(name in entry.losses for entry in entries)]
    columns = [Column(title=f"loss {name}", path=("losses", name), digits=4, lower=True) for name in losses]
    if any("exact" in entry.probe for entry in entries):
        columns.append(Column(title="probe exact %", path=("probe", "exact"), scale=100))
    for subjects in entries[0].measures:
        for name in PERCENT:
            path = ("measures", subjects, name, "mean")
            title = f"{name} % (K = {subjects})"
            columns.append(Column(title=title, path=path, scale=100, lower=name in LOWER_IS_BETTER))
    return [column for column in columns if interval([column.of(entry) for entry in entries]).n]


def _head(name: str, columns: Sequence[Column], count: str) -> list[str]:
    titles = [name, count, *(column.title for column in columns)]
    return ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]


def _value(values: Sequence[float], column: Column) -> str:
    found = interval(values)
    if not found.n:
        return "–"
    mean = f"{found.mean:.{column.digits}f}"
    return mean if found.n < 2 else f"{mean} ± {found.high - found.mean:.{column.digits}f}"


def _difference(found: Interval, column: Column) -> str:
    if not found.n:
        return "–"
    if found.n < 2:
        return f"{found.mean:+.{column.digits}f}"
    low, high = (f"{value:+.{column.digits}f}" for value in (found.low, found.high))
    told = f"{found.mean:+.{column.digits}f} [{low}, {high}]"
    return f"**{told}**" if found.excludes_zero else told


def _refuse_different(entries: Sequence[Entry], name: str) -> None:
    values: dict[str, str] = {}
    for entry in entries:
        values.setdefault(str(getattr(entry, name)), entry.name)
    if len(values) > 1:
        (one, first), (other, second) = list(values.items())[:2]
        raise ValueError(
            f"{first} and {second} cannot be compared: their {name} is {one} and {other}. "
            "Name groups that can, or keep them in ledgers of their own."
        )
