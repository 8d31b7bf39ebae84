"""The domain's values: Subject, Reference, Correspondence, Sample. Frozen, and validated where they are made.

K references, P points, T target tokens; pictures uint8 (H, W, 3), masks bool (H, W). NumPy alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mosaic.geometry import Floats, Grid, Placement, Size, render_array, token_of

SIDES = {"left": "right", "right": "left"}
SIDE_WORDS = re.compile(  # idioms first: they are no sides
    r"\ball right\b|(?<!the )\bright[ -](?:now|away|here|there|angle|next|behind|beside|in front)"
    r"|(?<!the )\bleft[ -](?:over|alone|behind)|\b(left|right)(?=(?:most|wards?)?\b)",
    re.IGNORECASE,
)
Picture = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Tokens = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A thing with an identity and a noun."""

    id: str
    name: str  # the noun a prompt calls it by

    def __post_init__(self) -> None:
        if not self.id or not self.name:
            raise ValueError("A subject needs an id and a name.")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reference:
    """One picture of one subject, and where the subject is in it."""

    subject: Subject
    image: Picture  # (H, W, 3)
    mask: Mask  # (H, W)

    def __post_init__(self) -> None:
        _check_picture(self.image, f"The reference picture of {self.subject.name}")
        _check_mask(self.mask, self.size, f"The mask of the reference of {self.subject.name}")

    @property
    def size(self) -> Size:
        """(height, width) in pixels."""
        return _size(self.image)

    def placed(self, placement: Placement) -> Reference:
        """This reference on another canvas: white where the picture does not reach, the mask False."""
        image, mask = render_array(self.image, placement), render_array(self.mask, placement)
        return replace(self, image=image, mask=mask)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Correspondence:
    """Pairs of points that show the same place of one reference's subject (eq. 1), in [0, 1]²."""

    reference: Floats  # (P, 2)
    target: Floats  # (P, 2)
    confidence: Floats  # (P,) in [0, 1]

    def __post_init__(self) -> None:
        for name in ("reference", "target", "confidence"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), np.float64))
        count = self.confidence.size
        shapes = self.reference.shape, self.target.shape, self.confidence.shape
        if shapes != ((count, 2), (count, 2), (count,)):
            raise ValueError(f"Points must be (P, 2), (P, 2) and confidences (P,), not {shapes}.")
        for values in (self.reference, self.target, self.confidence):
            if not ((values >= 0) & (values <= 1)).all():  # NaN too
                raise ValueError("Points and confidences must lie in [0, 1].")

    def __len__(self) -> int:
        return self.confidence.size

    def chosen(self, which: NDArray[np.generic]) -> Correspondence:
        """Some of the pairs: bool (P,), or indices."""
        return Correspondence(
            reference=self.reference[which], target=self.target[which], confidence=self.confidence[which]
        )

    def placed(self, reference: Placement | None = None, target: Placement | None = None) -> Correspondence:
        """The points moved with their pictures; a pair with an end that leaves its picture is dropped."""
        ends, shown = [self.reference, self.target], np.ones(len(self), bool)
        for i, placement in enumerate((reference, target)):
            if placement is not None:
                shown &= placement.shows(ends[i])
                ends[i] = np.clip(placement.apply(ends[i]), 0, 1)
        return Correspondence(
            reference=ends[0][shown], target=ends[1][shown], confidence=self.confidence[shown]
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Points:
    """The points of a sample as tokens, padded to the longest reference. What is not valid means nothing."""

    reference: Tokens  # (K, P), token in the reference's own grid
    target: Tokens  # (K, P)
    valid: Mask  # (K, P)
    confidence: NDArray[np.float32]  # (K, P)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """A target, the references of the subjects in it, and the points they share."""

    key: str
    target: Picture  # (H, W, 3)
    references: tuple[Reference, ...] = ()
    target_masks: tuple[Mask, ...] = ()  # (H, W), one a subject, in the order of `subjects`
    correspondences: tuple[Correspondence, ...] = ()  # one a reference
    caption: str  # nouns and places alone
    detailed_caption: str  # looks too

    def __post_init__(self) -> None:
        if not self.key:
            raise ValueError("A sample needs a key.")
        _check_picture(self.target, f"The target of {self.key}")
        if len({subject.id for subject in self.subjects}) < len(self.subjects):
            raise ValueError(f"In {self.key} one subject id has two names.")
        if len(self.target_masks) != len(self.subjects) or len(self.correspondences) != len(self.references):
            raise ValueError(f"{self.key} needs a target mask a subject and a correspondence a reference.")
        for mask in self.target_masks:
            _check_mask(mask, self.size, f"A target mask of {self.key}")

    @property
    def size(self) -> Size:
        """(height, width) of the target in pixels."""
        return _size(self.target)

    @property
    def subjects(self) -> tuple[Subject, ...]:
        """Each subject once, in order of its first reference."""
        return tuple(dict.fromkeys(reference.subject for reference in self.references))

    @property
    def subject_indices(self) -> Tokens:
        """Which of `subjects` each reference shows: (K,)."""
        subjects = self.subjects
        return np.array([subjects.index(reference.subject) for reference in self.references], np.int64)

    def place_target(self, placement: Placement) -> Sample:
        """The target on another canvas, its masks and points with it; points that leave it are dropped."""
        return replace(
            self,
            target=render_array(self.target, placement),
            target_masks=tuple(render_array(mask, placement) for mask in self.target_masks),
            correspondences=tuple(points.placed(target=placement) for points in self.correspondences),
        )

    def place_references(self, placements: Sequence[Placement]) -> Sample:
        """Each reference on another canvas, its mask and points with it; points that leave it are dropped."""
        pairs = zip(self.correspondences, placements, strict=True)
        return replace(
            self,
            references=tuple(r.placed(p) for r, p in zip(self.references, placements, strict=True)),
            correspondences=tuple(points.placed(reference=placement) for points, placement in pairs),
        )

    def crop(self, box: tuple[int, int, int, int]) -> Sample:
        """Keep (left, top, right, bottom) of the target, in pixels."""
        return self.place_target(Placement.crop(self.size, box))

    def resize(self, height: int, width: int) -> Sample:
        """Stretch the target to height × width pixels."""
        return self.place_target(Placement.resize(self.size, (height, width)))

    def flip(self) -> Sample:
        """Mirror the target and every reference (writing stays alike); captions trade left for right."""
        mirrored = self.place_target(Placement.flip(self.size))
        mirrored = mirrored.place_references([Placement.flip(r.size) for r in self.references])
        captions = _mirror_words(self.caption), _mirror_words(self.detailed_caption)
        return replace(mirrored, caption=captions[0], detailed_caption=captions[1])

    def points_on(self, grid: Grid | None = None, reference_grids: Sequence[Grid] | None = None) -> Points:
        """The points as tokens of the target's grid and of the references' (default: 16 × 16 pixels a token).

        A pair of tokens counts once a reference. Target tokens are disjoint between subjects (eq. 2): what
        several claim goes to the one whose target mask holds its centre, else to the higher confidence, else
        to none. Views of one subject may share it. Masks settle nothing else: a point off its mask stays, as
        tokens straddle outlines, and which matches to believe was decided where they were made.
        """
        grid = grid or Grid.of_pixels(*self.size)
        if reference_grids is None:
            reference_grids = [Grid.of_pixels(*reference.size) for reference in self.references]
        pairs = [
            _distinct(token_of(points.reference, own), token_of(points.target, grid), points.confidence)
            for points, own in zip(self.correspondences, reference_grids, strict=True)
        ]
        owner = self._owner_of_tokens(grid, pairs)
        kept = zip(pairs, self.subject_indices, strict=True)
        return _padded([tuple(column[owner[v] == i] for column in (u, v, c)) for (u, v, c), i in kept])

    def disjoint(self, grid: Grid | None = None) -> Sample:
        """Without the points `points_on` leaves out for eq. 2: a target token is one subject's."""
        grid = grid or Grid.of_pixels(*self.size)
        ends = [token_of(points.target, grid) for points in self.correspondences]
        pairs = [(v, v, points.confidence) for v, points in zip(ends, self.correspondences, strict=True)]
        owner = self._owner_of_tokens(grid, pairs)
        kept = [owner[v] == i for v, i in zip(ends, self.subject_indices, strict=True)]
        return replace(
            self,
            correspondences=tuple(p.chosen(k) for p, k in zip(self.correspondences, kept, strict=True)),
        )

    def _owner_of_tokens(self, grid: Grid, pairs: Sequence[tuple[Tokens, Tokens, Floats]]) -> Tokens:
        """Which subject may supervise each target token (eq. 2): (T,), −1 for none."""
        claims = np.full((len(self.subjects) + 1, grid.size), -1.0)  # last row: nobody
        for (_, v, confidence), subject in zip(pairs, self.subject_indices, strict=True):
            np.maximum.at(claims[subject], v, confidence)
        holds = np.stack([*(_on_grid(m, grid) for m in self.target_masks), np.zeros(grid.size, bool)])
        holders = holds & (claims >= 0)
        claims[holders.any(0) & ~holders] = -1
        winners = (claims == claims.max(0)) & (claims >= 0)
        return np.where(winners.sum(0) == 1, winners.argmax(0), -1)


def _distinct(u: Tokens, v: Tokens, confidence: Floats) -> tuple[Tokens, Tokens, Floats]:
    """Each (u, v) once, with its highest confidence, in order of appearance."""
    order = np.argsort(-confidence, kind="stable")
    _, first = np.unique(u[order] << 32 | v[order], return_index=True)
    keep = np.sort(order[first])
    return u[keep], v[keep], confidence[keep]


def _on_grid(mask: Mask, grid: Grid) -> Mask:
    """The mask at the centre of each token: (T,)."""
    height, width = mask.shape
    rows = ((np.arange(grid.height) + 0.5) / grid.height * height).astype(np.int64)
    columns = ((np.arange(grid.width) + 0.5) / grid.width * width).astype(np.int64)
    return np.asarray(mask[np.ix_(rows, columns)]).ravel()


def _padded(rows: Sequence[tuple[NDArray[np.generic], ...]]) -> Points:
    shape = len(rows), max((len(u) for u, _, _ in rows), default=0)
    reference, target, valid = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.zeros(shape, bool)
    confidence = np.zeros(shape, np.float32)
    for k, (u, v, c) in enumerate(rows):
        reference[k, : len(u)], target[k, : len(u)], confidence[k, : len(u)] = u, v, c
        valid[k, : len(u)] = True
    return Points(reference=reference, target=target, valid=valid, confidence=confidence)


def _mirror_words(caption: str) -> str:
    """Left for right and the reverse, leftmost and LEFT too; "all right" and the like stay."""
    return SIDE_WORDS.sub(lambda found: _other_side(found[1]) if found[1] else found[0], caption)


def _other_side(word: str) -> str:
    other = SIDES[word.lower()]
    return other.upper() if word.isupper() else other.capitalize() if word.istitle() else other


def _size(picture: Picture) -> Size:
    return picture.shape[0], picture.shape[1]


def _check_picture(picture: Picture, what: str) -> None:
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or picture.size == 0:
        raise ValueError(f"{what} must be uint8 (H, W, 3), not {picture.dtype} {picture.shape}.")


def _check_mask(mask: Mask, size: Size, what: str) -> None:
    if mask.dtype != np.bool_ or mask.shape != size:
        raise ValueError(f"{what} must be bool {size}, not {mask.dtype} {mask.shape}.")
