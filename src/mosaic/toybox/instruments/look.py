"""Boxes and crops: from pictures to what the reader sees.

Letters: B pictures, N crops, T toys a scene.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import affine_grid, avg_pool2d, grid_sample

from mosaic.toybox.instruments.network import CROP
from mosaic.toybox.instruments.shots import NOTHING

MARGIN = 1.25  # side of a crop over the longer side of its box


def boxes(slots: NDArray[np.uint8], toys: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """What toys show in a slot map (h, w): boxes (toys, 4) left, top, right, bottom; pixels (toys,)."""
    owner = np.where(slots == NOTHING, NOTHING, slots // 8)
    found, area = np.zeros((toys, 4), np.float32), np.zeros(toys, np.int32)
    for toy in range(toys):
        mine = owner == toy
        area[toy] = mine.sum()
        if area[toy]:
            rows, columns = np.flatnonzero(mine.any(1)), np.flatnonzero(mine.any(0))
            found[toy] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return found, area


def squares(box: Tensor) -> Tensor:
    """Middle and side (N, 3), in pixels, of the crops for boxes (N, 4)."""
    middle = (box[:, :2] + box[:, 2:]) / 2
    side = (box[:, 2:] - box[:, :2]).amax(1, keepdim=True) * MARGIN
    return torch.cat([middle, side], 1)


def crop(pictures: Tensor, which: Tensor, square: Tensor, size: int = CROP) -> Tensor:
    """Crops (N, C, size, size), crop n of picture which[n] of (B, C, H, W); edges are repeated outside."""
    _, channels, height, width = pictures.shape
    if not len(square):
        return torch.empty(0, channels, size, size)
    scale = torch.tensor([width, height], dtype=square.dtype)
    matrix = torch.zeros(len(square), 2, 3)
    matrix[:, 0, 0], matrix[:, 1, 1] = square[:, 2] / width, square[:, 2] / height
    matrix[:, :, 2] = 2 * square[:, :2] / scale - 1
    grid = affine_grid(matrix, [len(square), channels, 2 * size, 2 * size], align_corners=False)
    made = torch.empty(len(square), channels, size, size)
    for picture in which.unique():
        mine = (which == picture).nonzero()[:, 0]
        views = pictures[picture].expand(len(mine), -1, -1, -1)
        made[mine] = avg_pool2d(grid_sample(views, grid[mine], padding_mode="border", align_corners=False), 2)
    return made
