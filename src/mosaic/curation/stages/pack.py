"""pack: what was accepted becomes a shard that `mosaic train` reads; every row becomes a row of a table.

DIR/<name>-00000.tar       accepted samples in the layout of `mosaic.data.shards`, keyed by their ids
DIR/<name>-00000.parquet   every row: verdict (accepted, rejected, failed, unfinished), why, and all scores
DIR/stages/pack/           statistics of both, by which a later run knows whether to pack again

No model runs here: thresholds can be moved, and this stage alone run again (`--only pack`). Which samples are
duplicates of others is known before (`mosaic.curation.duplicates`).
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from mosaic.curation.assembling import assembled, measured
from mosaic.curation.duplicates import Duplicate, noted_duplicates
from mosaic.curation.folder import Place, WholeTar, write_table, write_whole
from mosaic.curation.rows import Work
from mosaic.curation.tables import TableRow, table_of
from mosaic.curation.verdicts import Verdict, verdict
from mosaic.curation.worker import Plan, Report, Step, before, files_before, merged
from mosaic.pictures.png import file_hash

SHOWN = 4  # rejected samples of a shard that the sheet may show


class Section(BaseModel):
    """[pack] of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    duplicates: int | None = Field(None, ge=0, le=16)  # bits by which two pictures are one; left out: none is
    name: str = Field("samples", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")  # of the shards
    title: str = ""  # of the card; "": the name
    licence: str = ""  # of the whole set, as the hub writes it (cc0-1.0 …); "": other
    sheet: int = Field(24, ge=0)  # samples shown in samples.html
    hub: str = ""  # OWNER/NAME of a dataset repository to push to; "": none
    private: bool = True  # whether that repository is


def make(section: Section) -> "Pack":
    """The closing step."""
    return Pack(section)


class Pack:
    """Packs one shard; one whose parts, thresholds and name are those of its last packing is passed over."""

    def __init__(self, section: Section) -> None:
        self._section = section

    def __call__(self, plan: Plan, shard: int) -> Report:
        note = note_of(plan.folder, shard)
        made_of = self._made_of(plan, shard)
        if note.exists() and (statistics := json.loads(note.read_bytes()))["made_of"] == made_of:
            return _report(statistics) | {"rows": 0}
        note.unlink(missing_ok=True)  # from here on what is there is not what a note says
        rows, checksums, size = self._shard(plan, shard)
        statistics = {"made_of": made_of, "checksums": checksums, "bytes": size} | statistics_of(rows)
        write_whole(note, json.dumps(statistics, sort_keys=True, ensure_ascii=False).encode())
        return _report(statistics)

    def _made_of(self, plan: Plan, shard: int) -> str:
        """A digest of all that the packed files depend on."""
        parts = [
            [step.stage, [path.read_text() for path in plan.stage_folder(step).parts(shard)]]
            for step in before(plan, _step(plan))
        ]
        bounds = {name: bound.model_dump() for name, bound in plan.thresholds.items()}
        content = [self._section.name, list(bounds.items()), len(plan.indices(shard)), parts]
        if duplicates := self._duplicates(plan, shard):
            content.append({id: one.reason for id, one in sorted(duplicates.items())})
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def _duplicates(self, plan: Plan, shard: int) -> dict[str, Duplicate]:
        return {} if self._section.duplicates is None else noted_duplicates(plan.folder, shard)

    def _shard(self, plan: Plan, shard: int) -> tuple[list[TableRow], dict[str, str], int]:
        """Write the tar (none where nothing was accepted) and the table; their rows, SHA-256 and size."""
        base = plan.folder / f"{self._section.name}-{shard:05d}"
        packed, table = base.with_suffix(".tar"), base.with_suffix(".parquet")
        packed.unlink(missing_ok=True)
        rows, tar = list[TableRow](), WholeTar(packed)
        try:
            for row, files in self._rows(plan, shard):
                rows.append(row)
                for name, content in files.items():
                    tar.add(f"{row.id}.{name}", content)
            written = [packed, table] if tar.commit() else [table]
        finally:
            tar.abandon()
        write_table(table, table_of(rows))
        return rows, {p.name: file_hash(p) for p in written}, sum(p.stat().st_size for p in written)

    def _rows(self, plan: Plan, shard: int) -> Iterator[tuple[TableRow, Mapping[str, bytes]]]:
        """Each sample's row and, of accepted ones, its files as they are packed."""
        step = _step(plan)
        places, duplicates = files_before(plan, step, shard), self._duplicates(plan, shard)
        for work, failure, complete in merged(plan, step, shard):
            judged = verdict(work.scores, plan.thresholds)
            if failure or not judged.accepted or not complete:
                yield TableRow.of(work, shard, *_in_words(judged, failure)), {}
            elif (one := duplicates.get(work.id)) is not None:
                row = TableRow.of(work, shard, "rejected", "pack", one.reason)
                yield replace(row, duplicate_of=one.of), {}
            else:
                yield _packed(work, shard, places.get(work.id, {}))


def _packed(work: Work, shard: int, places: Mapping[str, Place]) -> tuple[TableRow, Mapping[str, bytes]]:
    try:
        files, sample = assembled(work, {name: place.read() for name, place in places.items()})
    except ValueError as error:
        return TableRow.of(work, shard, "failed", "pack", str(error)), {}
    return TableRow.of(work, shard, "accepted", "", "", measured(sample)), files


def _in_words(judged: Verdict, failure: str) -> tuple[str, str, str]:
    """verdict, stage and reason of a row that is not packed."""
    if failure:
        stage, _, error = failure.partition(": ")
        return "failed", stage, error
    if not judged.accepted:
        return "rejected", judged.stage, judged.reason
    return "unfinished", "", ""


def _step(plan: Plan) -> Step:
    return next(step for step in plan.steps if step.stage == "pack")


def note_of(folder: Path, shard: int) -> Path:
    """Where the statistics of a packed shard lie."""
    return folder / "stages" / "pack" / f"shard-{shard:05d}.json"


def _report(statistics: Mapping[str, Any]) -> Report:
    verdicts = statistics["verdicts"]
    return {
        "rows": sum(verdicts.values()),
        "done": verdicts.get("accepted", 0),
        "failed": verdicts.get("failed", 0),
        "errors": statistics["errors"],
        "rejected": verdicts.get("rejected", 0),
        "unfinished": verdicts.get("unfinished", 0),
    }


# ---------------------------------------------------------------- statistics


def statistics_of(rows: list[TableRow]) -> dict[str, Any]:
    """Counts of a shard that add up over shards, and a few rejected samples to show."""
    accepted = [row for row in rows if row.verdict == "accepted"]
    rejected = [[row.id, row.stage, row.reason] for row in rows if row.verdict == "rejected"]
    return {
        "verdicts": Counter(row.verdict for row in rows),
        "rejected_by": Counter(row.score_name for row in rows if row.verdict == "rejected"),
        "errors": Counter(f"{row.stage}: {row.reason}" for row in rows if row.verdict == "failed"),
        "subjects": Counter(str(len(row.subjects)) for row in accepted),
        "nouns": {
            kind: Counter(name for row in some for name in row.subjects)
            for kind, some in (("all", rows), ("accepted", accepted))
        },
        "scores": _summaries(rows),
        "made_by": Counter(line for row in accepted for line in row.made_by),
        "shown": rejected[:SHOWN],
    }


def _summaries(rows: list[TableRow]) -> dict[str, list[float]]:
    """score with * for a subject → count, sum, least, most; nan counts for nothing."""
    found: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.scores.items():
            if value == value:
                name = "/".join("*" if part.isdecimal() else part for part in name.split("/"))
                n, total, least, most = found.get(name, [0, 0.0, value, value])
                found[name] = [n + 1, total + value, min(least, value), max(most, value)]
    return found
