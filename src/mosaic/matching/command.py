"""What `mosaic match` does: two picture files in, their correspondences out as lines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mosaic.matching.kinds import OFFLINE, make_extractor, parse
from mosaic.matching.lines import draw_lines
from mosaic.matching.matcher import FeatureMatcher
from mosaic.pictures import file_hash, load_reference, write_png
from mosaic.sample import Correspondence, Reference

LARGEST_SIDE = 1024  # pixels; what is larger is made smaller first


def match_files(
    first: Path, second: Path, output: Path, features: Sequence[str] = (), cutout: bool = False
) -> Correspondence:
    """Match two picture files and write their lines as a PNG; says how many points were believed.

    features: words of `kinds.parse`, each a matcher of its own that must agree with the others; none takes
    what needs no download. What is white or transparent is not matched; cutout removes the background.
    ValueError for an output that is no .png, a picture that cannot be read, or features that are not there.
    """
    if output.suffix.lower() != ".png" or output.is_dir():
        raise ValueError(
            f"The lines are written as PNG: give --output a name that ends in .png, not {output}."
        )
    chosen = [parse(word) for word in features] or list(OFFLINE)
    pictures = [_small(load_reference("subject", path, cutout=cutout)) for path in (first, second)]
    for path, picture in zip((first, second), pictures, strict=True):
        if not picture.mask.any():
            raise ValueError(f"{path} is white or transparent all over: there is nothing to match.")
    matcher = FeatureMatcher([make_extractor([one]) for one in chosen])
    here, there = pictures
    points = matcher(here.image, here.mask, there.image, there.mask)
    recipe = {"matcher": matcher.name, "points": len(points)}
    recipe |= {"pictures": [file_hash(path) for path in (first, second)]}
    write_png(draw_lines(here.image, there.image, points), output, recipe)
    sure = f", mean confidence {np.mean(points.confidence):.2f}" if len(points) else ""
    print(f"{output}: {len(points)} points by {matcher.name}{sure}")
    return points


def _small(picture: Reference) -> Reference:
    from mosaic.geometry import Placement

    height, width = picture.size
    scale = LARGEST_SIDE / max(height, width)
    if scale >= 1:
        return picture
    smaller = (max(1, round(height * scale)), max(1, round(width * scale)))
    return picture.placed(Placement.resize(picture.size, smaller))
