"""The table of a packed shard: a row a sample, whatever became of it, with every score."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from mosaic.curation.rows import STAGES, Work


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRow:
    """One sample as the table has it. verdict: accepted, rejected, failed or unfinished."""

    id: str
    shard: int
    verdict: str
    stage: str  # where it was rejected or failed
    reason: str
    caption: str
    detailed_caption: str
    subjects: tuple[str, ...]  # their nouns
    looks: tuple[str, ...]
    seed: int
    origin: str  # JSON
    made_by: tuple[str, ...]  # "stage · model · licence"
    scores: Mapping[str, float] = field(default_factory=dict)
    facts: str = "{}"  # JSON
    duplicate_of: str = ""  # id of the accepted sample whose picture this one nearly is

    @classmethod
    def of(
        cls,
        work: Work,
        shard: int,
        verdict: str,
        stage: str,
        reason: str,
        further: Mapping[str, float] | None = None,
    ) -> Self:
        """The row of a sample, with further scores that packing measured."""
        record = work.record
        return cls(
            id=work.id,
            shard=shard,
            verdict=verdict,
            stage=stage,
            reason=reason,
            caption=record.caption,
            detailed_caption=record.detailed_caption,
            subjects=tuple(named.name for named in record.subjects),
            looks=tuple(named.looks for named in record.subjects),
            seed=record.seed,
            origin=json.dumps(record.origin, sort_keys=True, ensure_ascii=False),
            made_by=tuple(_made_by(work)),
            scores=dict(work.scores) | dict(further or {}),
            facts=json.dumps(work.facts, sort_keys=True, ensure_ascii=False),
        )

    @property
    def score_name(self) -> str:
        """The score that rejected it, * for a subject."""
        return "/".join("*" if part.isdecimal() else part for part in self.reason.split(" is ")[0].split("/"))


def _made_by(work: Work) -> list[str]:
    """By what, and by whose licence, each stage made its part; a judge makes none."""
    lines, origin = [], work.record.origin
    for stage in STAGES:
        fact = work.facts.get(stage)
        by, licence = (fact.get("by", ""), fact.get("licence", "")) if isinstance(fact, dict) else ("", "")
        if stage in ("import", "prompts") and fact is not None:
            licence = licence or origin.get("licence", "")
        if (by or licence) and stage != "judge":
            lines.append(f"{stage} · {by} · {licence}")
    return lines


def table_of(rows: Sequence[TableRow]) -> Any:
    """The rows as a pyarrow table."""
    import pyarrow as pa

    text, texts = pa.string(), pa.list_(pa.string())
    kinds: dict[str, Any] = dict.fromkeys(TableRow.__slots__, text)
    kinds |= {"shard": pa.int32(), "seed": pa.uint64(), "scores": pa.map_(text, pa.float64())}
    kinds |= {"subjects": texts, "looks": texts, "made_by": texts}
    cells = [asdict(row) | {"scores": sorted(row.scores.items())} for row in rows]
    columns = {name: pa.array([row[name] for row in cells], kind) for name, kind in kinds.items()}
    return pa.table(columns)
