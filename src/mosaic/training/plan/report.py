"""A plan as tables, or as JSON."""

import json

from rich.console import Console
from rich.table import Table

from mosaic.training.plan.devices import CPU
from mosaic.training.plan.memory import GIB
from mosaic.training.plan.planning import Plan

MIB = 1 << 20
MALLOC = """\
On a CPU malloc may hold up to four times the memory of the tensors; MALLOC_MMAP_THRESHOLD_=1048576 in the
environment keeps to the above, at a price in time (docs/plan.md).
"""


def show(plan: Plan, as_json: bool = False) -> None:
    """Print a plan."""
    if as_json:
        print(json.dumps(plan.to_dict(), indent=2))
        return
    console = Console(soft_wrap=True, highlight=False)
    for table in (_parameters(plan), _bytes("memory of a process", plan.memory), _step(plan)):
        console.print(table, "")
    if plan.forecasts[0].device == CPU:
        console.print(MALLOC)
    console.print(_devices(plan), "")
    for line in _told_advice(plan):
        console.print(line, markup=False)
    console.print(_bytes("disk", plan.disk))
    for note in plan.notes:
        console.print(f"\n{note}", markup=False)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", show_edge=False, pad_edge=False)
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left")
    return table


def _parameters(plan: Plan) -> Table:
    table = _table(f"{plan.name}: parameters", "part", "millions")
    for part, count in plan.parameters.items():
        table.add_row(part, f"{count / 1e6:,.2f}")
    return table


def _bytes(title: str, parts: dict[str, float]) -> Table:
    total = sum(parts.values())
    unit, name = (GIB, "GiB") if total >= GIB else (MIB, "MiB")
    table = _table(title, "part", name, "share")
    for part, bytes_ in parts.items():
        table.add_row(part, f"{bytes_ / unit:,.2f}", f"{bytes_ / total:.0%}")
    table.add_section()
    table.add_row("together", f"{total / unit:,.2f}", "")
    return table


def _step(plan: Plan) -> Table:
    counts = ", ".join(f"{name} {count}" for name, count in plan.tokens.items())
    unit, name = (1e12, "TFLOP") if plan.flops.total >= 1e12 else (1e9, "GFLOP")
    table = _table(f"one step of a process, on average (tokens at most: {counts})", "pass", name)
    for part in ("forward", "backward", "recompute", "total"):
        table.add_row(part, f"{getattr(plan.flops, part) / unit:,.2f}")
    return table


def _devices(plan: Plan) -> Table:
    title = f"at {plan.utilisation:.0%} of the peak rate"
    table = _table(title, "device", "needs GiB", "has GiB", "fits", "s a step", "hours")
    for one in plan.forecasts:
        fits = "yes" if one.fits else "no"
        numbers = (f"{one.needs:.1f}", f"{one.has:.1f}", fits, f"{one.seconds:.3g}", f"{one.hours:,.3g}")
        table.add_row(one.device, *numbers)
    return table


def _told_advice(plan: Plan) -> list[str]:
    """Each set of keys with what it comes to; a set begins with the one before it."""
    if not plan.advice:
        return []
    lines = ["It does not fit. To need less:"]
    for one in plan.advice:
        told = "fits" if one.fits else "not yet"
        lines.append(f"  {one.needs:6.1f} GiB ({told})  " + " ".join(f"--set {key}" for key in one.keys))
    if not any(one.fits for one in plan.advice):
        lines.append("  None of these is enough: take fewer references, smaller pictures, a smaller rank.")
    return [*lines, ""]
