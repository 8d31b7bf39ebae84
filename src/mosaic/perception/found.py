"""What a segmenter finds. H × W pixels; boxes left, top, right, bottom in pixels."""

from dataclasses import dataclass

from mosaic.sample import Mask


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """One instance a segmenter found of a phrase; all of them are kept, good or bad."""

    box: tuple[float, float, float, float]
    score: float  # of the box
    mask: Mask  # bool (H, W)
    mask_score: float
