"""The building blocks of a toy: solids with a place, a size, a colour and perhaps a joint.

Toy frame: x to the toy's left hand (the viewer's right), y to its front, z up; it stands on z = 0 and is
about one unit tall.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from mosaic.toybox.solids import Solid

Vector = tuple[float, float, float]
FloatArray = NDArray[np.float64]


class Paint(IntEnum):
    """Where a part's colour comes from: the identity's palette, or the species (fixed)."""

    PRIMARY = 0  # wears the identity's pattern
    SECONDARY = 1
    ACCENT = 2
    ACCESSORY = 3
    BADGE = 4
    DARK = 5
    LIGHT = 6
    HORN = 7
    STEEL = 8
    WOOD = 9


FIXED = {
    Paint.DARK: (28, 26, 32),
    Paint.LIGHT: (250, 250, 250),
    Paint.HORN: (240, 150, 50),
    Paint.STEEL: (150, 155, 165),
    Paint.WOOD: (140, 98, 58),
}


class Joint(IntEnum):
    """Which of the pose's angles moves a part."""

    NONE = -1
    LEFT = 0
    RIGHT = 1
    HEAD = 2


@dataclass(frozen=True, slots=True)
class Part:
    """One solid: `half` sizes about `centre`, turned by `tilt` (degrees about x, then y, then z)."""

    solid: Solid
    paint: Paint
    centre: Vector
    half: Vector
    tilt: Vector = (0.0, 0.0, 0.0)
    shape: float = 1.0
    joint: Joint = Joint.NONE
    pivot: Vector = (0.0, 0.0, 0.0)

    def frame(self) -> FloatArray:
        """Affine (3, 4) from the solid's unit frame to the toy's."""
        return np.concatenate([rotation(self.tilt) * np.array(self.half), np.array(self.centre)[:, None]], 1)


@dataclass(frozen=True, slots=True)
class Body:
    """A species in one identity's proportions: its parts, and where things are worn."""

    parts: tuple[Part, ...]
    crown: Vector  # where a hat stands
    neck: tuple[Vector, float]  # centre and radius of a scarf
    chest: Vector  # where a badge sits, facing the front
    side: Vector  # where a flag is planted


def rotation(degrees: Sequence[float]) -> FloatArray:
    """Rotation (3, 3) about x, then y, then z."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x)


def ball(paint: Paint, centre: Vector, half: Vector | float, tilt: Vector = (0, 0, 0)) -> Part:
    """An ellipsoid."""
    half = (half, half, half) if isinstance(half, (int, float)) else half
    return Part(Solid.ELLIPSOID, paint, centre, half, tilt)


def box(paint: Paint, centre: Vector, half: Vector, tilt: Vector = (0, 0, 0)) -> Part:
    """A box with softened edges."""
    return Part(Solid.BOX, paint, centre, half, tilt)


def cone(
    paint: Paint, centre: Vector, radius: float, height: float, top: float = 1.0, tilt: Vector = (0, 0, 0)
) -> Part:
    """A cylinder, or a cone whose top radius is `top` times the bottom one; `height` is the whole height."""
    return Part(Solid.CONE, paint, centre, (radius, radius, height / 2), tilt, top)


def rod(paint: Paint, start: Vector, end: Vector, radius: float) -> Part:
    """A capsule from start to end."""
    axis = np.subtract(end, start)
    length = float(np.linalg.norm(axis))
    lean = float(np.degrees(np.arctan2(np.hypot(axis[0], axis[1]), axis[2])))
    heading = float(np.degrees(np.arctan2(axis[1], axis[0])))
    x, y, z = (np.add(start, end) / 2).tolist()
    return Part(Solid.CAPSULE, paint, (x, y, z), (radius,) * 3, (0.0, lean, heading), length / 2 / radius)


def jointed(joint: Joint, pivot: Vector, *parts: Part) -> list[Part]:
    """The parts, moved by a joint of the pose about a pivot."""
    return [replace(part, joint=joint, pivot=pivot) for part in parts]


def mirrored(*parts: Part) -> list[Part]:
    """The parts and their images on the other side; a left joint becomes a right one."""
    other = {Joint.LEFT: Joint.RIGHT, Joint.RIGHT: Joint.LEFT}
    images = [
        replace(
            part,
            centre=(-part.centre[0], *part.centre[1:]),
            tilt=(
                part.tilt[0],
                -part.tilt[1],
                180 - part.tilt[2] if part.solid is Solid.CAPSULE else -part.tilt[2],
            ),
            joint=other.get(part.joint, part.joint),
            pivot=(-part.pivot[0], *part.pivot[1:]),
        )
        for part in parts
    ]
    return [*parts, *images]
