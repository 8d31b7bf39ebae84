"""A dataset as the Studio looks at it: shards, the tables of their verdicts, and what the stages left.

`mosaic curate` writes NAME-00000.tar beside NAME-00000.parquet and stages/; `mosaic toybox` and others write
tars alone; people with little data have a folder of pictures and samples.json. A part (a tar, a table, or
both; or samples.json) is read when a page first needs it, a picture when it is shown. What is damaged is told
beside what can be read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from PIL import Image

from mosaic.curation.assembling import assembled
from mosaic.curation.folder import Place, StageFolder
from mosaic.curation.rows import STAGES, Named, Record, Work
from mosaic.curation.tables import TableRow
from mosaic.data.folder import Entry as PicturesEntry
from mosaic.data.shards import decode_sample, picture_of
from mosaic.sample import Picture, Sample
from mosaic.studio.data import pictures
from mosaic.studio.data.edits import review_file
from mosaic.studio.data.listing import (
    KEPT,
    LISTING,
    Entry,
    Listed,
    Stamp,
    cache_of,
    listed,
    parts_of,
    pictures_of,
    read_table,
    stamp_of,
)
from mosaic.studio.data.tars import packed_of
from mosaic.studio.roots import Roots

POINTS = "points.npy"


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
    """The parts of a folder, or a single shard. Reading is safe from several threads."""

    def __init__(self, path: Path, roots: Roots) -> None:
        """ValueError if there is no shard, no table and no samples.json that may be read."""
        self.path, self.roots = path, roots
        self.parts = {part.name: part for part in parts_of(path, roots)}
        self._counts = dict[str, int]()  # samples of the parts that were read
        self.folder = path if path.is_dir() else path.parent
        if not self.parts:
            raise ValueError(
                f"{path} holds no dataset: give a .tar, or a folder with .tar or .parquet files or {LISTING}."
            )

    def listed(self, part: str) -> Listed:
        """The samples of a part, read once as long as its files stay as they are."""
        one = self.parts[part]
        found = listed(one, self.roots, one.stamp)
        self._counts[part] = len(found.entries)
        return found

    def stamp(self, address: str) -> Stamp:
        """What changes when the files of a sample's part do."""
        part = self.parts.get(address.partition("/")[0])
        return part.stamp if part is not None else ()

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

    def page(self, wanted: Callable[[Entry], bool] | None, start: int, count: int) -> Page:
        """Samples `start` to `start + count` of those wanted, None: all; no more is read than needed."""
        if wanted is None and len(self._counts) == len(self.parts):
            return self._of_all(start, count)
        found: list[Entry] = []
        known = len(self._counts) == len(self.parts) <= KEPT  # then counting costs little
        for number, name in enumerate(self.parts):
            found += filter(wanted, self.listed(name).entries)
            if not known and len(found) > start + count and number + 1 < len(self.parts):
                return Page(entries=tuple(found[start : start + count]), start=start, total=None, more=True)
        some = tuple(found[start : start + count])
        return Page(entries=some, start=start, total=len(found), more=len(found) > start + count)

    def _of_all(self, start: int, count: int) -> Page:
        """By the counts: only the parts of the page itself are read."""
        found: list[Entry] = []
        before = 0  # samples of the parts before
        for name in self.parts:
            here = self._counts[name]
            first, last = max(start - before, 0), start + count - before
            if first < here and last > 0:
                found += self.listed(name).entries[first:last]
            before += here
        return Page(entries=tuple(found), start=start, total=before, more=start + count < before)

    def files(self, entry: Entry) -> dict[str, bytes]:
        """A sample's files by name: from its tar, else what the stages left. ValueError for one cut off."""
        if (one := self._pictured(entry)) is not None:
            return pictures.files(*one, self.roots.holds)
        return {name: place.read() for name, place in self._places(entry).items()}

    def file(self, entry: Entry, name: str) -> bytes:
        """One of them. ValueError if it is not there, or cut off."""
        if (one := self._pictured(entry)) is not None:
            return pictures.points(one[2]) if name == POINTS else self.files(entry)[name]
        places = self._places(entry)
        if name not in places:
            raise ValueError(f"{entry.address} lacks {name}.")
        return places[name].read()

    def picture(self, entry: Entry, name: str) -> Picture:
        """The target, or reference 0 by the name ref0 …. ValueError or OSError if there is none."""
        if (one := self._pictured(entry)) is not None:
            return pictures.picture(*one, name, self.roots.holds)
        return picture_of(self.file(entry, f"{name}.webp"))

    def look(self, entry: Entry) -> Look:
        """The sample, or what there is of it."""
        files: dict[str, bytes] = {}
        try:
            if (one := self._pictured(entry)) is not None:
                return Look(sample=pictures.sample(*one, self.roots.holds))
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
        rows = {} if table is None else read_table(table, stamp_of(table))
        if entry.key not in rows:
            raise ValueError(f"{entry.address} has no row in a table.")
        return rows[entry.key]

    def _pictured(self, entry: Entry) -> tuple[Path, str, PicturesEntry] | None:
        """Folder, key and entry of a sample of samples.json; None for one of a shard."""
        part = self.parts[entry.part]
        if part.pictures is None:
            return None
        found = pictures_of(part.pictures, part.stamp).entries
        if entry.key not in found:
            raise ValueError(f"There is no sample {entry.address} any more: open the dataset again.")
        return part.pictures, entry.key, found[entry.key]

    def _sample(self, entry: Entry, files: Mapping[str, bytes]) -> Sample:
        if entry.packed:
            return decode_sample({"__key__": entry.key, **files})
        return replace(assembled(self.work(entry), files)[1], key=entry.key)

    def _places(self, entry: Entry) -> Mapping[str, Place]:
        tar = self.parts[entry.part].tar
        if not entry.packed or tar is None:
            return self._left_by_stages(entry)
        packed = packed_of(tar, cache_of(self.roots)).samples.get(entry.key)
        return packed.files if packed is not None else {}

    def _left_by_stages(self, entry: Entry) -> dict[str, Place]:
        """What the stages left of a sample that was not packed; a later stage's replace an earlier's."""
        found: dict[str, Place] = {}
        if (self.folder / "stages").is_dir() and self.roots.holds(self.folder / "stages"):
            shard = self.row(entry).shard
            for stage in STAGES[:-1]:
                found |= _stage_files(self.folder, stage, shard).get(entry.key, {})
        return {name: place for name, place in found.items() if self.roots.holds(place.tar)}


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
