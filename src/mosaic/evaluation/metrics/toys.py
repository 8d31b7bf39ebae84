"""The toybox measures as columns: the frozen instruments as an extractor, hits and totals as features.

Definitions are in docs/toybox-measures.md; the counting is `mosaic.toybox.instruments.measure.judge`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from mosaic.evaluation.extractors import Scorers
from mosaic.evaluation.features import Ask, Case, Column, Extractor, Feature, Features, Metric, Score
from mosaic.evaluation.metrics.columns import column_of
from mosaic.sample import Picture

if TYPE_CHECKING:
    from mosaic.toybox.instruments.candidates import Question
    from mosaic.toybox.instruments.reading import Found
    from mosaic.toybox.scene import Composition

ROLE = "toys"
MEASURES = {  # column → measure
    "presence": "presence",
    "identity": "identity",
    "leakage": "leakage",
    "leakage by chance": "leakage_chance",
    "pose": "pose",
    "surplus": "surplus",
}
LOWER = {"leakage", "leakage by chance", "surplus"}  # are better the lower they are


@lru_cache(maxsize=4096)
def composition(seed: int, subjects: int, scene: int) -> Composition:
    """Scene n of `subjects` held-out toys, as `measure.exam` composes it."""
    from mosaic.toybox.batches import generator
    from mosaic.toybox.identity import Split
    from mosaic.toybox.scene import compose

    return compose(generator(seed, subjects, scene), subjects, Split.HELD_OUT)


class ToyInstruments:
    """Looks for the toys of a scene: a picture and a record's `scene` → hits and totals of every measure."""

    batch = 32

    def __init__(self, version: str) -> None:
        from mosaic.toybox.instruments.reading import Instruments

        self.name = f"toybox instruments {version}"
        self._tools = Instruments.load(version)

    def __call__(self, pictures: Sequence[Picture | None], texts: Sequence[str]) -> list[Feature]:
        """N pictures uint8 (H, W, 3) of any size → N features: measure → float32 (hits, total)."""
        from mosaic.toybox.instruments.measure import judge

        asked = [json.loads(text) for text in texts]
        own = [composition(one["seed"], one["subjects"], one["scene"]) for one in asked]
        strange = [composition(one["seed"], one["subjects"], one["stranger"]) for one in asked]
        sheets = zip(self._found(pictures), own, _questions(asked, own), strange, strict=True)
        return [
            {name: np.array(counts, np.float32) for name, counts in judge(*sheet).items()} for sheet in sheets
        ]

    def _found(self, pictures: Sequence[Picture | None]) -> Iterator[Found]:
        """What is seen in each picture; those of one size are looked at together."""
        import torch

        shown = [picture for picture in pictures if picture is not None]
        assert len(shown) == len(pictures)
        if len({picture.shape for picture in shown}) > 1:
            yield from (found for picture in shown for found in self._found([picture]))
            return
        found = self._tools.look(torch.from_numpy(np.stack(shown)))
        yield from (found.take(found.which == n) for n in range(len(shown)))


def _questions(asked: Sequence[dict[str, int]], own: Sequence[Composition]) -> list[tuple[Question, ...]]:
    """What `measure.exam` asks about each scene; rendered together where scenes have equally many toys."""
    from mosaic.toybox.batches import generator
    from mosaic.toybox.instruments.candidates import questions

    result: dict[int, tuple[Question, ...]] = {}
    for subjects in {one["subjects"] for one in asked}:
        chosen = [i for i, one in enumerate(asked) if one["subjects"] == subjects]
        rngs = [generator(asked[i]["seed"], subjects, asked[i]["scene"], 1) for i in chosen]
        result |= zip(chosen, questions([own[i] for i in chosen], rngs), strict=True)
    return [result[i] for i in range(len(asked))]


@dataclass(slots=True, kw_only=True)
class ToyMeasure:
    """One measure: a score for everything that counts, so that a mean over all is hits over totals."""

    column: Column
    measure: str
    roles: tuple[str, ...] = (ROLE,)

    def asks(self, case: Case) -> list[Ask]:
        """One a picture, the same for all measures; none of a record that is no toybox scene."""
        return [Ask(ROLE, picture, case.record.scene) for picture in case.pictures if case.record.scene]

    def scores(self, case: Case, features: Features) -> Iterator[Score]:
        """Hits are ones and misses zeros; more hits than can be, as of surplus toys, are shared out."""
        for image, ask in enumerate(self.asks(case)):
            hits, total = (int(count) for count in features[ask][self.measure])
            values = [hits / total] * total if hits > total else [1.0] * hits + [0.0] * (total - hits)
            yield from (Score(image=image, value=value) for value in values)


def toy_measure(name: str) -> Callable[[Scorers], Metric]:
    """What METRICS holds under a column's name."""

    def make(scorers: Scorers) -> Metric:
        column = replace(column_of(name, scorers, ROLE), mean="entries", lower_is_better=name in LOWER)
        return ToyMeasure(column=column, measure=MEASURES[name])

    return make


def load_toys(parts: Mapping[str, str], device: str | None) -> Extractor:
    """The instruments of a version, small enough for the CPU. ValueError for one that is not there."""
    from mosaic.toybox.instruments.reading import FOLDER

    version = parts["instruments"]
    known = sorted(file.stem for file in FOLDER.glob("*.safetensors"))
    if version not in known:
        raise ValueError(f"There are no toybox instruments {version}: take one of {', '.join(known)}.")
    return ToyInstruments(version)
