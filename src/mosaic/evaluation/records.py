"""What a benchmark asks for: records of a prompt and its subjects, and how the pictures are to be made.

K subjects of a record; J images a record, one a seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["person", "animal", "object", "scene", "clothes"]
Mean = Literal["groups", "entries"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchSubject:
    """One subject a record asks for."""

    noun: str  # what a detector looks for
    kind: Kind
    reference: Path  # the picture a method is given
    photographs: tuple[Path, ...]  # what a score compares with; mostly the reference alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A yes/no question of a Davidsonian scene graph (arXiv 2310.18235)."""

    id: int
    text: str
    parents: tuple[int, ...] = ()  # ids whose "no" makes this one "no"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One prompt with its subjects; `id` is unique in its benchmark."""

    id: str
    part: str  # of the benchmark, one table each: "single", "multi"; "K=4"
    group: str  # over which a macro mean goes: the subject or pair of subjects
    prompt: str
    subjects: tuple[BenchSubject, ...]
    questions: tuple[Question, ...] = ()
    names: tuple[str, ...]  # file names without suffix an image may have, {seed} and {image} filled in later
    scene: str = ""  # what the toybox needs to compose it again, as JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a benchmark's pictures are made."""

    width: int
    height: int
    seeds: tuple[int, ...]  # of one record; J of them
    steps: int | None = None  # None: the model's own
    guidance: float | None = None
    grid: bool = False  # the J = 4 images of a record are one file, 2 × 2, row by row
    reference: str = ""  # the original's canvas of a reference, for the report


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """Records of one or several parts, the columns they are scored by, and what others published."""

    name: str
    records: tuple[Record, ...]
    settings: Mapping[str, Settings]  # by part
    columns: tuple[str, ...]  # titles in metrics.METRICS, in the order of the table
    mean: Mean  # "groups": over a group's entries, then over groups; "entries": over all at once
    published: Mapping[str, Mapping[str, Mapping[str, float]]]  # part → method → column → value, in percent
    deviations: tuple[str, ...]  # one sentence each: what differs from the published protocol
    averaged: tuple[str, ...] = ()  # columns whose mean is the published AVG

    @property
    def parts(self) -> tuple[str, ...]:
        """In the order of the records."""
        return tuple(dict.fromkeys(record.part for record in self.records))
