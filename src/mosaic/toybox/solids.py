"""Analytic solids in their own unit frame: where a ray meets them, and the normal there.

Letters: N parts, F rays a part. Rays come as three components, each (N, F) or (N, 1), which is what makes
this fast. Every solid fits its frame: ellipsoid x² + y² + z² ≤ 1, box |x|, |y|, |z| ≤ 1, cone (truncated,
radius 1 at z = −1 and `shape` at z = 1), capsule (radius 1 about the segment |z| ≤ `shape`). Scale, rotation
and place come from the part's affine matrix, so a ray is brought into the frame and `t` stays the same.
"""

from enum import IntEnum

import torch
from torch import Tensor

EPSILON = 1e-9


class Solid(IntEnum):
    """The kinds of solids toys are built of."""

    ELLIPSOID = 0
    BOX = 1
    CONE = 2
    CAPSULE = 3


Components = tuple[Tensor, Tensor, Tensor]


def intersect(kind: Solid, origin: Components, direction: Components, shape: Tensor) -> Tensor:
    """Smallest t > 0 with `origin + t · direction` on the solid, or inf.

    origin (N, 1) and direction (N, F), by component, and shape (N, 1) are in the solid's frame; gives (N, F).
    """
    if kind is Solid.BOX:
        return _box(origin, direction)
    if kind is Solid.CONE:
        return _cone(origin, direction, shape)
    if kind is Solid.CAPSULE:
        return _capsule(origin, direction, shape)
    return _ball(origin, direction)


def normal(kind: Solid, point: Tensor, shape: Tensor) -> Tensor:
    """Outward normals (N, 3), of any length, at surface points (N, 3); the edges of a box are rounded."""
    x, y, z = point.unbind(-1)
    if kind is Solid.BOX:
        return point.sign() * point.abs().clamp(max=1) ** 12
    if kind is Solid.CAPSULE:
        return torch.stack([x, y, z - z.clamp(-shape, shape)], -1)
    if kind is Solid.CONE:
        side = torch.stack([x, y, (1 - shape) / 2 * (x * x + y * y).sqrt()], -1)
        cap = torch.stack([torch.zeros_like(x), torch.zeros_like(x), z.sign()], -1)
        return torch.where((z.abs() > 1 - 1e-4)[:, None], cap, side)
    return point


def _roots(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Both solutions of a·t² + 2·b·t + c = 0; nan where there are none."""
    root = (b * b - a * c).sqrt()
    a = torch.where(a.abs() < EPSILON, EPSILON, a)
    first, second = (-b - root) / a, (-b + root) / a
    return torch.minimum(first, second), torch.maximum(first, second)


def _accept(t: Tensor, inside: Tensor) -> Tensor:
    return torch.where(inside & (t > 0), t, torch.inf)  # a comparison with nan is false


def _ball(origin: Components, direction: Components, height: Tensor | float = 0.0) -> Tensor:
    (ox, oy, oz), (dx, dy, dz) = origin, direction
    oz = oz - height
    near, _ = _roots(
        dx * dx + dy * dy + dz * dz, ox * dx + oy * dy + oz * dz, ox * ox + oy * oy + oz * oz - 1
    )
    return _accept(near, near == near)


def _box(origin: Components, direction: Components) -> Tensor:
    near = far = None
    for o, d in zip(origin, direction, strict=True):
        step = torch.where(d.abs() < EPSILON, EPSILON, d)
        first, second = (-1 - o) / step, (1 - o) / step
        low, high = torch.minimum(first, second), torch.maximum(first, second)
        near = low if near is None else torch.maximum(near, low)
        far = high if far is None else torch.minimum(far, high)
    assert near is not None and far is not None
    return _accept(near, near <= far)


def _cone(origin: Components, direction: Components, shape: Tensor) -> Tensor:
    (ox, oy, oz), (dx, dy, dz) = origin, direction
    slope, middle = (shape - 1) / 2, (shape + 1) / 2
    radius, grow = slope * oz + middle, slope * dz  # radius along the ray
    near, far = _roots(
        dx * dx + dy * dy - grow * grow,
        ox * dx + oy * dy - radius * grow,
        ox * ox + oy * oy - radius * radius,
    )
    best = torch.full_like(dz, torch.inf)
    for t in (near, far):
        best = torch.minimum(best, _accept(t, ((oz + t * dz).abs() <= 1) & (radius + t * grow >= 0)))
    safe = torch.where(dz.abs() < EPSILON, EPSILON, dz)
    for level, limit in ((-1.0, 1.0), (1.0, shape)):
        t = (level - oz) / safe
        best = torch.minimum(best, _accept(t, (ox + t * dx) ** 2 + (oy + t * dy) ** 2 <= limit**2))
    return best


def _capsule(origin: Components, direction: Components, shape: Tensor) -> Tensor:
    (ox, oy, oz), (dx, dy, dz) = origin, direction
    near, _ = _roots(dx * dx + dy * dy, ox * dx + oy * dy, ox * ox + oy * oy - 1)
    best = _accept(near, (oz + near * dz).abs() <= shape)
    for end in (-shape, shape):
        best = torch.minimum(best, _ball(origin, direction, end))
    return best
