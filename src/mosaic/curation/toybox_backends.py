"""The embedded world as writer, painter, segmenter, editor, matcher: exact, as a record tells its scene.

A record of the toybox names its split in its origin; its seed and the number of its subjects give the
composition again, at any size.
H × W pixels, uint8 RGB; masks bool (H, W).
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from mosaic.curation.protocols import Found
from mosaic.curation.rows import Named, Record, Work
from mosaic.pictures.canvas import Canvas, released_canvas
from mosaic.sample import Correspondence, Mask, Picture

if TYPE_CHECKING:  # they bring torch along
    from mosaic.toybox.render import Render
    from mosaic.toybox.scene import Composition

NAME, LICENCE = "toybox", "CC0-1.0"
KEPT = 256 << 20  # bytes of renders
POINTS = 256  # at most so many a reference
SAME = 6.0  # mean difference of two pictures, in 255ths, that lossy files may bring about


def composition(record: Record) -> "Composition":
    """The scene a record of the toybox was written for. ValueError for a record from elsewhere."""
    from mosaic.toybox.batches import generator
    from mosaic.toybox.identity import Split
    from mosaic.toybox.scene import compose

    if record.origin.get("world") != NAME:
        raise ValueError('kind = "toybox" needs prompts of the toybox: set prompts.kind = "toybox".')
    return compose(generator(record.seed), len(record.subjects), Split(record.origin["split"]))


class ToyWriter:
    """Prompts of scenes with as many toys as one of `subjects`. No two of a record look the same."""

    def __init__(self, seed: int = 0, subjects: Sequence[int] = (2, 3), split: str = "train") -> None:
        self.seed, self.subjects, self.split = seed, tuple(subjects), split

    def __call__(self, indices: Sequence[int]) -> list[Record]:
        return [self._record(index) for index in indices]

    def _record(self, index: int) -> Record:
        """Of the first draw whose toys can be told apart."""
        subjects = self.subjects[_draw(self.seed, index, "subjects") % len(self.subjects)]
        for attempt in range(100):
            record = self._of_seed(_draw(self.seed, index, attempt), subjects)
            if len(set(record.subjects)) == subjects:
                return record
        raise ValueError(f"the toybox has no {subjects} toys of the split {self.split} that differ")

    def _of_seed(self, seed: int, subjects: int) -> Record:
        from mosaic.toybox.scene import phrase

        origin = {"world": NAME, "split": self.split, "licence": LICENCE}
        nameless = (Named(name="toy"),) * subjects
        blank = Record(caption="", detailed_caption="", subjects=nameless, seed=seed, origin=origin)
        scene = composition(blank)
        return Record(
            caption=scene.caption,
            detailed_caption=scene.detailed_caption,
            subjects=tuple(Named(name=t.species, looks=phrase(t, detailed=True)) for t in scene.scene.toys),
            seed=seed,
            origin=origin,
        )


def painter(height: int, width: int) -> "ToyPainter":
    """Scenes of height × width pixels."""
    return ToyPainter(height, width)


class ToyPainter:
    """The renderer."""

    name, licence = NAME, LICENCE

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = height, width

    def __call__(self, records: Sequence[Record]) -> list[Picture]:
        return [_target(record, self.height, self.width).picture[0].numpy() for record in records]


def find() -> Callable[[Sequence[Work], Sequence[Picture]], list[list[list[Found]]]]:
    """The masks of the scenes: [sample][subject] → the one instance, none where a subject is hidden."""

    def found(works: Sequence[Work], pictures: Sequence[Picture]) -> list[list[list[Found]]]:
        return [
            [_found(mask) for mask in _masks(work.record, *picture.shape[:2])]
            for work, picture in zip(works, pictures, strict=True)
        ]

    return found


def _found(mask: Mask) -> list[Found]:
    return [Found(box=_box(mask), score=1.0, mask=mask, mask_score=1.0)] if mask.any() else []


def view(size: int) -> Callable[[Work, int, Picture], tuple[Picture, Mask]]:
    """New portraits: the composition's references, size × size pixels, on white, and their masks."""

    def portrait(work: Work, k: int, cutout: Picture) -> tuple[Picture, Mask]:
        shot = _portrait(work.record, k, size)
        return shot.picture[0].numpy(), shot.masks(1)[0, 0].numpy()

    return portrait


def match(
    work: Work, k: int, reference: Picture, reference_mask: Mask, target: Picture, target_mask: Mask
) -> Correspondence:
    """Exact correspondences of reference k and the target, inside both masks, at most 256, evenly spread.

    ValueError where the two are not pictures of the toybox: imported, or edited by a model.
    """
    from mosaic.toybox import correspond

    scene, shot = _target(work.record, *target.shape[:2]), _portrait(work.record, k, reference.shape[0])
    laid = _laid(shot.picture[0].numpy(), shot.masks(1)[0, 0].numpy())
    _expect(reference, laid.image, "reference")
    _expect(target, scene.picture[0].numpy(), "target")
    found = correspond.match(_first(scene, k), shot, 1)
    here, there = laid.placement.apply(found.here.double().numpy()), found.there.double().numpy()
    inside = _holds(reference_mask, here) & _holds(target_mask, there)
    here, there = here[inside], there[inside]
    stride = max(1, -(-len(here) // POINTS))
    kept = slice(stride // 2, None, stride)
    return Correspondence(reference=here[kept], target=there[kept], confidence=np.ones(len(here[kept])))


# ---------------------------------------------------------------- renders, kept for the stages of a shard

_latest: "OrderedDict[tuple[int | str, ...], Render]" = OrderedDict()


def _renders(seed: int, subjects: int, split: str, reference: int, height: int, width: int) -> "Render":
    """The target (reference −1) or one reference of a composition; the latest KEPT bytes of them are kept."""
    what = (seed, subjects, split, reference, height, width)
    if what not in _latest:
        _latest[what] = _rendered(*what)
    _latest.move_to_end(what)
    while len(_latest) > 1 and sum(map(_size, _latest.values())) > KEPT:
        _latest.popitem(last=False)
    return _latest[what]


def _size(made: "Render") -> int:
    return made.part.numel() * 32  # bytes of its four maps


def _rendered(seed: int, subjects: int, split: str, reference: int, height: int, width: int) -> "Render":
    from mosaic.toybox.render import render

    origin = {"world": NAME, "split": split}
    blank = Record(
        caption="", detailed_caption="", subjects=(Named(name="toy"),) * subjects, seed=seed, origin=origin
    )
    made = composition(blank)
    return render([made.scene if reference < 0 else made.references[reference]], height, width)


def _target(record: Record, height: int, width: int) -> "Render":
    composition(record)  # which refuses a record from elsewhere
    return _renders(record.seed, len(record.subjects), record.origin["split"], -1, height, width)


def _portrait(record: Record, k: int, side: int) -> "Render":
    return _renders(record.seed, len(record.subjects), record.origin["split"], k, side, side)


def _masks(record: Record, height: int, width: int) -> Mask:
    """(K, H, W) bool."""
    return np.asarray(_target(record, height, width).masks(len(record.subjects))[0].numpy())


def _first(scene: "Render", k: int) -> "Render":
    """The scene with toy k as its first."""
    from dataclasses import replace

    import torch

    parts = replace(scene.parts, first=scene.parts.first.roll(-k, 1))
    toy = torch.where(scene.toy == k, 0, torch.where(scene.toy < 0, -1, scene.toy + 1))  # k alone matters
    return replace(scene, parts=parts, toy=toy)


def _laid(picture: Picture, mask: Mask) -> Canvas:
    """As the stage refer lays a reference on its canvas."""
    opacity = np.where(mask, 255, 0).astype(np.uint8)[..., None]
    return released_canvas(Image.fromarray(np.concatenate([picture, opacity], axis=2)), picture.shape[0])


def _expect(picture: Picture, render: Picture, what: str) -> None:
    same = picture.shape == render.shape
    if not same or np.abs(picture.astype(float) - render).mean() > SAME:
        raise ValueError(
            f"the {what} is not the toybox's picture of this record, so its points are not known"
        )


def _holds(mask: Mask, points: np.ndarray) -> Mask:
    height, width = mask.shape
    x, y = (points * (width, height)).astype(int).T
    return mask[y.clip(0, height - 1), x.clip(0, width - 1)]


def _box(mask: Mask) -> tuple[float, float, float, float]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def _draw(*what: object) -> int:
    """63 bits that depend on nothing else."""
    content = "/".join(map(str, what)).encode()
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big") >> 1
