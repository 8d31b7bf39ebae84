"""Two small convolutional networks: one finds toys in a picture, one reads who a found toy is.

Letters: B pictures, N crops, h, w cells of a feature map, A values of an attribute.
"""

from pathlib import Path
from typing import Final

import torch
from safetensors.torch import load_file, save_file
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
SPOTS: Final = {  # what single spots of a toy are taught to tell: how many values, and on which slots
    "colour": (len(COLOURS), tuple(COLOUR_OF)),
    "pattern": (len(PATTERNS), (Slot.PRIMARY, Slot.ACCENT)),
    "accessory": (len(ACCESSORIES), (Slot.ACCESSORY,)),
    "badge": (len(BADGES), (Slot.BADGE,)),
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
        """The finest map after the stem (B, out, h, w) and the coarsest, to which `hint` is added."""
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
    """Who a toy is, from a crop and its species: first what part and colour each spot is, then the rest.

    Colours: how much of every part is of a colour says whose colour it is, by one rule for all colours.
    Shapes and yaw: from where the parts and the two body colours lie, and from features averaged over parts.
    """

    def __init__(self, stem: int = 24, widths: tuple[int, ...] = (40, 64, 96), out: int = 48) -> None:
        super().__init__()
        self.pyramid = Pyramid(stem, widths, 1, out)
        self.kind = nn.Embedding(len(NOUNS), widths[-1])
        self.fine = _convolve(out, out)
        self.slot = nn.Conv2d(out, len(Slot) + 1, 1)  # parts by slot; the last: not this toy
        self.spot = nn.Conv2d(out, sum(count for count, _ in SPOTS.values()), 1)
        self.share = nn.Sequential(
            nn.Linear(4 * len(COLOUR_OF), 48), nn.ReLU(), nn.Linear(48, len(COLOUR_OF))
        )
        self.squeeze = _convolve(widths[-1], 8, size=1)
        seen, cells = len(Slot) * (out + 6), (CROP // 2 ** len(widths)) ** 2
        self.even = nn.BatchNorm1d(seen)
        self.mix = nn.Sequential(nn.Linear(8 * cells + seen, 128), nn.BatchNorm1d(128), nn.ReLU())
        self.plan = nn.Sequential(
            *(
                _convolve(len(Slot) + 5, 24),
                _convolve(24, 40, 2),
                _convolve(40, 40, 2),
                _convolve(40, 8, size=1),
            ),
            *(nn.Flatten(), nn.Linear(8 * cells, 48), nn.BatchNorm1d(48), nn.ReLU()),
        )
        counts = SHAPES | {"yaw": len(YAWS)}
        self.shapes = nn.ModuleDict({name: nn.Linear(128 + seen + 48, n) for name, n in counts.items()})

    def forward(self, crops: Tensor, species: Tensor) -> dict[str, Tensor]:
        """Crops (N, 3, 48, 48) in [−1, 1], species (N,) → logits by attribute (N, A).

        Beside them "yaw" (N, bins), and for training "slots" (N, 7, 24, 24), "spots" (N, values, 24, 24).
        """
        fine, coarse = self.pyramid(crops, self.kind(species))
        fine = self.fine(fine)
        slots, spots = self.slot(fine), self.spot(fine)
        maps = slots.float().softmax(1)
        told = dict(zip(SPOTS, spots.float().split([count for count, _ in SPOTS.values()], 1), strict=True))
        hue = told["colour"].softmax(1)  # (N, colours, 24, 24)
        colours = self._colours(maps[:, : len(COLOUR_OF)], hue)
        mean, size, place = _under(maps[:, : len(Slot)], fine.float())
        seen = self.even(torch.cat([mean, size, place], -1).flatten(1))
        mixed = self.mix(torch.cat([self.squeeze(coarse).flatten(1), seen], 1))
        lie = [torch.einsum("nchw,nc->nhw", hue, colours[s].softmax(1).detach()) for s in (0, 2)]
        plan = self.plan(torch.cat([maps, torch.stack(lie, 1), _coordinates(maps)], 1))
        mixed = torch.cat([mixed, seen, plan], 1)
        logits = {name: head(mixed).float() for name, head in self.shapes.items()}
        for name in ("pattern", "accessory", "badge"):
            on = maps[:, [int(slot) for slot in SPOTS[name][1]]].sum(1, keepdim=True)
            logits[name] = logits[name] + _under(on, told[name])[0][:, 0]
        logits |= {COLOUR_OF[slot]: colours[slot] for slot in COLOUR_OF}
        return logits | {"slots": slots, "spots": spots}

    def _colours(self, maps: Tensor, hue: Tensor) -> list[Tensor]:
        """Logits (N, colours) of each slot's colour, from parts (N, 5, h, w) and hues (N, colours, h, w)."""
        under, size, _ = _under(maps, hue)  # (N, 5, colours)
        most = under.amax(2, keepdim=True).expand_as(under)
        told = torch.stack(
            [under, (under + 0.01).log(), most, size.expand_as(under)], 1
        )  # (N, 4, 5, colours)
        return list(self.share(told.flatten(1, 2).mT).unbind(2))


def _coordinates(maps: Tensor) -> Tensor:
    """Rows and columns (N, 2, h, w) in −1..1."""
    return _axes(maps).expand(len(maps), -1, -1, -1)


def _axes(maps: Tensor) -> Tensor:
    """Rows and columns (2, h, w) in −1..1 of maps (N, …, h, w); N may be 0, where nothing was found."""
    y, x = (torch.linspace(-1, 1, n, device=maps.device) for n in maps.shape[-2:])
    return torch.stack(torch.meshgrid(y, x, indexing="ij"))


def _under(maps: Tensor, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Under maps (N, S, h, w) in 0..1: mean features (N, S, C), log size (N, S, 1), moments (N, S, 5)."""
    y, x = _axes(maps)
    moments = torch.stack([x, y, x * x, y * y, x * y]).flatten(1)  # (5, cells)
    maps = maps.flatten(2)
    mass = maps.sum(-1, keepdim=True) + 0.5
    return maps @ features.flatten(2).mT / mass, mass.log(), maps @ moments.T / mass


def write(networks: tuple[Detector, Reader], path: Path, dtype: torch.dtype = torch.float32) -> None:
    """Both networks' weights in one safetensors file."""
    named = zip(("detector", "reader"), networks, strict=True)
    weights = {f"{name}.{key}": v for name, network in named for key, v in network.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.to(dtype).contiguous() if v.is_floating_point() else v for k, v in weights.items()}, path)


def read_back(path: Path) -> tuple[Detector, Reader]:
    """The networks that `write` wrote."""
    weights, networks = load_file(path), (Detector(), Reader())
    for name, network in zip(("detector", "reader"), networks, strict=True):
        own = {k.removeprefix(f"{name}."): v for k, v in weights.items() if k.startswith(f"{name}.")}
        network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in own.items()})
    return networks
