"""Costs as tables, or as JSON."""

import json

from rich.console import Console
from rich.table import Table

from mosaic.curation.costs.lines import Costs


def show(costs: Costs, as_json: bool = False) -> None:
    """Print them."""
    if as_json:
        print(json.dumps(costs.to_dict(), indent=2))
        return
    console = Console(soft_wrap=True, highlight=False)
    first = next(iter(costs.counts.samples.values()))
    told = f"{costs.name}: {amount(first)} samples begun, {amount(costs.counts.packed)} packed"
    console.print(f"[bold]{told}[/bold], {costs.counts.subjects:g} subjects each; {costs.counts.how}\n")
    for table in (_work(costs), *([_questions(costs)] if costs.questions else []), _files(costs)):
        console.print(table, "")
    console.print(
        "What you know better goes into the recipe's table [plan]; docs/curation.md has its keys.",
        markup=False,
    )


def amount(number: float) -> str:
    """1234567 → "1.23 M"."""
    for unit, name in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if number >= unit:
            return f"{number / (unit if name != ' k' else 1e3):.3g}{name}"
    return f"{number:,.0f}"


def size(number: float) -> str:
    """Bytes in decimal units."""
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= unit:
            return f"{number / unit:.3g} {name}"
    return f"{number:.0f} B"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", show_edge=False, pad_edge=False)
    for i, column in enumerate(columns):
        last = i and i == len(columns) - 1
        table.add_column(column, justify="left" if last or not i else "right", no_wrap=not last)
    return table


def _work(costs: Costs) -> Table:
    gpu = costs.gpu
    title = f"work, on {gpu.name} at {gpu.rate:.0f} TFLOP/s"
    table = _table(title, "part", "pieces", "each", "in all", "how")
    for line in costs.lines:
        pieces = f"{amount(line.number)} {line.pieces}"
        each = "?" if line.seconds is None else duration(line.seconds)
        in_all = "?" if line.hours is None else duration(3600 * line.hours)
        table.add_row(line.part, pieces, each, in_all, f"{line.on}, {line.how}")
    table.add_section()
    unknown = [line.part for line in costs.lines if line.seconds is None]
    without = f"without {', '.join(unknown)}: set plan.seconds" if unknown else ""
    table.add_row("on GPUs", "", "", duration(3600 * costs.hours("GPU")), without)
    table.add_row("on cores", "", "", duration(3600 * costs.hours("core")), "")
    return table


def duration(seconds: float) -> str:
    """0.0012 → "1.2 ms", 5.26 → "5.26 s", 7200 → "2 h"."""
    if seconds < 0.1:
        return f"{1000 * seconds:.3g} ms"
    if seconds < 600:
        return f"{seconds:.3g} s"
    hours = seconds / 3600
    return f"{hours:,.0f} h" if hours >= 100 else f"{hours:.3g} h"


def _questions(costs: Costs) -> Table:
    table = _table(
        "tokens, assumed a question", "stage", "questions", "in", "out", "in all", "out all", "model"
    )
    for one in costs.questions:
        each = (one.tokens_in, one.tokens_out)
        cells = (*map(str, each), *(amount(one.number * count) for count in each))
        where = f"{one.model}, served by yourself" if one.own else one.model
        table.add_row(one.stage, amount(one.number), *cells, where)
    table.add_section()
    told = "set plan.price to know what an API would take"
    if costs.price is not None and costs.dollars is not None:
        told = f"{costs.dollars:,.0f} $ of an API at {costs.price[0]:g} and {costs.price[1]:g} $ a million"
    table.add_row("together", "", "", "", *map(amount, costs.tokens), told)
    return table


def _files(costs: Costs) -> Table:
    table = _table("disk", "part", "pieces", "each", "in all", "how")
    for one in costs.files:
        pieces = f"{amount(one.number)} {one.pieces}"
        table.add_row(one.part, pieces, size(one.bytes), size(one.number * one.bytes), one.how)
    table.add_section()
    table.add_row("together", "", "", size(costs.bytes), "")
    return table
