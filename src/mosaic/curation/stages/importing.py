"""import: data that exists becomes samples, which join the run at the first stage whose work they lack.

Files      target.webp, and of target.mask<i>.png, ref<k>.webp, ref<k>.mask.png, points.npy what there is
Scores     import/<score> of the data's own labels; import/<k>/masked: whether reference k has a mask
Facts      "joins": "segment", "refer", "correspond" or "pack"; "references": whom each one shows;
           "import": by, licence, hash (of the target, as judge takes it)
A row that is damaged, beyond the limits, or that `only` leaves out is a failed row with the reason.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from mosaic.curation.importers.entry import Entry, Limits, Reader, digest_of, files_of, in_order, joins_at
from mosaic.curation.importers.mapped import Columns
from mosaic.curation.protocols import Source
from mosaic.curation.rows import Named, Outcome, Record
from mosaic.curation.verdicts import Bounds, verdict
from mosaic.data.shards import picture_of
from mosaic.errors import one_line
from mosaic.perception.duplicates import perceptual_hash


class Section(BaseModel):
    """[import] of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["folder", "subjects200k", "uno-1m", "imig-100k", "webdataset", "parquet"]
    path: str  # a folder; of webdataset and parquet also a pattern
    annotations: str = ""  # of subjects200k: the folder with the authors' mask.zip and coord.zip; "": none
    collection: str = "collection_2"  # of subjects200k
    columns: Columns | None = None  # of parquet and webdataset; left out, webdataset: our own layout
    subjects: tuple[str, ...] = ()  # of folder: nouns of pictures that nothing beside them names
    only: dict[str, Bounds] = {}  # of the labels' scores ("import/consistency"), before any file is written
    quality: int | None = Field(None, ge=0, le=100)  # of the WebP; left out: exact
    longest: int = Field(2048, ge=0)  # pixels; a picture with a longer side is shrunk to it; 0: none is
    most_bytes: int = Field(64 << 20, ge=1)  # of a picture's file …
    most_pixels: int = Field(100_000_000, ge=1)  # … and in it: beyond either the row has failed
    licence: str = ""  # of the data, for the card; "": as published


def make(section: Section) -> Source:
    """The source of the section's data. ValueError if there is none."""
    return Imported(section, _reader(section))


def _reader(section: Section) -> Reader:
    from mosaic.curation.importers import folder, imig, mapped, shards, subjects200k, uno
    from mosaic.data.folder import NAME

    limits = Limits(most_bytes=section.most_bytes, most_pixels=section.most_pixels, longest=section.longest)
    if section.kind == "parquet":
        return mapped.ParquetSamples(section.path, section.columns or Columns(), limits)
    if section.kind == "webdataset":
        if section.columns is None:
            return shards.OwnShards(section.path, limits)
        return mapped.WebSamples(section.path, section.columns, limits)
    if section.kind == "subjects200k":
        return subjects200k.Subjects200K(section.path, section.collection, section.annotations, limits)
    path = Path(section.path).expanduser()
    if not path.is_dir():
        raise ValueError(f"import.path: {path} is no folder.")
    if section.kind == "uno-1m":
        return uno.Uno1M(path, limits)
    if section.kind == "imig-100k":
        return imig.Imig100K(path, limits)
    if (path / NAME).exists():
        return folder.Samples(path, limits)
    return folder.Pictures(path, section.subjects, limits)


class Imported:
    """A reader's entries as records and outcomes."""

    def __init__(self, section: Section, reader: Reader) -> None:
        self._section, self._reader = section, reader
        self._licence = section.licence or reader.licence

    def __len__(self) -> int:
        return len(self._reader)

    def __call__(self, indices: Sequence[int]) -> list[tuple[Record, Outcome]]:
        found = map(_in_order, self._reader.read(indices))
        return [self._row(index, entry) for index, entry in zip(indices, found, strict=True)]

    def _row(self, index: int, entry: Entry | ValueError) -> tuple[Record, Outcome]:
        if isinstance(entry, ValueError):
            return self._failed(self._record(index, None), entry, {})
        record, scores = self._record(index, entry), {f"import/{k}": v for k, v in entry.scores.items()}
        try:
            return record, self._outcome(record, entry, scores)
        except ValueError as error:
            return self._failed(record, error, scores)

    def _outcome(self, record: Record, entry: Entry, scores: dict[str, float]) -> Outcome:
        if not (said := verdict(scores, self._section.only)).accepted:
            raise ValueError(said.reason)
        if not record.caption or not record.subjects:
            raise ValueError("it has no caption, or nothing that it shows")
        files = entry.files or files_of(entry, self._section.quality)
        facts: dict[str, Any] = {
            "import": {"by": self._reader.name, "licence": self._licence, "hash": _hash(files)},
            "joins": joins_at(files, len(record.subjects), len(entry.views)),
        }
        if entry.views:
            ids = list(dict.fromkeys(view.id for view in entry.views))
            facts["references"] = [ids.index(view.id) for view in entry.views]
        masked = {f"import/{k}/masked": float(f"ref{k}.mask.png" in files) for k in range(len(entry.views))}
        return Outcome(id=record.id, scores=scores | masked, facts=facts, files=files)

    def _failed(self, record: Record, error: ValueError, scores: dict[str, float]) -> tuple[Record, Outcome]:
        made = {"import": {"by": self._reader.name, "licence": self._licence}}
        sentence = one_line(str(error))
        return record, Outcome(id=record.id, status="failed", error=sentence, scores=scores, facts=made)

    def _record(self, index: int, entry: Entry | None) -> Record:
        """Of what is known of a row; two rows never have one record, as its index is in it."""
        origin = {"import": self._reader.name, "licence": self._licence, "index": str(index)}
        if entry is not None:
            origin |= entry.origin | {"target": digest_of(entry.target)}
        seed = hashlib.blake2b(repr(sorted(origin.items())).encode(), digest_size=4).digest()
        return Record(
            caption=entry.caption if entry else "",
            detailed_caption=(entry.detailed_caption or entry.caption) if entry else "",
            subjects=_subjects(entry) if entry else (),
            seed=int.from_bytes(seed, "big"),
            origin=origin,
        )


def _hash(files: Mapping[str, bytes]) -> str:
    return f"{perceptual_hash(picture_of(files['target.webp'])):016x}"


def _in_order(entry: Entry | ValueError) -> Entry | ValueError:
    """Views so that reference k shows subject k; files that are there already have their order."""
    if isinstance(entry, ValueError) or entry.files:
        return entry
    return replace(entry, views=tuple(in_order(entry.views)))


def _subjects(entry: Entry) -> tuple[Named, ...]:
    """Each subject once, in the order of its first view."""
    shown: dict[str, Named] = {}
    for view in entry.views:
        shown.setdefault(view.id, view.named)
    return tuple(shown.values()) or entry.subjects
