"""Samples whose parts a recipe names: columns of a Parquet table, or files of a WebDataset.

A name may lead into a value: `caption.short` is the key short of caption; of a WebDataset, `json.caption`
is a key of its JSON file. There a name with `*` or `?` is all files that match, in order: `ref*.png`.
"""

import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from mosaic.curation.importers.entry import Entry, Limits, View, attempt, load, load_mask
from mosaic.curation.importers.folder import read_bytes
from mosaic.curation.importers.parquet_rows import ParquetRows
from mosaic.curation.importers.tars import TarSamples
from mosaic.curation.rows import Named
from mosaic.sample import Correspondence, Mask

Get = Callable[[str], Any]


class Columns(BaseModel):
    """[import.columns]: where the parts of a sample are; "": it has none. Lists go by reference."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    target: str = "target"  # a picture: bytes, a file's name, or what `datasets` stores
    caption: str = "caption"
    detailed_caption: str = ""
    names: str = ""  # nouns, one a reference; or, without references, of what the target shows
    looks: str = ""  # noun phrases, likewise
    subjects: str = ""  # ids, one a reference; "": a subject each
    references: str = ""  # pictures
    masks: str = ""  # of the references
    target_masks: str = ""  # in the target, one a reference
    points: str = ""  # one list a reference of [x, y here, x, y in the target(, confidence)], all in [0, 1]
    scores: dict[str, str] = Field(default={})  # name of a score → its column

    def tops(self) -> list[str]:
        """The columns of a table they lead into, each once."""
        named = [value for key, value in self if key != "scores" and value]
        return list(dict.fromkeys(name.partition(".")[0] for name in [*named, *self.scores.values()]))


class ParquetSamples:
    """Any Parquet table."""

    name, licence = "parquet", ""

    def __init__(self, path: str, columns: Columns, limits: Limits) -> None:
        self._columns, self._limits = columns, limits
        self._rows = ParquetRows(path, columns.tops())

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, indices: Sequence[int]) -> Iterator[Entry | ValueError]:
        """See `Reader`."""
        for index, row in zip(indices, self._rows.rows(indices), strict=True):
            folder = self._rows.folder(index)
            yield attempt(
                functools.partial(
                    entry_of, functools.partial(walk, row), self._columns, self._limits, folder, {}
                )
            )


class WebSamples:
    """Any WebDataset, in uncompressed tars."""

    name, licence = "webdataset", ""

    def __init__(self, path: str, columns: Columns, limits: Limits) -> None:
        self._columns, self._limits, self._tars = columns, limits, TarSamples(path)

    def __len__(self) -> int:
        return len(self._tars)

    def read(self, indices: Sequence[int]) -> Iterator[Entry | ValueError]:
        """See `Reader`."""
        return (attempt(functools.partial(self._entry, index)) for index in indices)

    def _entry(self, index: int) -> Entry:
        key, files = self._tars[index]
        get = functools.partial(pick, files)
        return entry_of(get, self._columns, self._limits, None, {"key": key})


def entry_of(
    get: Get, columns: Columns, limits: Limits, folder: Path | None, origin: Mapping[str, str]
) -> Entry:
    """The entry of one row, whose values `get` finds by name. ValueError or KeyError if a part is missing."""
    read = functools.partial(_content, folder=folder, limits=limits)
    names = _texts(get(columns.names)) if columns.names else []
    looks = _texts(get(columns.looks)) if columns.looks else [""] * len(names)
    named = [Named(name=name, looks=look) for name, look in zip(names, looks, strict=True)]
    return Entry(
        target=load(read(get(columns.target), what="the target"), "the target", limits),
        caption=_text(get(columns.caption)),
        detailed_caption=_text(get(columns.detailed_caption)) if columns.detailed_caption else "",
        subjects=tuple(named),
        views=tuple(_views(get, columns, limits, read, named)) if columns.references else (),
        scores={name: float(get(column)) for name, column in columns.scores.items()},
        origin=dict(origin),
    )


def walk(row: Mapping[str, Any], name: str) -> Any:
    """The value a dotted name leads to. KeyError if there is none."""
    value: Any = row
    for part in name.split("."):
        if not isinstance(value, Mapping) or value.get(part) is None:
            raise KeyError(name)
        value = value[part]
    return value


def pick(files: Mapping[str, bytes], name: str) -> Any:
    """A file of a sample, a list of those that match a pattern, or a value in one of its JSON files."""
    if any(sign in name for sign in "*?"):
        return [files[found] for found in sorted(files, key=natural) if fnmatchcase(found, name)]
    if name in files:
        return files[name]
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        file = ".".join(parts[:cut])
        if file in files and parts[cut - 1] == "json":
            return walk(json.loads(files[file]), ".".join(parts[cut:]))
    raise KeyError(name)


def natural(name: str) -> list[tuple[int, str]]:
    """A key for sorting by which ref2 comes before ref10."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name) if part]


def _views(
    get: Get, columns: Columns, limits: Limits, read: Callable[..., bytes], named: Sequence[Named]
) -> Iterator[View]:
    pictures = list(get(columns.references))
    if len(named) != len(pictures):
        raise ValueError(f"{len(pictures)} references have {len(named)} names")
    lists = {
        name: list(get(column))
        for name in ("masks", "target_masks", "points")
        if (column := getattr(columns, name))
    }
    for name, values in lists.items():
        if len(values) != len(pictures):
            raise ValueError(f"{len(pictures)} references have {len(values)} {name}")
    ids = _texts(get(columns.subjects)) if columns.subjects else [str(k) for k in range(len(pictures))]
    for k, (picture, id) in enumerate(zip(pictures, ids, strict=True)):
        what = f"reference {k}"
        yield View(
            named=named[k],
            subject=id,
            picture=load(read(picture, what=what), what, limits),
            mask=_mask(lists.get("masks"), k, f"the mask of {what}", read, limits),
            target_mask=_mask(lists.get("target_masks"), k, f"the target mask of {what}", read, limits),
            points=_points(lists["points"][k]) if "points" in lists else None,
        )


def _mask(
    values: Sequence[Any] | None, k: int, what: str, read: Callable[..., bytes], limits: Limits
) -> Mask | None:
    """Mask k of a column; None without the column, or where it has none."""
    if values is None or values[k] is None:
        return None
    return load_mask(read(values[k], what=what), what, limits)


def _points(rows: Any) -> Correspondence:
    table = np.array([[*row, 1.0][:5] for row in rows], np.float64).reshape(-1, 5)
    return Correspondence(reference=table[:, :2], target=table[:, 2:4], confidence=table[:, 4])


def _content(value: Any, *, what: str, folder: Path | None, limits: Limits) -> bytes:
    """The bytes of a picture: as they are, in a struct of `datasets`, or in a file beside the table."""
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, str) and folder is not None:
        return read_bytes(folder / value, limits)
    if not isinstance(value, bytes):
        raise ValueError(f"{what} is no picture but {type(value).__name__}")
    return value


def _texts(value: Any) -> list[str]:
    if isinstance(value, bytes):  # a file: one a line
        return [line for line in value.decode("utf-8").splitlines() if line.strip()]
    return [str(value)] if isinstance(value, str) else [_text(one) for one in value]


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8")
    if not isinstance(value, str):
        raise ValueError(f"a caption or noun is no text but {type(value).__name__}")
    return " ".join(value.split())
