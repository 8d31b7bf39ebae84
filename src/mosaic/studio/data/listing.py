"""The parts of a dataset and the samples each lists: by heads, captions and tables; no picture is opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from mosaic.curation.tables import TableRow
from mosaic.data.folder import NAME
from mosaic.studio.data import pictures
from mosaic.studio.data.tars import Packed, Tar, packed_of
from mosaic.studio.roots import Roots

KEPT = 64  # parts whose lists stay in memory
LISTING = NAME  # samples.json
UNJUDGED = "not judged"  # in a part that has no table
Stamp = tuple[tuple[int, int], ...]


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
    lacks: str = ""  # the first file that a whole sample would have

    @property
    def address(self) -> str:
        return f"{self.part}/{self.key}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A tar, a table, or both, of one name; or a folder of pictures."""

    name: str
    tar: Path | None = None
    table: Path | None = None
    pictures: Path | None = None  # the folder of samples.json

    @property
    def stamp(self) -> Stamp:
        """What changes when one of its files does."""
        listing = None if self.pictures is None else self.pictures / LISTING
        return stamp_of(self.tar), stamp_of(self.table), stamp_of(listing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """The samples of a part, and a sentence for each thing wrong with it."""

    entries: tuple[Entry, ...]
    problems: tuple[str, ...] = ()


# ---------------------------------------------------------------- parts


def cache_of(roots: Roots) -> Path:
    """Where lists of what lies where in a tar are kept."""
    return roots.home / "cache" / "shards"


def parts_of(path: Path, roots: Roots) -> list[Part]:
    """Tars, tables and samples.json; those that a link leads out of the roots to are not there."""
    folder = path.parent if path.name == LISTING else path
    listing = folder / LISTING
    pictured = listing.is_file() and roots.holds(listing)
    alone = [Part(name=listing.stem, pictures=folder)] if pictured else []
    if path.name == LISTING:
        return alone
    if path.is_file():
        tables, tars = [path.with_suffix(".parquet")], [path]
        if path.suffix == ".parquet":
            tables, tars = [path], [path.with_suffix(".tar")]
    else:
        tables, tars = sorted(path.glob("*.parquet")), sorted(path.glob("*.tar"))
    here = [{one.stem: one for one in some if one.is_file() and roots.holds(one)} for some in (tars, tables)]
    names = sorted({*here[0], *here[1]})
    return alone + [Part(name=name, tar=here[0].get(name), table=here[1].get(name)) for name in names]


def stamp_of(path: Path | None) -> tuple[int, int]:
    """What changes when a file does."""
    if path is None or not path.exists():
        return 0, 0
    facts = path.stat()
    return facts.st_size, facts.st_mtime_ns


@lru_cache(maxsize=KEPT)
def listed(part: Part, roots: Roots, stamp: Stamp) -> Listed:
    """The samples of a part; stamp: by which a changed file is read again."""
    if part.pictures is not None:
        return _listed_pictures(part, part.pictures, roots, stamp)
    packed = packed_of(part.tar, cache_of(roots)) if part.tar is not None else Packed()
    problems = [f"{part.name}.tar {packed.problem}"] if packed.problem else []
    rows: Mapping[str, TableRow] = {}
    if part.table is not None:
        try:
            rows = read_table(part.table, stamp_of(part.table))
        except ValueError as error:
            problems.append(str(error))
    entries = [_judged(part.name, row, packed.samples.get(row.id)) for row in rows.values()]
    lost = sum(entry.verdict == "accepted" and not entry.packed for entry in entries)
    if lost:
        problems.append(f"{part.name}.tar lacks {lost} of the samples that its table calls accepted.")
    entries += [_plain(part.name, key, tar_) for key, tar_ in packed.samples.items() if key not in rows]
    return Listed(entries=tuple(entries), problems=(*problems, *_incomplete(f"{part.name}.tar", entries)))


def _listed_pictures(part: Part, folder: Path, roots: Roots, stamp: Stamp) -> Listed:
    found = pictures_of(folder, stamp)
    entries = [
        Entry(
            part=part.name,
            key=key,
            caption=one.caption,
            detailed_caption=one.detailed_caption or one.caption,
            nouns=pictures.nouns(one),
            lacks=pictures.lacking(folder, one, roots.holds),
        )
        for key, one in found.entries.items()
    ]
    return Listed(entries=tuple(entries), problems=(*found.problems, *_incomplete(LISTING, entries)))


@lru_cache(maxsize=8)
def pictures_of(folder: Path, stamp: Stamp) -> pictures.Pictures:
    """What samples.json lists, read again once it has changed."""
    return pictures.listing(folder)


def _incomplete(name: str, entries: Sequence[Entry]) -> list[str]:
    """A sentence on the samples that lack a file."""
    found = [entry for entry in entries if entry.lacks]
    if not found:
        return []
    first = f"{found[0].key} lacks {found[0].lacks}"
    count = "one sample is" if len(found) == 1 else f"{len(found):,} samples are"
    return [f"{name}: {count} not whole ({first}); an export leaves such out, and training refuses them."]


def _judged(part: str, row: TableRow, packed: Tar | None) -> Entry:
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
        packed=packed is not None,
        lacks=packed.lacks if packed else "",
    )


def _plain(part: str, key: str, packed: Tar) -> Entry:
    return Entry(
        part=part,
        key=key,
        caption=packed.caption,
        detailed_caption=packed.detailed_caption,
        nouns=tuple(dict(packed.shown).values()),
        lacks=packed.lacks,
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
