"""A run's folder on disk: what each stage left for each shard, in parts that are whole or not there.

A part is shard-00000.parquet (a row a sample), shard-00000.tar (its new files, where there are any) and
shard-00000.json (its statistics), each written under another name first; the JSON is renamed last, and a
part without it does not count. A stage that has more to do for a shard later (thresholds were loosened, more
samples are wanted, failures are tried again) adds shard-00000-1.*, and so on; a later part's rows replace an
earlier one's.
"""

import io
import json
import os
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from mosaic.curation.rows import Named, Outcome, Record
from mosaic.data.shards import split_name

ERRORS = 20  # different error sentences a part's statistics count


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An outcome as it is stored, without its files; a source's rows hold the record and its index too."""

    outcome: Outcome
    record: Record | None = None
    index: int | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a tar the bytes of a file lie."""

    tar: Path
    offset: int
    size: int

    def read(self) -> bytes:
        with self.tar.open("rb") as file:
            file.seek(self.offset)
            content = file.read(self.size)
        if len(content) < self.size:
            raise ValueError(f"{self.tar} is cut off: delete its part and run again.")
        return content


class StageFolder:
    """DIR/stages/<stage>: the parts that one stage left."""

    def __init__(self, run: str | Path, stage: str) -> None:
        self.path = Path(run) / "stages" / stage

    def parts(self, shard: int) -> list[Path]:
        """The committed parts of a shard in the order they were made, as the paths of their statistics."""
        found: list[Path] = []
        while (path := self._part(shard, len(found)).with_suffix(".json")).exists():
            found.append(path)
        return found

    def rows(self, shard: int) -> dict[str, Row]:
        """id → row."""
        return {row.outcome.id: row for row in self._all(shard)}

    def indexed(self, shard: int) -> dict[int, Row]:
        """A source's rows by index, in order of the index."""
        rows = {row.index: row for row in self._all(shard) if row.index is not None}
        return dict(sorted(rows.items()))

    def files(self, shard: int) -> dict[str, dict[str, Place]]:
        """id → name → where its bytes are. Nothing is read but the heads of the tars."""
        found: dict[str, dict[str, Place]] = {}
        for statistics in self.parts(shard):
            if json.loads(statistics.read_bytes())["files"]:  # else a tar there was cut short
                for id, name, place in _members(statistics.with_suffix(".tar")):
                    found.setdefault(id, {})[name] = place
        return found

    def new_part(self, shard: int) -> "PartWriter":
        """The part after those there are."""
        return PartWriter(self._part(shard, len(self.parts(shard))))

    def _all(self, shard: int) -> Iterator[Row]:
        for statistics in self.parts(shard):
            yield from read_rows(statistics.with_suffix(".parquet"))

    def _part(self, shard: int, part: int) -> Path:
        """The part's files without their endings; pathlib would take `.1` for one."""
        return self.path / (f"shard-{shard:05d}" + (f"-{part}" if part else ""))


class PartWriter:
    """Writes one part; nothing of it counts until `commit`. Rows' files go to disk as they come."""

    def __init__(self, base: Path) -> None:
        self._base, self._rows = base, list[Row]()
        self._tar = WholeTar(base.with_suffix(".tar"))

    def write(self, row: Row) -> None:
        """Append a row and its outcome's files."""
        for name, content in row.outcome.files.items():
            self._tar.add(f"{row.outcome.id}.{name}", content)
        self._rows.append(replace(row, outcome=replace(row.outcome, files={})))

    def commit(self, **statistics: Any) -> dict[str, Any]:
        """Name the part's files, the statistics last; those are answered."""
        files = self._tar.commit()
        write_rows(self._base.with_suffix(".parquet"), self._rows)
        counted = count(row.outcome for row in self._rows) | {"files": files} | statistics
        write_whole(self._base.with_suffix(".json"), json.dumps(counted, sort_keys=True).encode())
        return counted

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._tar.abandon()


class WholeTar:
    """A tar that has its name once it is whole, and is not there at all if nothing was added."""

    def __init__(self, path: Path) -> None:
        self._path, self._files = path, 0
        self._tar: tarfile.TarFile | None = None
        path.parent.mkdir(parents=True, exist_ok=True)

    def add(self, name: str, content: bytes) -> None:
        """Append a file. Its time is 0: same files, same bytes."""
        if self._tar is None:
            self._tar = tarfile.open(partial_of(self._path), "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
        member = tarfile.TarInfo(name)
        member.size = len(content)
        with _naming(self._path):
            self._tar.addfile(member, io.BytesIO(content))
        self._files += 1

    def commit(self) -> int:
        """Give the tar its name; how many files it has."""
        if self._tar is not None:
            with _naming(self._path):
                self._tar.close()
                _settle(partial_of(self._path), self._path)
            self._tar = None
        return self._files

    def abandon(self) -> None:
        """Leave nothing behind of what was not committed."""
        if self._tar is not None:
            with suppress(OSError):  # the disk may be full
                self._tar.close()
            self._tar = None
            partial_of(self._path).unlink(missing_ok=True)


def count(outcomes: Iterable[Outcome]) -> dict[str, Any]:
    """How many rows were done and failed, and by which errors, the first twenty different ones."""
    done, failed, errors = 0, 0, dict[str, int]()
    for outcome in outcomes:
        if outcome.status == "done":
            done += 1
            continue
        failed += 1
        if outcome.error in errors or len(errors) < ERRORS:
            errors[outcome.error] = errors.get(outcome.error, 0) + 1
    return {"done": done, "failed": failed, "errors": errors}


# ---------------------------------------------------------------- rows


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Rows as Parquet: scores a map, facts and record JSON."""
    import pyarrow as pa

    fields = [
        ("id", pa.string()),
        ("status", pa.string()),
        ("error", pa.string()),
        ("scores", pa.map_(pa.string(), pa.float64())),
        ("facts", pa.string()),
        ("record", pa.string()),
        ("index", pa.int64()),
    ]
    cells = [_cells(row) for row in rows]
    columns = {name: pa.array([row[i] for row in cells], kind) for i, (name, kind) in enumerate(fields)}
    write_table(path, pa.table(columns))


def write_table(path: Path, table: Any) -> None:
    """A pyarrow table as a Parquet file, whole or not at all."""
    import pyarrow.parquet as pq

    file = io.BytesIO()
    pq.write_table(table, file, compression="zstd")
    write_whole(path, file.getvalue())


def read_rows(path: Path) -> list[Row]:
    """The rows of a part."""
    import pyarrow.parquet as pq

    return [_row(cells) for cells in pq.ParquetFile(path).read().to_pylist()]


def _cells(row: Row) -> tuple[Any, ...]:
    outcome, record = row.outcome, row.record
    return (
        outcome.id,
        outcome.status,
        outcome.error,
        sorted((name, float(value)) for name, value in outcome.scores.items()),
        json.dumps(outcome.facts, sort_keys=True, ensure_ascii=False),
        None if record is None else json.dumps(asdict(record), sort_keys=True, ensure_ascii=False),
        row.index,
    )


def _row(cells: Mapping[str, Any]) -> Row:
    outcome = Outcome(
        id=cells["id"],
        status=cells["status"],
        error=cells["error"],
        scores=dict(cells["scores"]),
        facts=json.loads(cells["facts"]),
    )
    return Row(outcome=outcome, record=record_of(cells["record"]), index=cells["index"])


def record_of(text: str | None) -> Record | None:
    """A record from its JSON."""
    if text is None:
        return None
    values = json.loads(text)
    subjects = tuple(Named(**named) for named in values.pop("subjects"))
    return Record(subjects=subjects, **values)


# ---------------------------------------------------------------- files


def write_whole(path: Path, content: bytes) -> None:
    """A file that has its name only once it is whole and on disk; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_of(path)
    try:
        with _naming(path):
            partial.write_bytes(content)
            _settle(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def partial_of(path: Path) -> Path:
    """A file's name while it is written: of one process alone, even if one thought lost comes back."""
    return path.with_name(f"{path.name}.{os.uname().nodename}-{os.getpid()}.partial")


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """A failed write tells which file it was; the system says so of opening alone."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def _settle(partial: Path, path: Path) -> None:
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)


def _members(tar: Path) -> Iterator[tuple[str, str, Place]]:
    """(id, name, place) of the files of a part."""
    with tarfile.open(tar, "r:") as opened:
        for member in opened:
            id, name = split_name(member.name)
            yield id, name, Place(tar, member.offset_data, member.size)
