"""DINO-min (cropped): the worst subject, by slow loops, with the true detector and encoder by path."""

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from perception import tiny

from mosaic.evaluation.features import Ask, Case, PictureFile
from mosaic.evaluation.metrics import METRICS
from mosaic.evaluation.metrics.cropped import cropped, load_crops
from mosaic.perception.encoders import load_encoder
from mosaic.perception.segmenter import Detector

from .subjects import SCORERS, apart, case_of, listed, subject, units

METRIC = METRICS["DINO-min (cropped)"](SCORERS)
WIDTH = 6
NOTHING = np.zeros((0, WIDTH), np.float32)


def told(case: Case, crops: dict[str, np.ndarray], references: dict[int, np.ndarray]) -> dict:
    """Features of the nouns of a case's one picture (n, D), and of references: crops, and whole."""
    features = {}
    for place, (noun, rows) in enumerate(crops.items()):
        boxes = apart(len(rows)) + np.array([0, 100, 0, 100], np.float32) * place
        features[Ask("crops", case.pictures[0], noun)] = {"vectors": rows, "boxes": boxes}
    for index, rows in references.items():
        one = case.record.subjects[index]
        file = PictureFile(one.reference)
        features[Ask("crops", file, one.noun)] = {"vectors": rows, "boxes": apart(len(rows))}
        features[Ask("crops", file)] = {"vectors": units(1, WIDTH, seed=77), "boxes": apart(1)}
    return features


@given(st.integers(1, 3), st.integers(0, 4), st.integers(0, 3), st.integers(0, 999))
def test_the_score_is_the_worst_of_the_best_assignment(dogs: int, found: int, mugs: int, seed: int) -> None:
    subjects = [*[subject(k, "dog", "animal") for k in range(dogs)], subject(9, "mug")]
    case = case_of(subjects)
    crops = {"dog": units(found, WIDTH, seed=seed), "mug": units(mugs, WIDTH, seed=seed + 1)}
    references = {k: units(2, WIDTH, seed=seed + 10 + k) for k in range(dogs + 1)}
    similar = references[dogs][0] @ crops["mug"].T
    mug = similar.max() if mugs else 0.0
    rows = np.stack([references[k][0] for k in range(dogs)]) @ crops["dog"].T  # of a reference the first crop
    padded = np.concatenate([rows, np.full((dogs, dogs), np.nan)], axis=1)
    ways = [[padded[k, t] for k, t in enumerate(way)] for way in permutations(range(found + dogs), dogs)]
    most = max(np.isfinite(way).sum() for way in ways)
    best = max((way for way in ways if np.isfinite(way).sum() == most), key=np.nansum)
    alone = [min(0.0, rows[k].max(initial=-np.inf)) if found else 0.0 for k in range(dogs)]
    each = [value if np.isfinite(value) else alone[k] for k, value in enumerate(best)]
    scores = listed(METRIC, case, told(case, crops, references))
    assert [(score.image, score.subject) for score in scores] == [(0, None)]
    assert scores[0].value == pytest.approx(min([*each, mug]), abs=1e-5)


def test_a_missing_subject_is_the_minimum_and_named() -> None:
    case = case_of([subject(0, "dog", "animal"), subject(1, "mug"), subject(2, "beach", "scene")])
    dog = units(1, WIDTH)
    scores = listed(
        METRIC, case, told(case, {"dog": dog, "mug": NOTHING}, {0: dog, 1: units(1, WIDTH, seed=3)})
    )
    assert [(score.value, score.note) for score in scores] == [(0, "no mug found in the picture")]
    twins = case_of([subject(0, "dog", "animal"), subject(1, "dog", "animal")])
    scores = listed(METRIC, twins, told(twins, {"dog": dog}, {0: dog, 1: dog}))
    assert [(score.value, score.note) for score in scores] == [(0, "no dog left for this reference")]


def test_a_reference_without_a_crop_is_taken_whole() -> None:
    case = case_of([subject(0, "dog", "animal")])
    crop = units(1, WIDTH)
    scores = listed(METRIC, case, told(case, {"dog": crop}, {0: NOTHING}))
    assert scores[0].value == pytest.approx(float(units(1, WIDTH, seed=77)[0] @ crop[0]), abs=1e-6)


@given(st.integers(2, 5), st.integers(0, 999), st.randoms())
def test_the_order_of_references_does_not_matter(number: int, seed: int, random) -> None:
    nouns = ["dog", "dog", "mug", "cat", "dog"]
    subjects = [subject(k, nouns[k], "animal") for k in range(number)]
    order = random.sample(range(number), number)
    crops = {noun: units(2, WIDTH, seed=seed + len(noun)) for noun in dict.fromkeys(nouns[:number])}
    references = {k: units(1, WIDTH, seed=seed + k) for k in range(number)}
    case, other = case_of(subjects), case_of([subjects[k] for k in order])
    moved = {place: references[k] for place, k in enumerate(order)}
    first = listed(METRIC, case, told(case, crops, references))
    second = listed(METRIC, other, told(other, {noun: crops[noun] for noun in reversed(crops)}, moved))
    assert second[0].value == pytest.approx(first[0].value)


def test_the_references_themselves_are_one() -> None:
    rows = units(3, WIDTH)
    case = case_of([subject(k, "dog", "animal") for k in range(3)])
    features = told(case, {"dog": rows[::-1]}, {k: rows[k : k + 1] for k in range(3)})
    assert listed(METRIC, case, features)[0].value == pytest.approx(1)


def test_a_record_of_scenes_has_no_score() -> None:
    case = case_of([subject(0, "beach", "scene")])
    assert list(METRIC.asks(case)) == [] and list(METRIC.scores(case, {})) == []


def test_features_are_those_of_each_part_by_hand(tmp_path: Path) -> None:
    parts = {"detector": str(tiny.grounding_dino(tmp_path / "d")), "encoder": str(tiny.dino(tmp_path / "e"))}
    extract = load_crops(parts, "cpu")
    picture, small = tiny.random_picture(96, 144), np.full((1, 1, 3), 128, np.uint8)
    dogs, whole, dot = extract([picture, picture, small], ["dog", "", "dog"])
    detect = Detector(parts["detector"], box_threshold=0.35, text_threshold=0.25, device="cpu")
    boxes = detect(picture, ["dog"])[0][0][:8]
    crops, kept = cropped(picture, boxes)
    left, top, right, bottom = (int(side) for side in kept[0])
    np.testing.assert_array_equal(crops[0], picture[top:bottom, left:right])
    encode = load_encoder(parts["encoder"], device="cpu")
    np.testing.assert_allclose(dogs["vectors"], encode.pictures(crops), atol=1e-5)
    np.testing.assert_allclose(whole["vectors"], encode.pictures([picture]), atol=1e-5)
    assert len(dot["vectors"]) == len(dot["boxes"]) <= 8
