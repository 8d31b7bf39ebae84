"""What can be said of a picture's quality without a model. Pictures uint8 (H, W, 3); every score in [0, 1]
but sharpness. Higher is better, as the Judge protocol wants it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mosaic.sample import Picture

SIDE = 512  # pixels of the longer side that sharpness is measured at, so that sizes compare
DARK, BRIGHT = 2, 253  # levels beyond which nothing is drawn any more
SAME = 8  # levels a channel may differ and still be one colour
LUMA = (0.299, 0.587, 0.114)


def quality(picture: Picture) -> dict[str, float]:
    """All scores below by name."""
    grey = luma(picture)
    return {
        "sharpness": sharpness(picture),
        "exposure": exposure(grey),
        "unclipped": 1 - clipped(grey),
        "colours": 1 - one_colour(picture),
    }


def luma(picture: Picture) -> NDArray[np.float64]:
    """Brightness (H, W), 0 to 255."""
    return np.asarray(picture.astype(np.float64) @ LUMA)


def sharpness(picture: Picture) -> float:
    """Variance of the brightness's Laplacian (4 neighbours), longer side SIDE; blurred is below about 100.

    Only ever made smaller: enlarging adds nothing to measure. 0 for fewer than 3 × 3 pixels.
    """
    height, width = picture.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    grey = luma(np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX)))
    if min(grey.shape) < 3:
        return 0.0
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float((around - 4 * grey[1:-1, 1:-1]).var())


def exposure(grey: NDArray[np.float64]) -> float:
    """1 where the mean brightness is the middle, 0 where all is black or all white."""
    return float(1 - abs(grey.mean() / 127.5 - 1))


def clipped(grey: NDArray[np.float64]) -> float:
    """The share of pixels that are black or white."""
    return float(((grey <= DARK) | (grey >= BRIGHT)).mean())


def one_colour(picture: Picture) -> float:
    """The share of pixels within SAME levels of the median colour in every channel; 1: an empty picture."""
    median = np.median(picture.reshape(-1, 3), axis=0)
    return float((np.abs(picture - median).max(axis=2) <= SAME).mean())
