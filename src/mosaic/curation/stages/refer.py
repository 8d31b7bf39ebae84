"""refer: a reference of each subject: cut out, on white, seen from somewhere else, and still itself.

Files      ref<k>.webp, ref<k>.mask.png
Scores     refer/<k>/… area (share of the reference), borders (sides it touches), change (mean difference to
           the cut-out, 0 to 1: near 0 is a copy); with an encoder similarity (cosine: too little is another
           thing, too much a copy); with a vision-language model identity, viewpoint (0 to 4), tokens_in
           and tokens_out
Facts      "refer": by (model), licence, judges; "references": the subject that each reference shows
Reference k shows subject k. Those that an imported sample brought are kept, further views of a subject too; a
mask they lack is added, and a reference of each subject without one; all are judged alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from PIL import Image
from pydantic import Field

from mosaic.curation import instances
from mosaic.curation.diffusers_backends import DiffusersEditor, Pipeline
from mosaic.curation.protocols import Editor, PairJudge, Stage
from mosaic.curation.rows import Named, Outcome, Work
from mosaic.curation.stages import segment
from mosaic.curation.stages.judge import VisionSection, endpoint_of
from mosaic.data.shards import mask_of, picture_of, png_of, webp_of
from mosaic.pictures.canvas import WHITE, released_canvas
from mosaic.sample import Mask, Picture

TOLERANCE = 12  # levels below white that still are background, where no segmenter is given
PART = 0.05  # of the largest part: smaller ones are dirt

Find = Callable[[Picture, Named], Mask]
"""A picture of a subject on its own, and which → where in it the subject is; nowhere, maybe."""
View = Callable[[Work, int, Picture], tuple[Picture, Mask]]
"""A sample, a subject's index, its cut-out on white → another view of it, and where in that it is."""


class Section(Pipeline):
    """[refer] of a recipe."""

    kind: Literal["toybox", "diffusers", "brought"] = "diffusers"  # brought: what was imported, and no more
    model: str = "black-forest-labs/FLUX.1-Kontext-dev"
    prompt: str = (
        "The same {name}, {view}, every colour, pattern and detail unchanged, on a plain white background"
    )
    side: int = Field(1024, ge=16, multiple_of=16)  # pixels of the cut-out that is edited
    size: int = Field(512, ge=16, multiple_of=16)  # pixels of the reference that is kept
    quality: int | None = Field(None, ge=0, le=100)  # of the WebP; left out: exact
    segmenter: segment.Section | None = (
        None  # finds the subject in its reference; left out: what is not white
    )
    encoder: str = ""  # hub id or folder for the similarity, facebook/dinov2-base say; "": none
    vision: VisionSection | None = None
    batch: int = Field(4, ge=1)


def make(section: Section) -> Stage:
    """The stage with its models loaded."""
    return {"toybox": _toybox, "diffusers": _diffusers, "brought": _brought}[section.kind](section)


def _toybox(section: Section) -> Stage:
    from mosaic.curation import toybox_backends

    view, licence = toybox_backends.view(section.size), toybox_backends.LICENCE
    return ReferStage(view, _judges(section), section, find=on_white, by="toybox", licence=licence)


def _diffusers(section: Section) -> Stage:
    editor = DiffusersEditor(section, section.prompt)
    find = _finder(section)
    judges, made = _judges(section), {"by": editor.name, "licence": editor.licence}
    return ReferStage(edited(editor, find), judges, section, find=find, **made)


def _brought(section: Section) -> Stage:
    return ReferStage(
        _none_made, _judges(section), section, find=_finder(section), by="", licence=section.licence
    )


def _none_made(work: Work, k: int, cutout: Picture) -> tuple[Picture, Mask]:
    name = work.record.subjects[k].name
    raise ValueError(f'There is no reference of the {name}, and refer.kind = "brought" makes none.')


def _finder(section: Section) -> Find:
    """By the segmenter, if there is one; else what is not white."""
    if section.segmenter is None:
        return on_white
    segmenter = segment.grounded_segmenter(section.segmenter)

    def find(picture: Picture, named: Named) -> Mask:
        found = segmenter([picture], [[named.name]])[0][0]
        return found[0].mask if found else np.zeros(picture.shape[:2], bool)

    return find


def _judges(section: Section) -> list[PairJudge]:
    judges: list[PairJudge] = []
    if section.encoder:
        judges.append(SimilarityJudge(section.encoder, section.device))
    if section.vision is not None:
        judges.append(VisionPairJudge(section.vision))
    return judges


class ReferStage:
    """Cuts out, views, judges: a reference a subject."""

    def __init__(
        self,
        view: View,
        judges: Sequence[PairJudge],
        section: Section,
        *,
        by: str,
        licence: str,
        find: Find,
    ) -> None:
        self._view, self._judges, self._section = view, judges, section
        self._find = find
        self.batch = section.batch
        names = " + ".join(judge.name for judge in judges)
        self._made = {"by": by, "licence": licence, "judges": names}

    def __call__(self, work: Sequence[Work]) -> list[Outcome]:
        return [self._outcome(one) for one in work]

    def _outcome(self, work: Work) -> Outcome:
        target = picture_of(work.files["target.webp"])
        scores: dict[str, float] = {}
        files: dict[str, bytes] = {}
        shown = whom(work)
        for k, subject in enumerate(shown):
            cutout, _ = subject_on_white(target, _target_mask(work, subject), self._section.side)
            image, mask, new = self._reference(work, k, subject, cutout)
            files |= new
            found = measured(cutout, image, mask)
            found |= self._judged(cutout, image, work.record.subjects[subject])
            scores |= {f"refer/{k}/{name}": value for name, value in found.items()}
        facts = {"refer": self._made, "references": shown}
        return Outcome(id=work.id, scores=scores, facts=facts, files=files)

    def _reference(
        self, work: Work, k: int, subject: int, cutout: Picture
    ) -> tuple[Picture, Mask, dict[str, bytes]]:
        """Reference k, its mask, and the files that the sample does not have yet."""
        if f"ref{k}.webp" in work.files:
            return self._kept(work, k, work.record.subjects[subject])
        picture, mask = self._view(work, subject, cutout)
        if mask.any():
            picture, mask = subject_on_white(picture, mask, self._section.size)
        files = {f"ref{k}.webp": webp_of(picture, self._section.quality), f"ref{k}.mask.png": png_of(mask)}
        return picture, mask, files

    def _kept(self, work: Work, k: int, named: Named) -> tuple[Picture, Mask, dict[str, bytes]]:
        """A reference that was brought; its mask is new where it came without."""
        image = picture_of(work.files[f"ref{k}.webp"])
        if f"ref{k}.mask.png" in work.files:
            return image, mask_of(work.files[f"ref{k}.mask.png"]), {}
        mask = self._find(image, named)
        return image, mask, {f"ref{k}.mask.png": png_of(mask)}

    def _judged(self, cutout: Picture, image: Picture, named: Named) -> dict[str, float]:
        scores: dict[str, float] = {}
        for judge in self._judges:
            scores |= judge([cutout], [image], [named])[0]
        return scores


def whom(work: Work) -> list[int]:
    """The subject of each reference: of those that are there, then of those to be made.

    ValueError if that would name subjects in another order than the record, and so the target's masks.
    """
    brought = [int(subject) for subject in work.facts.get("references", ())]
    shown = brought + [k for k in range(len(work.record.subjects)) if k not in brought]
    if list(dict.fromkeys(shown)) != list(range(len(work.record.subjects))):
        raise ValueError(
            "The references that are there must show the record's first subjects, in their order."
        )
    return shown


def measured(cutout: Picture, image: Picture, mask: Mask) -> dict[str, float]:
    """What can be said of a reference without a model."""
    size = (image.shape[1], image.shape[0])
    before = np.asarray(Image.fromarray(cutout).resize(size, Image.Resampling.BOX), np.float64)
    return {
        "area": instances.area(mask),
        "borders": float(instances.borders(mask)),
        "change": float(np.abs(before - image).mean() / 255),
    }


def subject_on_white(picture: Picture, mask: Mask, side: int) -> tuple[Picture, Mask]:
    """The masked subject on a white square as the released canvas lays it, and its mask there.

    ValueError if the mask is empty.
    """
    if not mask.any():
        raise ValueError("The mask of a subject is empty: there is nothing to cut out.")
    opacity = np.where(mask, 255, 0).astype(np.uint8)[..., None]
    canvas = released_canvas(Image.fromarray(np.concatenate([picture, opacity], axis=2)), side)
    return canvas.image, canvas.mask


def edited(editor: Editor, find: Find) -> View:
    """A view by an editor, and its subject found in it."""

    def view(work: Work, k: int, cutout: Picture) -> tuple[Picture, Mask]:
        named = work.record.subjects[k]
        picture = editor([cutout], [named], [view_seed(work.id, k)])[0]
        return picture, find(picture, named)

    return view


def view_seed(id: str, k: int) -> int:
    """Of the view of subject k in a sample: 63 bits that depend on the two alone."""
    digest = hashlib.blake2b(f"{id}/refer/{k}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def on_white(picture: Picture, named: Named) -> Mask:
    """Whatever it is, it is all there is."""
    return not_white(picture)


def not_white(picture: Picture) -> Mask:
    """What is not nearly white, holes filled, parts under PART of the largest left out: bool (H, W)."""
    from scipy import ndimage

    parts, count = ndimage.label(picture.min(axis=2) < WHITE - TOLERANCE)
    if not count:
        return np.zeros(picture.shape[:2], bool)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return np.asarray(ndimage.binary_fill_holes(np.isin(parts, np.flatnonzero(sizes >= PART * sizes.max()))))


def _target_mask(work: Work, k: int) -> Mask:
    name = f"target.mask{k}.png"
    if name not in work.files:
        raise ValueError(f"The subject {work.record.subjects[k].name} was not found in the target.")
    return mask_of(work.files[name])


# ---------------------------------------------------------------- judges


class SimilarityJudge:
    """The cosine of an encoder's vectors of cut-out and reference, DINOv2's class token say."""

    def __init__(self, at: str, device: str | None) -> None:
        from mosaic.perception.encoders import load_encoder

        self._encoder, self.name = load_encoder(at, device=device), at

    def __call__(
        self, cutouts: Sequence[Picture], references: Sequence[Picture], subjects: Sequence[Named]
    ) -> list[dict[str, float]]:
        first, second = self._encoder.pictures(cutouts), self._encoder.pictures(references)
        return [{"similarity": float(value)} for value in (first * second).sum(axis=1)]


class VisionPairJudge:
    """A vision-language model's marks of identity."""

    def __init__(self, section: VisionSection) -> None:
        self._endpoint, self.name = endpoint_of(section), section.model

    def __call__(
        self, cutouts: Sequence[Picture], references: Sequence[Picture], subjects: Sequence[Named]
    ) -> list[dict[str, float]]:
        from mosaic.perception.judging import judge_pair

        return [
            judge_pair(self._endpoint, cutout, image, named.name)
            for cutout, image, named in zip(cutouts, references, subjects, strict=True)
        ]
