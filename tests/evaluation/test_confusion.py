"""Which reference each found subject resembles most: by hand, by chance, and on photographs."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mosaic.evaluation.features import Case
from mosaic.evaluation.metrics import METRICS
from mosaic.evaluation.metrics.confusion import chance, resemble
from mosaic.evaluation.metrics.cropped import CropExtractor
from mosaic.perception.encoders import load_encoder

from .subjects import SCORERS, apart, case_of, listed, measured, subject, units
from .test_cropped import told

METRIC = METRICS["confusion"](SCORERS)
WIDTH = 6
SHARED = Path(__file__).parents[3] / "shared"
REAL = SHARED / "weights/dinov2-small-finetuned"
PHOTOGRAPHS = SHARED / "benchmarks/dreambooth/dataset"
real = pytest.mark.skipif(
    not (REAL.is_dir() and PHOTOGRAPHS.is_dir()), reason="no encoder or photographs here"
)


def shares(case: Case, crops: dict[str, np.ndarray], references: np.ndarray) -> dict[int, float]:
    rows = {k: references[k : k + 1] for k in range(len(references))}
    return {score.subject: 1 - score.value for score in listed(METRIC, case, told(case, crops, rows))}


def test_subjects_that_are_themselves_and_subjects_that_are_swapped() -> None:
    case = case_of([subject(0, "dog", "animal"), subject(1, "mug"), subject(2, "cat", "animal")])
    rows = units(3, WIDTH)
    right = {"dog": rows[:1], "mug": rows[1:2], "cat": rows[2:]}
    assert shares(case, right, rows) == {0: 1, 1: 1, 2: 1}
    swapped = right | {"dog": rows[1:2], "mug": rows[:1]}
    assert shares(case, swapped, rows) == {0: 0, 1: 0, 2: 1}


def test_chance_stands_beside_each_subject_found() -> None:
    case = case_of([subject(0, "dog", "animal"), subject(1, "mug"), subject(2, "cat", "animal")])
    rows = units(3, WIDTH)
    crops = {"dog": rows[:1], "mug": rows[1:2], "cat": np.zeros((0, WIDTH), np.float32)}
    features = told(case, crops, {k: rows[k : k + 1] for k in range(3)})
    by_chance = listed(METRICS["confusion by chance"](SCORERS), case, features)
    assert [(one.subject, one.value) for one in by_chance] == [(0, 1 - 1 / 3), (1, 1 - 1 / 3)]
    assert METRIC.column.lower_is_better


def test_the_surest_crop_counts_and_not_the_most_similar() -> None:
    case = case_of([subject(0, "dog", "animal"), subject(1, "mug")])
    rows = units(2, WIDTH)
    assert shares(case, {"dog": rows[::-1], "mug": rows[1:]}, rows) == {0: 0, 1: 1}


def test_a_subject_that_is_not_found_has_no_score() -> None:
    case = case_of([subject(0, "dog", "animal"), subject(1, "mug")])
    rows = units(2, WIDTH)
    assert shares(case, {"dog": np.zeros((0, WIDTH), np.float32), "mug": rows[1:]}, rows) == {1: 1}


def test_twins_of_one_noun_are_told_apart() -> None:
    case = case_of([subject(0, "dog", "animal"), subject(1, "dog", "animal"), subject(2, "mug")])
    rows = units(3, WIDTH)
    assert shares(case, {"dog": rows[[1, 0]], "mug": rows[2:]}, rows) == {0: 1, 1: 1, 2: 1}
    copied = rows[[0, 0]] + 0.01 * rows[[2, 1]]  # two dogs, and both look like the first
    assert shares(case, {"dog": copied, "mug": rows[2:]}, rows) == {0: 1, 1: 0, 2: 1}
    assert shares(case, {"dog": rows[:1], "mug": rows[2:]}, rows) == {0: 1, 2: 1}


def test_two_boxes_of_one_dog_are_one_dog() -> None:
    rows, box = units(2, WIDTH), np.array([[0, 0, 50, 50], [1, 0, 51, 50]], np.float32)
    assert resemble(rows, np.arange(2), rows, box) == {0: True}
    assert resemble(rows, np.arange(2), rows, apart(2)) == {0: True, 1: True}


@pytest.mark.parametrize("number", [2, 4, 8])
def test_pictures_that_know_no_reference_stand_at_chance(number: int) -> None:
    case = case_of([subject(k, f"thing {k}") for k in range(number)])
    assert chance(case.record) == 1 / number
    right = []
    for seed in range(150):
        rows, found = units(number, 16, seed=seed), units(number, 16, seed=9000 + seed)
        references = {k: rows[k] for k in range(number)}
        for k in references:
            right += resemble(rows, np.array([k]), found[k : k + 1], apart(1)).values()
    spread = (chance(case.record) * (1 - chance(case.record)) / len(right)) ** 0.5
    assert abs(np.mean(right) - 1 / number) < 4 * spread


def test_one_subject_cannot_be_confused() -> None:
    case = case_of([subject(0, "dog", "animal"), subject(1, "beach", "scene")])
    assert chance(case.record) == 1
    assert list(METRIC.asks(case)) == [] and list(METRIC.scores(case, {})) == []


@given(st.integers(2, 5), st.integers(0, 999), st.randoms())
def test_the_order_of_references_does_not_matter(number: int, seed: int, random) -> None:
    nouns = ["dog", "dog", "mug", "cat", "dog"][:number]
    order = random.sample(range(number), number)
    subjects = [subject(k, noun, "animal") for k, noun in enumerate(nouns)]
    crops = {noun: units(2, WIDTH, seed=seed + len(noun) + ord(noun[0])) for noun in dict.fromkeys(nouns)}
    rows = units(number, WIDTH, seed=seed)
    second = shares(case_of([subjects[k] for k in order]), crops, rows[order])
    assert {order[k]: value for k, value in second.items()} == shares(case_of(subjects), crops, rows)


SIDE, NOUNS = 256, ["dog", "toy", "backpack", "car"]


def in_a_row(picture: np.ndarray, phrases: list[str]) -> list[tuple[np.ndarray, np.ndarray]]:
    """A detector that knows which noun stands where; a reference shows one subject."""
    places = [0 if picture.shape[1] == SIDE else NOUNS.index(noun) for noun in phrases]
    boxes = [np.array([[SIDE * place, 0, SIDE * (place + 1), SIDE]], np.float32) for place in places]
    return [(box, np.ones(1, np.float32)) for box in boxes]


def photograph(name: str, number: int) -> np.ndarray:
    file = sorted((PHOTOGRAPHS / name).glob("*.jpg"))[number]
    return np.asarray(Image.open(file).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC))


@real
def test_photographs_of_four_subjects(tmp_path: Path) -> None:
    """Other photographs of each, side by side: themselves in their own places, not in others'."""
    names = ["dog6", "duck_toy", "backpack_dog", "rc_car"]
    files = [tmp_path / f"{name}.png" for name in (*names, "made", "swapped")]
    pictures = [photograph(name, 0) for name in names]
    pictures += [
        np.concatenate([photograph(name, 1) for name in row], axis=1) for row in (names, names[::-1])
    ]
    for file, picture in zip(files, pictures, strict=True):
        Image.fromarray(picture).save(file)
    subjects = [
        subject(k, noun, "object", file) for k, (noun, file) in enumerate(zip(NOUNS, files, strict=False))
    ]
    case = case_of(subjects, files[4:])
    least = METRICS["DINO-min (cropped)"](SCORERS)
    extract = CropExtractor(in_a_row, load_encoder(REAL, device="cpu"), "stub")
    features = measured(extract, (METRIC, least), case)
    right, wrong = ([1 - s.value for s in listed(METRIC, case, features) if s.image == j] for j in (0, 1))
    assert sum(right) >= 3 and sum(wrong) == 0  # this encoder, tuned for saliency, mistakes the car
    made, swapped = (score.value for score in listed(least, case, features))
    assert made > swapped + 0.1
