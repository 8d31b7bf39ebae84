"""Writes a report's files, each whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mosaic.evaluation.extractors import Scorers
from mosaic.evaluation.records import Benchmark
from mosaic.evaluation.report import listing
from mosaic.evaluation.report.facts import as_json, deviations_of, facts
from mosaic.evaluation.report.latex import latex
from mosaic.evaluation.report.markdown import markdown
from mosaic.evaluation.report.table import tables
from mosaic.evaluation.rows import Row, write_rows
from mosaic.evaluation.summary import Method, Summary

ROWS = 6  # records of grid.png


def write(
    summary: Summary,
    rows: Sequence[Row],
    benchmark: Benchmark,
    methods: Sequence[Method],
    output: Path,
    *,
    scorers: Scorers | None = None,
    side_by_side: Sequence[str] | None = None,
) -> None:
    """index.html, thumbnails/, grid.png, summary.json, cases.json, scores.parquet and tables.{md,tex}.

    side_by_side: ids of the records in grid.png; None: some, evenly from all. ValueError if `methods` are not
    those of the summary, or a record or picture is not there.
    """
    from mosaic.evaluation.report.grid import draw_grid
    from mosaic.evaluation.report.page import write_page

    _check_methods(summary, methods)
    output.mkdir(parents=True, exist_ok=True)
    found = facts(summary, benchmark, methods, scorers)
    printed = tables(summary, benchmark)
    title = f"Evaluation on {benchmark.name}"
    write_rows(rows, output / "scores.parquet")
    write_text(output / "tables.md", markdown(title, printed, deviations_of(benchmark, methods)))
    write_text(output / "tables.tex", latex(title, printed))
    write_text(output / "summary.json", as_json(found))
    write_text(output / listing.NAME, as_json(listing.listed(methods, output)))
    draw_grid(methods, output / "grid.png", records=side_by_side or spread(benchmark, ROWS))
    write_page(title, summary, rows, benchmark, methods, found, output)


def spread(benchmark: Benchmark, count: int) -> list[str]:
    """Ids of up to `count` records, evenly from all."""
    ids = [record.id for record in benchmark.records]
    count = min(count, len(ids))
    return [ids[(2 * n + 1) * len(ids) // (2 * count)] for n in range(count)]


def write_text(path: Path, text: str) -> None:
    """UTF-8, replacing the file at once."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _check_methods(summary: Summary, methods: Sequence[Method]) -> None:
    names = [method.name for method in methods]
    if sorted(names) != sorted(summary.methods):
        raise ValueError(
            f"the scores are of {', '.join(summary.methods)}, the pictures of {', '.join(names)}: "
            "report the methods that were scored."
        )
