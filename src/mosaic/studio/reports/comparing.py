"""Outputs of `mosaic evaluate` read back: one, or several of one benchmark summarised as if they were one.

Numbers come from `evaluation`: a single report's are those it was written with; several are summarised again
from their scores over the records they share, so that differences between reports are paired like all others.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from mosaic.evaluation.features import Case, Column
from mosaic.evaluation.records import Benchmark, Record
from mosaic.evaluation.report.cases import Seen, all_seen, extremes
from mosaic.evaluation.report.listing import NAME, read_methods
from mosaic.evaluation.rows import Row, read_rows
from mosaic.evaluation.statistics import Interval
from mosaic.evaluation.summary import AVERAGE, Comparison, Method, Summary, summarise
from mosaic.studio.reports.summaries import benchmark_of, summary_of
from mosaic.studio.roots import Roots

MOST = 8  # reports at a time


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Report:
    """One output folder."""

    path: Path
    facts: Mapping[str, Any]  # of summary.json
    rows: tuple[Row, ...]
    methods: tuple[Method, ...]  # with their cases; without any where cases.json is missing
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Opened:
    """What the page shows: the summary of one report or of several."""

    names: tuple[str, ...]
    benchmark: Benchmark
    summary: Summary
    rows: tuple[Row, ...]
    methods: tuple[Method, ...]
    notes: tuple[str, ...] = field(default_factory=tuple)

    def column(self, title: str) -> Column:
        """ValueError for a column that is not there."""
        found = next((one.column for one in self.summary.columns if one.column.title == title), None)
        if found is None:
            raise ValueError(f"There is no column {title} in these reports.")
        return found

    def titles(self, part: str) -> list[str]:
        """The columns with a value in a part, averages aside: what cases can be ranked by."""
        here = {row.column for row in self.rows if row.part == part}
        return [one.column.title for one in self.summary.columns if one.column.title in here]


# ---------------------------------------------------------------- one report


def open_reports(typed: Sequence[str], roots: Roots) -> Opened:
    """The reports in these folders. ValueError if one may not be opened, is damaged or of another kind."""
    if not typed:
        raise ValueError("Choose a report, or several of one benchmark.")
    if len(typed) > MOST:
        raise ValueError(f"Open at most {MOST} reports at a time.")
    paths = tuple(dict.fromkeys(roots.find(one) for one in typed))
    folders = tuple(path.parent if path.is_file() else path for path in paths)
    stamps = tuple((_stamp(path / "summary.json"), _stamp(path / "scores.parquet")) for path in folders)
    return _opened(folders, roots, stamps)


def offered(roots: Roots) -> list[str]:
    """Folders that hold a report."""
    return [str(place) for place in roots.places("summary.json") if (place / "scores.parquet").exists()]


def _stamp(path: Path) -> tuple[int, int]:
    return (path.stat().st_size, path.stat().st_mtime_ns) if path.is_file() else (0, 0)


@lru_cache(maxsize=8)
def _opened(folders: tuple[Path, ...], roots: Roots, stamps: tuple[object, ...]) -> Opened:
    reports = [read_report(folder, roots) for folder in folders]
    return alone(reports[0]) if len(reports) == 1 else together(reports)


def read_report(folder: Path, roots: Roots) -> Report:
    """ValueError if there is no summary.json, or a damaged one; what else is missing is told."""
    facts, problems = _facts(folder, roots), []
    rows: list[Row] = []
    methods: list[Method] = []
    try:
        rows = read_rows(_within(folder / "scores.parquet", roots))
    except (ValueError, OSError) as error:
        problems.append(f"No scores: {error} Cases and differences to other reports cannot be shown.")
    try:
        methods = read_methods(_within(folder / NAME, roots))
    except (ValueError, OSError):
        problems.append(f"{folder.name} has no list of its pictures ({NAME}): evaluate again to see them.")
    return Report(
        path=folder, facts=facts, rows=tuple(rows), methods=tuple(methods), problems=tuple(problems)
    )


def _facts(folder: Path, roots: Roots) -> Mapping[str, Any]:
    path = _within(folder / "summary.json", roots)
    if not path.is_file():
        raise ValueError(f"{folder} holds no report: give an output folder of mosaic evaluate.")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        benchmark_of(found), summary_of(found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no summary of mosaic evaluate that can be read: {error!r}.") from error
    return dict(found)


def _within(path: Path, roots: Roots) -> Path:
    if not roots.holds(path):
        raise ValueError(f"{path.name} leads out of what may be opened.")
    return path


def alone(report: Report) -> Opened:
    """A single report, with the numbers it was written with."""
    return Opened(
        names=(report.path.name,),
        benchmark=benchmark_of(report.facts),
        summary=summary_of(report.facts),
        rows=report.rows,
        methods=report.methods or _without_pictures(report.facts),
        notes=report.problems,
    )


def _without_pictures(facts: Mapping[str, Any]) -> tuple[Method, ...]:
    return tuple(Method(name=one["name"], cases=(), control=one["control"]) for one in facts["methods"])


# ---------------------------------------------------------------- several


def together(reports: Sequence[Report]) -> Opened:
    """Several reports of one benchmark as one; methods of one name are told apart by their report.

    A method that scores the same in all of them, a control mostly, is shown once. ValueError if the
    benchmarks differ, or no record is scored in all of them.
    """
    _check_alike(reports)
    names = _names(reports)
    renamed = [_renamed(report, names[n]) for n, report in enumerate(reports)]
    order = _order(reports, names)
    rows, notes = _shared(
        sorted((row for report in renamed for row in report.rows), key=lambda row: order.index(row.method))
    )
    benchmark = _joined([benchmark_of(report.facts) for report in reports])
    shown = {one.column.title: one for report in reports for one in summary_of(report.facts).columns}
    methods = [method for report in renamed for method in report.methods]
    methods.sort(key=lambda method: order.index(method.name))
    columns = [one for one in shown.values() if one.column.name != AVERAGE]
    controls = {method.name for method in methods if method.control}
    return Opened(
        names=tuple(report.path.name for report in reports),
        benchmark=benchmark,
        summary=summarise(rows, columns, benchmark, controls=controls),
        rows=tuple(rows),
        methods=tuple(methods),
        notes=(*notes, *(problem for report in reports for problem in report.problems)),
    )


def _check_alike(reports: Sequence[Report]) -> None:
    benchmarks = {str(report.facts["benchmark"]) for report in reports}
    if len(benchmarks) > 1:
        raise ValueError(
            f"The reports are of {', '.join(sorted(benchmarks))}: open reports of one benchmark."
        )
    if lacking := [report.path.name for report in reports if not report.rows]:
        raise ValueError(f"{', '.join(lacking)} has no scores that can be read: open it alone.")


def _names(reports: Sequence[Report]) -> list[dict[str, str]]:
    """For each report: a method's name → the name it goes by here; one shown before is not in it."""
    folders = Counter(report.path.name for report in reports)
    found: list[dict[str, str]] = []
    for report in reports:
        folder = report.path.name if folders[report.path.name] == 1 else str(report.path)
        mine: dict[str, str] = {}
        for one in report.facts["methods"]:
            name = one["name"]
            having = [other for other in reports if any(m["name"] == name for m in other.facts["methods"])]
            alike = len({_scores(other, name) for other in having}) == 1
            if alike and having[0] is report:
                mine[name] = name
            elif not alike:
                mine[name] = f"{name} ({folder})"
        found.append(mine)
    return found


def _order(reports: Sequence[Report], names: Sequence[Mapping[str, str]]) -> list[str]:
    """The names they go by, those of one method next to one another."""
    every = dict.fromkeys(one["name"] for report in reports for one in report.facts["methods"])
    return [mine[name] for name in every for mine in names if name in mine]


def _scores(report: Report, method: str) -> frozenset[Row]:
    return frozenset(row for row in report.rows if row.method == method)


def _renamed(report: Report, names: Mapping[str, str]) -> Report:
    """With those methods alone that have a name here."""
    rows = tuple(replace(row, method=names[row.method]) for row in report.rows if row.method in names)
    methods = tuple(
        replace(
            method,
            name=names[method.name],
            cases=tuple(replace(case, method=names[method.name]) for case in method.cases),
        )
        for method in (report.methods or _without_pictures(report.facts))
        if method.name in names
    )
    return replace(report, rows=rows, methods=methods)


def _shared(rows: Sequence[Row]) -> tuple[list[Row], list[str]]:
    """The rows of records that every method has, and a note of what was left out."""
    have: dict[str, set[tuple[str, str]]] = {}
    for row in rows:
        have.setdefault(row.method, set()).add((row.part, row.record))
    every, either = set.intersection(*have.values()), set().union(*have.values())
    if not every:
        raise ValueError("The reports share no record: evaluate the same records, or open them one by one.")
    kept = [row for row in rows if (row.part, row.record) in every]
    left = len(either) - len(every)
    return kept, [f"Over the {len(every)} records that all have; {left} others are left out."] if left else []


def _joined(benchmarks: Sequence[Benchmark]) -> Benchmark:
    """The first, with the columns and deviations of all."""
    return replace(
        benchmarks[0],
        columns=tuple(dict.fromkeys(name for one in benchmarks for name in one.columns)),
        deviations=tuple(dict.fromkeys(text for one in benchmarks for text in one.deviations)),
    )


# ---------------------------------------------------------------- cases


def cases_of(opened: Opened, part: str, title: str, method: str, count: int) -> tuple[list[Seen], list[Seen]]:
    """Worst and best of a method by a column, at most half of its records each.

    Empty where there are no scores or no pictures.
    """
    found = next((one for one in opened.methods if one.name == method), None)
    if found is None or not found.cases:
        return [], []
    known = {case.record.id for case in found.cases}
    rows = [
        row
        for row in opened.rows
        if (row.method, row.part, row.column) == (method, part, title) and row.record in known
    ]
    column, records = opened.column(title), len({row.record for row in rows})
    return extremes(all_seen(rows, found.cases, column), column, min(count, -(-records // 2)))


def compared(opened: Opened, part: str, first: str, second: str) -> list[Comparison]:
    """First less second in every column of a part, whichever way round the summary has it."""
    found = []
    for one in opened.summary.comparisons:
        if one.part == part and {one.first, one.second} == {first, second}:
            found.append(one if one.first == first else _turned(one))
    return found


def _turned(one: Comparison) -> Comparison:
    difference = one.difference
    if difference is not None:
        interval = difference.interval
        if interval is not None:
            interval = Interval(low=-interval.high, high=-interval.low)
        difference = replace(difference, value=-difference.value, interval=interval)
    return replace(one, first=one.second, second=one.first, difference=difference)


def records_of(opened: Opened, part: str) -> dict[str, Record]:
    """id → record, of those with pictures."""
    return {c.record.id: c.record for m in opened.methods for c in m.cases if c.record.part == part}


def case_of(opened: Opened, method: str, record: str) -> Case | None:
    """What a method made of a record."""
    found = next((one for one in opened.methods if one.name == method), None)
    return next((case for case in found.cases if case.record.id == record), None) if found else None


def scores_of(opened: Opened, method: str, record: str, title: str) -> float | None:
    """The mean of a record's scores of a method in a column, in the column's scale."""
    values = [r.value for r in opened.rows if (r.method, r.record, r.column) == (method, record, title)]
    return opened.column(title).scale * sum(values) / len(values) if values else None
