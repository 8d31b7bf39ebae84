"""Faces found, cropped, aligned and embedded: geometry against literals, OpenCV's networks on photographs."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mosaic.perception.faces import (
    GROWN,
    SIDE,
    TEMPLATE,
    Faces,
    SFace,
    YuNet,
    aligned,
    every_face,
    first_face,
    grown,
    load_face_detector,
    load_face_embedder,
    to_template,
)

from .tiny import random_picture

cv2 = pytest.importorskip("cv2")

SHARED = Path(__file__).parents[3] / "shared"
DETECTOR = SHARED / "weights/face_detection_yunet_2023mar_int8bq.onnx"
EMBEDDER = SHARED / "weights/sface_int8bq_fixed.onnx"
PHOTOGRAPHS = sorted((SHARED / "benchmarks/faces").glob("*.jpg"))
real = pytest.mark.skipif(
    not (DETECTOR.exists() and PHOTOGRAPHS), reason="no face models or photographs here"
)


def photograph(name: str) -> np.ndarray:
    return np.asarray(Image.open(SHARED / f"benchmarks/faces/{name}.jpg").convert("RGB"))


@pytest.fixture(scope="module")
def detect() -> YuNet:
    return YuNet(DETECTOR)


@pytest.fixture(scope="module")
def embed() -> SFace:
    return SFace(EMBEDDER)


class Told:
    """A detector that is told what to find."""

    name = "told"

    def __init__(self, *boxes: tuple[float, float, float, float]) -> None:
        rows = np.array(boxes, np.float32).reshape(-1, 4)
        corner, size = rows[:, None, :2], (rows[:, 2:] - rows[:, :2])[:, None]
        landmarks = corner + size * (TEMPLATE / SIDE).astype(np.float32)
        self._faces = Faces(boxes=rows, landmarks=landmarks, scores=np.ones(len(rows), np.float32))

    def __call__(self, picture: np.ndarray) -> Faces:
        return self._faces


# geometry


def least_squares(landmarks: np.ndarray) -> np.ndarray:
    """x' = p x − q y + r, y' = q x + p y + s, as ten equations for four unknowns."""
    rows, values = [], []
    for (x, y), (to_x, to_y) in zip(landmarks, TEMPLATE, strict=True):
        rows += [[x, -y, 1, 0], [y, x, 0, 1]]
        values += [to_x, to_y]
    p, q, r, s = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0]
    return np.array([[p, -q, r], [q, p, s]])


@given(st.lists(st.tuples(st.floats(-500, 500), st.floats(-500, 500)), min_size=5, max_size=5))
def test_the_alignment_is_the_least_squares_one(points: list[tuple[float, float]]) -> None:
    landmarks = np.array(points)
    if (np.abs(landmarks - landmarks.mean(0)) ** 2).sum() < 1:
        return
    np.testing.assert_allclose(to_template(landmarks), least_squares(landmarks), rtol=1e-6, atol=1e-6)


def test_landmarks_in_their_places_move_nothing() -> None:
    np.testing.assert_allclose(to_template(TEMPLATE), [[1, 0, 0], [0, 1, 0]], atol=1e-12)
    picture = random_picture(SIDE, SIDE)
    np.testing.assert_array_equal(aligned(picture, TEMPLATE), picture)


def test_a_face_elsewhere_and_larger_is_sampled_between_pixels() -> None:
    picture = random_picture(300, 260)
    found = aligned(picture, TEMPLATE * 1.5 + [20.25, 31.5])
    for x, y in [(3, 5), (60, 40), (111, 111), (17, 90)]:
        at_x, at_y = 1.5 * x + 20.25, 1.5 * y + 31.5
        left, top = int(at_x), int(at_y)
        a, b = at_x - left, at_y - top
        four = picture[top : top + 2, left : left + 2].astype(float)
        expected = (four * np.outer([1 - b, b], [1 - a, a])[..., None]).sum((0, 1))
        np.testing.assert_allclose(found[y, x], expected, atol=4)  # OpenCV samples at 1/32 of a pixel


def test_what_lies_outside_is_black_and_one_point_is_no_face() -> None:
    white = np.full((40, 40, 3), 255, np.uint8)
    assert (aligned(white, TEMPLATE + 500) == 0).all()
    assert aligned(white, np.full((5, 2), 7.0)) is None
    assert aligned(white, np.full((5, 2), np.nan)) is None


def test_a_box_grows_about_its_centre_and_stays_within() -> None:
    assert grown((10, 20, 30, 60), (100, 100)) == (7, 14, 33, 66)
    assert grown((-10, 90, 30, 130), (100, 100)) == (0, 84, 36, 100)
    assert grown((10, 20, 30, 60), (100, 100), 1.0) == (10, 20, 30, 60)


@given(st.tuples(*[st.floats(-300, 300)] * 4), st.integers(1, 200), st.integers(1, 200))
def test_any_box_can_be_cropped(box: tuple[float, float, float, float], height: int, width: int) -> None:
    left, top, right, bottom = grown(box, (height, width))
    assert 0 <= left <= width and 0 <= right <= width and 0 <= top <= height and 0 <= bottom <= height
    faces = every_face(np.zeros((height, width, 3), np.uint8), Told(box))
    assert len(faces) == (right > left and bottom > top)


class Recalling(Told):
    """Tells the same of every picture, and keeps what it was shown."""

    def __call__(self, picture: np.ndarray) -> Faces:
        self.__dict__.setdefault("shown", []).append(picture)
        return self._faces


def test_every_face_is_looked_for_again_in_its_grown_box() -> None:
    picture = random_picture(200, 300)
    detect = Recalling((20, 30, 60, 80), (200, 100, 290, 190), (400, 400, 500, 500))
    faces = every_face(picture, detect)
    assert len(faces) == 2  # the third box is outside
    left, top, right, bottom = 40 - 20 * GROWN, 55 - 25 * GROWN, 40 + 20 * GROWN, 55 + 25 * GROWN
    crop = picture[round(top) : round(bottom), round(left) : round(right)]
    np.testing.assert_array_equal(detect.shown[1], crop)
    found, box = faces[0]
    np.testing.assert_array_equal(found, aligned(crop, detect(crop).landmarks[0]))
    np.testing.assert_allclose(box, [34, 52, 74, 102])  # the first box again, from the crop's corner (14, 22)
    np.testing.assert_array_equal(first_face(picture, detect), aligned(picture, detect(picture).landmarks[0]))
    assert first_face(picture, Told()) is None and every_face(picture, Told()) == []


# OpenCV's networks


@real
def test_the_same_person_is_nearer_than_another(detect: YuNet, embed: SFace) -> None:
    people = {
        "alex": ["alex-lacamoire", "alex_lacamoire_img1"],
        "biden": ["biden", "biden_biden2"],
        "obama": ["obama", "obama1", "obama2"],
        "rose": ["rose_leslie_img1", "rose_leslie_img2"],
        "lin": ["lin-manuel-miranda"],
        "kit": ["johnsnow_test1"],
    }
    names = [(person, name) for person, files in people.items() for name in files]
    faces = [first_face(photograph(name), detect) for _, name in names]
    vectors = embed([face for face in faces if face is not None])
    assert vectors.shape == (len(names), 128)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    cosine = vectors @ vectors.T
    pairs = [(a, b) for a in range(len(names)) for b in range(a)]
    same = [cosine[a, b] for a, b in pairs if names[a][0] == names[b][0]]
    other = [cosine[a, b] for a, b in pairs if names[a][0] != names[b][0]]
    assert min(same) > 0.5 and max(other) < 0.35 and len(same) == 6


@real
def test_aligned_faces_are_opencvs_own(detect: YuNet) -> None:
    recognizer = cv2.FaceRecognizerSF.create(str(EMBEDDER), "")
    for path in PHOTOGRAPHS[:4]:
        picture = np.asarray(Image.open(path).convert("RGB"))
        faces = detect(picture)
        size = faces.boxes[0, 2:] - faces.boxes[0, :2]
        row = np.concatenate([faces.boxes[0, :2], size, faces.landmarks[0].ravel(), faces.scores[:1]])
        theirs = recognizer.alignCrop(np.ascontiguousarray(picture[..., ::-1]), row)[..., ::-1]
        ours = aligned(picture, faces.landmarks[0])
        assert np.abs(ours.astype(int) - theirs).mean() < 0.01


@real
def test_sface_is_opencvs_own_call(detect: YuNet, embed: SFace) -> None:
    face = first_face(photograph("obama"), detect)
    literal = cv2.FaceRecognizerSF.create(str(EMBEDDER), "").feature(np.ascontiguousarray(face[..., ::-1]))[0]
    np.testing.assert_allclose(embed([face])[0], literal / np.linalg.norm(literal), atol=1e-6)
    assert embed([]).shape == (0, 128)


@real
def test_boxes_and_landmarks_are_in_pixels_of_the_picture(detect: YuNet) -> None:
    picture = photograph("kit_with_rose")
    faces = detect(picture)
    assert len(faces) == 2 and (np.diff(faces.scores) <= 0).all()
    double = np.asarray(Image.fromarray(picture).resize((2 * picture.shape[1], 2 * picture.shape[0]), 3))
    np.testing.assert_allclose(detect(double).boxes, 2 * faces.boxes, atol=8)
    np.testing.assert_allclose(detect(double).landmarks, 2 * faces.landmarks, atol=8)
    for box, landmarks in zip(faces.boxes, faces.landmarks, strict=True):
        assert (landmarks >= box[:2]).all() and (landmarks <= box[2:]).all()


@real
@pytest.mark.parametrize("size", [(1, 1), (1, 500), (5, 5), (64, 64), (3000, 4000)])
def test_a_picture_without_a_face_has_none(detect: YuNet, size: tuple[int, int]) -> None:
    grey = np.full((*size, 3), 128, np.uint8)
    assert len(detect(grey)) == 0 and first_face(grey, detect) is None and every_face(grey, detect) == []


@real
def test_a_small_face_and_one_that_the_border_cuts_are_found(detect: YuNet, embed: SFace) -> None:
    picture = photograph("obama")
    reference = embed([first_face(picture, detect)])[0]
    canvas = np.full((768, 768, 3), 128, np.uint8)
    small = np.asarray(Image.fromarray(picture).resize((128, 160), Image.Resampling.BICUBIC))
    canvas[100:260, 640:768] = small  # a face of 34 pixels
    face, box = every_face(canvas, detect)[0]
    assert (box > [640, 100, 640, 100]).all() and (box < [768, 260, 768, 260]).all()
    assert embed([face])[0] @ reference > 0.8
    cut = first_face(np.ascontiguousarray(picture[:, 260:]), detect)  # half a face
    assert embed([cut])[0] @ reference > 0.5


@real
def test_a_huge_picture_is_looked_at_smaller(detect: YuNet) -> None:
    huge = np.asarray(Image.fromarray(photograph("obama")).resize((3072, 3840), Image.Resampling.BICUBIC))
    assert len(detect(huge)) == 1
    assert (detect(huge).boxes[0, 2:] - detect(huge).boxes[0, :2] > 600).all()


# files


@pytest.mark.parametrize("ending", [".onnx", ".pth", ".txt"])
def test_a_file_that_is_no_model_is_one_sentence(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"model{ending}"
    with pytest.raises(ValueError, match="The face detector is a file that ends in"):
        load_face_detector(file)
    file.write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=r"face embedder.*(cannot be loaded|is a file that ends in)"):
        load_face_embedder(file)
    if ending == ".onnx":
        with pytest.raises(ValueError, match="The face detector cannot be loaded"):
            load_face_detector(file)


@real
def test_a_detector_is_no_embedder_and_the_other_way_round() -> None:
    with pytest.raises(ValueError, match=r"face embedder|SFace"):
        load_face_embedder(DETECTOR)
    with pytest.raises(ValueError, match="face detector"):
        load_face_detector(EMBEDDER)
