"""A Ray cluster of two node processes on this machine, one killed in mid-run: effects exactly once."""

import threading
import time
from pathlib import Path

import pytest

from mosaic.curation.engine import Workers, stream
from mosaic.curation.folder import StageFolder
from mosaic.curation.worker import Worker

from . import trivial

POOL = Workers(count=2, cpus=1)


@pytest.mark.slow
def test_a_node_that_is_killed_loses_nothing_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))  # where actors find the trivial stages
    node = {"object_store_memory": 80 << 20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 4} | node)
    try:
        second = cluster.add_node(num_cpus=2, object_store_memory=80 << 20)
        ray.init(address=cluster.address, logging_level="ERROR", log_to_driver=False)
        plan = trivial.plan(tmp_path / "run", samples=60, shard=3, calls=tmp_path / "calls", pause=0.05)
        pools = {("prompts",): Workers(cpus=0.5), ("paint",): POOL, ("segment",): POOL}
        killer = threading.Thread(target=_kill_when_busy, args=(cluster, second, tmp_path / "run"))
        killer.start()
        reports = [report for shard in stream(plan, pools) for report in shard]
        killer.join()
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert sorted({report["shard"] for report in reports}) == list(range(20))
    assert len(reports) == 60
    _as_if_nothing_had_happened(tmp_path)


def _kill_when_busy(cluster: object, node: object, folder: Path) -> None:
    """SIGKILL to the second node's processes once some shards are done."""
    while len(list(folder.glob("stages/segment/*.json"))) < 4:
        time.sleep(0.05)
    cluster.remove_node(node, allow_graceful=False)  # type: ignore[attr-defined]


def _as_if_nothing_had_happened(folder: Path) -> None:
    alone = trivial.plan(folder / "alone", samples=60, shard=3)
    worker = Worker(alone, ["prompts", "paint", "segment"])
    for shard in range(alone.shards):
        worker(shard)
    for stage in ("prompts", "paint", "segment"):
        mine, other = (
            {p.name: p for p in (folder / n / "stages" / stage).iterdir()} for n in ("run", "alone")
        )
        kept = {name for name in mine if not name.endswith(".partial")}
        assert kept == other.keys()
        assert all(mine[name].read_bytes() == other[name].read_bytes() for name in kept)
        rows = [
            row.outcome.id for n in range(20) for row in StageFolder(folder / "run", stage).rows(n).values()
        ]
        assert len(rows) == len(set(rows)) == 60
    asked = len((folder / "calls").read_text().splitlines())
    assert 140 <= asked < 300  # work may be done twice, its effects not
