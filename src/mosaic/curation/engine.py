"""The run: Ray Data streams shards through the stages, an actor pool a stage; what is done is in the folder.

Rows in Ray are shard numbers and reports, so its memory does not grow with the samples: the disk is the
buffer between two stages.
"""

import json
import logging
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from mosaic.curation.worker import Plan, Report, Worker

STORE = 80 << 20  # bytes of Ray's object store on one machine: nothing but shard numbers passes through it
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
}


class Workers(BaseModel):
    """How many actors a stage has, and what Ray sets aside for each."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    count: Annotated[int, Field(ge=1)] = 1
    cpus: Annotated[float, Field(ge=0)] = 0.5
    gpus: Annotated[float, Field(ge=0)] = 0


def stream(
    plan: Plan, pools: Mapping[tuple[str, ...], Workers], address: str | None = None
) -> Iterator[list[Report]]:
    """Run a plan; the reports of each shard as it is finished. ValueError with the first error of a step.

    `pools`: stages, in order, that share a worker → its workers. `address`: of a running Ray cluster whose
    nodes all see the folder; None: Ray is started on this machine, and stopped at the end.
    """
    _clear_partials(plan.folder)
    with _ray(pools, address) as ray:
        dataset = ray.data.from_items(
            [{"shard": shard, "reports": "[]"} for shard in range(plan.shards)],
            override_num_blocks=plan.shards,
        )
        for stages, workers in pools.items():
            dataset = dataset.map_batches(
                ShardActor,
                batch_size=1,
                fn_constructor_args=(plan, stages),
                compute=ray.data.ActorPoolStrategy(size=workers.count, max_tasks_in_flight_per_actor=2),
                num_cpus=workers.cpus,
                num_gpus=workers.gpus or None,
            )
        for row in dataset.iter_rows():
            reports = json.loads(row["reports"])
            if reports and "error" in reports[-1]:
                raise ValueError(
                    f"{reports[-1]['error'].rstrip('.')}. What was finished stays: run again to go on."
                )
            yield reports


class ShardActor:
    """A worker as Ray Data calls it: a batch of one shard number in, the same with its reports out."""

    def __init__(self, plan: Plan, stages: tuple[str, ...]) -> None:
        self._worker = Worker(plan, stages)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        shard, reports = int(batch["shard"][0]), json.loads(batch["reports"][0])
        if not (reports and "error" in reports[-1]):
            reports += self._worker(shard)
        return {"shard": [shard], "reports": [json.dumps(reports)]}


@contextmanager
def _ray(pools: Mapping[tuple[str, ...], Workers], address: str | None) -> Iterator[Any]:
    """Ray, quiet and reporting to nobody."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    import ray
    import ray.data

    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address is None:
        options |= {
            "num_cpus": 1 + math.ceil(sum(workers.count * workers.cpus for workers in pools.values())),
            "object_store_memory": STORE,
            "include_dashboard": False,
        }
    started = not ray.is_initialized()
    if started:
        ray.init(address=address or "local", **options)  # None would join a cluster that happens to be there
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        yield ray
    finally:
        if started:
            ray.shutdown()


def _clear_partials(folder: Path) -> None:
    """What a killed run was writing."""
    for partial in folder.glob("stages/*/*.partial"):
        partial.unlink(missing_ok=True)
