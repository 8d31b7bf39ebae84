"""A toy: a species in an identity, dressed, and posed in the world."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from mosaic.toybox.identity import ACCESSORIES, BADGES, COLOURS, LEVELS, PALETTE, Identity
from mosaic.toybox.parts import FIXED, Body, FloatArray, Joint, Paint, Part, ball, box, cone, rod, rotation
from mosaic.toybox.species import SPECIES


@dataclass(frozen=True, kw_only=True, slots=True)
class Toy:
    """A thing with an identity and a noun."""

    species: str
    identity: Identity


@dataclass(frozen=True, kw_only=True, slots=True)
class Pose:
    """How a toy stands at its `place`: turned, leaning, limbs and head moved, all in degrees."""

    yaw: float = 0.0
    pitch: float = 0.0
    limbs: tuple[float, float, float] = (0.0, 0.0, 0.0)
    place: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Model:
    """A toy's parts as arrays over N parts; equal toys give equal arrays."""

    solid: FloatArray  # (N,) of `Solid`
    shape: FloatArray  # (N,)
    frame: FloatArray  # (N, 3, 4) from unit frame to toy frame at rest
    rgb: FloatArray  # (N, 3) in 0..1
    patterned: FloatArray  # (N,) 1 where the identity's pattern is painted
    pattern_rgb: FloatArray  # (3,) colour of the pattern
    joint: FloatArray  # (N,)
    pivot: FloatArray  # (N, 3)


def _factor(level: int, spread: float) -> float:
    return 1 + spread * (2 * level / (LEVELS - 1) - 1)


def colour_of(paint: Paint, identity: Identity) -> tuple[int, int, int]:
    """RGB 0..255 of a paint on this identity."""
    slots = {
        Paint.PRIMARY: identity.primary,
        Paint.SECONDARY: identity.secondary,
        Paint.ACCENT: identity.accent,
        Paint.ACCESSORY: identity.accessory_colour,
        Paint.BADGE: identity.badge_colour,
    }
    return FIXED[paint] if paint in FIXED else PALETTE[COLOURS[slots[paint]]]


@lru_cache(maxsize=4096)
def model(toy: Toy) -> Model:
    """The toy's parts at rest, accessory and badge included."""
    identity = toy.identity
    body = SPECIES[toy.species](
        _factor(identity.width, 0.12), _factor(identity.head, 0.12), _factor(identity.limbs, 0.15)
    )
    parts = [
        *body.parts,
        *_accessory(ACCESSORIES[identity.accessory], body),
        *_badge(BADGES[identity.badge], body),
    ]
    return Model(
        solid=np.array([p.solid for p in parts], float),
        shape=np.array([p.shape for p in parts], float),
        frame=np.stack([p.frame() for p in parts]),
        rgb=np.array([colour_of(p.paint, identity) for p in parts], float) / 255,
        patterned=np.array([p.paint is Paint.PRIMARY for p in parts], float),
        pattern_rgb=np.array(colour_of(Paint.ACCENT, identity), float) / 255,
        joint=np.array([p.joint for p in parts], float),
        pivot=np.array([p.pivot for p in parts], float),
    )


def _accessory(name: str, body: Body) -> list[Part]:
    (x, y, z), paint = body.crown, Paint.ACCESSORY
    if name == "hat":
        return [cone(paint, (x, y, z + 0.02), 0.22, 0.05), cone(paint, (x, y, z + 0.15), 0.14, 0.24, 0.85)]
    if name == "pompom":
        return [cone(paint, (x, y, z + 0.1), 0.18, 0.24, 0.1), ball(paint, (x, y, z + 0.26), 0.085)]
    if name == "bow":
        wings = [
            ball(paint, (x + s * 0.12, y + 0.06, z + 0.05), (0.12, 0.06, 0.1), (0, s * 20, 0))
            for s in (-1, 1)
        ]
        return [*wings, ball(paint, (x, y + 0.09, z + 0.05), 0.06)]
    if name == "scarf":
        (cx, cy, cz), radius = body.neck
        tail = rod(paint, (cx + 0.1, cy + radius, cz), (cx + 0.13, cy + radius + 0.05, cz - 0.2), 0.06)
        return [ball(paint, (cx, cy, cz), (radius + 0.08, radius + 0.08, 0.085)), tail]
    if name == "flag":
        fx, fy, fz = body.side
        out = 0.14 if fx >= 0 else -0.14
        cloth = box(paint, (fx + out * 2.1, fy, fz + 0.62), (0.15, 0.015, 0.12))
        return [rod(Paint.DARK, (fx + out, fy, fz - 0.2), (fx + out, fy, fz + 0.75), 0.02), cloth]
    return []


def _badge(name: str, body: Body) -> list[Part]:
    (x, y, z), paint = body.chest, Paint.BADGE
    if name == "disc":
        return [cone(paint, (x, y, z), 0.12, 0.1, 1, (90, 0, 0))]
    if name == "square":
        return [box(paint, (x, y, z), (0.1, 0.05, 0.1))]
    if name == "cross":
        return [box(paint, (x, y, z), (0.14, 0.05, 0.05)), box(paint, (x, y, z), (0.05, 0.05, 0.14))]
    return []


def posed(rest: Model, pose: Pose) -> FloatArray:
    """Frames (N, 3, 4) from unit frame to the world."""
    frames = rest.frame.copy()
    tilts = {
        Joint.LEFT: (0, -pose.limbs[0], 0),
        Joint.RIGHT: (0, pose.limbs[1], 0),
        Joint.HEAD: (0, 0, pose.limbs[2]),
    }
    for joint, tilt in tilts.items():
        moved = rest.joint == joint
        if moved.any():
            turn, pivot = rotation(tilt), rest.pivot[moved]
            frames[moved, :, 3] -= pivot
            frames[moved] = turn @ frames[moved]
            frames[moved, :, 3] += pivot
    frames = pose.scale * (rotation((pose.pitch, 0, pose.yaw)) @ frames)
    frames[:, :, 3] += np.array(pose.place)
    return frames
