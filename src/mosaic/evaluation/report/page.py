"""index.html: what `page.html` shows, put together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mosaic.evaluation.features import PictureFile
from mosaic.evaluation.records import Benchmark
from mosaic.evaluation.report.cases import Seen, all_seen, by_record, extremes
from mosaic.evaluation.report.figures import Point, Scores, curves, histograms, whiskers
from mosaic.evaluation.report.table import Table, tables
from mosaic.evaluation.report.thumbnails import REFERENCE, RESULT, Thumbnails
from mosaic.evaluation.rows import Row, Shown
from mosaic.evaluation.statistics import plain
from mosaic.evaluation.summary import OVERALL, Comparison, Method, Summary

PICTURES = 420  # results that a page aims at; at least one worst and one best a method and column
COURSE = 3  # parts, from which on they are shown as a curve
CASES = 3  # worst, and best, of a method in a column, at most

Rows = Mapping[tuple[str, str, str], Sequence[Row]]  # (part, column's title, method)


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One picture with what it was asked for."""

    picture: str | None
    record: str
    prompt: str
    score: str
    references: tuple[tuple[str | None, str, str], ...]  # picture, noun, score of this subject
    others: tuple[
        tuple[str | None, str, str], ...
    ]  # what other methods made of the same: picture, name, score
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """Worst and best cases of one method."""

    method: str
    worst: tuple[Card, ...]
    best: tuple[Card, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One column of one part."""

    anchor: str
    title: str
    told: str
    whiskers: str
    histograms: tuple[tuple[str, str], ...]  # method, SVG
    strips: tuple[Strip, ...]
    groups: tuple[tuple[str, tuple[str, ...]], ...]  # group, one value a method
    comparisons: tuple[Comparison, ...]
    rivals: tuple[Comparison, ...]  # of these, without the controls


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """One part."""

    anchor: str
    part: str
    caption: str
    table: Table
    sections: tuple[Section, ...]


def write_page(
    title: str,
    summary: Summary,
    rows: Sequence[Row],
    benchmark: Benchmark,
    methods: Sequence[Method],
    found: Mapping[str, Any],
    output: Path,
) -> None:
    """index.html and the pictures it shows, under `output`; `found`: the facts of summary.json."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from mosaic.evaluation.report.writing import write_text

    pages = Environment(
        loader=PackageLoader("mosaic.evaluation", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters["told"] = _told
    builder = Builder(summary, rows, methods, benchmark, Thumbnails(output / "thumbnails"))
    text = pages.get_template("page.html").render(
        title=title,
        lead=_lead(summary, found),
        summary=summary,
        curves=list(builder.curves()),
        chapters=list(builder.chapters()),
        substitutes=[value for value in summary.values if value.substitutes],
        setting_names=list(SETTING_NAMES.values()),
        settings=[(part, _settings(values)) for part, values in found["parts"].items()],
        facts=found,
    )
    builder.thumbnails.write()
    write_text(output / "index.html", text)


SETTING_NAMES = {
    "records": "records",
    "groups": "groups",
    "size": "pixels",
    "seeds": "seeds",
    "steps": "steps",
    "guidance": "guidance",
    "grid": "one file",
    "reference": "reference canvas",
}


def _settings(values: Mapping[str, Any]) -> list[str]:
    told = dict(values) | {
        "size": f"{values['width']}×{values['height']}",
        "seeds": ", ".join(map(str, values["seeds"])),
        "grid": "2×2 grid" if values["grid"] else "one image",
    }
    return ["–" if told[name] in (None, "") else str(told[name]) for name in SETTING_NAMES]


def _told(value: object) -> str:
    """A setting as a person reads it."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_told(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_told, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "–" if value is None else str(value)


def _lead(summary: Summary, found: Mapping[str, Any]) -> str:
    methods, controls = len(summary.methods) - len(summary.controls), len(summary.controls)
    records = sum(part["records"] for part in found["parts"].values())
    pictures = sum(count for method in found["methods"] for count in method["images"].values())
    return (
        f"{_many(methods, 'method')} and {_many(controls, 'control')} over {_many(records, 'record')}: "
        f"{_many(pictures, 'picture')} scored by one set of scorers."
    )


def _settled(benchmark: Benchmark, part: str) -> str:
    settings = benchmark.settings[part]
    return f"{_many(len(settings.seeds), 'image')} each, {settings.width}×{settings.height}"


def _many(count: int, noun: str) -> str:
    number = f"{count:,}".replace(",", "\u202f")
    return f"{number} {noun}" if count == 1 else f"{number} {noun}s"


class Builder:
    """Puts the chapters of a page together, and adds the pictures they need."""

    def __init__(
        self,
        summary: Summary,
        rows: Sequence[Row],
        methods: Sequence[Method],
        benchmark: Benchmark,
        thumbnails: Thumbnails,
    ) -> None:
        self.summary, self.benchmark, self.thumbnails = summary, benchmark, thumbnails
        self.methods = {method.name: method for method in methods}
        self.rows: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
        for row in rows:
            self.rows[row.part, row.column, row.method].append(row)
        strips = sum(method not in summary.controls for _, _, method in self.rows) or len(self.rows)
        self.count = max(1, min(CASES, PICTURES // (2 * max(1, strips))))

    def chapters(self) -> Iterator[Chapter]:
        for n, table in enumerate(tables(self.summary, self.benchmark)):
            yield Chapter(
                anchor=f"part-{n}",
                part=table.part,
                caption=self.caption(table),
                table=table,
                sections=tuple(self.sections(table, f"part-{n}")),
            )

    def curves(self) -> Iterator[tuple[str, str]]:
        """Column and figure, where there are parts enough for a course: K=1 to K=8."""
        parts = [part for part in self.summary.parts if part != OVERALL]
        for shown in self.summary.columns if len(parts) >= COURSE else ():
            title = shown.column.title
            lines = [[self.point(method, part, title) for part in parts] for method in self.summary.methods]
            if any(point for line in lines for point in line):
                yield title, curves(lines, parts, title)

    def point(self, method: str, part: str, title: str) -> Point | None:
        if (value := self.summary.value(method, part, title)) is None:
            return None
        kind = "control" if method in self.summary.controls else "measured"
        return Point(name=method, value=value.value, interval=value.interval, kind=kind)

    def caption(self, table: Table) -> str:
        """How many records, or that nothing was measured."""
        records = sum(record.part == table.part for record in self.benchmark.records)
        if records:
            return f"{_many(records, 'record')}, {_settled(self.benchmark, table.part)}"
        return "the mean of the parts" if table.measured else "published only"

    def sections(self, table: Table, anchor: str) -> Iterator[Section]:
        """Of the columns that have scores in this part."""
        for n, shown in enumerate(self.summary.columns):
            title = shown.column.title
            methods = [name for name in self.summary.methods if self.rows.get((table.part, title, name))]
            if any(self.summary.value(name, table.part, title) for name in self.summary.methods):
                yield self.section(table, shown, methods, f"{anchor}-{n}")

    def section(self, table: Table, shown: Shown, methods: Sequence[str], anchor: str) -> Section:
        part, title = table.part, shown.column.title
        pairs = [c for c in self.summary.comparisons if (c.part, c.column) == (part, title)]
        controls = self.summary.controls
        return Section(
            anchor=anchor,
            title=title,
            told=self.told(part, shown),
            whiskers=whiskers(list(self.points(table, shown)), title),
            histograms=tuple(self.histograms(part, shown, methods)),
            strips=tuple(self.strips(part, shown, methods)),
            groups=tuple(self.groups(part, title, methods)),
            comparisons=tuple(pairs),
            rivals=tuple(c for c in pairs if not {c.first, c.second} & controls),
        )

    def told(self, part: str, shown: Shown) -> str:
        """Who is best, or that nobody is."""
        best = self.summary.best(part, shown.column.title)
        if best is not None:
            return f"{best} is better than every other measured method"
        several = len(set(self.summary.methods) - self.summary.controls) > 1
        return "no method is shown to be best" if several else ""

    def points(self, table: Table, shown: Shown) -> Iterator[Point]:
        """Measured means; published ones only beside a column of the published model."""
        at = [head.title for head in table.heads].index(shown.column.title)
        blocks = [("measured", table.measured), ("control", table.controls)]
        if shown.column.official:
            blocks.append(("published", table.published))
        for kind, lines in blocks:
            for line in lines:
                if cell := line.cells[at]:
                    yield Point(name=line.method, value=cell.value, interval=cell.interval, kind=kind)

    def histograms(self, part: str, shown: Shown, methods: Sequence[str]) -> Iterator[tuple[str, str]]:
        """None of a column that has no scores of its own."""
        if methods:
            yield from zip(
                methods, histograms([self.scores(part, shown, one) for one in methods]), strict=True
            )

    def scores(self, part: str, shown: Shown, method: str) -> Scores:
        rows, scale = self.rows[part, shown.column.title, method], shown.column.scale
        value = self.summary.value(method, part, shown.column.title)
        assert value is not None  # there are rows
        return Scores(
            method=method,
            values=[scale * row.value for row in rows],
            substitutes=[scale * row.value for row in rows if row.note],
            mean=value.value,
            interval=value.interval,
        )

    def strips(self, part: str, shown: Shown, methods: Sequence[str]) -> Iterator[Strip]:
        """Of the methods; controls are seen beside them, and alone where there is no method."""
        seen = {
            name: all_seen(self.rows[part, shown.column.title, name], self.methods[name].cases, shown.column)
            for name in methods
        }
        for name in [one for one in methods if one not in self.summary.controls] or methods:
            found = seen[name]
            worst, best = extremes(found, shown.column, self.count)
            others = {other: by_record(one) for other, one in seen.items() if other != name}
            yield Strip(
                method=name,
                worst=tuple(self.card(one, others) for one in worst),
                best=tuple(self.card(one, others) for one in best),
            )

    def card(self, seen: Seen, others: Mapping[str, Mapping[tuple[str, int | None], Seen]]) -> Card:
        record = seen.case.record
        image = "" if seen.image is None or len(seen.case.pictures) == 1 else f", image {seen.image}"
        references = tuple(
            (
                self.thumbnails.add(PictureFile(subject.reference), REFERENCE),
                subject.noun,
                "" if score is None else plain(score),
            )
            for subject, score in zip(record.subjects, seen.subjects, strict=True)
        )
        return Card(
            picture=self.thumbnails.add(seen.picture, RESULT),
            record=record.id + image,
            prompt=record.prompt,
            score=plain(seen.score),
            references=references,
            others=tuple(
                (self.thumbnails.add(other.picture, REFERENCE), name, plain(other.score))
                for name, found in others.items()
                if (other := found.get((record.id, seen.image)))
            ),
            notes=seen.notes,
        )

    def groups(self, part: str, title: str, methods: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
        for (one, column, group), values in self.summary.groups.items():
            if (one, column) == (part, title):
                yield group, tuple(plain(values[m]) if m in values else "–" for m in methods)
