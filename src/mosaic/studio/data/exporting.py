"""A dataset with a review applied, written as new shards; the dataset itself is only read.

Files that no edit touches keep their bytes. What cannot be applied, because the dataset has changed since, is
left as the dataset has it, counted and named.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np

from mosaic.curation.assembling import assembled
from mosaic.curation.folder import WholeTar, write_table, write_whole
from mosaic.curation.tables import TableRow, table_of
from mosaic.data.shards import decode_sample, outline_sample
from mosaic.pictures.png import file_hash
from mosaic.studio.data.dataset import Dataset
from mosaic.studio.data.edits import Edit, Review
from mosaic.studio.data.listing import UNJUDGED, Entry
from mosaic.studio.data.marking import place_of, points_of

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
STAGE = "review"
NAMED = 20  # problems that are told one by one
_lock, _under_way = threading.Lock(), set[Path]()


@dataclass(slots=True)
class Exported:
    """What became of the samples, as it is written to review.json."""

    samples: int = 0  # written
    dropped: int = 0
    kept: int = 0  # that the table had not accepted
    mended: int = 0
    points_removed: int = 0
    problems: list[str] = field(default_factory=list)


Files = dict[str, bytes]


def export(
    dataset: Dataset,
    review: Review,
    name: str,
    *,
    reviewer: str = "",
    advance: Callable[[int], None] = lambda count: None,
) -> tuple[Path, Exported]:
    """Write exports/NAME in the Studio's folder: shards, tables, checksums, the edits, and review.json.

    It is there whole or not at all. advance: told how many samples are done, part by part. ValueError if NAME
    is no plain name, or is taken, or if no sample is left.
    """
    folder = new_folder(dataset.roots.exports, name)
    with _alone(folder):
        made = folder.with_name(f".{name}.partial")  # hidden: an export is there once it is whole
        shutil.rmtree(made, ignore_errors=True)  # of one that was killed
        try:
            done = _write(dataset, review, made, reviewer, advance)
            made.rename(folder)
        finally:
            shutil.rmtree(made, ignore_errors=True)
    return folder, done


def new_folder(exports: Path, name: str) -> Path:
    """The folder of an export that is not there yet. ValueError if the name is none, or was used."""
    if not NAME.fullmatch(name):
        raise ValueError(
            f'"{name}" cannot name an export: use letters, digits, dots, - and _, a letter or digit first.'
        )
    folder = exports / name
    if folder.is_symlink() or folder.exists():
        raise ValueError(f"There is an export {name} already: choose another name, or remove {folder}.")
    return folder


def free_name(exports: Path, name: str) -> str:
    """The name, or with the first number from 2 on that makes it new."""
    names = chain([name], (f"{name}-{number}" for number in count(2)))
    return next(one for one in names if not (exports / one).exists())


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """ValueError if another window writes an export of that name."""
    with _lock:
        if folder in _under_way:
            raise ValueError(
                f"An export {folder.name} is being written: wait for it, or choose another name."
            )
        _under_way.add(folder)
    try:
        yield
    finally:
        _under_way.discard(folder)


def _write(
    dataset: Dataset, review: Review, folder: Path, reviewer: str, advance: Callable[[int], None]
) -> Exported:
    done, sums = Exported(), dict[str, str]()
    for part in dataset.parts:
        for path in _write_part(dataset, review, part, folder, done):
            sums[path.name] = file_hash(path)
        advance(len(dataset.listed(part).entries))
    if not done.samples:
        raise ValueError("Nothing is left to export: every sample is dropped, rejected or not whole.")
    lines = "".join(f"{sum_}  {file}\n" for file, sum_ in sorted(sums.items()))
    write_whole(folder / "SHA256SUMS", lines.encode())
    edits = "".join(f"{edit.line()}\n" for edit in review.edits.values())
    write_whole(folder / "edits.jsonl", edits.encode())
    told = {"dataset": dataset.path.name, "reviewer": reviewer, **asdict(done)}
    write_whole(folder / "review.json", json.dumps(told, indent=2, ensure_ascii=False).encode() + b"\n")
    return done


def _write_part(dataset: Dataset, review: Review, part: str, folder: Path, done: Exported) -> list[Path]:
    """A part's tar, if a sample is in it, and its table, if it has one."""
    rows: list[TableRow] = []
    tar = WholeTar(folder / f"{part}.tar")
    try:
        for entry, files, row in _edited(dataset, review, part, done):
            for file, content in files.items():
                tar.add(f"{entry.key}.{file}", content)
            if row is not None:
                rows.append(row)
        written = [folder / f"{part}.tar"] if tar.commit() else []
    finally:
        tar.abandon()
    if dataset.parts[part].table is not None and rows:
        write_table(folder / f"{part}.parquet", table_of(rows))
        written.append(folder / f"{part}.parquet")
    return written


def _edited(
    dataset: Dataset, review: Review, part: str, done: Exported
) -> Iterator[tuple[Entry, Files, TableRow | None]]:
    """Each sample with the files it is written with (none: left out) and its row of the table."""
    for entry in dataset.listed(part).entries:
        row = dataset.row(entry) if entry.verdict != UNJUDGED else None
        decision = review.decision(entry.address)
        wanted = decision != "drop" and (decision == "keep" or entry.verdict in ("accepted", UNJUDGED))
        files: Files = {}
        if wanted:
            try:
                files = _files(dataset, entry, review, done)
            except (ValueError, OSError) as error:
                _tell(done, f"{entry.address} is left out: {error}")
        done.samples += bool(files)
        done.dropped += decision == "drop"
        done.kept += bool(files) and entry.verdict not in ("accepted", UNJUDGED)
        yield entry, files, row and _row(row, review, entry, decision, bool(files))


def _files(dataset: Dataset, entry: Entry, review: Review, done: Exported) -> Files:
    """A sample's files with the edits applied. ValueError if there is no whole sample of them."""
    files = dataset.files(entry)
    if not entry.packed:
        files = assembled(dataset.work(entry), files)[0]
    if not files:
        raise ValueError("its files are not there.")
    outline_sample({"__key__": entry.key, **files})
    if entry.address not in review.samples:
        return files
    edited, removed, problems = apply(files, review, entry.address)
    for problem in problems:
        _tell(done, f"{entry.address}: {problem}")
    if edited != files:
        decode_sample({"__key__": entry.key, **edited})  # what is written can be read
    done.mended += edited["json"] != files["json"]
    done.points_removed += removed
    return edited


def apply(files: Mapping[str, bytes], review: Review, sample: str) -> tuple[Files, int, list[str]]:
    """A sample's files with captions and nouns mended and wrong points gone.

    The files, how many points were removed, and a sentence for each edit that does not fit any more.
    """
    edited, problems = dict(files), list[str]()
    texts = json.loads(files["json"])
    edited["json"] = _texts(texts, review, sample, problems)
    if edited["json"] == json.dumps(json.loads(files["json"]), ensure_ascii=False, sort_keys=True).encode():
        edited["json"] = files["json"]
    table = points_of(files)
    wrong = _wrong_rows(table, review.marks(sample), problems)
    if wrong:
        file = io.BytesIO()
        np.save(file, np.delete(table, wrong), allow_pickle=False)
        edited["points.npy"] = file.getvalue()
    return edited, len(wrong), problems


def _texts(texts: dict[str, Any], review: Review, sample: str, problems: list[str]) -> bytes:
    for thing in ("caption", "detailed_caption"):
        edit = review.edits.get((sample, thing, ""))
        if edit is not None and edit.was == texts[thing]:
            texts[thing] = edit.value
        elif edit is not None and edit.value != texts[thing]:
            problems.append(f"its {thing} has changed since it was mended, and is left as it is.")
    nouns = {about[2]: edit for about, edit in review.edits.items() if about[:2] == (sample, "noun")}
    for subject, edit in nouns.items():
        shown = [one for one in texts["references"] if one["subject"] == subject]
        if not shown or shown[0]["name"] not in (edit.was, edit.value):
            problems.append(f"the noun of subject {subject} has changed since it was mended.")
            continue
        for one in shown:
            one["name"] = edit.value
    return json.dumps(texts, ensure_ascii=False, sort_keys=True).encode()


def _wrong_rows(table: Any, marks: Mapping[str, Edit], problems: list[str]) -> list[int]:
    """The rows that are marked wrong, where they still are the points that were marked."""
    rows = []
    for which, edit in marks.items():
        row = int(which.rpartition("/")[2])
        if row >= len(table) or place_of(table[row]) != edit.was:
            problems.append(f"point {which} is not the one that was marked.")
        elif edit.value == "wrong":
            rows.append(row)
    return sorted(rows)


def _row(row: TableRow, review: Review, entry: Entry, decision: str, written: bool) -> TableRow:
    """A sample's row as the export has it."""
    nouns = review.nouns(entry.address)
    row = replace(
        row,
        caption=review.value(entry.address, "caption") or row.caption,
        detailed_caption=review.value(entry.address, "detailed_caption") or row.detailed_caption,
        subjects=tuple(nouns.get(f"{row.id}-{n}", noun) for n, noun in enumerate(row.subjects)),
    )
    if decision == "drop":
        return replace(row, verdict="rejected", stage=STAGE, reason="dropped by a reviewer")
    if decision == "keep" and written:
        return replace(row, verdict="accepted", stage="", reason="", duplicate_of="")
    return row


def _tell(done: Exported, problem: str) -> None:
    if len(done.problems) < NAMED:
        done.problems.append(problem)
    elif len(done.problems) == NAMED:
        done.problems.append("… and more.")
