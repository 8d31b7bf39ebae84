"""The run: Ray Data streams shards through the stages, an actor pool a stage; what is done is in the folder.

Rows in Ray are shard numbers and reports, so its memory does not grow with the samples: the disk is the
buffer between two stages.
"""

import json
import logging
import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from mosaic.curation.address import check
from mosaic.curation.worker import LONGEST, Plan, Report, Worker
from mosaic.errors import one_line

AGAIN = "What was finished stays: run again to go on."
DEATHS = 3  # of workers, one after another with no shard finished in between, that end a run
STORE = 80 << 20  # bytes of Ray's object store on one machine: nothing but shard numbers passes through it
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_prestart_worker_first_driver": "0",  # processes that wait for tasks: there are none, only actors
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

    `pools`: stages, in order, that share a worker → its workers. `address`: see `cluster`; where one is open
    already that one is used. Workers that die, with their node or alone, are replaced as often as shards are
    finished in between: pools are laid out anew over what nodes there are, and go on from the folder.
    """
    _clear_partials(plan.folder)
    waiting, deaths = set(range(plan.shards)), 0
    with cluster([pools], address) as ray:
        while waiting:
            try:
                for row in _dataset(ray, plan, pools, sorted(waiting)).iter_rows():
                    waiting.discard(row["shard"])
                    deaths = 0
                    yield _checked(json.loads(row["reports"]))
            except ray.exceptions.RayError as error:
                deaths += 1
                if isinstance(error, ray.exceptions.RayTaskError):  # a mistake of ours, not a death
                    raise
                if deaths == DEATHS:
                    told = one_line(str(error))[:LONGEST].rstrip(".")
                    raise ValueError(
                        f"Workers died {DEATHS} times and finished no shard in between ({told}). {AGAIN}"
                    ) from error


def _dataset(ray: Any, plan: Plan, pools: Mapping[tuple[str, ...], Workers], shards: Sequence[int]) -> Any:
    """Shard numbers through the pools.

    An actor is never restarted by Ray: that waits for ever where the nodes that are left have no room.
    """
    dataset = ray.data.from_items(
        [{"shard": shard, "reports": "[]"} for shard in shards], override_num_blocks=len(shards)
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated")  # nothing else sets max_restarts
        for stages, workers in pools.items():
            dataset = dataset.map_batches(
                ShardActor,
                batch_size=1,
                fn_constructor_args=(plan, stages),
                compute=ray.data.ActorPoolStrategy(size=workers.count, max_tasks_in_flight_per_actor=2),
                num_cpus=workers.cpus,
                num_gpus=workers.gpus or None,
                max_restarts=0,
            )
    return dataset


def _checked(reports: list[Report]) -> list[Report]:
    if reports and "error" in reports[-1]:
        raise ValueError(f"{reports[-1]['error'].rstrip('.')}. {AGAIN}")
    return reports


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
def cluster(phases: Sequence[Mapping[tuple[str, ...], Workers]], address: str | None = None) -> Iterator[Any]:
    """Ray, quiet and reporting to nobody, for pools that run one phase after another.

    `address`: of a running Ray cluster whose nodes all see the folder, ValueError if there is none; None: Ray
    is started on this machine. What was started or joined here is left at the end.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    import ray
    import ray.data

    started = not ray.is_initialized()
    if started:
        _init(ray, phases, address)
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        yield ray
    finally:
        if started:
            ray.shutdown()


def _init(ray: Any, phases: Sequence[Mapping[tuple[str, ...], Workers]], address: str | None) -> None:
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address is None:
        wanted = (sum(workers.count * workers.cpus for workers in pools.values()) for pools in phases)
        options |= {
            "num_cpus": 1 + math.ceil(max(wanted, default=0)),
            "object_store_memory": STORE,
            "include_dashboard": False,
        }
        ray.init(address="local", **options)  # None would join a cluster that happens to be there
        return
    check(address)
    try:
        ray.init(address=address, **options)
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(f"--ray-address {address}: {one_line(str(error))[:LONGEST]}") from error


def _clear_partials(folder: Path) -> None:
    """What a killed run was writing."""
    for partial in folder.glob("stages/*/*.partial"):
        partial.unlink(missing_ok=True)
