"""A curation process that kills itself at a chosen file operation: as sudden as a machine that goes down."""

import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

from mosaic.curation.stages.pack import Section, make
from mosaic.curation.worker import Plan, Step, Worker

from . import trivial

OPERATIONS = {"open", "os.mkdir", "os.rename", "os.remove"}


def the_plan(folder: Path, calls: Path | None = None) -> Plan:
    plan = trivial.plan(folder, samples=10, shard=4, calls=calls, bad=[2])
    closing = Step(stage="pack", make=partial(make, Section(name="set")), kind="closing")
    return Plan(folder=folder, steps=(*plan.steps, closing), samples=10, shard=4)


def live(folder: Path, calls: Path, deadly: int = 0) -> None:
    """Run the plan from where the folder stands; die at the deadly-th operation on a file of it (0: never).

    The number of operations is left beside the folder.
    """
    seen = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event not in OPERATIONS or not str(arguments[0]).startswith(str(folder)):
            return
        seen += 1
        if seen == deadly:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    plan = the_plan(folder, calls)
    worker = Worker(plan, [step.stage for step in plan.steps])
    for shard in range(plan.shards):
        assert not any("error" in report for report in worker(shard))
    count = seen
    folder.with_suffix(".count").write_text(str(count))
