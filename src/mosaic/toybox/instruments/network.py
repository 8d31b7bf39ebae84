"""Two small convolutional networks: one finds toys in a picture, one reads who a found toy is.

Letters: B pictures, N crops, h, w cells of a feature map, A values of an attribute.
"""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, relu

from mosaic.toybox.identity import ACCESSORIES, BADGES, COLOURS, LEVELS, PATTERNS
from mosaic.toybox.instruments.shots import COLOUR_OF, Slot
from mosaic.toybox.species import NOUNS

STRIDE: Final = 4  # pixels a cell of the detector's maps is wide
CROP: Final = 48  # pixels a side of what the reader sees
YAWS: Final = tuple(range(-72, 73, 6))  # degrees, centres of the reader's bins
SHAPES: Final = {  # attributes that are not colours, with how many values each has
    "pattern": len(PATTERNS),
    "accessory": len(ACCESSORIES),
    "badge": len(BADGES),
    "width": LEVELS,
    "head": LEVELS,
    "limbs": LEVELS,
}


def _convolve(inside: int, outside: int, stride: int = 1, size: int = 3) -> nn.Sequential:
    convolution = nn.Conv2d(inside, outside, size, stride, size // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outside), nn.ReLU())


def _grow(small: Tensor, large: Tensor) -> Tensor:
    """The small map at the size of the large one."""
    return interpolate(small, size=large.shape[-2:], mode="nearest")


class Pyramid(nn.Module):
    """Features at falling resolution and back up: `widths` downwards, each level half the one before."""

    def __init__(self, stem: int, widths: tuple[int, ...], first_stride: int, out: int) -> None:
        super().__init__()
        self.stem = _convolve(3, stem, first_stride)
        downs = list(zip((stem, *widths), widths, strict=False))
        self.down = nn.ModuleList(nn.Sequential(_convolve(a, b, 2), _convolve(b, b)) for a, b in downs)
        self.side = nn.ModuleList(nn.Conv2d(width, out, 1) for width in widths[:-1])
        self.up = nn.ModuleList(_convolve(out, out) for _ in widths[:-1])
        self.top = nn.Conv2d(widths[-1], out, 1)

    def forward(self, picture: Tensor, hint: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The finest map behind the stem (B, out, h, w) and the coarsest, (B, widths[-1], …); `hint` is added to it."""
        levels = [self.stem(picture)]
        for down in self.down:
            levels.append(down(levels[-1]))
        coarsest = levels[-1] if hint is None else relu(levels[-1] + hint[:, :, None, None])
        x = self.top(coarsest)
        for level, side, up in zip(levels[-2:0:-1], reversed(self.side), reversed(self.up), strict=True):
            x = up(relu(side(level) + _grow(x, level)))
        return x, coarsest


class Detector(nn.Module):
    """Where toys are: a heat map a species, peaking where a toy's box has its middle, and the box there."""

    def __init__(self, stem: int = 16, widths: tuple[int, ...] = (32, 56, 72, 72), out: int = 48) -> None:
        super().__init__()
        self.pyramid = Pyramid(stem, widths, 2, out)
        self.heat = nn.Conv2d(out, len(NOUNS), 1)
        self.box = nn.Conv2d(out, 4, 1)  # middle's offset from the cell's, and log of the size, in cells
        nn.init.constant_(self.heat.bias, -4.0)  # type: ignore[arg-type]

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) in [−1, 1] → heat logits (B, species, H/4, W/4), boxes (B, 4, H/4, W/4)."""
        features, _ = self.pyramid(pictures)
        return self.heat(features), self.box(features)


class Reader(nn.Module):
    """Who a toy is: from a crop and its species, logits of every attribute, of its yaw, and of a slot a cell.

    A colour is read where the crop shows its slot: features are averaged under the slot's predicted map.
    """

    def __init__(self, stem: int = 24, widths: tuple[int, ...] = (40, 64, 96), out: int = 48) -> None:
        super().__init__()
        self.pyramid = Pyramid(stem, widths, 1, out)
        self.kind = nn.Embedding(len(NOUNS), widths[-1])
        self.fine = _convolve(out, out)
        self.slot = nn.Conv2d(out, len(Slot) + 1, 1)  # the last: not this toy
        self.colour = nn.Sequential(nn.Linear(out + 1, 64), nn.ReLU(), nn.Linear(64, len(COLOURS)))
        self.squeeze = _convolve(widths[-1], 16, size=1)
        cells = (CROP // 2 ** len(widths)) ** 2
        self.mix = nn.Sequential(nn.Linear(16 * cells + (out + 1) * len(COLOUR_OF), 96), nn.ReLU())
        self.shapes = nn.ModuleDict({name: nn.Linear(96, count) for name, count in SHAPES.items()})
        self.yaw = nn.Linear(96, len(YAWS))

    def forward(self, crops: Tensor, species: Tensor) -> dict[str, Tensor]:
        """Crops (N, 3, 48, 48) in [−1, 1], species (N,) → logits by attribute (N, A), "yaw", "slots" (N, 7, 24, 24)."""
        fine, coarse = self.pyramid(crops, self.kind(species))
        fine = self.fine(fine)
        slots = self.slot(fine)
        under = slots.float().softmax(1)[:, : len(COLOUR_OF)].flatten(2)  # (N, 5, cells)
        mass = under.sum(-1, keepdim=True)
        mean = under @ fine.float().flatten(2).mT / (mass + 0.5)
        seen = torch.cat([mean, (mass + 0.5).log()], -1)  # (N, 5, out + 1)
        mixed = self.mix(torch.cat([self.squeeze(coarse).flatten(1), seen.flatten(1)], 1))
        logits = {name: head(mixed) for name, head in self.shapes.items()}
        logits |= {COLOUR_OF[slot]: self.colour(seen[:, slot]) for slot in COLOUR_OF}
        return logits | {"yaw": self.yaw(mixed), "slots": slots}
