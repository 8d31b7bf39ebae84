"""tables.tex: booktabs tables to \\input into a paper."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import replace

from mosaic.evaluation.report.table import Cell, Head, Line, Table

HEADER = """\
% {title}, written by mosaic evaluate.
% In the preamble: \\usepackage{{booktabs,graphicx}}
% for pdfLaTeX as well: \\usepackage[utf8]{{inputenc}}\\usepackage[T1]{{fontenc}}
"""
PAGE, WIDEST = 66, 92  # letters that a page is wide, and a table that is shrunk to it
SIGNS = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "−": "$-$",
    "–": "--",
    "—": "---",
    "×": r"$\times$",
    "±": r"$\pm$",
    "·": r"$\cdot$",
    "…": r"\ldots{}",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "→": r"$\to$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "’": "'",
    "“": "``",
    "”": "''",
}


def latex(title: str, tables: Sequence[Table]) -> str:
    """The whole file: one table environment a part."""
    blocks = [_table(title, piece) for table in tables for piece in pieces(table)]
    return HEADER.format(title=" ".join(title.split())) + "\n".join(blocks)


def pieces(table: Table) -> list[Table]:
    """Side by side as many columns as a page has room for; the notes stand below the last piece."""
    spans: list[list[int]] = [[]]
    for n, head in enumerate(table.heads):
        if spans[-1] and _letters(table, spans[-1]) + _wide(head) > WIDEST:
            spans.append([])
        spans[-1].append(n)
    found = [_piece(table, span) for span in spans]
    return [*(replace(one, part=f"{table.part} (continues)", notes=()) for one in found[:-1]), found[-1]]


def _piece(table: Table, columns: Sequence[int]) -> Table:
    """Lines without a number in these columns are left out, but for measured ones."""

    def lines(block: Sequence[Line]) -> tuple[Line, ...]:
        return tuple(replace(line, cells=tuple(line.cells[n] for n in columns)) for line in block)

    published = tuple(line for line in lines(table.published) if any(line.cells))
    return replace(
        table,
        heads=tuple(table.heads[n] for n in columns),
        measured=lines(table.measured),
        controls=lines(table.controls),
        published=published,
    )


def _letters(table: Table, columns: Iterable[int]) -> float:
    first = max(
        (len(line.method) for line in (*table.measured, *table.controls, *table.published)), default=0
    )
    return first + sum(_wide(table.heads[n]) for n in columns)


def _wide(head: Head) -> float:
    """Letters of a column: of its name and arrow, or of its model or an interval, which are smaller."""
    return 2 + max(len(head.name) + 2, 0.8 * len(head.model), 11)


def escaped(text: str) -> str:
    """Text → LaTeX of the same text; letters beyond Latin-1 lose their accents, other signs become ?."""
    return "".join(SIGNS.get(sign) or _plain(sign) for sign in " ".join(text.split()))


def _plain(sign: str) -> str:
    if sign.isascii() or (sign.isalpha() and ord(sign) < 0x100):
        return sign
    bare = unicodedata.normalize("NFKD", sign).encode("ascii", "ignore").decode()
    return "".join(SIGNS.get(one, one) for one in bare) or ("" if unicodedata.combining(sign) else "?")


def _table(title: str, table: Table) -> str:
    width = len(table.heads) + 1
    shrunk = _letters(table, range(len(table.heads))) > PAGE
    lines = [
        r"\begin{table}[t]",
        r"\centering\small\setlength{\tabcolsep}{4pt}",
        rf"\caption{{{escaped(title)}, {escaped(table.part)}.}}",
        *([r"\resizebox{\linewidth}{!}{%"] if shrunk else []),
        rf"\begin{{tabular}}{{l{'r' * len(table.heads)}}}",
        r"\toprule",
        _row("", [f"{escaped(head.name)} {escaped(head.arrow)}" for head in table.heads]),
        *_models(table),
        r"\midrule",
        *_block("", table.measured, width),
        *_block("Controls", table.controls, width),
        *_block("" if table.only_published else "As published", table.published, width),
        r"\bottomrule",
        r"\end{tabular}",
        *(["}"] if shrunk else []),
        *(rf"\par\smallskip\parbox{{\linewidth}}{{\footnotesize {escaped(note)}}}" for note in table.notes),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _models(table: Table) -> list[str]:
    """Below the names: the models of columns that the published ones did not make."""
    models = [_small(escaped(f"[{head.model}]")) if head.model else "" for head in table.heads]
    return [_row("", models)] if any(models) else []


def _block(title: str, lines: Sequence[Line], width: int) -> list[str]:
    if not lines:
        return []
    head = [r"\midrule", rf"\multicolumn{{{width}}}{{l}}{{\textit{{{title}}}}} \\"] if title else []
    return head + [row for line in lines for row in _lines(line)]


def _lines(line: Line) -> list[str]:
    """Values, and below them their intervals: side by side they are too wide for a page."""
    rows = [_row(escaped(line.method), [_cell(cell) for cell in line.cells])]
    if any(cell and cell.interval for cell in line.cells):
        ranges = [_small(escaped(cell.range)) if cell and cell.interval else "" for cell in line.cells]
        rows.append(_row("", ranges))
    return rows


def _cell(cell: Cell | None) -> str:
    if cell is None:
        return "--"
    return rf"\textbf{{{escaped(cell.text)}}}" if cell.best else escaped(cell.text)


def _small(text: str) -> str:
    # braces about it: a row must not begin with what \\ would read as its optional argument
    return rf"{{\scriptsize {text}}}" if text else ""


def _row(first: str, rest: Sequence[str]) -> str:
    return " & ".join([first, *rest]) + r" \\"
