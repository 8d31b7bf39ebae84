"""From two pictures and where the subject is in them to their correspondence: what a curation stage calls.

H × W pixels, uint8 RGB; masks bool (H, W).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mosaic.geometry import Box
from mosaic.matching.consensus import correspond
from mosaic.matching.features import Extractor, FeatureMap
from mosaic.matching.rule import Rule
from mosaic.sample import Correspondence, Mask, Picture

MARGIN = 0.1  # of the subject's longer side, about its box


class FeatureMatcher:
    """One extractor, or the consensus of several, looking at the subject alone: both pictures cropped to it.

    on_white: what is not the subject is painted white, so that a reference on white and a target in a scene
    look alike.
    """

    def __init__(
        self, extractors: Sequence[Extractor], rule: Rule | None = None, on_white: bool = True
    ) -> None:
        self.extractors, self.rule, self.on_white = tuple(extractors), rule or Rule(), on_white
        self.name = " and ".join(extractor.name for extractor in extractors)

    def __call__(
        self, reference: Picture, reference_mask: Mask, target: Picture, target_mask: Mask
    ) -> Correspondence:
        """The believed matches of every token of the reference; none where a mask is empty."""
        if not reference_mask.any() or not target_mask.any():
            return Correspondence(reference=np.zeros((0, 2)), target=np.zeros((0, 2)), confidence=np.zeros(0))
        here, there = self.maps(reference, reference_mask), self.maps(target, target_mask)
        return correspond(here, there, reference_mask, target_mask, self.rule)

    def maps(self, picture: Picture, mask: Mask) -> Sequence[FeatureMap]:
        """One feature map an extractor, of the picture about the mask."""
        shown = np.where(mask[..., None], picture, np.uint8(255)) if self.on_white else picture
        return [extract(shown, box_about(mask)) for extract in self.extractors]


def box_about(mask: Mask, margin: float = MARGIN) -> Box:
    """The mask's box, wider by a margin where the picture reaches: (left, top, right, bottom) in pixels."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    left, top, right, bottom = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    room = margin * max(right - left, bottom - top)
    height, width = mask.shape
    return (
        max(0, int(left - room)),
        max(0, int(top - room)),
        min(width, int(right + room + 1)),
        min(height, int(bottom + room + 1)),
    )
