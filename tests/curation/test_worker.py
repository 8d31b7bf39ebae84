"""One stage of one shard: what is done, passed over, failed, and left on disk, without Ray."""

import json
import resource
from pathlib import Path

import pytest

from mosaic.curation.folder import StageFolder
from mosaic.curation.verdicts import Bounds
from mosaic.curation.worker import Plan, Step, Worker, merged

from . import trivial


def run(plan: Plan) -> list[dict[str, object]]:
    worker = Worker(plan, [step.stage for step in plan.steps])
    return [report for shard in range(plan.shards) for report in worker(shard)]


def tree(folder: Path) -> dict[str, bytes]:
    """Every file of the shards but statistics, which hold no times either."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_every_sample_goes_through_every_stage(tmp_path: Path) -> None:
    plan = trivial.plan(tmp_path)
    reports = run(plan)
    assert [r["done"] for r in reports if r["stage"] == "segment"] == [4, 4, 2]
    places = StageFolder(tmp_path, "segment").files(2)
    assert sorted(place["square.txt"].read() for place in places.values()) == [b"256", b"324"]
    assert not list(tmp_path.rglob("*.partial"))


def test_a_finished_run_does_nothing_and_makes_no_model(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    run(trivial.plan(tmp_path / "run", calls=calls))
    before, noted = tree(tmp_path / "run"), calls.read_text()
    second = lambda: trivial.broken("the model was loaded")  # noqa: E731
    reports = run(trivial.plan(tmp_path / "run", calls=calls, second=second))
    assert all(r["rows"] == 0 for r in reports) and reports[-1]["done"] == 2
    assert tree(tmp_path / "run") == before and calls.read_text() == noted


def test_what_raises_is_a_failed_row_and_goes_no_further(tmp_path: Path) -> None:
    run(trivial.plan(tmp_path, bad=[1, 9]))
    row = next(r for r in StageFolder(tmp_path, "paint").rows(0).values() if r.outcome.status == "failed")
    assert row.outcome.error == "1 is no good"
    statistics = json.loads((tmp_path / "stages/paint/shard-00000.json").read_text())
    assert (statistics["done"], statistics["failed"]) == (3, 1)
    assert statistics["errors"] == {"1 is no good": 1}
    assert len(StageFolder(tmp_path, "segment").rows(0)) == 3


def test_failures_are_tried_again_when_asked(tmp_path: Path) -> None:
    run(trivial.plan(tmp_path, bad=[1, 9]))
    run(trivial.plan(tmp_path, retry=True))
    rows = StageFolder(tmp_path, "paint").rows(0)
    assert {r.outcome.status for r in rows.values()} == {"done"}
    assert len(StageFolder(tmp_path, "segment").rows(0)) == 4
    assert len(StageFolder(tmp_path, "segment").parts(0)) == 2


def test_loosened_thresholds_do_only_what_is_missing(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    tight, loose = ({"paint/value": Bounds(most=most)} for most in (1, 2))
    run(trivial.plan(tmp_path / "run", thresholds=tight))
    assert len(StageFolder(tmp_path / "run", "segment").rows(0)) == 2
    run(trivial.plan(tmp_path / "run", thresholds=loose, calls=calls))
    assert calls.read_text() == "segment 2\n"
    assert len(StageFolder(tmp_path / "run", "segment").files(0)) == 3


def test_more_samples_add_to_the_last_shard(tmp_path: Path) -> None:
    run(trivial.plan(tmp_path / "grown", samples=5))
    run(trivial.plan(tmp_path / "grown", samples=10))
    run(trivial.plan(tmp_path / "whole", samples=10))
    for stage in ("paint", "segment"):
        grown, whole = (
            {row.outcome.id for n in range(3) for row in StageFolder(tmp_path / name, stage).rows(n).values()}
            for name in ("grown", "whole")
        )
        assert grown == whole and len(whole) == 10


def test_a_model_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    second = lambda: trivial.broken("there is no model here.")  # noqa: E731
    reports = run(trivial.plan(tmp_path, second=second))
    assert reports[2]["error"] == "segment, shard 0: there is no model here."


class Heavy(trivial.Square):
    def __call__(self, works):  # type: ignore[no-untyped-def]
        from dataclasses import replace

        return [replace(outcome, files={"large": b"0" * (1 << 17)}) for outcome in super().__call__(works)]


def test_a_full_disk_is_one_sentence_and_what_was_finished_stays(tmp_path: Path) -> None:
    """No file can grow beyond 64 KiB: the operating system itself refuses the write."""
    plan = trivial.plan(tmp_path, second=Heavy)
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    try:
        reports = run(plan)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert (
        reports[2]["error"] == f"segment, shard 0: {tmp_path}/stages/segment/shard-00000.tar: File too large"
    )
    assert not StageFolder(tmp_path, "segment").parts(0) and not list(tmp_path.rglob("*.partial"))
    assert len(StageFolder(tmp_path, "paint").rows(0)) == 4
    assert [report["done"] for report in run(plan) if report["stage"] == "segment"] == [4, 4, 2]


class Forgetful(trivial.Square):
    def __call__(self, works):  # type: ignore[no-untyped-def]
        return super().__call__(works)[:-1]


class Wordy(trivial.Square):
    def __call__(self, works):  # type: ignore[no-untyped-def]
        from dataclasses import replace

        return [replace(outcome, facts={"set": {1, 2}}) for outcome in super().__call__(works)]


@pytest.mark.parametrize(
    ("kind", "words"), [(Forgetful, "did not answer each"), (Wordy, "JSON serializable")]
)
def test_a_stage_that_breaks_the_contract_fails_its_rows(kind: type, words: str, tmp_path: Path) -> None:
    run(trivial.plan(tmp_path, second=kind))
    rows = StageFolder(tmp_path, "segment").rows(0)
    assert len(rows) == 4 and all(words in row.outcome.error for row in rows.values())


class Same(trivial.Counting):
    def __call__(self, indices):  # type: ignore[no-untyped-def]
        return super().__call__([0] * len(indices))


def test_equal_records_are_one_sample(tmp_path: Path) -> None:
    plan = trivial.plan(tmp_path, samples=4)
    first = Step(stage="prompts", make=Same, kind="source")
    plan = Plan(folder=tmp_path, steps=(first, *plan.steps[1:]), samples=4, shard=4)
    reports = run(plan)
    assert [report["done"] for report in reports] == [4, 1, 1]
    closing = Step(stage="pack", make=dict)
    failures = [failure for _, failure, _ in merged(plan, closing, 0)]
    assert failures == ["", *["prompts: an equal record comes before it"] * 3]


def test_same_plan_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        run(trivial.plan(tmp_path / name))
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
