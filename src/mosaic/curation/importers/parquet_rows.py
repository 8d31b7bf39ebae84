"""Rows of Parquet files by number, a few in memory at a time."""

from collections.abc import Iterator, Sequence
from glob import glob
from pathlib import Path
from typing import Any

import numpy as np

BATCH = 16  # rows read at a time
BUFFER = 1 << 20  # bytes; without it a whole row group of pictures is read at once


class ParquetRows:
    """The rows of files one after another, with some of their columns."""

    def __init__(self, pattern: str, columns: Sequence[str]) -> None:
        import pyarrow.parquet as pq

        self.paths = parquet_files(pattern)
        self._columns = list(columns)
        groups = [
            (file, group, meta.row_group(group).num_rows)
            for file, meta in enumerate(map(pq.read_metadata, self.paths))
            for group in range(meta.num_row_groups)
        ]
        self._groups = groups
        self._starts = np.cumsum([0, *(rows for _, _, rows in groups)])
        self._next, self._stream = -1, iter(())  # type: tuple[int, Iterator[dict[str, Any]]]
        self._check_columns(pq.read_schema(self.paths[0]).names)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def rows(self, indices: Sequence[int]) -> Iterator[dict[str, Any]]:
        """The rows of these numbers in order; runs of numbers are read as a stream, from call to call."""
        for index in indices:
            if index < self._next or self._next < 0 or self._group(index) != self._group(self._next):
                self._start(self._group(index))
            while self._next < index:
                next(self._stream)
                self._next += 1
            yield next(self._stream)
            self._next += 1
            if self._next in self._starts:
                self._next = -1  # the next one begins a group of its own

    def folder(self, index: int) -> Path:
        """Where the file of a row lies."""
        return self.paths[self._groups[self._group(index)][0]].parent

    def _group(self, index: int) -> int:
        return int(np.searchsorted(self._starts, index, side="right")) - 1

    def _start(self, group: int) -> None:
        file, number, _ = self._groups[group]
        self._stream = _stream(self.paths[file], number, self._columns)
        self._next = int(self._starts[group])

    def _check_columns(self, names: list[str]) -> None:
        for column in self._columns:
            if column not in names:
                raise ValueError(
                    f"{self.paths[0]} has no column {column}: it has {', '.join(names)}; see import.columns."
                )


def parquet_files(pattern: str) -> list[Path]:
    """The files of a pattern, or of a folder and those in it. ValueError if there are none, or no Parquet."""
    place = Path(pattern).expanduser()
    found = place.rglob("*.parquet") if place.is_dir() else map(Path, glob(str(place)))  # noqa: PTH207
    paths = sorted(found)
    if not paths:
        raise ValueError(f"import.path: there is no Parquet file {pattern}.")
    return paths


def _stream(path: Path, group: int, columns: list[str]) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, buffer_size=BUFFER, pre_buffer=False) as file:
        for batch in file.iter_batches(BATCH, row_groups=[group], columns=columns):
            yield from batch.to_pylist()
