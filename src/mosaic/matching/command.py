"""What `mosaic match` does: two picture files in, their correspondences out as lines or as numbers."""

from __future__ import annotations

import json
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
    """Match two picture files, write their lines (.png) or points (.json), and say how many were believed.

    JSON is what samples.json takes as "points": x, y in the first, x, y in the second, confidence.
    features: words of `kinds.parse`, each a matcher of its own that must agree with the others; none takes
    what needs no download. What is white or transparent is not matched; cutout removes the background.
    ValueError for an output of another kind, a picture that cannot be read, or features that are not there.
    """
    if output.suffix.lower() not in (".png", ".json") or output.is_dir():
        raise ValueError(
            f"Lines are written as PNG, points as JSON: give --output a name that ends so, not {output}."
        )
    chosen = [parse(word) for word in features] or list(OFFLINE)
    pictures = [_small(load_reference("subject", path, cutout=cutout)) for path in (first, second)]
    for path, picture in zip((first, second), pictures, strict=True):
        if not picture.mask.any():
            raise ValueError(f"{path} is white or transparent all over: there is nothing to match.")
    matcher = FeatureMatcher([make_extractor([one]) for one in chosen])
    here, there = pictures
    points = matcher(here.image, here.mask, there.image, there.mask)
    if output.suffix.lower() == ".json":
        _write_points(points, output)
    else:
        recipe = {"matcher": matcher.name, "points": len(points)}
        recipe |= {"pictures": [file_hash(path) for path in (first, second)]}
        write_png(draw_lines(here.image, there.image, points), output, recipe)
    sure = f", mean confidence {np.mean(points.confidence):.2f}" if len(points) else ""
    print(f"{output}: {len(points)} points by {matcher.name}{sure}")
    return points


def _write_points(points: Correspondence, output: Path) -> None:
    table = np.column_stack([points.reference, points.target, points.confidence]).round(4)
    rows = ",\n".join(f"  {json.dumps(row)}" for row in table.tolist())
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(f"[\n{rows}\n]\n", encoding="utf-8")


def _small(picture: Reference) -> Reference:
    from mosaic.geometry import Placement

    height, width = picture.size
    scale = LARGEST_SIDE / max(height, width)
    if scale >= 1:
        return picture
    smaller = (max(1, round(height * scale)), max(1, round(width * scale)))
    return picture.placed(Placement.resize(picture.size, smaller))
