"""What `mosaic curate` does: read the recipe, run its stages, pack, and tell what became of the rows."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from mosaic.curation.duplicates import note_duplicates
from mosaic.curation.engine import Workers, cluster, stream
from mosaic.curation.folder import write_whole
from mosaic.curation.publishing import publish
from mosaic.curation.recipe import claim, duplicates_of, phases_of, plan_of, read_recipe
from mosaic.curation.worker import Plan, Report

Pools = Mapping[tuple[str, ...], Workers]
Summary = dict[str, dict[str, Any]]

COUNTED = ("rows", "done", "failed", "rejected")


def curate(
    recipe: Path,
    output: Path,
    only: str | None = None,
    ray_address: str | None = None,
    overrides: Sequence[str] = (),
) -> Summary:
    """Run a recipe in a folder, from where the folder stands; per stage what became of the rows.

    ValueError in one sentence where recipe or folder is wrong, a model cannot be had, or the disk is full.
    """
    read = read_recipe(recipe, list(overrides))
    phases = phases_of(read, only)
    plan = plan_of(read, output)
    claim(read, plan.folder)
    summary = _run(plan, phases, duplicates_of(read), ray_address)
    text = Path(recipe).read_text(encoding="utf-8")
    write_whole(plan.folder / "recipe.toml", (text + "".join(f"# --set {o}\n" for o in overrides)).encode())
    if "pack" in read.stages and only in (None, "pack"):
        publish(plan, read.stages["pack"], text)  # type: ignore[arg-type]
    tell(summary, plan)
    return summary


def _run(plan: Plan, phases: Sequence[Pools], duplicates: int | None, address: str | None) -> Summary:
    summary: Summary = {}
    with cluster(phases, address):
        for pools in phases:
            if duplicates is not None and ("pack",) in pools:
                note_duplicates(plan, duplicates)
            _phase(plan, pools, summary)
    return summary


def _phase(plan: Plan, pools: Pools, summary: Summary) -> None:
    """Run pools, and count what they report."""
    if not pools:
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("shards packed" if ("pack",) in pools else "shards", total=plan.shards)
        for reports in stream(plan, pools):
            for report in reports:
                add(summary, report)
            bar.advance(task)


def add(summary: Summary, report: Report) -> None:
    """Count a report of one stage of one shard in."""
    counts = summary.setdefault(report["stage"], dict.fromkeys(COUNTED, 0) | {"seconds": 0.0, "errors": {}})
    for name in COUNTED:
        counts[name] += report.get(name, 0)
    counts["seconds"] += report["ended"] - report["began"]
    for error, count in report.get("errors", {}).items():
        if error in counts["errors"] or len(counts["errors"]) < 20:
            counts["errors"][error] = counts["errors"].get(error, 0) + count


def tell(summary: Summary, plan: Plan) -> None:
    """Print the counts a stage, and the most frequent errors."""
    table = Table("stage", "rows now", "done", "failed", "rejected", "seconds", box=None)
    for stage, counts in summary.items():
        rejected = str(counts["rejected"]) if stage == "pack" else ""
        cells = (counts["rows"], counts["done"], counts["failed"])
        table.add_row(stage, *map(str, cells), rejected, f"{counts['seconds']:.1f}")
    console = Console()
    console.print(table)
    for stage, counts in summary.items():
        for error, count in sorted(counts["errors"].items(), key=lambda pair: -pair[1])[:3]:
            console.print(f"{stage}: {count} × {error}", markup=False)
    console.print(f"{plan.folder}", markup=False, soft_wrap=True)
