"""The long table of an evaluation: one row a score, as it lies in scores.parquet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

from mosaic.evaluation.features import Case, Column, Score


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One score and all that says where it belongs."""

    method: str
    part: str
    group: str
    record: str
    column: str  # Column.title
    image: int | None
    subject: int | None
    photograph: int | None
    value: float
    note: str

    @staticmethod
    def of(case: Case, column: Column, score: Score) -> Row:
        record = case.record
        return Row(
            method=case.method,
            part=record.part,
            group=record.group,
            record=record.id,
            column=column.title,
            **asdict(score),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A column of a report, and the mean it is told by."""

    column: Column
    mean: Literal["groups", "entries"]


def write_rows(rows: Iterable[Row], path: Path) -> None:
    """As Parquet, replacing the file at once."""
    import pyarrow as pa
    from pyarrow import parquet

    names = [field.name for field in fields(Row)]
    listed = list(rows)
    table = pa.Table.from_pydict({name: [getattr(row, name) for row in listed] for name in names}, _schema())
    partial = path.with_suffix(".partial")
    parquet.write_table(table, partial)
    partial.replace(path)


def read_rows(path: Path) -> list[Row]:
    """ValueError if the file is not one of `write_rows`."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.read_table(path, schema=_schema())
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path} holds no scores of mosaic evaluate: {error}.") from error
    return [Row(**values) for values in table.to_pylist()]


def _schema() -> object:
    import pyarrow as pa

    kinds = {"value": pa.float64()} | dict.fromkeys(("image", "subject", "photograph"), pa.int32())
    return pa.schema([(field.name, kinds.get(field.name, pa.string())) for field in fields(Row)])
