"""Faces found, aligned and embedded: detectors and embedders behind two protocols, from files by path.

    picture → boxes and five landmarks → 112 × 112 pixels, eyes, nose, mouth in their places → a unit vector

n faces, D width of a vector; H × W pixels. Landmarks are (x, y) in pixels: the eye on the picture's left, the
other one, the tip of the nose, the corner of the mouth on the left, the other one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mosaic.geometry import Size
from mosaic.sample import Picture

SIDE = 112  # pixels of an aligned face
TEMPLATE = np.array(  # of ArcFace and all that came after it
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
GROWN = 1.3  # a box before it is cropped, as XVerseBench has it
LEAST, OVERLAP = 0.7, 0.3  # YuNet's score, and how much two boxes of one face may share
LONGEST, SHORTEST = 640, 160  # pixels of the longer side YuNet looks at: it knows faces of 10 to 450 pixels
SFACE_WIDTH = 128

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Faces:
    """What a detector found, surest first."""

    boxes: Floats  # (n, 4) left, top, right, bottom in pixels; may reach over the border
    landmarks: Floats  # (n, 5, 2)
    scores: Floats  # (n,) in [0, 1]

    def __len__(self) -> int:
        return len(self.scores)


class FaceDetector(Protocol):
    """Finds faces; RetinaFace, which XVerseBench used, would be another one."""

    name: str

    def __call__(self, picture: Picture) -> Faces:
        """uint8 (H, W, 3) of any size."""
        ...


class FaceEmbedder(Protocol):
    """Vectors whose products are cosines of aligned faces."""

    name: str
    width: int

    def __call__(self, faces: Sequence[Picture]) -> Floats:
        """uint8 (112, 112, 3) each → (n, D), unit length."""
        ...


def grown(box: Sequence[float] | Floats, size: Size, by: float = GROWN) -> tuple[int, int, int, int]:
    """A box about its centre, `by` times as large, in whole pixels within a picture of `size`."""
    left, top, right, bottom = (float(side) for side in box)
    (x, y), (height, width) = ((left + right) / 2, (top + bottom) / 2), size
    half_x, half_y = (right - left) * by / 2, (bottom - top) * by / 2
    ends = [(x - half_x, width), (y - half_y, height), (x + half_x, width), (y + half_y, height)]
    left_, top_, right_, bottom_ = (min(max(round(at), 0), end) for at, end in ends)
    return left_, top_, right_, bottom_


def every_face(picture: Picture, detect: FaceDetector) -> list[tuple[Picture | None, Floats]]:
    """Of every face, surest first, what is found again in its grown box: aligned, and where it is.

    That is a box (4,) in pixels of the picture. None and zeros where nothing is found again; a box that lies
    outside the picture is left out.
    """
    faces = list[tuple[Picture | None, Floats]]()
    for box in detect(picture).boxes:
        left, top, right, bottom = grown(box, (picture.shape[0], picture.shape[1]))
        crop = picture[top:bottom, left:right]
        if crop.size:
            again = detect(crop)
            corner = np.array([left, top, left, top], np.float32)
            place = again.boxes[0] + corner if len(again) else 0 * corner
            faces.append((aligned(crop, again.landmarks[0]) if len(again) else None, place))
    return faces


def first_face(picture: Picture, detect: FaceDetector) -> Picture | None:
    """The surest face of a picture, aligned; None if there is none."""
    faces = detect(picture)
    return aligned(picture, faces.landmarks[0]) if len(faces) else None


def aligned(picture: Picture, landmarks: Floats) -> Picture | None:
    """uint8 (H, W, 3) and (5, 2) → uint8 (112, 112, 3), black where the picture does not reach.

    None if the landmarks are one point.
    """
    import cv2

    matrix = to_template(landmarks)
    if matrix is None:
        return None
    return np.asarray(cv2.warpAffine(picture, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR), np.uint8)


def to_template(landmarks: Floats) -> NDArray[np.float64] | None:
    """The turn, scale and shift (2, 3) that brings landmarks (5, 2) nearest to TEMPLATE, by least squares.

    As complex numbers it is w = a z + b, with a = Σ conj(z − z̄)(w − w̄) / Σ |z − z̄|².
    """
    source, target = (at[:, 0] + 1j * at[:, 1] for at in (landmarks.astype(np.float64), TEMPLATE))
    z, w = source - source.mean(), target - target.mean()
    spread = float((np.abs(z) ** 2).sum())
    if not np.isfinite(spread) or spread < 1e-6:
        return None
    a = (z.conj() * w).sum() / spread
    b = target.mean() - a * source.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


class YuNet:
    """A `FaceDetector`: OpenCV's face_detection_yunet_*.onnx (Apache-2.0), by path."""

    def __init__(self, at: str | Path, *, least: float = LEAST) -> None:
        import cv2

        _quiet()
        self.name = f"{Path(at).name} ({least:g})"
        with _opening("The face detector", at):
            self._net = cv2.FaceDetectorYN.create(str(at), "", (SHORTEST, SHORTEST), least, OVERLAP, 5000)
            self._net.detect(np.zeros((SHORTEST, SHORTEST, 3), np.uint8))  # another network fails here

    def __call__(self, picture: Picture) -> Faces:
        """Looked at with its longer side between SHORTEST and LONGEST pixels."""
        import cv2

        height, width = picture.shape[:2]
        scale = np.clip(max(height, width), SHORTEST, LONGEST) / max(height, width)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        seen = cv2.resize(picture, size, interpolation=how)[..., ::-1]
        self._net.setInputSize(size)
        _, found = self._net.detect(np.ascontiguousarray(seen))
        rows = np.zeros((0, 15), np.float32) if found is None else np.asarray(found, np.float32)
        rows = rows[np.argsort(-rows[:, 14], kind="stable")]
        rows[:, :14] *= np.tile([width / size[0], height / size[1]], 7)
        boxes = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1)
        return Faces(boxes=boxes, landmarks=rows[:, 4:14].reshape(-1, 5, 2), scores=rows[:, 14])


class SFace:
    """A `FaceEmbedder`: OpenCV's face_recognition_sface_*.onnx (Apache-2.0), by path."""

    width = SFACE_WIDTH

    def __init__(self, at: str | Path) -> None:
        import cv2

        _quiet()
        self.name = Path(at).name
        with _opening("The face embedder", at):
            self._net = cv2.FaceRecognizerSF.create(str(at), "")
            width = self._net.feature(np.zeros((SIDE, SIDE, 3), np.uint8)).size
        if width != self.width:
            raise ValueError(
                f"{at} gives {width} numbers a face, SFace {self.width}: give SFace's ONNX file."
            )

    def __call__(self, faces: Sequence[Picture]) -> Floats:
        """(n, 128), unit length; a vector of zeros stays one."""
        rows = [self._net.feature(np.ascontiguousarray(face[..., ::-1])).ravel() for face in faces]
        vectors = np.array(rows, np.float32).reshape(-1, self.width)
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def load_face_detector(at: str | Path) -> FaceDetector:
    """ValueError in one sentence if the file is no detector."""
    return YuNet(_file("detector", at, (".onnx",)))


def load_face_embedder(at: str | Path, device: str | None = None) -> FaceEmbedder:
    """SFace of an .onnx, IR-SE50 of a .pth or .safetensors. ValueError in one sentence for another file."""
    path = _file("embedder", at, (".onnx", ".pth", ".safetensors"))
    if path.suffix == ".onnx":
        return SFace(path)
    from mosaic.perception.irse50 import IRSE50

    return IRSE50(path, device=device)


def _file(part: str, at: str | Path, endings: Sequence[str]) -> Path:
    path = Path(at).expanduser()
    if not str(at) or not path.is_file() or path.suffix not in endings:
        raise ValueError(f"The face {part} is a file that ends in {' or '.join(endings)}, not {str(at)!r}.")
    return path


def _quiet() -> None:
    """OpenCV 5 warns of every network that it has no other target than the CPU."""
    import cv2

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)


@contextmanager
def _opening(what: str, at: str | Path) -> Iterator[None]:
    """OpenCV's own errors in one sentence, as those of any other library."""
    import cv2

    from mosaic.perception.loading import opening

    with opening(what, at):
        try:
            yield
        except cv2.error as error:
            raise ValueError(f"OpenCV cannot read it: {error}") from error
