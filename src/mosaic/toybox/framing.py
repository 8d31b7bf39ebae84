"""Where to aim a camera and how far to zoom in so that one toy fills the picture.

Letters: N parts, P points on the surface of each.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mosaic.toybox.solids import Solid
from mosaic.toybox.toy import Pose, Toy, model, posed

FloatArray = NDArray[np.float64]

_TURN: Final = np.linspace(0, 2 * np.pi, 16, endpoint=False)
_RING: Final = np.stack([np.cos(_TURN), np.sin(_TURN), np.zeros_like(_TURN)], 1)  # (16, 3)
_BALL: Final = np.concatenate(
    [np.cos(lift) * _RING + [0, 0, np.sin(lift)] for lift in np.radians([-90, -54, -18, 18, 54, 90])]
)
_RINGS: Final = np.tile(_RING[:, :2], (6, 1))
_BOX: Final = np.stack(np.meshgrid([-1.0, 1.0], [-1.0, 1.0], np.linspace(-1, 1, 24)), -1).reshape(-1, 3)


def surface(solid: FloatArray, shape: FloatArray) -> FloatArray:
    """(N, 96, 3) points of solids' unit frames that hold their extremes to within 2 % of their size."""
    ends = np.sign(_BALL[:, 2:])
    width = np.where(ends < 0, 1.0, shape[:, None, None])
    cone = np.concatenate([width * _RINGS, np.broadcast_to(ends, width.shape)], 2)
    capsule = _BALL + shape[:, None, None] * ends * [0, 0, 1]
    kind = solid[:, None, None]
    return np.where(
        kind == Solid.BOX,
        _BOX,
        np.where(kind == Solid.CONE, cone, np.where(kind == Solid.CAPSULE, capsule, _BALL)),
    )


def outline(toy: Toy, pose: Pose) -> FloatArray:
    """(N·P, 3) points of the world on the toy's surface."""
    rest = model(toy)
    frames = posed(rest, pose)
    local = surface(rest.solid, rest.shape)
    return (local @ frames[:, :, :3].transpose(0, 2, 1) + frames[:, None, :, 3]).reshape(-1, 3)


def fit(points: FloatArray, eye: FloatArray, fill: float) -> tuple[FloatArray, float]:
    """(aim, focal) of a camera at `eye`: points centred, the longer side of their box `fill` of the picture.

    `focal` is in half picture heights, as in `Camera`.
    """
    aim = points.mean(0)
    for _ in range(2):  # the box moves a little as the camera turns
        right, up, forward = axes(eye, aim)
        seen = points - eye
        plane = np.stack([seen @ right, seen @ up], 1) / (seen @ forward)[:, None]
        middle, half = (plane.max(0) + plane.min(0)) / 2, float(np.ptp(plane, 0).max()) / 2
        distance = float(np.linalg.norm(aim - eye))
        aim = aim + distance * (middle[0] * right + middle[1] * up)
    return aim, fill / half


def axes(eye: FloatArray, aim: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Right, up and forward of a camera, of length 1; z is up in the world."""
    forward = (aim - eye) / np.linalg.norm(aim - eye)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    return right, np.cross(right, forward), forward
