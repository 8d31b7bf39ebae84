"""Speed of the curation engine: `python benchmarks/curation_speed.py {busy,stages,memory}`.

busy      stand-in stages that only sleep: the share of wall time in which the slowest is busy (goal 90 %),
          with one and two workers of it
stages    the toybox: rows a second of each stage, in one process without Ray, and of the whole run on Ray
memory    many small rows: the greatest resident size of driver and actors at two numbers of rows

The ratio is to the ideal, the slowest stage never waiting.
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mosaic.curation.engine import Workers, stream
from mosaic.curation.recipe import plan_of, recipe_of
from mosaic.curation.rows import Named, Outcome, Record, Work
from mosaic.curation.run import add
from mosaic.curation.worker import Plan, Step, Worker


class Numbers:
    """Records that say their index."""

    def __len__(self) -> int:
        return 10**9

    def __call__(self, indices: Sequence[int]) -> list[tuple[Record, Outcome]]:
        one = Named(name="toy")
        made = [Record(caption=str(i), detailed_caption="", subjects=(one,), seed=i) for i in indices]
        return [(record, Outcome(id=record.id)) for record in made]


@dataclass
class Sleeping:
    """Takes `pause` seconds a sample and leaves a small file."""

    pause: float
    name: str
    batch: int = 8

    def __call__(self, works: Sequence[Work]) -> list[Outcome]:
        time.sleep(self.pause * len(works))
        return [Outcome(id=work.id, scores={self.name: 1.0}, files={self.name: b"x"}) for work in works]


def sleeping_plan(folder: Path, pauses: dict[str, float], samples: int, shard: int) -> Plan:
    stages = [Step(stage=stage, make=partial(Sleeping, pause, stage)) for stage, pause in pauses.items()]
    source = Step(stage="prompts", make=Numbers, kind="source")
    return Plan(folder=folder, steps=(source, *stages), samples=samples, shard=shard)


def busy(arguments: argparse.Namespace) -> None:
    """paint is the slowest by half; with two workers of it, segment is."""
    pauses = {"paint": 0.06, "segment": 0.035, "refer": 0.02}
    for count in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            plan = sleeping_plan(Path(folder), pauses, arguments.samples, shard=16)
            pools = {(step.stage,): Workers(cpus=0.25) for step in plan.steps}
            pools[("paint",)] = Workers(count=count, cpus=0.25)
            reports = [report for shard in stream(plan, pools) for report in shard]
        told = {"paint_workers": count, "samples": plan.samples} | shares(reports, pools)
        print(json.dumps(told))


def shares(reports: list[dict[str, Any]], pools: dict[tuple[str, ...], Workers]) -> dict[str, Any]:
    """Of each stage the share of time its workers are busy, from the first task's start to the last's end."""
    began, ended = min(r["began"] for r in reports), max(r["ended"] for r in reports)
    seconds: dict[str, float] = {}
    for report in reports:
        seconds[report["stage"]] = seconds.get(report["stage"], 0) + report["ended"] - report["began"]
    counts = {stage: workers.count for stages, workers in pools.items() for stage in stages}
    share = {stage: round(s / counts[stage] / (ended - began), 3) for stage, s in seconds.items()}
    rows = sum(report["rows"] for report in reports if report["stage"] == "prompts")
    return {
        "slowest_busy": max(share.values()),
        "slowest_busy_once_begun": _once_begun(reports, max(share, key=lambda stage: share[stage]), counts),
        "busy": share,
        "rows_per_second": round(rows / (ended - began), 2),
    }


def _once_begun(reports: list[dict[str, Any]], stage: str, counts: dict[str, int]) -> float:
    """As above from that stage's own first task on: without what Ray takes to start."""
    mine = [(report["began"], report["ended"]) for report in reports if report["stage"] == stage]
    span = max(ended for _, ended in mine) - min(began for began, _ in mine)
    return round(sum(ended - began for began, ended in mine) / counts[stage] / span, 3)


def stages(arguments: argparse.Namespace) -> None:
    """Rows a second of the toybox's stages."""
    tables: dict[str, Any] = {name: {"kind": "toybox"} for name in "prompts judge segment correspond".split()}
    tables |= {"paint": {"kind": "toybox", "width": 256, "height": 256}, "pack": {}}
    tables |= {
        "refer": {"kind": "toybox", "side": 256, "size": 128},
        "samples": arguments.samples,
        "shard": 16,
    }
    order = "prompts paint judge segment refer correspond pack".split()
    recipe = recipe_of({"samples": tables["samples"], "shard": 16} | {name: tables[name] for name in order})
    with tempfile.TemporaryDirectory() as folder:
        plan = plan_of(recipe, Path(folder))
        worker, summary = Worker(plan, order), dict[str, dict[str, Any]]()
        for shard in range(plan.shards):
            for report in worker(shard):
                add(summary, report)
    rates = {stage: round(counts["rows"] / counts["seconds"], 1) for stage, counts in summary.items()}
    total = sum(counts["seconds"] for counts in summary.values())
    print(json.dumps({"rows_per_second": rates, "all": round(plan.samples / total, 2)}))
    for count in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            plan = plan_of(recipe, Path(folder))
            pools = {tuple(order): Workers(count=count)}
            reports = [report for shard in stream(plan, pools) for report in shard]
        print(json.dumps({"workers": count} | {"rows_per_second": shares(reports, pools)["rows_per_second"]}))


class Measured(Numbers):
    """Notes the greatest resident size of its process, in MiB, as a score would be noted."""

    def __init__(self, note: Path) -> None:
        self.note = note

    def __call__(self, indices: Sequence[int]) -> list[tuple[Record, Outcome]]:
        self.note.write_text(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024))
        return super().__call__(indices)


def memory(arguments: argparse.Namespace) -> None:
    """Greatest resident size of the driver and of the actor that does all stages, in MiB."""
    for samples in arguments.rows:
        with tempfile.TemporaryDirectory() as folder:
            plan = sleeping_plan(Path(folder), {"paint": 0, "segment": 0}, samples, shard=1000)
            first = Step(stage="prompts", make=partial(Measured, Path(folder) / "actor"), kind="source")
            plan = Plan(folder=plan.folder, steps=(first, *plan.steps[1:]), samples=samples, shard=plan.shard)
            began = time.time()
            shards = sum(1 for _ in stream(plan, {tuple(step.stage for step in plan.steps): Workers()}))
            actor = int((Path(folder) / "actor").read_text())
        driver = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        seconds = round(time.time() - began, 1)
        told = {
            "rows": samples,
            "shards": shards,
            "driver_mib": driver,
            "actor_mib": actor,
            "seconds": seconds,
        }
        print(json.dumps(told))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("busy", "stages", "memory"))
    parser.add_argument("--samples", type=int, default=480)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    arguments = parser.parse_args()
    {"busy": busy, "stages": stages, "memory": memory}[arguments.what](arguments)


if __name__ == "__main__":
    main()
