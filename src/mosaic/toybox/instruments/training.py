"""Trains the instruments on cached shots: the detector and the reader side by side on the same pictures.

Letters: B pictures, T toys a scene, N crops.
"""

import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy, l1_loss, logsigmoid

from mosaic.toybox.instruments.look import boxes, crop, squares
from mosaic.toybox.instruments.network import SHAPES, SPOTS, STRIDE, YAWS, Detector, Reader, write
from mosaic.toybox.instruments.shots import ATTRIBUTES, COLOUR_OF, NOTHING, SIZE, WORN_BY, Shots, Slot
from mosaic.toybox.instruments.wear import wear

log = logging.getLogger(__name__)
FAINT = ("width", "head", "limbs")  # hardly to be read
LEAST_SEEN = 40  # pixels of a toy that must show for it to be learnt from


@dataclass(frozen=True, kw_only=True, slots=True)
class Lesson:
    """One batch: worn pictures, and the toys in them."""

    pictures: Tensor  # (B, 3, H, W) in [−1, 1]
    which: Tensor  # (N,) picture of each toy
    box: Tensor  # (N, 4) pixels
    species: Tensor  # (N,)
    identity: Tensor  # (N, A)
    yaw: Tensor  # (N,) degrees
    slots: Tensor  # (N, 24, 24) long, `len(Slot)` beside the toy
    square: Tensor  # (N, 3) where the crops are


class Lessons:
    """Draws batches from shots; a quarter of them from `others`, the first scenes after a round trip."""

    def __init__(self, shots: Shots, others: NDArray[np.uint8] | None, seed: int) -> None:
        found = [boxes(slots, shots.species.shape[1]) for slots in shots.slots]
        self.shots, self.others = shots, others
        self.boxes, self.areas = np.stack([box for box, _ in found]), np.stack([area for _, area in found])
        chances = (shots.species >= 0).sum(1) ** -0.5  # so that large toys are not too rare
        self.chances = chances / chances.sum()
        self.random, self.numbers = torch.Generator().manual_seed(seed), np.random.default_rng(seed)

    def draw(self, batch: int) -> Lesson:
        """A batch of random scenes, worn, with crops a little off as the detector's are."""
        which = self.numbers.choice(len(self.chances), size=batch, p=self.chances)
        if self.others is not None:
            count = batch // 4
            which[:count] = self.numbers.integers(len(self.others), size=count)
        pictures = self.shots.pictures[which]
        if self.others is not None:
            pictures[:count] = self.others[which[:count]]
        worn = wear(torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255, self.random)
        return self.lesson(which, worn, jitter=0.08)

    def lesson(self, which: NDArray[np.int64], pictures: Tensor, jitter: float = 0.0) -> Lesson:
        """The lesson of some scenes, whose pictures (B, 3, H, W) in [0, 1] may have been changed."""
        rows, toys = np.nonzero(self.areas[which] >= LEAST_SEEN)
        scenes = which[rows]
        box = torch.from_numpy(self.boxes[scenes, toys])
        square = squares(box)
        square += square[:, 2:] * jitter * torch.randn(square.shape, generator=self.random).clamp(-2, 2)
        rows_t = torch.from_numpy(rows)
        return Lesson(
            pictures=2 * pictures - 1,
            which=rows_t,
            box=box,
            species=torch.from_numpy(self.shots.species[scenes, toys]).long(),
            identity=torch.from_numpy(self.shots.identities[scenes, toys]).long(),
            yaw=torch.from_numpy(self.shots.yaws[scenes, toys]),
            slots=_slots_in(self.shots.slots[which], rows_t, torch.from_numpy(toys), square),
            square=square,
        )


def _slots_in(
    slots: NDArray[np.uint8], which: Tensor, toys: Tensor, square: Tensor, cells: int = 24
) -> Tensor:
    """(N, cells, cells) the slot in the middle of each cell of a crop, of the crop's own toy."""
    at = (torch.arange(cells) + 0.5) / cells - 0.5
    x, y = (square[:, i, None] + at * square[:, 2:] for i in (0, 1))
    column, row = x.floor().long()[:, None, :], y.floor().long()[:, :, None]
    inside = (column >= 0) & (column < SIZE) & (row >= 0) & (row < SIZE)
    seen = torch.from_numpy(slots)[
        which[:, None, None], row.clamp(0, SIZE - 1), column.clamp(0, SIZE - 1)
    ].long()
    mine = inside & (seen // 8 == toys[:, None, None]) & (seen != NOTHING)
    return torch.where(mine, seen % 8, len(Slot))


def detection_loss(heat: Tensor, box: Tensor, lesson: Lesson) -> Tensor:
    """Focal loss of the heat maps, lessened near middles, and absolute error of the boxes at the middles."""
    size = (lesson.box[:, 2:] - lesson.box[:, :2]) / STRIDE
    middle = (lesson.box[:, :2] + lesson.box[:, 2:]) / 2 / STRIDE
    cell = middle.long().clamp(max=heat.shape[-1] - 1)
    target = torch.zeros_like(heat)
    reach = torch.arange(heat.shape[-1])
    spread = (0.14 * size).clamp(min=0.7)
    lines = [torch.exp(-0.5 * ((reach - cell[:, i, None]) / spread[:, i, None]) ** 2) for i in (0, 1)]
    bumps = lines[1][:, :, None] * lines[0][:, None, :]
    for n, (picture, species) in enumerate(zip(lesson.which.tolist(), lesson.species.tolist(), strict=True)):
        target[picture, species] = torch.maximum(target[picture, species], bumps[n])
    peak, chance = target == 1, heat.sigmoid()
    focal = torch.where(
        peak, (1 - chance) ** 2 * logsigmoid(heat), (1 - target) ** 4 * chance**2 * logsigmoid(-heat)
    )
    made = box[lesson.which, :, cell[:, 1], cell[:, 0]]
    return -focal.sum() / len(size) + l1_loss(made, torch.cat([middle - cell - 0.5, size.log()], 1))


def reading_loss(read: dict[str, Tensor], lesson: Lesson) -> Tensor:
    """Cross entropy of every attribute that shows, of the yaw (softened over its bins) and of the slots."""
    total = 4 * part_loss(read["slots"], lesson) + spot_loss(read["spots"], lesson)
    for name in (*SHAPES, *COLOUR_OF.values()):
        label = lesson.identity[:, ATTRIBUTES.index(name)]
        if name in WORN_BY:
            worn = lesson.identity[:, ATTRIBUTES.index(WORN_BY[name])] > 0
            label = torch.where(worn, label, -100)
        total = total + (0.3 if name in FAINT else 1.0) * cross_entropy(read[name], label)
    off = (lesson.yaw[:, None] - torch.tensor(YAWS)) / (YAWS[1] - YAWS[0])
    return total + cross_entropy(read["yaw"], (-0.5 * off**2).softmax(1))


def part_loss(slots: Tensor, lesson: Lesson) -> Tensor:
    """Cross entropy of which part each spot is. A patterned toy's accent may be its body's or a part's."""
    logs = slots.log_softmax(1)
    told = logs.gather(1, lesson.slots[:, None])[:, 0]
    patterned = lesson.identity[:, ATTRIBUTES.index("pattern"), None, None] > 0
    either = torch.logaddexp(logs[:, Slot.PRIMARY], logs[:, Slot.ACCENT])
    return -torch.where(patterned & (lesson.slots == Slot.ACCENT), either, told).mean()


def spot_loss(spots: Tensor, lesson: Lesson) -> Tensor:
    """Cross entropy of what each spot of a toy tells by itself: its colour, its pattern, whose part it is."""
    total = torch.zeros(())
    colours = lesson.identity[:, [ATTRIBUTES.index(name) for name in COLOUR_OF.values()]]
    parts = spots.split([count for count, _ in SPOTS.values()], 1)
    for (name, (_, slots)), logits in zip(SPOTS.items(), parts, strict=True):
        on = torch.isin(lesson.slots, torch.tensor(slots))
        if name == "colour":
            own = colours.gather(1, lesson.slots.clamp(max=len(COLOUR_OF) - 1).flatten(1)).view_as(
                lesson.slots
            )
        else:
            own = lesson.identity[:, ATTRIBUTES.index(name), None, None].expand_as(lesson.slots)
        total = total + cross_entropy(logits.movedim(1, -1)[on], own[on])
    return total


def train(
    networks: tuple[Detector, Reader],
    lessons: Lessons,
    output: Path,
    steps: int,
    rates: tuple[float, float],
    batch: int = 16,
) -> None:
    """Trains both networks, the rate falling from first to last along a cosine; writes them now and then."""
    detector, reader = networks
    for network in (detector, reader):
        network.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    parameters = [*detector.parameters(), *reader.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=rates[0], weight_decay=0.02)
    partial, began, averages = output.with_suffix(".partial"), time.process_time(), torch.zeros(2)
    for step in range(steps):
        falling = 0.5 * (1 + math.cos(math.pi * step / steps))
        warm = min(1, (step + 1) / 150)
        optimiser.param_groups[0]["lr"] = warm * (rates[1] + (rates[0] - rates[1]) * falling)
        losses = _losses(detector, reader, lessons.draw(batch))
        optimiser.zero_grad()
        losses.sum().backward()
        for network in (detector, reader):
            torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        averages += (losses.detach() - averages) * max(0.01, 1 / (step + 1))
        if step % 100 == 99:
            spent = time.process_time() - began
            log.info("step %d  detector %.3f  reader %.3f  %.0f s of CPU", step + 1, *averages, spent)
        if step % 300 == 299:
            write(networks, partial)
    write(networks, partial)
    partial.replace(output)


def _losses(detector: Detector, reader: Reader, lesson: Lesson, most: int = 64) -> Tensor:
    """(2,) the detector's loss on a lesson and the reader's on at most so many of its toys."""
    chosen = torch.randperm(len(lesson.which))[:most]
    part = Lesson(pictures=lesson.pictures, **{name: getattr(lesson, name)[chosen] for name in _PER_TOY})
    crops = crop(lesson.pictures, part.which, part.square).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        heat, box = detector(lesson.pictures.to(memory_format=torch.channels_last))
        read = reader(crops, part.species)
    read = {name: logits.float() for name, logits in read.items()}
    return torch.stack([detection_loss(heat.float(), box.float(), lesson), reading_loss(read, part)])


_PER_TOY = ("which", "box", "species", "identity", "yaw", "slots", "square")
