"""Which pictures are nearly one accepted before them, over all shards: a pass over the tables before packing.

Only when all other verdicts are known is it known which of two may stay; and a pass in the order of the
samples says the same whatever the workers, the size of the shards or the kills of a run. It reads tables
alone, so that a moved threshold costs no model. The price: a duplicate went through all stages for nothing.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mosaic.curation.folder import write_whole
from mosaic.curation.rows import Work
from mosaic.curation.verdicts import verdict
from mosaic.curation.worker import Plan, Step, merged
from mosaic.perception.duplicates import Hashes

HASHED = ("judge", "import")  # stages whose facts have the hash of the target


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate:
    """A sample whose picture is nearly that of one before it."""

    of: str  # id of that one
    bits: int  # of the 64 that differ

    @property
    def reason(self) -> str:
        return f"pack/duplicate is {self.of}, of whose 64 bits {self.bits} differ"


def note_duplicates(plan: Plan, most: int) -> int:
    """Write of each shard which accepted samples are within `most` bits of a kept one before; how many."""
    step = next(step for step in plan.steps if step.stage == "pack")
    known, ids, count = Hashes(most), list[str](), 0
    for shard in range(plan.shards):
        found: dict[str, Duplicate] = {}
        for work in _accepted(plan, step, shard):
            value = int(hash_of(work), 16)
            if (near := known.nearest(value)) is not None:
                found[work.id] = Duplicate(of=ids[near[0]], bits=near[1])
            else:
                known.add(value)
                ids.append(work.id)
        _write(note_of(plan.folder, shard), found)
        count += len(found)
    return count


def noted_duplicates(folder: Path, shard: int) -> dict[str, Duplicate]:
    """id → what it is a duplicate of, as the last pass has it; none where there was no pass."""
    note = note_of(folder, shard)
    pairs = json.loads(note.read_bytes()) if note.exists() else {}
    return {id: Duplicate(of=of, bits=bits) for id, (of, bits) in pairs.items()}


def note_of(folder: Path, shard: int) -> Path:
    """Where a shard's duplicates are noted."""
    return folder / "stages" / "pack" / f"duplicates-{shard:05d}.json"


def hash_of(work: Work) -> str:
    """The perceptual hash of a sample's target, 16 hexadecimal digits; "" where no stage took it."""
    return next((fact["hash"] for stage in HASHED if (fact := _fact(work, stage)).get("hash")), "")


def _fact(work: Work, stage: str) -> Mapping[str, str]:
    fact = work.facts.get(stage)
    return fact if isinstance(fact, Mapping) else {}


def _accepted(plan: Plan, step: Step, shard: int) -> list[Work]:
    """In the order of the samples, those with a hash that nothing else is in the way of."""
    return [
        work
        for work, failure, complete in merged(plan, step, shard)
        if complete and not failure and hash_of(work) and verdict(work.scores, plan.thresholds).accepted
    ]


def _write(note: Path, found: Mapping[str, Duplicate]) -> None:
    content = json.dumps({id: [one.of, one.bits] for id, one in found.items()}, sort_keys=True).encode()
    if not note.exists() or note.read_bytes() != content:
        write_whole(note, content)
