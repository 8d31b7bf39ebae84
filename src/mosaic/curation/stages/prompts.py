"""prompts: what each sample is to show, known before anything is painted.

Scores     prompts/nearest: similarity of the prompt's sketch to the nearest of the `window` before it
Facts      "prompts": by, and near: the index of that nearest one
A near-duplicate is a failed row that names the prompt it is near to; a language model is not asked for it.
What is said of an index depends on the section and the index alone, whatever the shards.
"""

import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mosaic.curation.prompting.near import Neighbours
from mosaic.curation.prompting.templates import Plan, make_plan, record_of
from mosaic.curation.protocols import Source, Writer
from mosaic.curation.rows import Outcome, Record
from mosaic.errors import one_line
from mosaic.perception.endpoint import Access, Endpoint

Write = Callable[[Sequence[Plan]], Sequence[Record | ValueError]]
"""Plans → their records, or why there is none."""


class Model(Access):
    """[prompts.model] of a recipe: a language model behind any OpenAI-compatible endpoint."""

    temperature: float | None = 1.0
    concurrency: int = Field(8, ge=1)  # requests at a time
    price: tuple[float, float] = (0.0, 0.0)  # of a million tokens in, and out, for cache/ledger.jsonl


class Section(BaseModel):
    """[prompts] of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["toybox", "templates", "model"] = "templates"
    seed: int = Field(0, ge=0)
    subjects: tuple[int, ...] = Field((2, 3, 4), min_length=1)  # how many a prompt has: one of these
    split: Literal["train", "validation", "held_out"] = "train"  # of the toybox
    nearest: float = Field(0.75, ge=0, le=1)  # a prompt more similar to one before it is dropped; 1: none is
    window: int = Field(2000, ge=0)  # how many before it are compared
    model: Model | None = None

    @model_validator(mode="after")
    def _agrees(self) -> "Section":
        if not all(1 <= count <= 8 for count in self.subjects):
            raise ValueError("subjects must be numbers from 1 to 8")
        if (self.kind == "model") != (self.model is not None):
            raise ValueError('kind = "model" and a table [prompts.model] belong together')
        return self


def make(section: Section) -> Source:
    """The source of the section's prompts."""
    return {"toybox": _toybox, "templates": _templates, "model": _model}[section.kind](section)


def _toybox(section: Section) -> Source:
    from mosaic.curation.toybox_backends import ToyWriter

    return WrittenPrompts(ToyWriter(section.seed, section.subjects, section.split), by="toybox")


def _templates(section: Section) -> Source:
    return PlannedPrompts(section, lambda plans: [record_of(plan) for plan in plans], by="templates")


def _model(section: Section) -> Source:
    from mosaic.curation.prompting.language_model import ask_for_all
    from mosaic.curation.prompting.ledger import Ledger

    assert section.model is not None
    model = section.model
    ledger = Ledger(path=Path(model.cache) / "ledger.jsonl", model=model.model, price=model.price)
    access = Access(**model.model_dump(exclude={"concurrency", "price"}))
    endpoint = Endpoint(access, spent=ledger.add if model.cache else None)
    return PlannedPrompts(
        section, lambda plans: ask_for_all(endpoint, plans, model.concurrency), by=endpoint.name
    )


class WrittenPrompts:
    """A writer's records as they are."""

    def __init__(self, writer: Writer, by: str) -> None:
        self._writer, self._by = writer, by

    def __len__(self) -> int:
        return sys.maxsize

    def __call__(self, indices: Sequence[int]) -> list[tuple[Record, Outcome]]:
        made = {"prompts": {"by": self._by}}
        return [(record, Outcome(id=record.id, facts=made)) for record in self._writer(indices)]


class PlannedPrompts:
    """Plans of the taxonomy, those too near to one before dropped, put into words by `write`.

    Nearness is that of the plans' plain sentences: it costs nothing, so a window is planned anew wherever a
    shard begins, and all shards agree.
    """

    def __init__(self, section: Section, write: Write, by: str) -> None:
        self._section, self._write, self._by = section, write, by
        self._plan = functools.lru_cache(maxsize=2 * section.window + 256)(self._make_plan)
        self._neighbours = Neighbours(lambda index: record_of(self._plan(index)).caption, section.window)

    def __len__(self) -> int:
        return sys.maxsize

    def __call__(self, indices: Sequence[int]) -> list[tuple[Record, Outcome]]:
        nearest = {index: self._neighbours.nearest(index) for index in indices}
        kept = [index for index in indices if nearest[index][1] <= self._section.nearest]
        written = dict(zip(kept, self._write([self._plan(index) for index in kept]), strict=True))
        return [self._row(index, *nearest[index], written.get(index)) for index in indices]

    def _row(
        self, index: int, near: int, similarity: float, written: Record | ValueError | None
    ) -> tuple[Record, Outcome]:
        record = (
            written if isinstance(written, Record) else record_of(self._plan(index), {"prompts": self._by})
        )
        error = f"it is nearly prompt {near}: {similarity:.0%} of their letters' n-grams are the same"
        if isinstance(written, ValueError):
            error = one_line(str(written))
        done = isinstance(written, Record)
        return record, Outcome(
            id=record.id,
            status="done" if done else "failed",
            error="" if done else error,
            scores={"prompts/nearest": similarity},
            facts={"prompts": {"by": self._by, "near": near}},
        )

    def _make_plan(self, index: int) -> Plan:
        return make_plan(self._section.seed, index, self._section.subjects)
