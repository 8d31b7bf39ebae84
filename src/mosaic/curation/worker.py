"""One stage of one shard, a task that may run again: read what the stages before left, do what is missing.

A worker holds the stages it is asked for, models and all, and lives as long as its Ray actor.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal, Protocol

from mosaic.curation.folder import Place, Row, StageFolder, count
from mosaic.curation.protocols import Source, Stage
from mosaic.curation.rows import STAGES, Outcome, Record, Work
from mosaic.curation.verdicts import Bounds, verdict
from mosaic.errors import explain, one_line

ASKED = 64  # indices a source is asked for at a time
LONGEST = 400  # characters of an error that are kept

Report = dict[str, Any]  # what became of one stage of one shard: small JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A stage of a run and how its worker gets it. A source begins a run; a closing step sees shards."""

    stage: str
    make: Callable[[], Any]  # in the worker, once it has something to do: this is when models are loaded
    kind: Literal["source", "stage", "closing"] = "stage"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a worker knows of a run."""

    folder: Path
    steps: tuple[Step, ...]  # the first is the source
    samples: int
    shard: int  # samples a shard
    thresholds: Mapping[str, Bounds] = field(default_factory=dict)
    retry: bool = False  # rows that failed in an earlier run are tried again

    @property
    def shards(self) -> int:
        return -(-self.samples // self.shard)

    def indices(self, shard: int) -> range:
        return range(shard * self.shard, min((shard + 1) * self.shard, self.samples))

    def stage_folder(self, step: Step) -> StageFolder:
        return StageFolder(self.folder, step.stage)


class Closing(Protocol):
    """The last step: it sees a shard whole, and answers with what to report."""

    def __call__(self, plan: Plan, shard: int) -> Report: ...


class Worker:
    """Does the steps of these stages for one shard at a time."""

    def __init__(self, plan: Plan, stages: Sequence[str]) -> None:
        self._plan, self._held = plan, dict[str, Any]()
        self._steps = [step for step in plan.steps if step.stage in stages]

    def __call__(self, shard: int) -> list[Report]:
        """A report a step; one with an "error" is the last, and wants the run to end with that sentence."""
        reports: list[Report] = []
        for step in self._steps:
            reports.append(self._timed(step, shard))
            if "error" in reports[-1]:
                break
        return reports

    def _timed(self, step: Step, shard: int) -> Report:
        report: Report = {"stage": step.stage, "shard": shard, "began": time.time()}
        try:
            report |= {"source": self._source, "stage": self._stage, "closing": self._close}[step.kind](
                step, shard
            )
        except (ValueError, OSError, ModuleNotFoundError) as error:  # not a row's: a model's, a disk's
            sentence = explain(error) or one_line(str(error))
            report["error"] = f"{step.stage}, shard {shard}: {sentence}"
        return report | {"ended": time.time()}

    def _get(self, step: Step) -> Any:
        if step.stage not in self._held:
            self._held[step.stage] = step.make()
        return self._held[step.stage]

    def _source(self, step: Step, shard: int) -> Report:
        folder = self._plan.stage_folder(step)
        have = folder.indexed(shard)
        missing = [i for i in self._plan.indices(shard) if i not in have or self._again(have[i])]
        if not missing:
            return _passed_over(row.outcome for row in have.values())
        source: Source = self._get(step)
        with folder.new_part(shard) as part:
            for indices in _batches(missing, ASKED):
                for index, (record, outcome) in zip(indices, asked(source, indices), strict=True):
                    part.write(Row(outcome=outcome, record=record, index=index))
            return part.commit(stage=step.stage, shard=shard, rows=len(missing))

    def _stage(self, step: Step, shard: int) -> Report:
        folder = self._plan.stage_folder(step)
        have = folder.rows(shard)
        waiting = [
            work
            for work in ready(self._plan, step, shard)
            if work.id not in have or self._again(have[work.id])
        ]
        if not waiting and folder.parts(shard):
            return _passed_over(row.outcome for row in have.values())
        stage: Stage | None = self._get(step) if waiting else None
        places = files_before(self._plan, step, shard)
        with folder.new_part(shard) as part:
            for works in _batches(waiting, stage.batch if stage else 1):
                given = [replace(work, files=_read(places.get(work.id, {}))) for work in works]
                for outcome in answers(stage, given) if stage else ():
                    part.write(Row(outcome=outcome))
            return part.commit(stage=step.stage, shard=shard, rows=len(waiting))

    def _close(self, step: Step, shard: int) -> Report:
        closing: Closing = self._get(step)
        return closing(self._plan, shard)

    def _again(self, row: Row) -> bool:
        return self._plan.retry and row.outcome.status == "failed"


def _passed_over(outcomes: Iterable[Outcome]) -> Report:
    return count(outcomes) | {"rows": 0}


# ---------------------------------------------------------------- what the stages before left


def ready(plan: Plan, step: Step, shard: int) -> Iterator[Work]:
    """Samples of a shard, without files, that all stages before `step` have done and no threshold rejects."""
    for work, failure, complete in merged(plan, step, shard):
        wanted = complete and not failure and not _joins_after(work, step.stage)
        if wanted and verdict(work.scores, plan.thresholds).accepted:
            yield work


def merged(plan: Plan, step: Step, shard: int) -> Iterator[tuple[Work, str, bool]]:
    """Every sample of a shard as the stages before `step` left it: (work without files, failure, complete).

    failure: "stage: error" of the first stage that failed; complete: no stage is still to be done for it.
    """
    source, *others = before(plan, step)
    tables = [(other.stage, plan.stage_folder(other).rows(shard)) for other in others]
    indexed = plan.stage_folder(source).indexed(shard)
    seen: set[str] = set()
    for row in (indexed[i] for i in plan.indices(shard) if i in indexed):
        assert row.record is not None, "a source's rows hold records"
        work = Work(record=row.record, scores=row.outcome.scores, facts=row.outcome.facts)
        twice = f"{source.stage}: an equal record comes before it" if work.id in seen else ""
        seen.add(work.id)
        yield _merge(work, twice or _failure(source.stage, row.outcome), tables)


def _merge(work: Work, failure: str, tables: Sequence[tuple[str, dict[str, Row]]]) -> tuple[Work, str, bool]:
    complete = True
    for stage, rows in tables:
        if _joins_after(work, stage):
            continue
        if work.id not in rows:
            complete = False
            continue
        outcome = rows[work.id].outcome
        work = replace(work, scores=work.scores | outcome.scores, facts=work.facts | outcome.facts)
        failure = failure or _failure(stage, outcome)
    return work, failure, complete


def before(plan: Plan, step: Step) -> list[Step]:
    """The steps of a run before this one."""
    return list(takewhile(lambda other: other.stage != step.stage, plan.steps))


def files_before(plan: Plan, step: Step, shard: int) -> dict[str, dict[str, Place]]:
    """id → name → place, of all files that the stages before `step` made; a later stage's one wins."""
    found: dict[str, dict[str, Place]] = {}
    for other in before(plan, step):
        for id, places in plan.stage_folder(other).files(shard).items():
            found[id] = found.get(id, {}) | places
    return found


def _joins_after(work: Work, stage: str) -> bool:
    """Whether an imported sample joins at a later stage than this one."""
    joins = work.facts.get("joins")
    return joins in STAGES and stage in STAGES and STAGES.index(stage) < STAGES.index(joins)


def _failure(stage: str, outcome: Outcome) -> str:
    return f"{stage}: {outcome.error}" if outcome.status == "failed" else ""


def _batches(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (values[i : i + size] for i in range(0, len(values), size))


def _read(places: Mapping[str, Place]) -> dict[str, bytes]:
    return {name: place.read() for name, place in places.items()}


# ---------------------------------------------------------------- asking a stage


def answers(stage: Stage, works: Sequence[Work]) -> list[Outcome]:
    """An outcome a sample; a stage that raises is asked one by one, and what it raises for has failed."""
    try:
        return _checked(stage(works), [work.id for work in works])
    except Exception as error:  # a failure is a row
        if len(works) > 1:
            return [outcome for work in works for outcome in answers(stage, [work])]
        return [failed(works[0].id, error)]


def asked(source: Source, indices: Sequence[int]) -> list[tuple[Record, Outcome]]:
    """As `answers`, of a source; a record that could not be had knows its index alone."""
    try:
        found = list(source(indices))
        _checked([outcome for _, outcome in found], [record.id for record, _ in found])
        if len(found) != len(indices):
            raise ValueError(f"{len(found)} records came for {len(indices)} indices")
        return found
    except Exception as error:
        if len(indices) > 1:
            return [pair for index in indices for pair in asked(source, [index])]
        lost = Record(
            caption="", detailed_caption="", subjects=(), seed=indices[0], origin={"index": str(indices[0])}
        )
        return [(lost, failed(lost.id, error))]


def failed(id: str, error: Exception) -> Outcome:
    """A row for what could not be done, with the error as its sentence."""
    sentence = str(error) if isinstance(error, ValueError) and str(error) else repr(error)
    return Outcome(id=id, status="failed", error=one_line(sentence)[:LONGEST])


def _checked(outcomes: Sequence[Outcome], ids: Sequence[str]) -> list[Outcome]:
    if [outcome.id for outcome in outcomes] != list(ids):
        raise ValueError("the stage did not answer each sample it was given, in order")
    for outcome in outcomes:
        json.dumps(outcome.facts)
    return list(outcomes)
