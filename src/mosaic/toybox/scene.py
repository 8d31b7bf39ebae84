"""Scenes: which toys stand where, on what ground, seen from where, and the words for it."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from mosaic.toybox.framing import fit, outline
from mosaic.toybox.identity import COLOURS, Split, random_identity, with_article
from mosaic.toybox.species import NOUNS
from mosaic.toybox.toy import Pose, Toy

GROUNDS: Final[dict[str, tuple[tuple[int, int, int], tuple[int, int, int]]]] = {
    # ground colour, backdrop colour
    "grass": ((122, 168, 92), (190, 220, 240)),
    "sand": ((222, 200, 152), (205, 228, 240)),
    "snow": ((228, 234, 242), (176, 196, 222)),
    "wood": ((176, 130, 88), (232, 222, 206)),
    "carpet": ((156, 108, 122), (226, 214, 204)),
    "stone": ((150, 152, 158), (198, 200, 206)),
}

# Places in the order a sentence tells them: (words, x, y) with y towards the viewer, in units of the spacing.
_ROWS: Final[dict[int, tuple[tuple[str, float, float], ...]]] = {
    0: (),
    1: (("in the middle", 0.0, 0.0),),
    2: (("on the left", -0.5, 0.0), ("on the right", 0.5, 0.0)),
    3: (("at the back", 0.0, -0.7), ("at the front left", -0.6, 0.55), ("at the front right", 0.6, 0.55)),
    4: (("at the back left", -0.55, -0.7), ("at the back right", 0.55, -0.7), ("at the front left", -0.55, 0.7), ("at the front right", 0.55, 0.7)),
    5: (("at the back left", -0.55, -0.7), ("at the back right", 0.55, -0.7), ("at the front left", -1.0, 0.7), ("at the front", 0.0, 0.75), ("at the front right", 1.0, 0.7)),
    6: (("at the back left", -1.0, -0.7), ("at the back", 0.0, -0.75), ("at the back right", 1.0, -0.7), ("at the front left", -1.0, 0.7), ("at the front", 0.0, 0.75), ("at the front right", 1.0, 0.7)),
    7: (("at the back far left", -1.45, -0.7), ("at the back left", -0.5, -0.75), ("at the back right", 0.5, -0.75), ("at the back far right", 1.45, -0.7), ("at the front left", -1.0, 0.75), ("at the front", 0.0, 0.8), ("at the front right", 1.0, 0.75)),
    8: (("at the back far left", -1.5, -0.75), ("at the back left", -0.5, -0.8), ("at the back right", 0.5, -0.8), ("at the back far right", 1.5, -0.75), ("at the front far left", -1.5, 0.75), ("at the front left", -0.5, 0.8), ("at the front right", 0.5, 0.8), ("at the front far right", 1.5, 0.75)),
}  # fmt: skip
MOST_TOYS: Final = max(_ROWS)
FILL: Final = 0.9  # of a reference picture that its toy takes, as the released preparation leaves it
_SPACING: Final = 1.12
_WIDTH: Final = {
    0: 2.4,
    1: 1.55,
    2: 2.3,
    3: 2.55,
    4: 2.65,
    5: 3.35,
    6: 3.35,
    7: 4.15,
    8: 4.25,
}  # of the view, in toys


@dataclass(frozen=True, kw_only=True, slots=True)
class Camera:
    """A pin-hole camera at `eye` looking at `aim`; `focal` in half picture heights. World: z up, y towards the viewer."""

    eye: tuple[float, float, float]
    aim: tuple[float, float, float]
    focal: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """Toys with their poses before a camera. `ground` None: a white backdrop and no shadow, as in a reference."""

    toys: tuple[Toy, ...]
    poses: tuple[Pose, ...]
    camera: Camera
    ground: str | None = None
    light: tuple[float, float, float] = (-0.4, 0.6, 0.7)


@dataclass(frozen=True, kw_only=True, slots=True)
class Composition:
    """A target scene, one reference scene a toy (in the order of `scene.toys`), and two captions."""

    scene: Scene
    references: tuple[Scene, ...]
    caption: str
    detailed_caption: str


def compose(
    rng: np.random.Generator, subjects: int, split: Split = Split.TRAIN, nouns: tuple[str, ...] = NOUNS
) -> Composition:
    """A random composition of `subjects` toys (0 to 8) of the split, no two of one identity.

    Raises ValueError for a number of subjects no layout exists for.
    """
    if subjects not in _ROWS:
        raise ValueError(f"the toybox composes 0 to {MOST_TOYS} toys, not {subjects}")
    toys = tuple(
        Toy(species=str(rng.choice(nouns)), identity=random_identity(rng, split)) for _ in range(subjects)
    )
    poses = _stand(rng, subjects)
    scene = Scene(
        toys=toys,
        poses=poses,
        camera=_camera(rng, subjects),
        ground=str(rng.choice(list(GROUNDS))),
        light=_light(rng),
    )
    references = tuple(
        portrait_scene(toy, rng, away_from=pose.yaw) for toy, pose in zip(toys, poses, strict=True)
    )
    named = bool(rng.random() < 0.6)
    return Composition(
        scene=scene,
        references=references,
        caption=caption(scene, places=named, detailed=False),
        detailed_caption=caption(scene, places=named, detailed=True),
    )


def _stand(rng: np.random.Generator, subjects: int) -> tuple[Pose, ...]:
    spots = _ROWS[subjects]
    return tuple(
        Pose(
            yaw=float(rng.uniform(-45, 45)),
            pitch=float(rng.uniform(-4, 4)),
            limbs=(float(rng.uniform(-20, 60)), float(rng.uniform(-20, 60)), float(rng.uniform(-14, 14))),
            place=(
                _SPACING * x + float(rng.uniform(-0.09, 0.09)),
                _SPACING * y + float(rng.uniform(-0.09, 0.09)),
                0.0,
            ),
            scale=float(rng.uniform(0.94, 1.06)),
        )
        for _, x, y in spots
    )


def _light(rng: np.random.Generator) -> tuple[float, float, float]:
    return (float(rng.uniform(-0.7, 0.7)), float(rng.uniform(0.35, 0.8)), float(rng.uniform(0.6, 0.9)))


def _camera(rng: np.random.Generator, subjects: int) -> Camera:
    rows = 2 if subjects > 2 else 1
    lift = np.radians(rng.uniform(29, 35) if rows == 2 else rng.uniform(14, 22))
    turn, distance = np.radians(rng.uniform(-6, 6)), 9.0
    aim = (float(rng.uniform(-0.04, 0.04)), 0.0, 0.5 if rows == 2 else 0.56)
    eye = (
        aim[0] + distance * float(np.sin(turn) * np.cos(lift)),
        distance * float(np.cos(turn) * np.cos(lift)),
        aim[2] + distance * float(np.sin(lift)),
    )
    return Camera(eye=eye, aim=aim, focal=float(distance / (_WIDTH[subjects] / 2) * rng.uniform(0.96, 1.02)))


def portrait_scene(
    toy: Toy, rng: np.random.Generator, away_from: float | None = None, least: float = 15.0
) -> Scene:
    """One toy alone on white, turned at least `least` degrees from `away_from`; it fills `FILL` of the picture."""
    yaw = float(rng.uniform(-45, 45))
    while away_from is not None and abs(yaw - away_from) < least:
        yaw = float(rng.uniform(-45, 45))
    limbs = (float(rng.uniform(-10, 30)), float(rng.uniform(-10, 30)), float(rng.uniform(-8, 8)))
    lift, distance = np.radians(rng.uniform(8, 24)), 9.0
    eye = (0.0, distance * float(np.cos(lift)), 0.55 + distance * float(np.sin(lift)))
    pose = Pose(yaw=yaw, limbs=limbs)
    aim, focal = fit(outline(toy, pose), np.array(eye), FILL)
    camera = Camera(eye=eye, aim=(float(aim[0]), float(aim[1]), float(aim[2])), focal=focal)
    return Scene(toys=(toy,), poses=(pose,), camera=camera, light=_light(rng))


def caption(scene: Scene, *, places: bool, detailed: bool) -> str:
    """The sentence of a scene: nouns (with looks if detailed), where they stand if `places`, and the ground."""
    phrases = [
        phrase(toy, detailed) + (f" {spot[0]}" if places else "")
        for toy, spot in zip(scene.toys, _ROWS[len(scene.toys)], strict=True)
    ]
    ground = f"on {scene.ground}" if scene.ground else "on white"
    return f"{enumeration(phrases)} {ground}" if phrases else str(scene.ground)


def phrase(toy: Toy, detailed: bool) -> str:
    """What a caption calls a toy: its noun, with its looks if detailed."""
    if not detailed:
        return with_article(toy.species)
    looks = enumeration(toy.identity.details())
    return with_article(f"{COLOURS[toy.identity.primary]} {toy.species} with {looks}")


def enumeration(words: list[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + f" and {words[-1]}"


def vocabulary() -> list[str]:
    """Every word a caption can hold, in alphabetical order, the comma included."""
    from mosaic.toybox.identity import ACCESSORIES, BADGES, PATTERNS

    spots = " ".join(spot[0] for row in _ROWS.values() for spot in row)
    words = {*spots.split(), *NOUNS, *GROUNDS, *COLOURS, *PATTERNS, *ACCESSORIES, *BADGES}
    return sorted(words | set("a an and on the with limbs badge white toy of picture ,".split()))
