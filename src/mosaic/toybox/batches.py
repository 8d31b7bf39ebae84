"""Streams of toybox samples: tensors for training, `Sample`s for everything else."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np
from torch import Tensor

from mosaic.sample import Correspondence, Reference, Sample, Subject
from mosaic.toybox.correspond import Matches, match, points, tally
from mosaic.toybox.identity import Split, random_identity
from mosaic.toybox.render import Render, render
from mosaic.toybox.scene import Composition, compose, portrait_scene
from mosaic.toybox.toy import Toy

TOKEN = 16  # pixels a token is wide
POINTS = 32  # points a reference of a training batch carries
SAMPLE_POINTS = 256  # points a reference of a `Sample` carries


@dataclass(frozen=True, kw_only=True, slots=True)
class ToyBatch:
    """B samples with K references each; pictures are uint8 RGB, points are token indices as in `Points`."""

    target: Tensor  # (B, H, W, 3)
    references: Tensor  # (B, K, h, w, 3)
    reference: Tensor  # (B, K, P) long, token of the reference
    point: Tensor  # (B, K, P) long, token of the target
    valid: Tensor  # (B, K, P) bool
    compositions: tuple[Composition, ...]
    captions: tuple[str, ...]
    detailed_captions: tuple[str, ...]


def generator(seed: int, *index: int) -> np.random.Generator:
    """The generator of one sample: the same whatever was drawn before it."""
    return np.random.default_rng(np.random.SeedSequence((seed, *index)))


def shoot(
    compositions: tuple[Composition, ...], size: int, reference_size: int, device: str = "cpu"
) -> tuple[Render, Render]:
    """Renders of the targets (B scenes) and of the references (B·K scenes, sample-major)."""
    target = render([c.scene for c in compositions], size, size, device)
    return target, render(
        [r for c in compositions for r in c.references], reference_size, reference_size, device
    )


def make_batch(
    compositions: tuple[Composition, ...], size: int, reference_size: int, device: str = "cpu"
) -> ToyBatch:
    """The batch of compositions that all have the same number of toys."""
    batch, subjects = len(compositions), len(compositions[0].references)
    target, references = shoot(compositions, size, reference_size, device)
    grids = (reference_size // TOKEN, reference_size // TOKEN), (size // TOKEN, size // TOKEN)
    found = tally(match(target, references, max(subjects, 1)), batch, subjects, *grids)
    reference, point, valid = points(found, POINTS)
    return ToyBatch(
        target=target.picture,
        references=references.picture.view(batch, subjects, reference_size, reference_size, 3),
        reference=reference,
        point=point,
        valid=valid,
        compositions=compositions,
        captions=tuple(c.caption for c in compositions),
        detailed_captions=tuple(c.detailed_caption for c in compositions),
    )


def batches(
    seed: int,
    *,
    subjects: int,
    size: int = 128,
    reference_size: int = 64,
    batch: int = 32,
    split: str = "train",
    start: int = 0,
    device: str = "cpu",
) -> Iterator[ToyBatch]:
    """An endless stream from batch `start` on; batch n depends on the seed and n, not on what came before."""
    for n in count(start):
        draws = [generator(seed, subjects, n * batch + i) for i in range(batch)]
        yield make_batch(
            tuple(compose(rng, subjects, Split(split)) for rng in draws), size, reference_size, device
        )


def sample(
    seed: int,
    *,
    subjects: int,
    index: int = 0,
    size: int = 128,
    reference_size: int = 128,
    split: str = "train",
) -> Sample:
    """One sample with up to 256 points a reference, spread over what both pictures show."""
    composition = compose(generator(seed, subjects, index), subjects, Split(split))
    target, references = shoot((composition,), size, reference_size)
    matches = match(target, references, max(subjects, 1))
    masks = references.masks(1)[:, 0].numpy()
    return Sample(
        key=f"toybox-{seed}-{subjects}-{index:06d}",
        target=target.picture[0].numpy(),
        references=tuple(
            Reference(
                subject=Subject(name=toy.species, id=f"{index}-{k}"),
                image=references.picture[k].numpy(),
                mask=masks[k],
            )
            for k, toy in enumerate(composition.scene.toys)
        ),
        target_masks=tuple(target.masks(subjects)[0].numpy()) if subjects else (),
        correspondences=tuple(_spread(matches, k) for k in range(subjects)),
        caption=composition.caption,
        detailed_caption=composition.detailed_caption,
    )


def _spread(matches: Matches, reference: int) -> Correspondence:
    """Points of one reference at even strides of its matches, which run over the picture row by row."""
    mine = (matches.reference == reference).nonzero()[:, 0]
    stride = max(1, -(-len(mine) // SAMPLE_POINTS))
    chosen = mine[stride // 2 :: stride]
    here, there = matches.here[chosen].double().numpy(), matches.there[chosen].double().numpy()
    return Correspondence(reference=here, target=there, confidence=np.ones(len(here)))


def portrait(species: str, seed: int, size: int, split: str = "held_out") -> tuple[np.ndarray, np.ndarray]:
    """A reference picture (size, size, 3) uint8 of a random toy, and its mask (size, size) bool."""
    rng = generator(seed)
    toy = Toy(species=species, identity=random_identity(rng, Split(split)))
    shot = render([portrait_scene(toy, rng)], size, size)
    return shot.picture[0].numpy(), shot.masks(1)[0, 0].numpy()
