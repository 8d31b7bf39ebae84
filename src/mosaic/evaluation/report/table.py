"""What a table shows, whatever it is written in: measured rows, controls, published rows, notes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mosaic.evaluation.records import Benchmark
from mosaic.evaluation.statistics import Interval, plain
from mosaic.evaluation.summary import AVERAGE, Summary, Value

BEST = (
    "Bold: shown to be better than every other measured method (95 % interval of the paired difference and "
    "Holm-adjusted sign-flip test at 5 %); controls take no part."
)
NONE_BEST = (
    "Nothing is bold: no measured method is shown to be better than every other one (95 % interval of the "
    "paired difference and Holm-adjusted sign-flip test at 5 %)."
)
INTERVALS = "In brackets: 95 % bootstrap interval over {unit}."
OTHER_AVERAGE = (
    "AVG: some of its columns are not made by the published model; not to be set against published rows."
)
UNITS = {"records": "records", "records of a group": "the records of each group", "groups": "groups"}
PUBLISHED = "Published rows are as their authors report them; no test compares them with the measured ones."


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One number as it is printed."""

    value: float
    interval: Interval | None = None
    best: bool = False

    @property
    def text(self) -> str:
        return plain(self.value)

    @property
    def range(self) -> str:
        """ "[75.12, 77.48]", or nothing."""
        return f"[{plain(self.interval.low)}, {plain(self.interval.high)}]" if self.interval else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One method."""

    method: str
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """One column: `title` over measured rows, `name` over published ones."""

    name: str
    title: str
    lower_is_better: bool = False

    @property
    def model(self) -> str:
        """What made the column, where that is not the published model."""
        return self.title.removeprefix(self.name).strip(" []")

    @property
    def arrow(self) -> str:
        return "↓" if self.lower_is_better else "↑"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One part of a benchmark."""

    part: str
    heads: tuple[Head, ...]
    measured: tuple[Line, ...]
    controls: tuple[Line, ...]
    published: tuple[Line, ...]
    notes: tuple[str, ...] = field(default_factory=tuple)

    @property
    def only_published(self) -> bool:
        return not (self.measured or self.controls)


def tables(summary: Summary, benchmark: Benchmark) -> list[Table]:
    """One a part that has a value or a published number; parts that were only published come last."""
    parts = dict.fromkeys((*summary.parts, *benchmark.published))
    found = [_table(summary, benchmark, part) for part in parts]
    return [one for one in found if one.heads]


def _table(summary: Summary, benchmark: Benchmark, part: str) -> Table:
    published = benchmark.published.get(part, {})
    heads = tuple(_heads(summary, benchmark, part, published))
    here = {value.method for value in summary.values if value.part == part}
    lines = {name: _line(summary, part, name, heads) for name in summary.methods if name in here}
    controls = tuple(line for name, line in lines.items() if name in summary.controls)
    measured = tuple(line for name, line in lines.items() if name not in summary.controls)
    return Table(
        part=part,
        heads=heads,
        measured=measured,
        controls=controls,
        published=tuple(_published(name, values, heads) for name, values in published.items()),
        notes=tuple(_notes(summary, part, heads, (*measured, *controls), bool(published))),
    )


def _heads(
    summary: Summary, benchmark: Benchmark, part: str, published: Mapping[str, Mapping[str, float]]
) -> list[Head]:
    """The benchmark's columns, then further ones; those with no number in this part left out."""
    columns = {one.column.name: one.column for one in summary.columns}
    printed = dict.fromkeys(name for values in published.values() for name in values)
    scored = {value.column for value in summary.values if value.part == part}
    heads = []
    for name in _order(benchmark, (*columns, *printed)):
        column = columns.get(name)
        if name in printed or (column and column.title in scored):
            title = column.title if column else name
            heads.append(
                Head(name=name, title=title, lower_is_better=bool(column and column.lower_is_better))
            )
    return heads


def _order(benchmark: Benchmark, others: Iterable[str]) -> list[str]:
    """The benchmark's columns, their average behind the last that is in it, then the others."""
    names = list(dict.fromkeys((*benchmark.columns, *others)))
    if AVERAGE in names and benchmark.averaged:
        names.remove(AVERAGE)
        names.insert(
            1 + max((names.index(name) for name in benchmark.averaged if name in names), default=-1), AVERAGE
        )
    return names


def _line(summary: Summary, part: str, method: str, heads: tuple[Head, ...]) -> Line:
    cells: list[Cell | None] = []
    for head in heads:
        value = summary.value(method, part, head.title)
        if value is None:
            cells.append(None)
            continue
        best = summary.best(part, head.title) == method
        cells.append(Cell(value=value.value, interval=value.interval, best=best))
    return Line(method=method, cells=tuple(cells))


def _published(method: str, values: Mapping[str, float], heads: tuple[Head, ...]) -> Line:
    cells = [Cell(value=values[head.name]) if head.name in values else None for head in heads]
    return Line(method=method, cells=tuple(cells))


def _notes(
    summary: Summary, part: str, heads: tuple[Head, ...], lines: tuple[Line, ...], published: bool
) -> list[str]:
    values = [value for value in summary.values if value.part == part]
    notes = []
    if units := dict.fromkeys(value.unit for value in values if value.interval):
        notes.append(INTERVALS.format(unit=" or ".join(UNITS[unit] for unit in units)))
    if values and len(summary.methods) - len(summary.controls) > 1:
        best = any(cell and cell.best for line in lines for cell in line.cells)
        notes.append(BEST if best else NONE_BEST)
    if published:
        notes.append(PUBLISHED)
    if not values:
        return notes
    notes += _of_other_models(heads)
    notes += [OTHER_AVERAGE for head in heads if head.name == AVERAGE and head.model]
    notes += [f"{name} is not measured: {why}." for name, why in summary.missing.items()]
    return notes + _substitutes(values)


def _of_other_models(heads: tuple[Head, ...]) -> list[str]:
    """A note a model."""
    columns: dict[str, list[str]] = {}
    for head in heads:
        if head.model and head.name != AVERAGE:
            columns.setdefault(head.model, []).append(head.name)
    return [
        f"{', '.join(names)}: made by {model}, not the published model; not to be set against published rows."
        for model, names in columns.items()
    ]


def _substitutes(values: Sequence[Value]) -> list[str]:
    """A note a column and reason, with all methods in it."""
    found: dict[tuple[str, str], list[str]] = {}
    for value in values:
        for reason, count in value.substitutes.items():
            found.setdefault((value.column, reason), []).append(f"{value.method} {count} of {value.entries}")
    return [
        f"{column}, scores that are substitutes ({reason}): {', '.join(counts)}."
        for (column, reason), counts in found.items()
    ]
