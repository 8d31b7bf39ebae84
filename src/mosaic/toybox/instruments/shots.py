"""What the instruments learn from: pictures with, for every pixel, which toy it shows and which colour of it.

Letters: N scenes, T toys a scene (padded), A attributes, h, w pixels.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields, replace
from enum import IntEnum
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mosaic.toybox.batches import generator
from mosaic.toybox.identity import COLOURS, PALETTE, Identity, Split
from mosaic.toybox.render import FINE, Render, pattern_shows, render
from mosaic.toybox.scene import MOST_TOYS, Scene, compose
from mosaic.toybox.species import NOUNS
from mosaic.toybox.toy import Toy, model

ATTRIBUTES = tuple(field.name for field in fields(Identity))
SIZE = 128  # pixels a side of every picture the instruments see
SUBJECTS = (1, 2, 3, 4, 4, 6, 6, 8)  # drawn with equal chance
SEED = 71
CHUNK = 250


class Slot(IntEnum):
    """Which colour of an identity a spot of a toy wears; FIXED is the species' own, e.g. an eye."""

    PRIMARY = 0
    SECONDARY = 1
    ACCENT = 2
    ACCESSORY = 3
    BADGE = 4
    FIXED = 5


COLOUR_OF = {
    Slot.PRIMARY: "primary",
    Slot.SECONDARY: "secondary",
    Slot.ACCENT: "accent",
    Slot.ACCESSORY: "accessory_colour",
    Slot.BADGE: "badge_colour",
}
WORN_BY = {
    "accessory_colour": "accessory",
    "badge_colour": "badge",
}  # a colour that shows only where something is worn
NOTHING = 255  # in a slot map: no toy here


@lru_cache(maxsize=4096)
def part_slots(toy: Toy) -> NDArray[np.uint8]:
    """The slot of each of the toy's parts (N,), pattern apart: by giving every slot a colour of its own."""
    code = {COLOUR_OF[slot]: int(slot) for slot in COLOUR_OF}
    rgb = model(replace(toy, identity=replace(toy.identity, **code))).rgb
    palette = np.array([PALETTE[COLOURS[slot]] for slot in COLOUR_OF], float) / 255
    same = np.abs(rgb[:, None] - palette).max(-1) < 1e-6
    return np.where(same.any(1), same.argmax(1), Slot.FIXED).astype(np.uint8)


def slot_map(scenes: Sequence[Scene], shot: Render, pattern: int | None = None) -> Tensor:
    """(B, h, w) uint8: 8 · toy + slot of the first sub-sample of each pixel, `NOTHING` beside the toys.

    With a `pattern` every toy is taken to wear that one, all else equal.
    """
    slots = torch.from_numpy(np.concatenate([part_slots(toy) for scene in scenes for toy in scene.toys]))
    part, toy = shot.part[:, ::FINE, ::FINE], shot.toy[:, ::FINE, ::FINE]
    shown = part >= 0
    which = part[shown]
    local = shot.local[:, ::FINE, ::FINE][shown]
    frame = shot.parts.rest[which]
    rest = (frame[:, :, :3] @ local[..., None])[..., 0] + frame[:, :, 3]
    slot = slots.to(part.device)[which].long()
    worn = shot.parts.pattern[which] if pattern is None else pattern * (slot == Slot.PRIMARY)
    slot = torch.where(pattern_shows(worn, rest), int(Slot.ACCENT), slot)
    result = torch.full(part.shape, NOTHING, dtype=torch.uint8, device=part.device)
    result[shown] = (8 * toy[shown] + slot).to(torch.uint8)
    return result


def apparent_yaw(scene: Scene, toy: int) -> float:
    """Degrees by which a toy of the scene looks turned, seen from the camera: 0 faces it."""
    pose, eye = scene.poses[toy], scene.camera.eye
    return float(pose.yaw - np.degrees(np.arctan2(pose.place[0] - eye[0], eye[1] - pose.place[1])))


@dataclass(frozen=True, kw_only=True, slots=True)
class Shots:
    """Scenes as arrays; toy slots that a scene does not fill have species -1."""

    pictures: NDArray[np.uint8]  # (N, h, w, 3)
    slots: NDArray[np.uint8]  # (N, h, w) as in `slot_map`
    species: NDArray[np.int8]  # (N, T)
    identities: NDArray[np.int8]  # (N, T, A)
    yaws: NDArray[np.float32]  # (N, T) apparent, degrees


def shoot(scenes: Sequence[Scene], size: int = SIZE) -> Shots:
    """Renders scenes, with everything the instruments are to find."""
    shot = render(scenes, size, size)
    species = np.full((len(scenes), MOST_TOYS), -1, np.int8)
    identities = np.zeros((len(scenes), MOST_TOYS, len(ATTRIBUTES)), np.int8)
    yaws = np.zeros((len(scenes), MOST_TOYS), np.float32)
    for n, scene in enumerate(scenes):
        for t, toy in enumerate(scene.toys):
            species[n, t] = NOUNS.index(toy.species)
            identities[n, t] = astuple(toy.identity)
            yaws[n, t] = apparent_yaw(scene, t)
    slots = slot_map(scenes, shot).numpy()
    return Shots(
        pictures=shot.picture.numpy(), slots=slots, species=species, identities=identities, yaws=yaws
    )


def draw(seed: int, start: int, count: int) -> list[Scene]:
    """Scenes of the instruments' own identities; scene n depends on the seed and n alone."""
    scenes = []
    for n in range(start, start + count):
        rng = generator(seed, n)
        scenes.append(compose(rng, int(rng.choice(SUBJECTS)), Split.INSTRUMENTS).scene)
    return scenes


def cache(folder: Path, scenes: int, seed: int = SEED) -> None:
    """Writes the first `scenes` scenes of a seed in chunks; goes on where an interrupted call stopped."""
    folder.mkdir(parents=True, exist_ok=True)
    for start in range(0, scenes, CHUNK):
        path = folder / f"shots-{seed}-{start:06d}.npz"
        if not path.exists():
            shots = shoot(draw(seed, start, CHUNK))
            arrays = {field.name: getattr(shots, field.name) for field in fields(Shots)}
            partial = path.with_suffix(".partial")
            with partial.open("wb") as file:
                np.savez(file, **arrays)
            partial.replace(path)


def load(folder: Path, scenes: int, seed: int = SEED) -> Shots:
    """The cached scenes, as many as asked for or as there are."""
    paths = [folder / f"shots-{seed}-{start:06d}.npz" for start in range(0, scenes, CHUNK)]
    chunks = [np.load(path) for path in paths if path.exists()]
    if not chunks:
        raise ValueError(f"{folder} holds no cached shots of seed {seed}; make them first.")
    return Shots(
        **{f.name: np.concatenate([chunk[f.name] for chunk in chunks])[:scenes] for f in fields(Shots)}
    )
