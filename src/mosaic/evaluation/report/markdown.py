"""tables.md: what GitHub and editors show as tables."""

from __future__ import annotations

from collections.abc import Sequence

from mosaic.evaluation.report.table import Cell, Head, Line, Table


def markdown(title: str, tables: Sequence[Table], deviations: Sequence[str]) -> str:
    """The whole file."""
    blocks = [f"# {_escaped(title)}"]
    for table in tables:
        blocks += [f"## {_escaped(table.part)}", _table(table), _listed(table.notes)]
    if deviations:
        blocks += ["## Deviations from the published protocol", _listed(deviations)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _table(table: Table) -> str:
    lines = [
        _row("", [_head(head, head.title) for head in table.heads]),
        "|---|" + "---:|" * len(table.heads),
        *(_line(line) for line in table.measured),
        *(_line(line, " *(control)*") for line in table.controls),
    ]
    if table.published and not table.only_published:
        names = [f"*{_escaped(head.name)}*" for head in table.heads]
        lines.append(_row("*as published:*", names))
    lines += [_line(line) for line in table.published]
    return "\n".join(lines)


def _line(line: Line, mark: str = "") -> str:
    return _row(_escaped(line.method) + mark, [_cell(cell) for cell in line.cells])


def _row(first: str, rest: Sequence[str]) -> str:
    return f"| {' | '.join([first, *rest])} |"


def _cell(cell: Cell | None) -> str:
    if cell is None:
        return "–"
    text = f"**{cell.text}**" if cell.best else cell.text
    return f"{text} {cell.range}".strip()


def _head(head: Head, title: str) -> str:
    return f"{_escaped(title)} {head.arrow}"


def _listed(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {_escaped(sentence)}" for sentence in sentences)


def _escaped(text: str) -> str:
    """As text: nothing in it is markup, ends a cell or a line."""
    for sign in "\\`*_[]<>|#":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())
