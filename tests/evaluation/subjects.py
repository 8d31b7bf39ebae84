"""Records and features of subjects, made up: what a metric is asked about needs no file."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from mosaic.evaluation.extractors import scorers_of
from mosaic.evaluation.features import Case, Extractor, Metric, PictureFile, Score
from mosaic.evaluation.records import BenchSubject, Record

SCORERS = scorers_of(["faces=sface", "faces.detector=yunet", "instances=a", "crops=b"])


def subject(number: int, noun: str, kind: str = "object", reference: Path | None = None) -> BenchSubject:
    path = reference or Path(f"/references/{number}.png")
    return BenchSubject(noun=noun, kind=kind, reference=path, photographs=(path,))


def case_of(subjects: Sequence[BenchSubject], pictures: int | Iterable[Path] = 1) -> Case:
    files = [Path(f"/made/{j}.png") for j in range(pictures)] if isinstance(pictures, int) else pictures
    record = Record(id="0", part="multi", group="g", prompt="", subjects=tuple(subjects), names=("0",))
    return Case(method="ours", record=record, pictures=tuple(PictureFile(file) for file in files))


def units(*shape: int, seed: int = 0) -> np.ndarray:
    """Random vectors of length 1."""
    rows = np.random.default_rng(seed).standard_normal(shape)
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def apart(number: int) -> np.ndarray:
    """Boxes that do not overlap."""
    left = 100.0 * np.arange(number, dtype=np.float32)[:, None]
    return np.concatenate([left, 0 * left, left + 50, 0 * left + 50], axis=1)


def measured(extract: Extractor, metrics: Iterable[Metric], case: Case) -> dict:
    """What an extractor answers to all that the metrics ask."""
    asks = list(dict.fromkeys(ask for metric in metrics for ask in metric.asks(case)))
    answers = extract([ask.picture and ask.picture.read() for ask in asks], [ask.text for ask in asks])
    return dict(zip(asks, answers, strict=True))


def listed(metric: Metric, case: Case, features: dict) -> list[Score]:
    """Its scores; every ask must have been answered, and nothing else be looked at."""
    asked = set(metric.asks(case))
    return list(metric.scores(case, {ask: features[ask] for ask in asked}))
