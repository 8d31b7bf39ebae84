"""ID-Sim, its assigned version and ID-Conf: against literal loops, and on photographs of people."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mosaic.evaluation.features import Ask, Case, PictureFile, Score
from mosaic.evaluation.metrics import METRICS
from mosaic.evaluation.metrics.faces import (
    FIRST,
    NO_FACE,
    NO_REFERENCE_FACE,
    NONE_LEFT,
    FaceExtractor,
    confidence,
    load_faces,
)
from mosaic.evaluation.store import FeatureStore
from mosaic.perception.faces import Faces

from .subjects import SCORERS, apart, case_of, listed, measured, subject, units

SHARED = Path(__file__).parents[3] / "shared"
PARTS = {
    "embedder": str(SHARED / "weights/sface_int8bq_fixed.onnx"),
    "detector": str(SHARED / "weights/face_detection_yunet_2023mar_int8bq.onnx"),
}
FACES = SHARED / "benchmarks/faces"
real = pytest.mark.skipif(not FACES.is_dir(), reason="no photographs of people here")
SIM, ASSIGNED, CONF = (METRICS[name](SCORERS) for name in ("ID-Sim", "ID-Sim (assigned)", "ID-Conf"))
WIDTH = 6


def told(case: Case, faces: list[np.ndarray], references: dict[int, np.ndarray]) -> dict[Ask, dict]:
    """Features of the pictures' faces (n, D), and of the references by their subject (0 or 1 row)."""
    features = {
        Ask("faces", made): {"vectors": rows, "boxes": apart(len(rows))}
        for made, rows in zip(case.pictures, faces, strict=True)
    }
    for index, rows in references.items():
        file = PictureFile(case.record.subjects[index].reference)
        features[Ask("faces", file, FIRST)] = {"vectors": rows}
    return features


def values(scores: list[Score]) -> list[float]:
    return [score.value for score in scores]


@given(st.integers(1, 3), st.lists(st.integers(0, 4), min_size=1, max_size=3), st.integers(0, 999))
def test_scores_are_the_literal_loops(people: int, numbers: list[int], seed: int) -> None:
    subjects = [subject(0, "dog", "animal"), *[subject(k + 1, "man", "person") for k in range(people)]]
    case = case_of(subjects, len(numbers))
    faces = [units(number, WIDTH, seed=seed + j) for j, number in enumerate(numbers)]
    references = {k + 1: units(1, WIDTH, seed=seed + 100 + k) for k in range(people)}
    features = told(case, faces, references)
    sims, confs = [], []
    for j in range(len(numbers)):
        for k in references:
            similar = sorted((float(references[k][0] @ face) for face in faces[j]), reverse=True)
            sims.append((j, k, similar[0] if similar else 0))
            if len(similar) > 1:
                conf = min(1, (similar[0] - similar[1]) / similar[0]) if similar[0] > 0 else 0
                confs.append((j, k, conf))
    for metric, expected in ((SIM, sims), (CONF, confs)):
        scores = listed(metric, case, features)
        assert [(score.image, score.subject) for score in scores] == [place[:2] for place in expected]
        np.testing.assert_allclose(values(scores), [place[2] for place in expected], rtol=1e-4, atol=1e-5)
    fewer = np.array(values(listed(ASSIGNED, case, features)))
    assert (fewer <= np.array(values(listed(SIM, case, features))) + 1e-12).all()


@given(st.integers(2, 4), st.integers(0, 4), st.integers(0, 999), st.randoms())
def test_the_order_of_references_does_not_matter(people: int, number: int, seed: int, random) -> None:
    order = random.sample(range(people), people)
    references = units(people, WIDTH, seed=seed)
    subjects = [subject(k, "man", "person") for k in range(people)]
    faces = [units(number, WIDTH, seed=seed + 1)]
    for metric in (SIM, ASSIGNED, CONF):
        case, other = case_of(subjects), case_of([subjects[k] for k in order])
        first = listed(metric, case, told(case, faces, {k: references[k : k + 1] for k in range(people)}))
        rows = {place: references[k : k + 1] for place, k in enumerate(order)}
        second = listed(metric, other, told(other, faces, rows))
        by_subject = {score.subject: score.value for score in first}
        assert {order[score.subject]: score.value for score in second} == pytest.approx(by_subject)


def test_the_references_themselves_are_one() -> None:
    references = units(3, WIDTH)
    case = case_of([subject(k, "man", "person") for k in range(3)])
    features = told(case, [references[::-1]], {k: references[k : k + 1] for k in range(3)})
    assert values(listed(SIM, case, features)) == pytest.approx([1, 1, 1])
    assert values(listed(ASSIGNED, case, features)) == pytest.approx([1, 1, 1])


def test_one_face_serves_two_references_only_unassigned() -> None:
    face = units(1, WIDTH)
    case = case_of([subject(k, "man", "person") for k in range(2)])
    features = told(case, [face], {0: face, 1: units(1, WIDTH, seed=5)})
    published, ours = listed(SIM, case, features), listed(ASSIGNED, case, features)
    assert values(published)[0] == pytest.approx(1) and values(published)[1] != 0
    assert values(ours)[0] == pytest.approx(1) and values(ours)[1] <= 0
    assert [score.note for score in ours] == ["", NONE_LEFT] and not any(s.note for s in published)
    assert listed(CONF, case, features) == []


def test_a_face_that_two_crops_hold_is_one_face() -> None:
    face, near = units(1, WIDTH), np.array([[0, 0, 50, 50], [4, 0, 54, 50]], np.float32)
    case = case_of([subject(k, "man", "person") for k in range(2)])
    features = told(case, [np.concatenate([face, face])], {0: face, 1: face})
    assert values(listed(ASSIGNED, case, features)) == pytest.approx([1, 1])
    features[Ask("faces", case.pictures[0])]["boxes"] = near
    assert sorted(values(listed(ASSIGNED, case, features))) == pytest.approx([0, 1])
    assert values(listed(SIM, case, features)) == pytest.approx([1, 1])


def test_what_is_not_found_is_zero_and_says_why() -> None:
    nothing = np.zeros((0, WIDTH), np.float32)
    case = case_of([subject(0, "man", "person"), subject(1, "woman", "person")], 3)
    lost = np.zeros((2, WIDTH), np.float32)  # found, but not again in the crop
    faces = [nothing, lost, units(1, WIDTH)]
    features = told(case, faces, {0: units(1, WIDTH), 1: nothing})
    for metric in (SIM, ASSIGNED):
        scores = listed(metric, case, features)
        notes = [score.note for score in scores]
        assert notes == [NO_FACE, NO_REFERENCE_FACE, NO_FACE, NO_REFERENCE_FACE, "", NO_REFERENCE_FACE]
        assert values(scores) == pytest.approx([0, 0, 0, 0, 1, 0])
    conf = listed(CONF, case, features)
    assert [(score.image, score.subject, score.value) for score in conf] == [(1, 0, 0), (1, 1, 0)]
    empty = told(case, faces, {0: nothing, 1: nothing})
    assert values(listed(ASSIGNED, case, empty)) == [0] * 6


def test_a_record_without_people_asks_nothing() -> None:
    case = case_of([subject(0, "dog", "animal")])
    for metric in (SIM, ASSIGNED, CONF):
        assert list(metric.asks(case)) == [] and list(metric.scores(case, {})) == []


@pytest.mark.parametrize(
    ("similar", "expected"),
    [((0.8, 0.2), 0.75), ((0.5, -0.1), 1.0), ((-0.1, -0.3), 0.0), ((0.0, -0.3), 0.0), ((0.6, 0.6, 0.1), 0.0)],
)
def test_confidence_by_hand(similar: tuple[float, ...], expected: float) -> None:
    assert confidence(np.array(similar)) == pytest.approx(expected)
    assert confidence(np.array(similar[::-1])) == pytest.approx(expected)


def test_columns_carry_the_models_names() -> None:
    assert SIM.column.title == "ID-Sim [sface + yunet]" and not CONF.column.official
    assert SIM.roles == ("faces",)


class OnlyWhole:
    """Finds two faces in the picture of 80 pixels, one in its crop of 20, none in other crops."""

    name = "stub"

    def __call__(self, picture: np.ndarray) -> Faces:
        boxes = {80: [[0, 0, 20, 20], [40, 40, 60, 60]], 23: [[0, 0, 9, 9]]}.get(picture.shape[1], [])
        rows = np.array(boxes, np.float32).reshape(-1, 4)
        landmarks = np.float32([[3, 3], [9, 3], [6, 6], [4, 9], [8, 9]]) + rows[:, None, :2]
        return Faces(boxes=rows, landmarks=landmarks, scores=np.ones(len(rows), np.float32))


class Mean:
    """The mean colour as a unit vector."""

    name, width = "mean", 3

    def __call__(self, faces: list[np.ndarray]) -> np.ndarray:
        rows = np.array([face.mean((0, 1)) for face in faces], np.float32).reshape(-1, 3)
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def test_a_face_lost_in_its_crop_stays_a_face_of_zeros() -> None:
    pytest.importorskip("cv2")
    picture = np.full((80, 80, 3), 200, np.uint8)
    extractor = FaceExtractor(OnlyWhole(), Mean())
    whole, first, none = extractor([picture, picture, picture[:5, :5]], ["", FIRST, ""])
    assert extractor.name == "stub + mean"
    np.testing.assert_allclose(whole["vectors"], [np.full(3, 3**-0.5), np.zeros(3)], atol=1e-3)
    np.testing.assert_allclose(whole["boxes"], [[0, 0, 9, 9], [0, 0, 0, 0]])
    assert first["vectors"].shape == (1, 3) and none["vectors"].shape == (0, 3)


def test_without_files_one_sentence_says_what_to_give() -> None:
    with pytest.raises(ValueError, match=r"--scorer faces\.detector=FILE"):
        load_faces({"embedder": "", "detector": ""}, None)


def test_a_picture_without_faces_is_kept_on_disk_as_such(tmp_path: Path) -> None:
    FeatureStore(tmp_path).add({"key": {"vectors": np.zeros((0, WIDTH), np.float32)}})
    assert FeatureStore(tmp_path)["key"]["vectors"].shape == (0, WIDTH)


# photographs


@pytest.fixture(scope="module")
def extract() -> FaceExtractor:
    return load_faces(PARTS, "cpu")


@real
def test_two_people_in_one_photograph(extract: FaceExtractor) -> None:
    kit, rose, lin = (
        FACES / f"{n}.jpg" for n in ("johnsnow_test1", "rose_leslie_img2", "lin-manuel-miranda")
    )
    people = [subject(k, "man", "person", file) for k, file in enumerate((kit, rose, lin))]
    case = case_of(people, [FACES / "kit_with_rose.jpg"])
    features = measured(extract, (SIM, ASSIGNED, CONF), case)
    both = values(listed(SIM, case, features))
    assert both[0] > 0.45 and both[1] > 0.6 and both[2] < 0.3
    ours = listed(ASSIGNED, case, features)
    assert values(ours)[:2] == both[:2] and ours[2].note == NONE_LEFT
    conf = values(listed(CONF, case, features))
    assert conf[0] > 0.7 and conf[1] > 0.7


@real
def test_a_photograph_against_itself_and_another_of_the_same_person(extract: FaceExtractor) -> None:
    """Not 1: the reference's face is found in the photograph, the other one again in its crop."""
    files = [FACES / f"{name}.jpg" for name in ("obama", "obama1", "biden")]
    case = case_of([subject(0, "man", "person", files[0])], files)
    itself, again, other = values(listed(SIM, case, measured(extract, (SIM, ASSIGNED, CONF), case)))
    assert itself > 0.9 and again > 0.7 and other < 0.35


@real
def test_pictures_without_faces(extract: FaceExtractor, tmp_path: Path) -> None:
    files = []
    for number, size in enumerate([(64, 64), (1, 1), (2000, 3000)]):
        files.append(tmp_path / f"{number}.png")
        Image.new("RGB", size[::-1], (128, 128, 128)).save(files[-1])
    case = case_of(
        [subject(0, "man", "person", FACES / "obama.jpg"), subject(1, "man", "person", files[0])], files
    )
    scores = listed(SIM, case, measured(extract, (SIM, ASSIGNED, CONF), case))
    assert values(scores) == [0] * 6
    assert [score.note for score in scores] == [NO_FACE, NO_REFERENCE_FACE] * 3
