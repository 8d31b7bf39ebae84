"""Feature maps and pictures small enough to think about."""

import numpy as np
import torch

from mosaic.geometry import Grid, Placement
from mosaic.matching.features import FeatureMap, unit


def placed(values: np.ndarray, placement: Placement | None = None) -> FeatureMap:
    """Features (h, w, C) as a map of a square picture of 16 pixels a token, or as placed."""
    height, width, channels = values.shape
    size = (16 * height, 16 * width)
    rows = unit(torch.from_numpy(values.reshape(-1, channels)).float())
    placement = placement or Placement.resize(size, size)
    return FeatureMap(values=rows, grid=Grid(height, width), placement=placement)


def noise(height: int, width: int, channels: int = 24, seed: int = 0) -> np.ndarray:
    """Features that no two tokens share."""
    return np.random.default_rng(seed).normal(size=(height, width, channels))


def everywhere(one: FeatureMap) -> np.ndarray:
    """A mask of the whole picture."""
    return np.ones(one.placement.source, bool)
