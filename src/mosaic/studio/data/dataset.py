"""A dataset as the Studio looks at it: shards, the tables of their verdicts, and what the stages left.

`mosaic curate` writes NAME-00000.tar beside NAME-00000.parquet and stages/; `mosaic toybox` and others write
tars alone. A part (a tar, a table, or both) is read when a page first needs it, a picture when it is shown.
What is damaged is told beside what can be read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image

from mosaic.curation.assembling import assembled
from mosaic.curation.folder import Place, StageFolder
from mosaic.curation.rows import STAGES, Named, Record, Work
from mosaic.curation.tables import TableRow
from mosaic.data.shards import decode_sample, picture_of
from mosaic.sample import Picture, Sample
from mosaic.studio.data.edits import review_file
from mosaic.studio.data.tars import Packed, Tar, packed_of
from mosaic.studio.roots import Roots

KEPT = 64  # parts whose lists stay in memory
UNJUDGED = "not judged"  # in a tar that has no table
VERDICTS = ("accepted", "rejected", "failed", "unfinished", UNJUDGED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One sample as a list of them knows it; `address` is "part/key", unique in the dataset."""

    part: str
    key: str
    verdict: str = UNJUDGED
    stage: str = ""  # where it was rejected or failed
    reason: str = ""
    caption: str = ""
    detailed_caption: str = ""
    nouns: tuple[str, ...] = ()  # of its K subjects
    scores: Mapping[str, float] = field(default_factory=dict)
    duplicate_of: str = ""
    packed: bool = True  # whether the part's tar holds it

    @property
    def address(self) -> str:
        return f"{self.part}/{self.key}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A tar, a table, or both, of one name."""

    name: str
    tar: Path | None = None
    table: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """The samples of a part, and a sentence for each thing wrong with it."""

    entries: tuple[Entry, ...]
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some samples of a list; total: how many there are in all, None while parts are still unread."""

    entries: tuple[Entry, ...]
    start: int
    total: int | None
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What there is to see of a sample; problem: why there is no more."""

    sample: Sample | None = None
    target: Picture | None = None
    problem: str = ""


class Dataset:
    """The parts of a folder or of a single shard. Reading is safe from several threads."""

    def __init__(self, path: Path, roots: Roots) -> None:
        """ValueError if there is no shard and no table that may be read."""
        self.path, self.roots = path, roots
        self.parts = {part.name: part for part in _parts(path, roots)}
        self._read = set[str]()
        self.folder = path if path.is_dir() else path.parent
        if not self.parts:
            raise ValueError(f"{path} holds no shard: give a .tar, or a folder with .tar or .parquet files.")

    @property
    def cache(self) -> Path:
        """Where lists of what lies where in a tar are kept."""
        return self.roots.home / "cache" / "shards"

    def listed(self, part: str) -> Listed:
        """The samples of a part, read once as long as its files stay as they are."""
        one = self.parts[part]
        self._read.add(part)
        return _listed(one, self.cache, _stamp(one.tar), _stamp(one.table))

    def entries(self) -> Iterator[Entry]:
        """All samples, part after part."""
        return (entry for part in self.parts for entry in self.listed(part).entries)

    def problems(self) -> list[str]:
        """What is wrong with the parts, all of which are read for it."""
        return [problem for part in self.parts for problem in self.listed(part).problems]

    def entry(self, address: str) -> Entry:
        """ValueError if there is none of that address."""
        part, _, key = address.partition("/")
        entries = self.listed(part).entries if part in self.parts else ()
        if (one := next((one for one in entries if one.key == key), None)) is None:
            raise ValueError(f"There is no sample {address} in {self.path.name}: open the dataset again.")
        return one

    def page(self, wanted: Callable[[Entry], bool], start: int, count: int) -> Page:
        """Samples `start` to `start + count` of those wanted; no more parts are read than that takes."""
        found: list[Entry] = []
        known = len(self._read) == len(self.parts) <= KEPT  # then counting costs little
        for number, name in enumerate(self.parts):
            found += filter(wanted, self.listed(name).entries)
            if not known and len(found) > start + count and number + 1 < len(self.parts):
                return Page(entries=tuple(found[start : start + count]), start=start, total=None, more=True)
        some = tuple(found[start : start + count])
        return Page(entries=some, start=start, total=len(found), more=len(found) > start + count)

    def files(self, entry: Entry) -> dict[str, bytes]:
        """A sample's files by name: from its tar, else what the stages left. ValueError for one cut off."""
        return {name: place.read() for name, place in self._places(entry).items()}

    def file(self, entry: Entry, name: str) -> bytes:
        """One of them. ValueError if it is not there, or cut off."""
        places = self._places(entry)
        if name not in places:
            raise ValueError(f"{entry.address} lacks {name}.")
        return places[name].read()

    def look(self, entry: Entry) -> Look:
        """The sample, or what there is of it."""
        files: dict[str, bytes] = {}
        try:
            if not (files := self.files(entry)):
                return Look(problem="Its files are not there: its shard, or the stages' folder, was removed.")
            return Look(sample=self._sample(entry, files))
        except (ValueError, OSError, Image.DecompressionBombError) as error:
            return _target_alone(files, str(error))

    def review_file(self, reviewer: str) -> Path:
        """Where a reviewer's edits lie, beside the dataset. ValueError for a bad name or a link out."""
        path = review_file(self.path, reviewer)
        if not self.roots.holds(path):
            raise ValueError(f"{path} leads out of what may be opened: remove the link.")
        return path

    def work(self, entry: Entry) -> Work:
        """A sample of the table as the stages know it. ValueError if the part has no table."""
        row = self.row(entry)
        named = zip(row.subjects, row.looks, strict=True)
        record = Record(
            caption=row.caption,
            detailed_caption=row.detailed_caption,
            subjects=tuple(Named(name=name, looks=looks) for name, looks in named),
            seed=row.seed,
            origin=json.loads(row.origin),
        )
        return Work(record=record, scores=dict(row.scores), facts=json.loads(row.facts))

    def row(self, entry: Entry) -> TableRow:
        """Its row of the table. ValueError if there is none."""
        table = self.parts[entry.part].table
        rows = {} if table is None else read_table(table, _stamp(table))
        if entry.key not in rows:
            raise ValueError(f"{entry.address} has no row in a table.")
        return rows[entry.key]

    def _sample(self, entry: Entry, files: Mapping[str, bytes]) -> Sample:
        if entry.packed:
            return decode_sample({"__key__": entry.key, **files})
        return replace(assembled(self.work(entry), files)[1], key=entry.key)

    def _places(self, entry: Entry) -> Mapping[str, Place]:
        tar = self.parts[entry.part].tar
        if not entry.packed or tar is None:
            return self._left_by_stages(entry)
        packed = packed_of(tar, self.cache).samples.get(entry.key)
        return packed.files if packed is not None else {}

    def _left_by_stages(self, entry: Entry) -> dict[str, Place]:
        """What the stages left of a sample that was not packed; a later stage's replace an earlier's."""
        found: dict[str, Place] = {}
        if (self.folder / "stages").is_dir() and self.roots.holds(self.folder / "stages"):
            shard = self.row(entry).shard
            for stage in STAGES[:-1]:
                found |= _stage_files(self.folder, stage, shard).get(entry.key, {})
        return {name: place for name, place in found.items() if self.roots.holds(place.tar)}


# ---------------------------------------------------------------- parts


def _parts(path: Path, roots: Roots) -> list[Part]:
    """Tars and tables by name; those that a link leads out of the roots to are not there."""
    if path.is_file():
        tables, tars = [path.with_suffix(".parquet")], [path]
        if path.suffix == ".parquet":
            tables, tars = [path], [path.with_suffix(".tar")]
    else:
        tables, tars = sorted(path.glob("*.parquet")), sorted(path.glob("*.tar"))
    here = [{one.stem: one for one in some if one.is_file() and roots.holds(one)} for some in (tars, tables)]
    names = sorted({*here[0], *here[1]})
    return [Part(name=name, tar=here[0].get(name), table=here[1].get(name)) for name in names]


def _stamp(path: Path | None) -> tuple[int, int]:
    """What changes when a file does."""
    if path is None or not path.exists():
        return 0, 0
    facts = path.stat()
    return facts.st_size, facts.st_mtime_ns


@lru_cache(maxsize=KEPT)
def _listed(part: Part, cache: Path, tar: tuple[int, int], table: tuple[int, int]) -> Listed:
    """tar, table: stamps, by which a changed file is read again."""
    packed = packed_of(part.tar, cache) if part.tar is not None else Packed()
    problems = [f"{part.name}.tar: {packed.problem}"] if packed.problem else []
    rows: Mapping[str, TableRow] = {}
    if part.table is not None:
        try:
            rows = read_table(part.table, table)
        except ValueError as error:
            problems.append(str(error))
    entries = [_judged(part.name, row, row.id in packed.samples) for row in rows.values()]
    lost = sum(entry.verdict == "accepted" and not entry.packed for entry in entries)
    if lost:
        problems.append(f"{part.name}.tar lacks {lost} of the samples that its table calls accepted.")
    entries += [_plain(part.name, key, tar_) for key, tar_ in packed.samples.items() if key not in rows]
    return Listed(entries=tuple(entries), problems=tuple(problems))


def _judged(part: str, row: TableRow, packed: bool) -> Entry:
    return Entry(
        part=part,
        key=row.id,
        verdict=row.verdict,
        stage=row.stage,
        reason=row.reason,
        caption=row.caption,
        detailed_caption=row.detailed_caption,
        nouns=row.subjects,
        scores=row.scores,
        duplicate_of=row.duplicate_of,
        packed=packed,
    )


def _plain(part: str, key: str, packed: Tar) -> Entry:
    return Entry(
        part=part,
        key=key,
        caption=packed.caption,
        detailed_caption=packed.detailed_caption,
        nouns=tuple(dict(packed.shown).values()),
    )


@lru_cache(maxsize=KEPT)
def read_table(path: Path, stamp: tuple[int, int] = (0, 0)) -> Mapping[str, TableRow]:
    """id → row. ValueError if it is no table of `mosaic curate`."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        rows = parquet.ParquetFile(path).read().to_pylist()
        return {row["id"]: _row(row) for row in rows}
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path.name} is no table of mosaic curate that can be read: {error}") from error


def _row(cells: Mapping[str, Any]) -> TableRow:
    """Columns of a later version are left out; those that an earlier one lacks have their defaults."""
    known = {name: value for name, value in cells.items() if name in TableRow.__slots__}
    lists = {name: tuple(known[name] or ()) for name in ("subjects", "looks", "made_by")}
    return TableRow(**known | lists | {"scores": dict(known["scores"] or ())})


@lru_cache(maxsize=KEPT)
def _stage_files(folder: Path, stage: str, shard: int) -> Mapping[str, Mapping[str, Place]]:
    """id → name → place; nothing where a stage's files cannot be read."""
    import tarfile

    try:
        return StageFolder(folder, stage).files(shard)
    except (OSError, ValueError, KeyError, tarfile.TarError):
        return {}


def _target_alone(files: Mapping[str, bytes], problem: str) -> Look:
    try:
        return Look(target=picture_of(files["target.webp"]), problem=problem)
    except (KeyError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return Look(problem=problem)
