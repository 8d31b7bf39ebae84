"""The matching page's picture: a held-out toy's portrait, the toy in its scene, and lines between the two.

python examples/matching_pictures.py docs/pictures
"""

import sys
from pathlib import Path

from mosaic.matching.gradients import Gradients
from mosaic.matching.lines import draw_lines
from mosaic.matching.matcher import FeatureMatcher
from mosaic.toybox.batches import sample


def main(folder: Path) -> None:
    toys = sample(5, subjects=3, size=256, reference_size=256, split="held_out")
    reference = toys.references[0]
    points = FeatureMatcher([Gradients()])(reference.image, reference.mask, toys.target, toys.target_masks[0])
    folder.mkdir(parents=True, exist_ok=True)
    draw_lines(reference.image, toys.target, points).save(folder / "matching-lines.png", optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
