"""Whom a found toy is told apart from: the true reference's identity and 63 others of its species.

Sixteen of the others differ from it in one attribute, and in one that shows: at least `SHOWS` pixels of both
the reference picture (64 × 64) and the true render of the scene (128 × 128) would have another colour. Nobody
could tell the two apart otherwise. The rest are random identities. (A toy so hidden that 16 cannot be found
gets fewer near ones.)
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from mosaic.toybox.batches import generator
from mosaic.toybox.identity import ACCESSORIES, PATTERNS, VARIED, Identity, Split, random_identity, vary
from mosaic.toybox.instruments.shots import COLOUR_OF, SIZE, apparent_yaw, slot_map
from mosaic.toybox.render import FINE, Render, render
from mosaic.toybox.scene import Composition, Scene

REFERENCE = 64  # pixels a side of the reference pictures that a question is about
CANDIDATES, NEAR = 64, 16
SHOWS = 16  # pixels
TRIES = 500
POOL, SEED = 1024, 64
_SLOT_OF = {name: slot for slot, name in COLOUR_OF.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What is asked about one toy of a scene. Identities are rows of `Identity`'s numbers, yaws apparent."""

    candidates: NDArray[np.int64]  # (64, A), the true one first, then the 16 near ones
    yaw: float  # in the scene
    reference_yaw: float  # in the reference picture


def questions(
    compositions: Sequence[Composition], rngs: Sequence[np.random.Generator]
) -> list[tuple[Question, ...]]:
    """The questions about each composition's toys, in their order."""
    scenes = [c.scene for c in compositions]
    references = [r for c in compositions for r in c.references]
    target, near = render(scenes, SIZE, SIZE), render(references, REFERENCE, REFERENCE)
    in_target, in_reference = _visible(scenes, target), _visible(references, near)
    result, first = [], 0
    for n, (composition, rng) in enumerate(zip(compositions, rngs, strict=True)):
        asked = []
        for k, toy in enumerate(composition.scene.toys):
            shows = np.minimum(in_target[n][k], in_reference[first + k][0])
            crowned = _room(composition.scene, target, n, k) if not toy.identity.accessory else None
            chosen = _draw(toy.identity, shows, crowned, rng)
            yaws = apparent_yaw(composition.scene, k), apparent_yaw(composition.references[k], 0)
            asked.append(Question(candidates=chosen, yaw=yaws[0], reference_yaw=yaws[1]))
        result.append(tuple(asked))
        first += len(composition.references)
    return result


def _visible(scenes: Sequence[Scene], shot: Render) -> list[NDArray[np.int64]]:
    """For each scene (T, 5 + 6): the pixels of each slot, and those that each other pattern would change."""
    maps = [
        slot_map(scenes, shot).numpy(),
        *(slot_map(scenes, shot, p).numpy() for p in range(len(PATTERNS))),
    ]
    tables = []
    for n, scene in enumerate(scenes):
        table = np.zeros((len(scene.toys), len(COLOUR_OF) + len(PATTERNS)), np.int64)
        for k in range(len(scene.toys)):
            mine = maps[0][n] // 8 == k  # NOTHING // 8 is 31
            table[k, : len(COLOUR_OF)] = np.bincount(maps[0][n][mine] % 8, minlength=8)[: len(COLOUR_OF)]
            table[k, len(COLOUR_OF) :] = [(maps[0][n] != m[n])[mine].sum() for m in maps[1:]]
        tables.append(table)
    return tables


def _room(scene: Scene, target: Render, index: int, toy: int) -> NDArray[np.int64]:
    """Pixels that each accessory would show on a toy that wears none, behind what stands before it: (6,)."""
    wearer = scene.toys[toy]
    dressed = [
        replace(wearer, identity=replace(wearer.identity, accessory=a)) for a in range(len(ACCESSORIES))
    ]
    alone = [replace(scene, toys=(d,), poses=(scene.poses[toy],)) for d in dressed]
    shot = render(alone, SIZE, SIZE)
    free = (target.toy[index] == toy) | (target.depth[index] > shot.depth)
    seen = free & (shot.toy >= 0) & ((shot.toy[:1] < 0) | ((shot.depth - shot.depth[:1]).abs() > 1e-4))
    return (seen.flatten(1).sum(1) // FINE**2).numpy()


@lru_cache(maxsize=1)
def _pool() -> list[Identity]:
    """Held-out identities for the random candidates."""
    rng = generator(SEED)
    return [random_identity(rng, Split.HELD_OUT) for _ in range(POOL)]


def _draw(
    identity: Identity, shows: NDArray[np.int64], room: NDArray[np.int64] | None, rng: np.random.Generator
) -> NDArray[np.int64]:
    """The candidates (64, A) for an identity: itself, 16 near ones that can be told, 47 random ones."""
    chosen = [identity]
    attributes = [name for name in VARIED if name != "accessory_colour" or identity.accessory]
    for _ in range(TRIES):
        if len(chosen) > NEAR:
            break
        attribute = str(rng.choice(attributes))
        other = vary(identity, attribute, rng)
        if other not in chosen and _told(identity, other, attribute, shows, room) >= SHOWS:
            chosen.append(other)
    strangers = [_pool()[n] for n in rng.permutation(POOL)[: 2 * CANDIDATES]]
    chosen += [other for other in strangers if other not in chosen][: CANDIDATES - len(chosen)]
    return np.array([astuple(c) for c in chosen], np.int64)


def _told(
    identity: Identity,
    other: Identity,
    attribute: str,
    shows: NDArray[np.int64],
    room: NDArray[np.int64] | None,
) -> int:
    """Pixels by which a change of one attribute shows."""
    if attribute == "pattern":
        return int(shows[len(COLOUR_OF) + other.pattern])
    if attribute == "accessory":
        return int(room[other.accessory] if room is not None else shows[_SLOT_OF["accessory_colour"]])
    return int(shows[_SLOT_OF[attribute]])


def as_tensor(asked: Sequence[Question]) -> torch.Tensor:
    """(T, 64, A) candidates of the toys of one scene."""
    return torch.from_numpy(np.stack([question.candidates for question in asked]))
