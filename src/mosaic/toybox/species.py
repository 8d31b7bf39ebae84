"""What toys there are: each species is a function from proportions to a body.

Proportions are factors about 1: w of the body's girth, h of the head, l of the limbs.
"""

from collections.abc import Callable
from itertools import pairwise

from mosaic.toybox.parts import Body, Joint, Paint, ball, box, cone, jointed, mirrored, rod

DARK, LIGHT, HORN, STEEL, WOOD = Paint.DARK, Paint.LIGHT, Paint.HORN, Paint.STEEL, Paint.WOOD
MAIN, LIMB, ACCENT = Paint.PRIMARY, Paint.SECONDARY, Paint.ACCENT
Builder = Callable[[float, float, float], Body]


def bear(w: float, h: float, l: float) -> Body:
    """Round ears, a muzzle, arms that swing."""
    shoulder, head = 0.27 * w, 0.82
    parts = [ball(MAIN, (0, 0, 0.36), (0.3 * w, 0.26 * w, 0.34))]
    parts += mirrored(ball(LIMB, (0.17 * w, 0.1, 0.1), (0.13, 0.17 * l, 0.11)))
    arm = rod(LIMB, (shoulder, 0.02, 0.5), (shoulder + 0.17 * l, 0.12, 0.34), 0.085)
    parts += mirrored(*jointed(Joint.LEFT, (shoulder, 0, 0.5), arm))
    face = [ball(MAIN, (0, 0.02, head), (0.27 * h, 0.24 * h, 0.24 * h))]
    face += [ball(ACCENT, (0, 0.23 * h, head - 0.07), (0.12 * h, 0.09, 0.085 * h)), ball(DARK, (0, 0.32 * h, head - 0.05), 0.04)]
    face += mirrored(ball(LIMB, (0.21 * h, 0, head + 0.2 * h), (0.105 * h, 0.06, 0.105 * h)))
    face += mirrored(ball(DARK, (0.1 * h, 0.22 * h, head + 0.05), 0.038))
    parts += jointed(Joint.HEAD, (0, 0, 0.65), *face)
    return Body(tuple(parts), (0, 0, head + 0.22 * h), ((0, 0.02, 0.63), 0.2 * w), (0, 0.25 * w, 0.38), (0.3 * w, 0, 0.3))


def duck(w: float, h: float, l: float) -> Body:
    """A boat-shaped body, a bill, wings that lift."""
    head = 0.72
    parts = [ball(MAIN, (0, -0.05, 0.3), (0.33 * w, 0.4, 0.28))]
    parts += [ball(MAIN, (0, -0.42, 0.44), (0.14 * w, 0.16, 0.11), (-35, 0, 0))]
    parts += mirrored(*jointed(Joint.LEFT, (0.28 * w, 0, 0.42), ball(LIMB, (0.33 * w, -0.08, 0.32), (0.07, 0.25 * l, 0.15 * l), (15, 0, 0))))
    face = [ball(MAIN, (0, 0.2, head), 0.24 * h)]
    face += [ball(HORN, (0, 0.2 + 0.27 * h, head - 0.05), (0.13 * h, 0.14 * h, 0.045))]
    face += [ball(ACCENT, (0, 0.1, head + 0.24 * h), (0.05, 0.1, 0.09))]
    face += mirrored(ball(DARK, (0.12 * h, 0.2 + 0.18 * h, head + 0.07), 0.042))
    parts += jointed(Joint.HEAD, (0, 0.18, 0.5), *face)
    return Body(tuple(parts), (0, 0.2, head + 0.22 * h), ((0, 0.14, 0.52), 0.19 * w), (0, 0.34, 0.34), (0.3 * w, -0.15, 0.35))


def robot(w: float, h: float, l: float) -> Body:
    """Boxes, a visor, wheels for feet."""
    head = 0.84
    parts = [box(MAIN, (0, 0, 0.42), (0.27 * w, 0.2, 0.24))]
    parts += mirrored(box(LIMB, (0.14 * w, 0.02, 0.1), (0.09, 0.15 * l, 0.1)))
    arm = [rod(STEEL, (0.27 * w, 0, 0.55), (0.38 * w, 0, 0.5), 0.05), box(LIMB, (0.4 * w, 0.03, 0.36), (0.075, 0.09, 0.16 * l))]
    parts += mirrored(*jointed(Joint.LEFT, (0.3 * w, 0, 0.55), *arm))
    face = [box(MAIN, (0, 0, head), (0.22 * h, 0.18 * h, 0.15 * h)), box(DARK, (0, 0.17 * h, head + 0.02), (0.17 * h, 0.03, 0.075 * h))]
    face += mirrored(ball(ACCENT, (0.08 * h, 0.2 * h, head + 0.02), 0.05 * h), cone(STEEL, (0.24 * h, 0, head), 0.06, 0.06, 1, (0, 90, 0)))
    parts += [cone(STEEL, (0, 0, 0.68), 0.08, 0.06), *jointed(Joint.HEAD, (0, 0, 0.68), *face)]
    return Body(tuple(parts), (0, 0, head + 0.14 * h), ((0, 0, 0.68), 0.16), (0, 0.2, 0.42), (0.27 * w, 0, 0.3))


def mug(w: float, h: float, l: float) -> Body:
    """A cup with a rim, a drink and a handle of four rods."""
    r, top = 0.32 * w, 0.62 * h
    parts = [cone(MAIN, (0, 0, top / 2 + 0.03), r, top, 1.12), cone(LIMB, (0, 0, 0.05), r * 1.04, 0.1)]
    parts += [cone(LIMB, (0, 0, top + 0.04), r * 1.16, 0.07), cone(ACCENT, (0, 0, top + 0.06), r * 1.0, 0.05)]
    out = r + 0.24 * l
    ring = [(r * 0.98, 0.0, top * 0.84), (out, 0.0, top * 0.74), (out, 0.0, top * 0.36), (r * 0.95, 0.0, top * 0.24)]
    parts += [rod(LIMB, start, end, 0.055) for start, end in pairwise(ring)]
    return Body(tuple(parts), (0, 0, top + 0.07), ((0, 0, top * 0.5), r * 1.08), (0, r * 1.05, top * 0.5), (-r, 0, top * 0.7))


def car(w: float, h: float, l: float) -> Body:
    """A hull, a cabin with windows, four wheels, lamps; it faces a little sideways when at rest."""
    long = 0.5 * l
    parts = [box(MAIN, (0, 0, 0.26), (0.3 * w, long, 0.14)), box(MAIN, (0, -0.06, 0.5), (0.25 * w, 0.27, 0.15 * h))]
    parts += [box(DARK, (0, -0.06, 0.51), (0.255 * w, 0.2, 0.08 * h)), box(DARK, (0, -0.06, 0.51), (0.2 * w, 0.275, 0.085 * h))]
    parts += mirrored(*(cone(LIMB, (0.29 * w, y, 0.14), 0.15, 0.12, 1, (0, 90, 0)) for y in (-0.28, 0.28)))
    parts += mirrored(*(cone(LIGHT, (0.3 * w, y, 0.14), 0.06, 0.13, 1, (0, 90, 0)) for y in (-0.28, 0.28)))
    parts += mirrored(ball(ACCENT, (0.19 * w, long, 0.3), (0.07, 0.04, 0.06)))
    parts += [box(ACCENT, (0, long + 0.01, 0.17), (0.28 * w, 0.03, 0.045))]
    return Body(tuple(parts), (0, -0.06, 0.5 + 0.14 * h), ((0, -0.06, 0.37), 0.28 * w), (0, long * 0.6, 0.4), (0.25 * w, -0.35, 0.35))


def rabbit(w: float, h: float, l: float) -> Body:
    """Long ears, big feet, a tail."""
    head = 0.72
    parts = [ball(MAIN, (0, 0, 0.3), (0.25 * w, 0.24 * w, 0.3)), ball(LIGHT, (0, -0.25 * w, 0.2), 0.1)]
    parts += mirrored(ball(LIMB, (0.15 * w, 0.12, 0.07), (0.1, 0.2 * l, 0.075)))
    parts += mirrored(*jointed(Joint.LEFT, (0.2 * w, 0.05, 0.42), rod(LIMB, (0.2 * w, 0.08, 0.42), (0.22 * w + 0.08 * l, 0.22, 0.3), 0.065)))
    face = [ball(MAIN, (0, 0.02, head), (0.23 * h, 0.21 * h, 0.21 * h)), ball(ACCENT, (0, 0.22 * h, head - 0.03), (0.045, 0.03, 0.035))]
    face += mirrored(
        ball(MAIN, (0.11 * h, -0.02, head + 0.36 * h), (0.075, 0.045, 0.22 * h), (0, 12, 0)),
        ball(ACCENT, (0.113 * h, 0.015, head + 0.36 * h), (0.042, 0.03, 0.17 * h), (0, 12, 0)),
        ball(DARK, (0.1 * h, 0.19 * h, head + 0.05), 0.038),
        ball(LIGHT, (0.06 * h, 0.18 * h, head - 0.08), (0.07, 0.05, 0.055)),
    )
    parts += jointed(Joint.HEAD, (0, 0, 0.55), *face)
    return Body(tuple(parts), (0, 0.04, head + 0.18 * h), ((0, 0.02, 0.53), 0.18 * w), (0, 0.23 * w, 0.3), (0.24 * w, 0, 0.25))


def rocket(w: float, h: float, l: float) -> Body:
    """A tube with a nose, three fins, a window, a nozzle."""
    r = 0.24 * w
    parts = [cone(MAIN, (0, 0, 0.47), r, 0.62), cone(LIMB, (0, 0, 0.78 + 0.17 * h), r, 0.34 * h, 0.02), cone(STEEL, (0, 0, 0.1), r * 0.9, 0.12, 0.7)]
    parts += [cone(ACCENT, (0, 0, 0.77), r * 1.03, 0.05), ball(LIGHT, (0, r * 0.92, 0.64), (0.11, 0.05, 0.11)), ball(DARK, (0, r * 0.99, 0.64), (0.08, 0.05, 0.08))]
    parts += mirrored(box(LIMB, (r + 0.1 * l, 0, 0.2), (0.13 * l, 0.035, 0.17), (0, -20, 0)))
    parts += [box(LIMB, (0, r + 0.1 * l, 0.16), (0.035, 0.13 * l, 0.13), (20, 0, 0))]
    return Body(tuple(parts), (0, 0, 0.74 + 0.32 * h), ((0, 0, 0.5), r * 1.05), (0, r, 0.42), (-r, 0, 0.35))


def boat(w: float, h: float, l: float) -> Body:
    """A hull, a cabin, a funnel, portholes."""
    parts = [ball(MAIN, (0, 0, 0.28), (0.32 * w, 0.5, 0.26)), box(LIMB, (0, 0, 0.36), (0.3 * w, 0.42, 0.1))]
    parts += [box(MAIN, (0, -0.08, 0.54), (0.2 * w, 0.2, 0.12 * h)), box(LIGHT, (0, -0.08, 0.54 + 0.13 * h), (0.24 * w, 0.24, 0.025))]
    parts += [cone(ACCENT, (0, -0.1, 0.62 + 0.13 * h + 0.09 * l), 0.09, 0.26 * l), cone(DARK, (0, -0.1, 0.62 + 0.13 * h + 0.23 * l), 0.095, 0.05)]
    parts += [ball(DARK, (x, 0.11, 0.55), (0.05, 0.03, 0.05)) for x in (-0.1 * w, 0.1 * w)]
    parts += mirrored(*(ball(LIGHT, (0.3 * w, y, 0.36), (0.03, 0.055, 0.055)) for y in (-0.18, 0.02, 0.22)))
    return Body(tuple(parts), (0, -0.1, 0.62 + 0.13 * h + 0.22 * l), ((0, -0.08, 0.46), 0.29 * w), (0, 0.42, 0.36), (0, 0.34, 0.42))


def snowman(w: float, h: float, l: float) -> Body:
    """Two balls and a head, coal buttons, stick arms, a carrot."""
    head = 0.84
    parts = [ball(MAIN, (0, 0, 0.24), (0.29 * w, 0.28 * w, 0.25)), ball(MAIN, (0, 0, 0.56), (0.22 * w, 0.21 * w, 0.19))]
    parts += mirrored(*jointed(Joint.LEFT, (0.18 * w, 0, 0.6), rod(LIMB, (0.18 * w, 0, 0.6), (0.2 * w + 0.22 * l, 0.05, 0.72), 0.04)))
    parts += mirrored(ball(LIMB, (0.13 * w, 0.16, 0.05), (0.1, 0.12, 0.06)))
    face = [ball(MAIN, (0, 0, head), 0.18 * h), cone(HORN, (0, 0.24 * h, head), 0.045, 0.2, 0.05, (-90, 0, 0))]
    face += mirrored(ball(DARK, (0.07 * h, 0.16 * h, head + 0.05), 0.034))
    parts += [*(ball(ACCENT, (0, 0.215 * w, z), 0.035) for z in (0.5, 0.62)), *jointed(Joint.HEAD, (0, 0, 0.72), *face)]
    return Body(tuple(parts), (0, 0, head + 0.16 * h), ((0, 0, 0.72), 0.16 * w), (0, 0.28 * w, 0.27), (-0.27 * w, 0, 0.2))


def mushroom(w: float, h: float, l: float) -> Body:
    """A cap with spots on a stalk with a face."""
    cap, r = 0.6, 0.43 * w
    parts = [cone(LIMB, (0, 0, 0.28), 0.19 * l, 0.56, 0.8), ball(MAIN, (0, 0, cap), (r, r, 0.32 * h)), cone(LIMB, (0, 0, cap - 0.09), r * 0.97, 0.05)]
    parts += [ball(ACCENT, (r * 0.6 * x, r * 0.6 * y, cap + 0.25 * h), (0.09, 0.09, 0.05)) for x, y in ((0.9, 0.6), (-0.9, 0.6), (0, -0.9))]
    parts += [*mirrored(ball(DARK, (0.075, 0.165 * l, 0.36), 0.036)), ball(ACCENT, (0, 0.17 * l, 0.28), (0.05, 0.03, 0.025))]
    parts += mirrored(ball(LIMB, (0.1, 0.1, 0.05), (0.1, 0.13, 0.06)))
    return Body(tuple(parts), (0, 0, cap + 0.3 * h), ((0, 0, 0.45), 0.18 * l), (0, r * 0.88, cap + 0.1), (0.18 * l, 0, 0.2))


def turtle(w: float, h: float, l: float) -> Body:
    """A domed shell, four flippers, a raised head."""
    parts = [ball(MAIN, (0, -0.06, 0.26), (0.38 * w, 0.4, 0.33)), cone(ACCENT, (0, -0.06, 0.2), 0.4 * w, 0.07, 0.97)]
    parts += mirrored(ball(LIMB, (0.32 * w, 0.2, 0.1), (0.17 * l, 0.13, 0.08), (0, 0, 30)), ball(LIMB, (0.3 * w, -0.34, 0.09), (0.14 * l, 0.11, 0.07), (0, 0, -30)))
    face = [ball(LIMB, (0, 0.44, 0.45), (0.17 * h, 0.18 * h, 0.17 * h)), rod(LIMB, (0, 0.25, 0.2), (0, 0.4, 0.4), 0.09)]
    face += mirrored(ball(LIGHT, (0.08 * h, 0.56, 0.52), 0.05), ball(DARK, (0.085 * h, 0.595, 0.525), 0.03))
    parts += jointed(Joint.HEAD, (0, 0.25, 0.25), *face)
    return Body(tuple(parts), (0, 0.44, 0.42 + 0.17 * h), ((0, 0.34, 0.3), 0.12), (0, 0.26, 0.44), (0, -0.3, 0.5))


def penguin(w: float, h: float, l: float) -> Body:
    """An upright body with a light front, flippers, a beak."""
    head = 0.78
    parts = [ball(MAIN, (0, 0, 0.4), (0.27 * w, 0.24 * w, 0.38)), ball(LIGHT, (0, 0.09 * w, 0.34), (0.19 * w, 0.17 * w, 0.28))]
    parts += mirrored(ball(HORN, (0.12 * w, 0.14, 0.04), (0.1, 0.14, 0.045)))
    parts += mirrored(*jointed(Joint.LEFT, (0.24 * w, 0, 0.58), ball(LIMB, (0.3 * w, 0.02, 0.42), (0.055, 0.11, 0.22 * l), (0, -14, 0))))
    face = [ball(MAIN, (0, 0.02, head), 0.2 * h), cone(HORN, (0, 0.25 * h, head - 0.02), 0.06, 0.14, 0.1, (-90, 0, 0))]
    face += mirrored(ball(ACCENT, (0.09 * h, 0.15 * h, head + 0.03), (0.075 * h, 0.06, 0.08 * h)), ball(DARK, (0.09 * h, 0.2 * h, head + 0.04), 0.03))
    parts += jointed(Joint.HEAD, (0, 0, 0.65), *face)
    return Body(tuple(parts), (0, 0.02, head + 0.18 * h), ((0, 0.02, 0.64), 0.2 * w), (0, 0.26 * w, 0.36), (0.27 * w, 0, 0.25))


def house(w: float, h: float, l: float) -> Body:
    """Walls, a pyramid roof, a door, windows, a chimney."""
    side = 0.34 * w
    parts = [box(MAIN, (0, 0, 0.27), (side, 0.3, 0.27)), cone(LIMB, (0, 0, 0.54 + 0.18 * h), 0.52 * w, 0.36 * h, 0.02)]
    parts += [box(ACCENT, (0, 0.3, 0.17), (0.09, 0.03, 0.17)), ball(DARK, (0.045, 0.335, 0.17), 0.02), box(LIMB, (0.2 * w, -0.1, 0.72), (0.07, 0.07, 0.2 * l))]
    parts += mirrored(box(LIGHT, (0.22 * w, 0.3, 0.32), (0.075, 0.025, 0.085)), box(LIGHT, (side, 0, 0.32), (0.025, 0.1, 0.09)))
    return Body(tuple(parts), (0, 0, 0.5 + 0.34 * h), ((0, 0, 0.5), 0.37 * w), (-0.01, 0.3, 0.45), (-0.34 * w, 0.2, 0.3))


def cat(w: float, h: float, l: float) -> Body:
    """Pointed ears, whiskers' muzzle, a curled tail."""
    head = 0.7
    parts = [ball(MAIN, (0, -0.05, 0.3), (0.24 * w, 0.28, 0.3)), rod(LIMB, (0.1, -0.3, 0.12), (0.34 * l, -0.3, 0.3), 0.06), rod(LIMB, (0.34 * l, -0.3, 0.3), (0.32 * l, -0.28, 0.56), 0.06)]
    parts += mirrored(*jointed(Joint.LEFT, (0.12 * w, 0.15, 0.35), rod(LIMB, (0.13 * w, 0.17, 0.34), (0.13 * w, 0.24, 0.07), 0.075)), ball(LIMB, (0.22 * w, -0.02, 0.1), (0.11, 0.2 * l, 0.1)))
    face = [ball(MAIN, (0, 0.08, head), (0.26 * h, 0.21 * h, 0.21 * h)), ball(LIGHT, (0, 0.08 + 0.19 * h, head - 0.06), (0.1 * h, 0.06, 0.065 * h)), ball(DARK, (0, 0.1 + 0.24 * h, head - 0.03), 0.028)]
    face += mirrored(cone(MAIN, (0.16 * h, 0.06, head + 0.22 * h), 0.1 * h, 0.2 * h, 0.05, (0, 12, 0)), cone(ACCENT, (0.157 * h, 0.1, head + 0.215 * h), 0.06 * h, 0.14 * h, 0.05, (0, 12, 0)))
    face += mirrored(ball(ACCENT, (0.1 * h, 0.08 + 0.17 * h, head + 0.04), (0.055, 0.04, 0.06)), ball(DARK, (0.1 * h, 0.1 + 0.19 * h, head + 0.04), (0.025, 0.03, 0.05)))
    parts += jointed(Joint.HEAD, (0, 0.08, 0.5), *face)
    return Body(tuple(parts), (0, 0.06, head + 0.18 * h), ((0, 0.08, 0.52), 0.18 * w), (0, 0.21, 0.36), (-0.24 * w, -0.15, 0.25))


def lamp(w: float, h: float, l: float) -> Body:
    """A foot, a stem, a wide shade, a switch."""
    parts = [cone(LIMB, (0, 0, 0.06), 0.27 * w, 0.12, 0.75), rod(STEEL, (0, 0, 0.1), (0, 0, 0.6), 0.05), ball(ACCENT, (0, 0, 0.26), 0.13 * l)]
    parts += [cone(MAIN, (0, 0, 0.5 + 0.26 * h), 0.42 * w, 0.5 * h, 0.55), cone(LIMB, (0, 0, 0.5 + 0.03 * h), 0.43 * w, 0.06, 0.97), cone(ACCENT, (0, 0, 0.5 + 0.49 * h), 0.25 * w, 0.05)]
    return Body(tuple(parts), (0, 0, 0.5 + 0.5 * h), ((0, 0, 0.42), 0.12), (0, 0.34 * w, 0.7), (0.25 * w, 0, 0.08))


def train(w: float, h: float, l: float) -> Body:
    """A boiler, a cab, a funnel, six wheels, a buffer."""
    parts = [cone(MAIN, (0, 0.14, 0.38), 0.2 * w, 0.5, 1, (90, 0, 0)), box(MAIN, (0, -0.26, 0.48), (0.25 * w, 0.2, 0.28 * h)), box(LIMB, (0, -0.26, 0.48 + 0.3 * h), (0.29 * w, 0.25, 0.035))]
    parts += [box(LIMB, (0, 0, 0.16), (0.24 * w, 0.46, 0.06)), cone(ACCENT, (0, 0.26, 0.58 + 0.11 * l), 0.07, 0.26 * l, 1.5), cone(STEEL, (0, 0.4, 0.38), 0.17 * w, 0.06, 1, (90, 0, 0))]
    parts += mirrored(*(cone(ACCENT, (0.25 * w, y, 0.12), 0.12, 0.08, 1, (0, 90, 0)) for y in (-0.3, 0.0, 0.3)), box(DARK, (0.25 * w, -0.26, 0.56), (0.012, 0.12, 0.1)))
    return Body(tuple(parts), (0, -0.26, 0.5 + 0.31 * h), ((0, 0.1, 0.38), 0.235 * w), (0, 0.42, 0.38), (0.2 * w, -0.44, 0.4))


SPECIES: dict[str, Builder] = {
    builder.__name__: builder
    for builder in (bear, duck, robot, mug, car, rabbit, rocket, boat, snowman, mushroom, turtle, penguin, house, cat, lamp, train)
}
NOUNS = tuple(SPECIES)
