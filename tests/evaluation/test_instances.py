"""IP-Sim and its corrected versions: crops by their literal rule, scores by loops, true models by path."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from perception import tiny
from PIL import Image

from mosaic.evaluation.features import Ask, Case, PictureFile, Score
from mosaic.evaluation.metrics import METRICS
from mosaic.evaluation.metrics.instances import (
    InstanceExtractor,
    cutouts,
    load_instances,
    squared,
    too_small,
)
from mosaic.perception.encoders import load_encoder
from mosaic.perception.segmenter import Detector, Masker

from .subjects import SCORERS, apart, case_of, listed, measured, subject, units

SHARED = Path(__file__).parents[3] / "shared"
REAL = SHARED / "weights/dinov2-small-finetuned"
PHOTOGRAPHS = SHARED / "benchmarks/dreambooth/dataset"
real = pytest.mark.skipif(
    not (REAL.is_dir() and PHOTOGRAPHS.is_dir()), reason="no encoder or photographs here"
)
SIM, ASSIGNED, PADDED = (
    METRICS[name](SCORERS) for name in ("IP-Sim", "IP-Sim (assigned)", "IP-Sim (padded)")
)
WIDTH = 6


def told(case: Case, crops: dict[tuple[int, str], np.ndarray], references: dict[int, np.ndarray]) -> dict:
    """Features of a picture's noun (n, D), apart from one another, and of references (2, D)."""
    features = {}
    places = iter(range(100))
    for (image, noun), rows in crops.items():
        boxes = apart(len(rows)) + np.array([0, 100, 0, 100], np.float32) * next(places)
        features[Ask("instances", case.pictures[image], noun)] = {"vectors": rows, "boxes": boxes}
    for index, rows in references.items():
        file = PictureFile(case.record.subjects[index].reference)
        features[Ask("instances", file)] = {"vectors": rows, "boxes": np.zeros((2, 4), np.float32)}
    return features


def values(scores: list[Score]) -> list[float]:
    return [score.value for score in scores]


# scores


@given(st.integers(0, 6), st.integers(0, 6), st.integers(0, 999))
def test_scores_are_the_literal_loops(dogs: int, mugs: int, seed: int) -> None:
    subjects = [
        subject(0, "dog", "animal"),
        subject(1, "woman", "person"),
        subject(2, "mug"),
        subject(3, "beach", "scene"),
        subject(4, "dog", "animal"),
    ]
    case = case_of(subjects, 2)
    numbers = {"dog": dogs, "mug": mugs}
    crops = {
        (j, noun): units(number, WIDTH, seed=seed + j + number)
        for j in range(2)
        for noun, number in numbers.items()
    }
    references = {k: units(2, WIDTH, seed=seed + 50 + k) for k in (0, 2, 4)}
    features = told(case, crops, references)
    for metric, row in ((SIM, 0), (PADDED, 1)):
        expected = []
        for j in range(2):
            for k in (0, 2, 4):
                first = [float(references[k][row] @ crop) for crop in crops[j, subjects[k].noun]][:3]
                expected.append((j, k, max(first) if first else 0.0))
        scores = listed(metric, case, features)
        assert [(score.image, score.subject) for score in scores] == [place[:2] for place in expected]
        np.testing.assert_allclose(values(scores), [place[2] for place in expected], rtol=1e-5, atol=1e-6)
        assert all(bool(score.note) == (numbers[subjects[score.subject].noun] == 0) for score in scores)
    fewer = np.array(values(listed(ASSIGNED, case, features)))
    assert (fewer <= np.array(values(listed(SIM, case, features))) + 1e-12).all()


@given(st.integers(2, 4), st.integers(0, 4), st.integers(0, 999), st.randoms())
def test_the_order_of_references_does_not_matter(number: int, found: int, seed: int, random) -> None:
    order = random.sample(range(number), number)
    nouns = ["dog", "dog", "mug", "dog"]
    subjects = [subject(k, nouns[k]) for k in range(number)]
    references = {k: units(2, WIDTH, seed=seed + k) for k in range(number)}
    crops = {(0, noun): units(found, WIDTH, seed=seed + 9) for noun in ("dog", "mug")}
    for metric in (SIM, ASSIGNED, PADDED):
        case, other = case_of(subjects), case_of([subjects[k] for k in order])
        by_subject = {s.subject: s.value for s in listed(metric, case, told(case, crops, references))}
        moved = told(other, crops, {place: references[k] for place, k in enumerate(order)})
        second = {order[s.subject]: s.value for s in listed(metric, other, moved)}
        assert second == pytest.approx(by_subject)


def test_the_references_themselves_are_one() -> None:
    subjects = [subject(k, "dog") for k in range(3)]
    case, rows = case_of(subjects), units(3, WIDTH)
    references = {k: np.repeat(rows[k : k + 1], 2, axis=0) for k in range(3)}
    features = told(case, {(0, "dog"): rows[::-1]}, references)
    for metric in (SIM, ASSIGNED, PADDED):
        assert values(listed(metric, case, features)) == pytest.approx([1, 1, 1])


def test_one_instance_serves_one_reference_even_under_two_nouns() -> None:
    dog, cat = units(2, WIDTH)
    case = case_of([subject(0, "dog"), subject(1, "cat"), subject(2, "dog")])
    references = {0: np.stack([dog, dog]), 1: np.stack([cat, cat]), 2: np.stack([dog, dog])}
    features = told(case, {(0, "dog"): dog[None], (0, "cat"): dog[None]}, references)
    boxes = apart(1)
    for noun in ("dog", "cat"):
        features[Ask("instances", case.pictures[0], noun)]["boxes"] = boxes
    assert values(listed(SIM, case, features)) == pytest.approx([1, float(cat @ dog), 1], abs=1e-6)
    ours = listed(ASSIGNED, case, features)
    assert sorted(values(ours))[-1] == pytest.approx(1) and sum(value > 0.5 for value in values(ours)) == 1
    assert sum(score.note.endswith("left for this reference") for score in ours) == 2


def test_four_subjects_of_one_noun_have_four_crops_to_choose_from() -> None:
    rows = units(5, WIDTH)
    case = case_of([subject(k, "dog") for k in range(4)])
    references = {k: np.stack([rows[k], rows[k]]) for k in range(4)}
    features = told(case, {(0, "dog"): rows}, references)
    assert values(listed(ASSIGNED, case, features)) == pytest.approx([1] * 4)


def test_people_and_scenes_ask_nothing() -> None:
    case = case_of([subject(0, "man", "person"), subject(1, "beach", "scene")])
    for metric in (SIM, ASSIGNED, PADDED):
        assert list(metric.asks(case)) == [] and list(metric.scores(case, {})) == []


# crops


@given(st.integers(0, 200), st.integers(0, 200), st.integers(1, 2000))
def test_the_size_rule_is_the_published_one(width: int, height: int, across: int) -> None:
    m = int(across / 20)
    published = width * height < m * m or min(width, height) < int(m / 4)
    assert too_small(width, height, across) == (published or width * height == 0)


def test_a_cutout_is_the_mask_on_white_within_its_box() -> None:
    picture = tiny.random_picture(80, 120)
    masks = np.random.default_rng(0).uniform(size=(3, 80, 120)) < 0.5
    boxes = np.array([[10.9, 20, 50, 60.9], [0, 0, 120, 80], [5, 5, 7, 6]], np.float32)
    crops, kept = cutouts(picture, boxes, masks)
    assert kept.tolist() == boxes[:2].tolist()  # the third is 2 × 1, below 6² pixels
    white = picture.copy()
    white[~masks[0]] = 255
    np.testing.assert_array_equal(crops[0], white[20:60, 10:50])
    assert crops[1].shape == (120, 120, 3)
    np.testing.assert_array_equal(crops[1][20:100], np.where(masks[1][..., None], picture, 255))
    assert (crops[1][:20] == 255).all() and (crops[1][100:] == 255).all()


@given(st.integers(1, 40), st.integers(1, 40))
def test_a_square_holds_the_picture_in_its_middle(height: int, width: int) -> None:
    picture = np.random.default_rng(0).integers(0, 250, (height, width, 3)).astype(np.uint8)
    square = squared(picture)
    side = max(height, width)
    literal = Image.new("RGB", (side, side), (255, 255, 255))
    literal.paste(Image.fromarray(picture), ((side - width) // 2, (side - height) // 2))
    np.testing.assert_array_equal(square, np.asarray(literal))


# the true models


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("instances")
    return {
        "detector": str(tiny.grounding_dino(root / "detector")),
        "masker": str(tiny.sam2(root / "masker")),
        "encoder": str(tiny.dino(root / "encoder")),
    }


def test_features_are_those_of_each_part_by_hand(folders: dict[str, str]) -> None:
    extract = load_instances(folders, "cpu")
    picture = tiny.random_picture(96, 144)
    whole, dogs, again = extract([picture] * 3, ["", "dog", "dog"])
    boxes, _ = Detector(folders["detector"], device="cpu")(picture, ["dog"])[0]
    masks, _ = Masker(folders["masker"], device="cpu")(picture, boxes[:8])
    crops, kept = cutouts(picture, boxes[:8], masks)
    encode = load_encoder(folders["encoder"], device="cpu")
    assert 0 < len(crops) <= 8
    np.testing.assert_allclose(dogs["vectors"], encode.pictures(crops), atol=1e-5)
    np.testing.assert_allclose(dogs["boxes"], kept, atol=1e-4)
    np.testing.assert_array_equal(dogs["vectors"], again["vectors"])
    np.testing.assert_allclose(whole["vectors"], encode.pictures([picture, squared(picture)]), atol=1e-5)
    assert all(array.dtype == np.float32 for feature in (whole, dogs) for array in feature.values())


def test_florence_that_finds_nothing_gives_empty_features(folders: dict[str, str], tmp_path: Path) -> None:
    extract = load_instances(folders | {"detector": str(tiny.florence(tmp_path))}, "cpu")
    extract._detect._longest = 4
    for side in ((60, 90), (1, 1)):
        feature = extract([np.full((*side, 3), 128, np.uint8)], ["dog"])[0]
        assert feature["vectors"].shape == (0, 16) and feature["boxes"].shape == (0, 4)


def whole_picture(picture: np.ndarray, phrases: list[str]) -> list[tuple[np.ndarray, np.ndarray]]:
    box = np.array([[0, 0, picture.shape[1], picture.shape[0]]], np.float32)
    return [(box, np.ones(1, np.float32)) for _ in phrases]


def everything(picture: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.ones((len(boxes), *picture.shape[:2]), bool), np.ones(len(boxes), np.float32)


@real
def test_a_photograph_against_itself_is_one_once_the_reference_is_padded(tmp_path: Path) -> None:
    """The published score crops the reference's ends away, and so is below 1 for any tall picture."""
    extract = InstanceExtractor(whole_picture, everything, load_encoder(REAL, device="cpu"), "stub")
    photograph = Image.open(PHOTOGRAPHS / "dog3/01.jpg")
    photograph.crop((180, 0, 420, photograph.height)).save(tmp_path / "tall.png")
    for file, square in ((PHOTOGRAPHS / "dog3/01.jpg", True), (tmp_path / "tall.png", False)):
        case = case_of([subject(0, "dog", "animal", file)], [file])
        features = measured(extract, (SIM, PADDED), case)
        assert values(listed(PADDED, case, features)) == pytest.approx([1], abs=1e-5)
        published = values(listed(SIM, case, features))[0]
        assert published == pytest.approx(1, abs=1e-5) if square else published < 0.95
