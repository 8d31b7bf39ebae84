"""Imports and prompts under the engine: what joins at the end is packed as it came, damage is counted."""

from pathlib import Path

import numpy as np
import pytest

from mosaic.curation.recipe import plan_of, recipe_of
from mosaic.curation.worker import Plan, Worker
from mosaic.data.shards import ShardWriter, read_shard
from mosaic.sample import Sample
from mosaic.toybox.batches import sample

pytest.importorskip("pyarrow")


def run(plan: Plan, *stages: str) -> list[dict[str, object]]:
    worker = Worker(plan, stages)
    return [report for shard in range(plan.shards) for report in worker(shard)]


def packed(folder: Path) -> list[Sample]:
    return [one for tar in sorted(folder.glob("*.tar")) for one in read_shard(tar)]


def test_shards_imported_and_packed_hold_the_same_samples(tmp_path: Path) -> None:
    made = [sample(0, subjects=2, index=n, size=64, reference_size=64) for n in range(5)]
    with ShardWriter(tmp_path / "in.tar") as writer:
        for one in made:
            writer.write(one)
    tables = {"import": {"kind": "webdataset", "path": str(tmp_path / "in.tar")}, "pack": {}, "shard": 2}
    plan = plan_of(recipe_of(tables), tmp_path / "out")
    assert (plan.samples, plan.shards) == (5, 3)
    run(plan, "import", "pack")
    found = packed(tmp_path / "out")
    assert len(found) == 5
    for was, now in zip(
        made, sorted(found, key=lambda s: [m.caption for m in made].index(s.caption)), strict=True
    ):
        assert np.array_equal(was.target, now.target) and was.detailed_caption == now.detailed_caption
        assert [s.name for s in was.subjects] == [s.name for s in now.subjects]
        for a, b in zip(was.target_masks, now.target_masks, strict=True):
            assert np.array_equal(a, b)
        for r, q in zip(was.references, now.references, strict=True):
            assert np.array_equal(r.image, q.image) and np.array_equal(r.mask, q.mask)
        for c, d in zip(was.correspondences, now.correspondences, strict=True):
            assert np.allclose(c.target, d.target, atol=1e-4) and np.allclose(
                c.reference, d.reference, atol=1e-4
            )


def test_a_second_run_imports_nothing_again_and_packs_the_same_bytes(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "in.tar") as writer:
        for n in range(3):
            writer.write(sample(1, subjects=1, index=n, size=64, reference_size=64))
    content = (tmp_path / "in.tar").read_bytes()
    (tmp_path / "in.tar").write_bytes(content[: int(len(content) * 0.8)])  # the last sample is cut off
    tables = {"import": {"kind": "webdataset", "path": str(tmp_path / "in.tar")}, "pack": {}}
    reports = {}
    for name in ("one", "two"):
        plan = plan_of(recipe_of(tables), tmp_path / name)
        first, again = run(plan, "import", "pack"), run(plan, "import", "pack")
        assert [report["rows"] for report in again] == [0, 0]
        reports[name] = first[0]
    assert reports["one"]["done"] == 2 and reports["one"]["failed"] in (1, 2)
    assert any("cut off" in error for error in reports["one"]["errors"])  # type: ignore[attr-defined]
    one, two = (sorted((tmp_path / name).glob("*.tar")) for name in ("one", "two"))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]
    assert len(packed(tmp_path / "one")) == 2


def test_prompts_by_templates_run_without_anything_else(tmp_path: Path) -> None:
    tables = {"samples": 60, "shard": 25, "prompts": {"subjects": [1], "nearest": 0.4, "window": 60}}
    reports = run(plan_of(recipe_of(tables), tmp_path), "prompts")
    assert [report["rows"] for report in reports] == [25, 25, 10]
    done, failed = (sum(int(str(report[name])) for report in reports) for name in ("done", "failed"))
    assert done + failed == 60 and 0 < failed < 30
    other = tables | {"shard": 60}
    (report,) = run(plan_of(recipe_of(other), tmp_path / "other"), "prompts")
    assert (report["done"], report["failed"]) == (done, failed)
