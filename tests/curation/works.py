"""Samples as stages are given them."""

import numpy as np

from mosaic.curation.rows import Named, Record, Work
from mosaic.data.shards import png_of, webp_of

SUBJECTS = (Named(name="bear", looks="a red bear"), Named(name="mug", looks="a blue mug"))


def record(seed: int = 0, subjects: tuple[Named, ...] = SUBJECTS) -> Record:
    return Record(
        caption="a bear and a mug on grass",
        detailed_caption="a red bear and a blue mug on grass",
        subjects=subjects,
        seed=seed,
    )


def target(height: int = 64, width: int = 96) -> tuple[np.ndarray, list[np.ndarray]]:
    """Grass with a red and a blue box, and their masks."""
    picture = np.full((height, width, 3), (60, 150, 70), np.uint8)
    picture[::4, ::3] += 20
    masks = [np.zeros((height, width), bool) for _ in range(2)]
    masks[0][10:50, 8:38] = True
    masks[1][20:44, 56:84] = True
    picture[masks[0]], picture[masks[1]] = (200, 40, 30), (30, 60, 190)
    picture[14:20, 12:20] = (250, 220, 60)  # a badge
    return picture, masks


def painted(seed: int = 0) -> Work:
    """With a target."""
    return Work(record=record(seed), files={"target.webp": webp_of(target()[0])})


def segmented(seed: int = 0) -> Work:
    """With a target and the masks of both subjects."""
    picture, masks = target()
    files = {f"target.mask{i}.png": png_of(mask) for i, mask in enumerate(masks)}
    return Work(record=record(seed), files=files | {"target.webp": webp_of(picture)})
