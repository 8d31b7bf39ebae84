"""What an evaluation found: values with intervals, what was a substitute, and which differences are shown."""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

from mosaic.evaluation.features import Case, Column
from mosaic.evaluation.records import Benchmark
from mosaic.evaluation.rows import Row, Shown
from mosaic.evaluation.statistics import (
    SEED,
    Difference,
    Interval,
    compare,
    draws,
    holm,
    interval,
    verdict,
    winner,
)
from mosaic.evaluation.tally import Floats, Tally, Unit, joined, mean, means, tally_of

AVERAGE, OVERALL = "AVG", "overall"
NOTHING = "no record has what it scores"

ByMethod = dict[str, list[Row]]
Rows = Mapping[tuple[str, str], ByMethod]  # (part, column's title)


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One row of the tables: whose pictures they are, and how they were made."""

    name: str
    cases: tuple[Case, ...]
    control: bool = False  # no references, copy-paste: shown beside the methods, never best
    settings: Mapping[str, object] = field(default_factory=dict)  # model, steps, guidance, seeds, folder …
    deviations: tuple[str, ...] = ()  # one sentence each


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One cell of a table, in the column's scale."""

    method: str
    part: str
    column: str  # Column.title
    value: float
    interval: Interval | None
    records: int
    entries: int  # scores that went into it
    unit: Unit  # what the interval's bootstrap drew
    substitutes: Mapping[str, int]  # note → of these entries; "no face in the picture": 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two methods in one column of one part; p is adjusted over all columns and parts of the two."""

    part: str
    column: str
    first: str
    second: str
    difference: Difference | None  # None: not compared
    lower_is_better: bool = False
    reason: str = ""  # why it was not compared

    @property
    def winner(self) -> str | None:
        """None inside the noise."""
        if self.difference is None:
            return None
        return winner(self.first, self.second, self.difference, lower_is_better=self.lower_is_better)

    @property
    def verdict(self) -> str:
        """One sentence."""
        if self.difference is None:
            return f"not compared: {self.reason}"
        return verdict(self.first, self.second, self.difference, lower_is_better=self.lower_is_better)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """All that the tables show; `missing`: a published column → why it is not there."""

    benchmark: str
    parts: tuple[str, ...]
    methods: tuple[str, ...]
    controls: frozenset[str]
    columns: tuple[Shown, ...]
    missing: Mapping[str, str]
    values: tuple[Value, ...]
    comparisons: tuple[Comparison, ...]
    groups: Mapping[tuple[str, str, str], Mapping[str, float]]  # (part, column, group) → method → mean

    def value(self, method: str, part: str, column: str) -> Value | None:
        """None where nothing of the column could be scored."""
        return next((v for v in self.values if (v.method, v.part, v.column) == (method, part, column)), None)

    def best(self, part: str, column: str) -> str | None:
        """The method shown to be better than every other one, controls aside; None if there is none."""
        fought = [
            one
            for one in self.comparisons
            if (one.part, one.column) == (part, column) and not {one.first, one.second} & self.controls
        ]
        wins = Counter(one.winner for one in fought)
        rivals = {one.first for one in fought} | {one.second for one in fought}
        return next((method for method in sorted(rivals) if wins[method] == len(rivals) - 1), None)


def summarise(
    rows: Iterable[Row],
    shown: Sequence[Shown],
    benchmark: Benchmark,
    *,
    controls: Collection[str] = (),
    missing: Mapping[str, str] | None = None,
) -> Summary:
    """Rows of several methods over one benchmark → what the tables show.

    `missing`: why a column of the benchmark is not among `shown`, by its name. ValueError if a method has no
    score at all of a record that another one has, or if a value is not finite.
    """
    listed = list(rows)
    methods = tuple(dict.fromkeys(row.method for row in listed))
    _check_same_records(listed, methods)
    by_column = _by_column(listed, methods)
    tallies = _tallies(by_column, shown, benchmark)
    average = _average_column(shown, benchmark) if any(AVERAGE in key for key in tallies) else None
    columns = (*shown, *([average] if average else []))
    parts = tuple(dict.fromkeys([*benchmark.parts, *(part for part, _ in tallies)]))
    values, comparisons = _measure(tallies, columns, parts, by_column)
    there = {name for _, name in tallies}
    chosen = {one.column.name for one in columns}
    told = {
        name: NOTHING if name in chosen else (missing or {}).get(name, "no scorer for it was chosen")
        for name in benchmark.columns
        if name not in there
    }
    return Summary(
        benchmark=benchmark.name,
        parts=parts,
        methods=methods,
        controls=frozenset(controls) & set(methods),
        columns=columns,
        missing=told,
        values=tuple(values),
        comparisons=tuple(_holm_by_pair(comparisons)),
        groups=_groups(by_column, shown),
    )


def _by_column(rows: Iterable[Row], methods: Sequence[str]) -> Rows:
    """(part, column) → method → rows, methods in their order."""
    found: dict[tuple[str, str], ByMethod] = defaultdict(lambda: {method: [] for method in methods})
    for row in rows:
        found[row.part, row.column][row.method].append(row)
    return {key: {method: one for method, one in lists.items() if one} for key, lists in found.items()}


def _tallies(
    by_column: Rows, shown: Sequence[Shown], benchmark: Benchmark
) -> dict[tuple[str, str], list[Tally]]:
    """(part, column name) → tallies, one for each set of methods that have scores of the same records."""
    found = {
        (part, one.column.name): _of_same_records(lists, one)
        for part in benchmark.parts
        for one in shown
        if (lists := by_column.get((part, one.column.title)))
    }
    if not benchmark.averaged:
        return found
    for part in benchmark.parts:
        columns = [found.get((part, name), []) for name in benchmark.averaged]
        if all(len(one) == 1 and one[0].methods == columns[0][0].methods for one in columns):
            found[part, AVERAGE] = [joined([one[0] for one in columns])]
    averages = [found[part, AVERAGE][0] for part in benchmark.parts if (part, AVERAGE) in found]
    if len(averages) == len(benchmark.parts) > 1 and len({one.methods for one in averages}) == 1:
        strata = tuple(stratum for one in averages for stratum in one.strata)  # each part counts once
        found[OVERALL, AVERAGE] = [replace(averages[0], strata=strata)]
    return found


def _of_same_records(lists: ByMethod, shown: Shown) -> list[Tally]:
    alike: dict[frozenset[str], list[Row]] = defaultdict(list)
    for rows in lists.values():
        alike[frozenset(row.record for row in rows)].extend(rows)
    return [tally_of(rows, shown.mean, scale=shown.column.scale) for rows in alike.values()]


def _average_column(shown: Sequence[Shown], benchmark: Benchmark) -> Shown:
    parts = [one.column for one in shown if one.column.name in benchmark.averaged]
    official = all(column.official for column in parts)
    column = Column(name=AVERAGE, model="of the columns here", official=official, scale=1.0)
    return Shown(column=column, mean="entries")


def _measure(
    tallies: Mapping[tuple[str, str], Sequence[Tally]],
    columns: Sequence[Shown],
    parts: Sequence[str],
    by_column: Rows,
) -> tuple[list[Value], list[Comparison]]:
    values: list[Value] = []
    comparisons: list[Comparison] = []
    for part in parts:
        for one in columns:
            for tally in (same := tallies.get((part, one.column.name), [])):
                drawn = draws(tally, seed=_seed(part))
                rows = by_column.get((part, one.column.title), {})
                values += _values(tally, drawn, part, one.column.title, rows)
                comparisons += _compared(tally, drawn, part, one.column)
            comparisons += _not_compared(same, part, one.column)
    return values, comparisons


def _seed(part: str) -> int:
    """Parts are drawn independently of each other."""
    return SEED + zlib.crc32(part.encode())


def _values(tally: Tally, drawn: Floats, part: str, title: str, rows: ByMethod) -> list[Value]:
    found = means(tally)
    return [
        Value(
            method=method,
            part=part,
            column=title,
            value=float(found[n]),
            interval=interval(drawn[:, n], tally.freedom),
            records=len({row.record for row in rows[method]}) if rows else tally.units,
            entries=len(rows[method]) if rows else tally.entries(n),
            unit=tally.unit,
            substitutes=Counter(row.note for row in rows.get(method, []) if row.note),
        )
        for n, method in enumerate(tally.methods)
    ]


def _compared(tally: Tally, drawn: Floats, part: str, column: Column) -> list[Comparison]:
    return [
        Comparison(
            part=part,
            column=column.title,
            first=first,
            second=second,
            difference=compare(tally, first, second, drawn=drawn, seed=_seed(part)),
            lower_is_better=column.lower_is_better,
        )
        for first, second in combinations(tally.methods, 2)
    ]


def _not_compared(tallies: Sequence[Tally], part: str, column: Column) -> list[Comparison]:
    """Pairs whose scores are of different records."""
    return [
        Comparison(
            part=part,
            column=column.title,
            first=first,
            second=second,
            difference=None,
            lower_is_better=column.lower_is_better,
            reason="their scores are of different records",
        )
        for one, other in combinations(tallies, 2)
        for first in one.methods
        for second in other.methods
    ]


def _holm_by_pair(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The family of a test: all columns and parts in which the same two methods are compared."""
    families: dict[frozenset[str], list[tuple[int, Difference, float]]] = defaultdict(list)
    for n, one in enumerate(comparisons):
        if one.difference is not None and one.difference.p is not None:
            families[frozenset((one.first, one.second))].append((n, one.difference, one.difference.p))
    found = list(comparisons)
    for family in families.values():
        for (n, difference, _), p in zip(family, holm([p for *_, p in family]), strict=True):
            found[n] = replace(comparisons[n], difference=replace(difference, p=p))
    return found


def _groups(by_column: Rows, shown: Sequence[Shown]) -> dict[tuple[str, str, str], dict[str, float]]:
    titles = {one.column.title: one for one in shown}
    found: dict[tuple[str, str, str], dict[str, float]] = {}
    for (part, title), lists in by_column.items():
        if (one := titles.get(title)) is None:
            continue
        for method, rows in lists.items():
            by_group: dict[str, list[Row]] = defaultdict(list)
            for row in rows:
                by_group[row.group].append(row)
            for group, members in by_group.items():
                value = one.column.scale * mean(members, one.mean)
                found.setdefault((part, title, group), {})[method] = value
    return found


def _check_same_records(rows: Sequence[Row], methods: Sequence[str]) -> None:
    have = {method: {(row.part, row.record) for row in rows if row.method == method} for method in methods}
    everything = set().union(*have.values())
    for method in methods:
        if absent := sorted(record for _, record in everything - have[method]):
            named = ", ".join(absent[:5]) + (", …" if len(absent) > 5 else "")
            raise ValueError(
                f"{method} has no score of {len(absent)} of {len(everything)} records ({named}): score its "
                "pictures of these, or leave the records out for every method."
            )
