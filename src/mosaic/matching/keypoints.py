"""Pairs of pictures whose keypoints people have marked: WILLOW-ObjectClass and SPair-71k, to evaluate.

P keypoints that both pictures show. Neither set comes with this project.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np

from mosaic.geometry import Box, Floats, Size


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pair:
    """Two pictures of one class, and where both show the same P places."""

    kind: str  # the class
    source: Path
    target: Path
    source_points: Floats  # (P, 2) in [0, 1]²
    target_points: Floats  # (P, 2)
    target_size: Size  # (height, width) in pixels
    target_box: Box  # of the thing, in pixels; PCK is in shares of its longer side


def willow(folder: str | Path) -> Iterator[Pair]:
    """Every ordered pair of two pictures of a class, from keypoints.json and the pictures it names.

    The set has no boxes: a picture's is that of its keypoints. ValueError if there is no keypoints.json.
    """
    root = Path(folder)
    for kind, pictures in _json(root / "keypoints.json", "a WILLOW folder")["classes"].items():
        for source, target in permutations(pictures, 2):
            yield Pair(
                kind=kind,
                source=root / source["file"],
                target=root / target["file"],
                source_points=_points(source["points_xy"], source["size"]),
                target_points=_points(target["points_xy"], target["size"]),
                target_size=(target["size"][1], target["size"][0]),
                target_box=_around(target["points_xy"]),
            )


def spair(folder: str | Path, split: str = "test") -> Iterator[Pair]:
    """The annotated pairs of a split of SPair-71k (its own layout: PairAnnotation/, JPEGImages/), by name.

    ValueError if the folder holds no such split.
    """
    root = Path(folder)
    files = sorted((root / "PairAnnotation" / split).glob("*.json"))
    if not files:
        raise ValueError(f"{root} holds no PairAnnotation/{split}: give the folder SPair-71k unpacks to.")
    for file in files:
        told = _json(file, "an annotation of SPair-71k")
        kind, (width, height) = told["category"], told["trg_imsize"][:2]
        left, top, right, bottom = told["trg_bndbox"]
        yield Pair(
            kind=kind,
            source=root / "JPEGImages" / kind / told["src_imname"],
            target=root / "JPEGImages" / kind / told["trg_imname"],
            source_points=_points(told["src_kps"], told["src_imsize"]),
            target_points=_points(told["trg_kps"], told["trg_imsize"]),
            target_size=(height, width),
            target_box=(left, top, right, bottom),
        )


def _json(path: Path, what: str) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ValueError(f"{path.parent} is not {what}: cannot read {path.name}.") from error
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}): fetch it again.") from error


def _points(pixels: Any, size: Any) -> Floats:
    """Pixels (x, y) of a picture of (width, height, …) → (P, 2) in [0, 1]²."""
    points = np.asarray(pixels, np.float64).reshape(-1, 2) / np.asarray(size[:2], np.float64)
    return np.asarray(np.clip(points, 0, 1))


def _around(pixels: Any) -> Box:
    low, high = np.min(pixels, axis=0), np.max(pixels, axis=0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])
