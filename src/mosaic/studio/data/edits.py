"""What a reviewer said of a dataset, as lines of JSON beside it: nothing of the dataset itself is changed.

A line is one edit; later ones replace earlier ones of the same thing, so that reading all lines in order
gives the review, on any machine and as often as one likes. `was` says what an edit was made of: a dataset
that has changed since is noticed when edits are applied.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Thing = Literal["decision", "caption", "detailed_caption", "noun", "point"]
DECISIONS, MARKS = ("keep", "drop"), ("right", "wrong", "unsure")
LONGEST = 4000  # characters of a caption
FOLDER = "reviews"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
_lock = threading.Lock()


class Edit(BaseModel):
    """One line. value None takes back what was said before."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sample: str = Field(min_length=1)  # "part/key"
    thing: Thing
    which: str = ""  # of a noun the subject's id; of a point "reference/row" in points.npy
    value: str | None = Field(max_length=LONGEST)
    was: str = ""  # what the dataset said; of a point its place, see `marking`
    at: str = ""  # time, UTC

    @model_validator(mode="after")
    def _fits(self) -> Edit:
        allowed = {"decision": DECISIONS, "point": MARKS}.get(self.thing)
        if self.value is not None and allowed and self.value not in allowed:
            raise ValueError(f"a {self.thing} is one of {', '.join(allowed)}, not {self.value!r}")
        if self.value is not None and not self.value.strip():
            raise ValueError(f"a {self.thing} cannot be empty")
        if bool(self.which) != (self.thing in ("noun", "point")):
            raise ValueError("`which` names the subject of a noun or the place of a point, and nothing else")
        return self

    def line(self) -> str:
        """As it is stored."""
        return json.dumps(self.model_dump(exclude_defaults=True), ensure_ascii=False)

    @property
    def about(self) -> tuple[str, str, str]:
        """What the edit is of."""
        return self.sample, self.thing, self.which


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """The edits that hold: the last of each thing."""

    edits: Mapping[tuple[str, str, str], Edit] = field(default_factory=dict)

    @staticmethod
    def of(edits: Iterable[Edit]) -> Review:
        """From all lines, in their order."""
        last: dict[tuple[str, str, str], Edit] = {}
        for edit in edits:
            last.pop(edit.about, None)  # what was said last is last
            last[edit.about] = edit
        return Review(edits={about: edit for about, edit in last.items() if edit.value is not None})

    def value(self, sample: str, thing: Thing, which: str = "") -> str | None:
        """What holds of a thing; None: what the dataset says."""
        edit = self.edits.get((sample, thing, which))
        return edit.value if edit else None

    def decision(self, sample: str) -> str:
        """keep, drop, or "" where nothing was decided."""
        return self.value(sample, "decision") or ""

    def nouns(self, sample: str) -> dict[str, str]:
        """Subject id → noun that replaces the dataset's."""
        return {about[2]: str(edit.value) for about, edit in self._of(sample) if about[1] == "noun"}

    def marks(self, sample: str) -> dict[str, Edit]:
        """ "reference/row" → the mark of a point."""
        return {about[2]: edit for about, edit in self._of(sample) if about[1] == "point"}

    @property
    def mended(self) -> frozenset[str]:
        """Samples with another caption or noun."""
        return frozenset(sample for sample, thing, _ in self.edits if thing not in ("decision", "point"))

    @property
    def samples(self) -> frozenset[str]:
        """All samples that something was said of."""
        return frozenset(sample for sample, _, _ in self.edits)

    def _of(self, sample: str) -> list[tuple[tuple[str, str, str], Edit]]:
        return [(about, edit) for about, edit in self.edits.items() if about[0] == sample]


# ---------------------------------------------------------------- files


def review_file(data: Path, reviewer: str) -> Path:
    """Where a reviewer's edits of a dataset (a folder or a tar) lie. ValueError for a name that is none."""
    if not NAME.fullmatch(reviewer):
        raise ValueError(
            f'"{reviewer}" cannot name a reviewer: use up to 40 letters, digits, - and _, no - or _ first.'
        )
    return _reviews(data) / f"{reviewer}.jsonl"


def reviewers(data: Path) -> list[str]:
    """Who has edits beside a dataset."""
    found = sorted(_reviews(data).glob("*.jsonl"))
    return [file.stem for file in found if NAME.fullmatch(file.stem) and file.is_file()]


def _reviews(data: Path) -> Path:
    return data / FOLDER if data.is_dir() else data.with_name(f"{data.stem}-{FOLDER}")


def read_edits(path: Path) -> list[Edit]:
    """All lines in their order, none where there is no file. A last line that was cut off is left out.

    ValueError that names the line for one that is no edit.
    """
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    whole, last = lines[:-1], lines[-1]
    edits = [_edit(path, number, line) for number, line in enumerate(whole, 1) if line.strip()]
    return [*edits, _edit(path, len(lines), last)] if _is_json(last) else edits


def write_edit(path: Path, edit: Edit) -> Edit:
    """Append a line; it is on disk when this returns. The edit with its time."""
    stamped = edit.model_copy(update={"at": datetime.now(UTC).isoformat(timespec="seconds")})
    line = stamped.line()
    with _lock:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            _end_last_line(file)
            file.write(line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    return stamped


def _end_last_line(file: BinaryIO) -> None:
    """A last line without its end is a write that was cut off: it is taken away, unless it is whole."""
    file.seek(0)
    content = file.read()
    last = content[content.rfind(b"\n") + 1 :]
    if last and _is_json(last.decode(errors="replace")):
        file.write(b"\n")
    elif last:
        file.truncate(len(content) - len(last))


def _edit(path: Path, number: int, line: str) -> Edit:
    try:
        return Edit.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        told = f"{path}, line {number} is no edit: {first['msg']}. Mend or remove the line."
        raise ValueError(told) from error


def _is_json(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
