"""The run on Ray Data: trivial stages in real actors, in a Ray of this module's own."""

import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mosaic.curation.engine import Workers, stream
from mosaic.curation.folder import StageFolder
from mosaic.curation.run import add
from mosaic.curation.worker import Worker

from . import trivial

ONE = Workers(cpus=0.25)
APART = {("prompts",): ONE, ("paint",): ONE, ("segment",): Workers(count=2, cpus=0.25)}
TOGETHER = {("prompts", "paint", "segment"): ONE}


@pytest.fixture(scope="module", autouse=True)
def quiet_ray() -> Iterator[None]:
    """One Ray for all of these, started as the engine does."""
    ray = pytest.importorskip("ray")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])  # where actors find the trivial stages
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=80 << 20,
        logging_level="ERROR",
        log_to_driver=False,
    )
    yield
    ray.shutdown()
    del os.environ["PYTHONPATH"]


def summary(plan: Any, pools: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for reports in stream(plan, pools):
        for report in reports:
            add(found, report)
    return found


def shards(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.glob("stages/segment/*")) if p.suffix != ".partial"}


def test_stages_in_actors_of_their_own_leave_what_one_process_leaves(tmp_path: Path) -> None:
    plan = trivial.plan(tmp_path / "ray", bad=[1])
    found = summary(plan, APART)
    assert {stage: (c["done"], c["failed"]) for stage, c in found.items()} == {
        "prompts": (10, 0),
        "paint": (9, 1),
        "segment": (9, 0),
    }
    assert found["paint"]["errors"] == {"1 is no good": 1}
    alone = trivial.plan(tmp_path / "alone", bad=[1])
    worker = Worker(alone, ["prompts", "paint", "segment"])
    for shard in range(alone.shards):
        worker(shard)
    assert shards(tmp_path / "ray") == shards(tmp_path / "alone")
    again = summary(plan, APART)
    assert all(c["rows"] == 0 for c in again.values())


def test_stages_together_and_a_stage_that_cannot_start(tmp_path: Path) -> None:
    second = partial(trivial.broken, "there is no model here.")
    with pytest.raises(ValueError, match=r"segment, shard 0: there is no model here\. What was finished"):
        summary(trivial.plan(tmp_path, second=second, samples=4), TOGETHER)
    assert len(StageFolder(tmp_path, "paint").rows(0)) == 4
    found = summary(trivial.plan(tmp_path, samples=4), TOGETHER)
    assert (found["paint"]["rows"], found["segment"]["rows"]) == (0, 4)
    assert json.loads((tmp_path / "stages/segment/shard-00000.json").read_bytes())["done"] == 4


def test_a_worker_that_is_killed_is_replaced(tmp_path: Path) -> None:
    deadly = partial(trivial.Deadly, tmp_path / "deaths", 2)
    found = summary(trivial.plan(tmp_path / "run", second=deadly), TOGETHER)
    assert sum(found["segment"][name] for name in ("done", "failed")) == 10
    assert len((tmp_path / "deaths").read_text().splitlines()) == 2
    summary(trivial.plan(tmp_path / "alone"), TOGETHER)
    assert shards(tmp_path / "run") == shards(tmp_path / "alone")


def test_workers_that_always_die_end_the_run(tmp_path: Path) -> None:
    deadly = partial(trivial.Deadly, tmp_path / "deaths", 1000)
    with pytest.raises(
        ValueError, match=r"Workers died 3 times and finished no shard in between \(.*run again"
    ):
        summary(trivial.plan(tmp_path, second=deadly), TOGETHER)
    assert len((tmp_path / "deaths").read_text().splitlines()) == 3
    assert len(StageFolder(tmp_path, "paint").rows(0)) == 4  # what was finished stays
