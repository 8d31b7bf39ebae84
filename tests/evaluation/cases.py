"""Cases of pictures made on the spot, and features measured without the store."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mosaic.evaluation.features import Case, Extractor, Feature, Features, Metric, PictureFile
from mosaic.evaluation.records import BenchSubject, Question, Record

SHARED = Path(__file__).parents[3] / "shared"


def file_of(folder: Path, name: str, picture: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.png"
    Image.fromarray(picture).save(path)
    return path


def case_of(
    pictures: Sequence[Path | PictureFile],
    photographs: Sequence[Sequence[Path]] = (),
    prompt: str = "a red bear on grass",
    questions: Sequence[Question] = (),
    grid: Path | None = None,
    name: str = "record",
) -> Case:
    """`photographs`: those of each subject; its first is its reference."""
    subjects = tuple(
        BenchSubject(noun="bear", kind="object", reference=paths[0], photographs=tuple(paths))
        for paths in photographs
    )
    record = Record(
        id=name,
        part="single",
        group="bear",
        prompt=prompt,
        subjects=subjects,
        questions=tuple(questions),
        names=("{seed}",),
    )
    files = tuple(one if isinstance(one, PictureFile) else PictureFile(one) for one in pictures)
    return Case(method="ours", record=record, pictures=files, grid=grid and PictureFile(grid))


def measured(metric: Metric, cases: Sequence[Case], extractor: Extractor, batch: int = 4) -> Features:
    """All that is asked, in batches of any make-up."""
    asks = list(dict.fromkeys(ask for case in cases for ask in metric.asks(case)))
    features: dict = {}
    for start in range(0, len(asks), batch):
        some = asks[start : start + batch]
        pictures = [ask.picture and ask.picture.read() for ask in some]
        measured: Sequence[Feature] = extractor(pictures, [ask.text for ask in some])
        features |= zip(some, measured, strict=True)
    return features


def table(metric: Metric, cases: Sequence[Case], features: Features) -> dict:
    """(record, image, subject, photograph) → value."""
    return {
        (case.record.id, score.image, score.subject, score.photograph): score.value
        for case in cases
        for score in metric.scores(case, features)
    }
