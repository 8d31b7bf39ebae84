"""What the browser shows of reports, as HTML: tables, differences, cases, and methods side by side."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from html import escape
from pathlib import Path

from PIL import Image

from mosaic.evaluation.features import PictureFile
from mosaic.evaluation.records import Record
from mosaic.evaluation.report.cases import Seen
from mosaic.evaluation.report.table import Cell, Head, Line, Table, tables
from mosaic.evaluation.statistics import plain, signed
from mosaic.evaluation.summary import Comparison
from mosaic.pictures.attention import COLORS
from mosaic.studio.pieces import uri
from mosaic.studio.reports.comparing import Opened, case_of, scores_of
from mosaic.studio.roots import Roots

RESULT, REFERENCE = 320, 96  # pixels
NUMBER = ' class="ms-number"'
DIFFERENCES = (
    '<ul class="ms-notes"><li>Difference: first less second over the same records. Interval: 95 %, paired '
    "bootstrap over records. p: sign-flip test, Holm-adjusted over all columns and parts of the two. A "
    "winner is named only where both agree. Each line has its own scale; the dashed mark is zero.</li></ul>"
)
HIDDEN = '<span class="ms-gone">outside what may be opened</span>'


# ---------------------------------------------------------------- tables


def tables_of(opened: Opened) -> str:
    """Every part: measured methods, controls, and what was published."""
    found = tables(opened.summary, opened.benchmark)
    notes = "".join(f'<p class="ms-problem">{escape(one)}</p>' for one in opened.notes)
    return notes + "".join(map(_table, found))


def _table(table: Table) -> str:
    heads = "".join(map(_head, table.heads))
    blocks = (
        _block("ms-measured", "", table.measured, len(table.heads))
        + _block("ms-control", "Controls", table.controls, len(table.heads))
        + _block("ms-published", "As published", table.published, len(table.heads))
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in table.notes)
    top = f'<thead><tr><th scope="col">method</th>{heads}</tr></thead>'
    body = wide(table.part, f'<table class="ms-table">{top}{blocks}</table>')
    return f'<h3>{escape(table.part)}</h3>{body}<ul class="ms-notes">{notes}</ul>'


def wide(label: str, inside: str) -> str:
    """What may be wider than a narrow window, and is scrolled there, by keys too."""
    name = escape(label, quote=True)
    return f'<div class="ms-scroll ms-wide" tabindex="0" role="region" aria-label="{name}">{inside}</div>'


def _head(head: Head) -> str:
    better = "lower" if head.lower_is_better else "higher"
    model = head.title.removeprefix(head.name).strip()
    below = f'<span class="ms-model">{escape(model)}</span>' if model else ""
    return (
        f'<th scope="col" class="ms-number">{escape(head.name)} '
        f'<span aria-label="{better} is better">{head.arrow}</span>{below}</th>'
    )


def _block(kind: str, title: str, lines: Sequence[Line], columns: int) -> str:
    if not lines:
        return ""
    top = (
        f'<tr class="ms-block"><th scope="rowgroup" colspan="{columns + 1}">{title}</th></tr>'
        if title
        else ""
    )
    rows = "".join(
        f'<tr><th scope="row">{escape(line.method)}</th>{"".join(map(_cell, line.cells))}</tr>'
        for line in lines
    )
    return f'<tbody class="{kind}">{top}{rows}</tbody>'


def _cell(cell: Cell | None) -> str:
    if cell is None:
        return '<td class="ms-number ms-faint">–</td>'
    text = f"<b>{cell.text}</b>" if cell.best else cell.text
    below = f"<small>{cell.range}</small>" if cell.interval else ""
    return f'<td class="ms-number">{text}{below}</td>'


# ---------------------------------------------------------------- differences


def differences(opened: Opened, found: Sequence[Comparison]) -> str:
    """First less second in each column, with paired intervals, as numbers and as lines."""
    if not found:
        return '<p class="ms-none">These two were not compared in this part: choose two methods.</p>'
    first, second = found[0].first, found[0].second
    rows = "".join(_difference(opened, one) for one in found)
    heads = "".join(
        f'<th scope="col"{kind}>{escape(name)}</th>'
        for name, kind in (
            ("column", ""),
            (first, NUMBER),
            (second, NUMBER),
            ("difference", NUMBER),
            ("paired interval", ""),
            ("p, adjusted", NUMBER),
            ("what it shows", ""),
        )
    )
    table = f'<table class="ms-table"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'
    return wide("differences", table) + DIFFERENCES


def _difference(opened: Opened, one: Comparison) -> str:
    column = opened.column(one.column)
    means = [opened.summary.value(name, one.part, one.column) for name in (one.first, one.second)]
    numbers = "".join(f'<td class="ms-number">{plain(value.value) if value else "–"}</td>' for value in means)
    difference = one.difference
    size = signed(difference.value) if difference else "–"
    p = f"{difference.p:.4f}" if difference and difference.p is not None else "–"
    shows = f"{one.winner} is better" if one.winner else one.verdict.partition(":")[0]
    arrow = "↓" if column.lower_is_better else "↑"
    model = column.title.removeprefix(column.name).strip()
    below = f'<span class="ms-model" style="margin-left:0">{escape(model)}</span>' if model else ""
    return (
        f'<tr><th scope="row">{escape(column.name)} {arrow}{below}</th>{numbers}'
        f'<td class="ms-number">{size}</td><td>{whisker(one)}</td>'
        f'<td class="ms-number">{p}</td><td>{escape(shows)}</td></tr>'
    )


def whisker(one: Comparison) -> str:
    """A difference as a line about zero; nothing where it has no interval."""
    if one.difference is None or one.difference.interval is None:
        return '<span class="ms-faint">too few records</span>'
    value, interval = one.difference.value, one.difference.interval
    reach = 1.1 * max(abs(interval.low), abs(interval.high), abs(value), 1e-9)
    low, high, mean = (120 + 110 * number / reach for number in (interval.low, interval.high, value))
    kind = "ms-shown" if one.winner else "ms-open"
    told = f"{signed(value)}, from {plain(interval.low)} to {plain(interval.high)}"
    return (
        f'<svg class="ms-line {kind}" viewBox="0 0 240 22" width="240" height="22" role="img" '
        f'aria-label="{told}"><line class="ms-axis" x1="6" x2="234" y1="11" y2="11"/>'
        '<line class="ms-zero" x1="120" x2="120" y1="1" y2="21"/>'
        f'<rect class="ms-interval" x="{low:.1f}" width="{max(1.0, high - low):.1f}" y="7" height="8"/>'
        f'<circle class="ms-mean" cx="{mean:.1f}" cy="11" r="4"/></svg>'
        f"<small class='ms-faint'>[{plain(interval.low)}, {plain(interval.high)}]</small>"
    )


# ---------------------------------------------------------------- pictures


def thumbnail(picture: PictureFile | None, roots: Roots, size: int) -> str:
    """A picture as a data: address; "" for one that is not there or may not be opened."""
    if picture is None or not roots.holds(picture.path) or not picture.path.is_file():
        return ""
    return _thumbnail(picture.path.resolve(), picture.quadrant, picture.path.stat().st_mtime_ns, size)


@lru_cache(maxsize=800)
def _thumbnail(path: Path, quadrant: int | None, changed: int, size: int) -> str:
    try:
        return uri(Image.fromarray(PictureFile(path, quadrant).read()), size)
    except (OSError, ValueError):
        return ""


def _result(picture: PictureFile | None, alt: str, roots: Roots) -> str:
    found = thumbnail(picture, roots, RESULT)
    if not found:
        return f'<span class="ms-picture">{HIDDEN}</span>'
    return f'<img class="ms-result" src="{found}" alt="{escape(alt, quote=True)}" loading="lazy">'


def _references(record: Record, roots: Roots) -> str:
    """Small, each framed in its colour."""
    shown = []
    for k, subject in enumerate(record.subjects):
        found = thumbnail(PictureFile(subject.reference), roots, REFERENCE)
        alt = escape(f"reference: {subject.noun}", quote=True)
        if found:
            color = COLORS[k % len(COLORS)]
            shown.append(f'<img src="{found}" alt="{alt}" title="{alt}" style="border-color:{color}">')
    return f'<span class="ms-strip">{"".join(shown)}</span>'


def cases(worst: Sequence[Seen], best: Sequence[Seen], roots: Roots) -> str:
    """Two rows of cards."""
    if not worst and not best:
        return (
            '<p class="ms-none">No case can be shown: the scores, or the list of pictures, are missing.</p>'
        )
    return f"<h3>Worst</h3>{_cards(worst, roots)}" + (f"<h3>Best</h3>{_cards(best, roots)}" if best else "")


def _cards(seen: Sequence[Seen], roots: Roots) -> str:
    return f'<ul class="ms-cases">{"".join(_card(one, roots) for one in seen)}</ul>'


def _card(seen: Seen, roots: Roots) -> str:
    record = seen.case.record
    notes = "".join(f'<p class="ms-reason">{escape(note)}</p>' for note in seen.notes)
    return (
        f"<li>{_result(seen.picture, f'{seen.case.method}: {record.prompt}', roots)}"
        f'<div class="ms-score"><b>{plain(seen.score)}</b><code>{escape(record.id)}</code></div>'
        f"<p>{escape(record.prompt)}</p>{_references(record, roots)}{notes}</li>"
    )


def grid(opened: Opened, records: Sequence[Record], methods: Sequence[str], title: str, roots: Roots) -> str:
    """A row a record, a column a method, as in figure 4 of the paper; references first, scores below."""
    if not records or not methods:
        return '<p class="ms-none">Choose records and methods to set side by side.</p>'
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in ("references", *methods))
    rows = "".join(
        f'<tr><th scope="row">{_references(record, roots)}<p>{escape(record.prompt)}</p>'
        f"<code>{escape(record.id)}</code></th>"
        f"{''.join(_grid_cell(opened, name, record, title, roots) for name in methods)}</tr>"
        for record in records
    )
    size = f"min-width:{136 * (len(methods) + 1)}px;max-width:{230 * (len(methods) + 1)}px"
    table = (
        f'<table class="ms-grid" style="{size}"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'
    )
    return wide("methods side by side", table)


def _grid_cell(opened: Opened, method: str, record: Record, title: str, roots: Roots) -> str:
    case = case_of(opened, method, record.id)
    picture = case.pictures[0] if case and case.pictures else None
    score = scores_of(opened, method, record.id, title) if title else None
    below = f'<div class="ms-score">{plain(score)}</div>' if score is not None else ""
    return f"<td>{_result(picture, f'{method}: {record.prompt}', roots)}{below}</td>"
