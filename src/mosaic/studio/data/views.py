"""What the browser shows of a dataset, as HTML and pictures: cards, a sample, a point, how many are right."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from html import escape

import numpy as np
from PIL import Image, ImageDraw

from mosaic.pictures.attention import COLORS, PAPER, enlarged
from mosaic.sample import Mask, Picture, Sample
from mosaic.studio.data.dataset import Dataset, Look
from mosaic.studio.data.edits import Review
from mosaic.studio.data.listing import Entry
from mosaic.studio.data.marking import Precision, Question
from mosaic.studio.data.sheet import sheet
from mosaic.studio.pieces import uri

CARD, STRIP = 320, 72  # pixels of a card's target and of its references
WHOLE, LOUPE = 520, 300  # of a picture a point is in, and of the part around it
AROUND = 0.22  # of the subject's longer side, the loupe shows so much to each side of a point
LARGEST = 1200  # of a target shown alone
STRIPS = 4  # references on a card
TINT, PALE = 0.42, 0.25  # a mask's colour over the picture; what is left of a reference outside its mask
WORDS = {"keep": "kept", "drop": "dropped"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumbs:
    """Small pictures of a sample as data: addresses; "" where there is none."""

    target: str = ""
    references: tuple[str, ...] = ()


def thumbs_of(dataset: Dataset, entry: Entry) -> Thumbs:
    """The target and the first references; without those that are missing or damaged."""
    small = [_thumb(dataset, entry, f"ref{k}", STRIP) for k in range(STRIPS)]
    return Thumbs(target=_thumb(dataset, entry, "target", CARD), references=tuple(filter(None, small)))


def _thumb(dataset: Dataset, entry: Entry, name: str, side: int) -> str:
    try:
        return uri(Image.fromarray(dataset.picture(entry, name)), side)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return ""


# ---------------------------------------------------------------- cards


def cards(entries: Sequence[tuple[Entry, Thumbs]], review: Review, selected: str, filtered: bool) -> str:
    """A button a sample, for the keyboard too."""
    if not entries:
        told = "No sample fits. Loosen the filters." if filtered else "There is no sample in it."
        return f'<p class="ms-none">{told}</p>'
    shown = "".join(_card(entry, thumbs, review, entry.address == selected) for entry, thumbs in entries)
    return f'<ul class="ms-cards" aria-label="samples">{shown}</ul>'


def _card(entry: Entry, thumbs: Thumbs, review: Review, selected: bool) -> str:
    caption = review.value(entry.address, "caption") or entry.caption or entry.key
    alt = escape(f"target: {caption}", quote=True)
    picture = (
        f'<img src="{thumbs.target}" alt="{alt}">'
        if thumbs.target
        else '<span class="ms-gone">no picture</span>'
    )
    strip = "".join(
        f'<img src="{one}" alt="" style="border-color:{COLORS[k % len(COLORS)]}">'
        for k, one in enumerate(thumbs.references)
    )
    more = len(entry.nouns) - STRIPS
    strip += f'<span class="ms-faint">+{more}</span>' if more > 0 and strip else ""
    return (
        f'<li><button type="button" class="ms-card" data-sample="{escape(entry.address, quote=True)}" '
        f'aria-pressed="{str(selected).lower()}"><span class="ms-picture">{picture}'
        f'<span class="ms-strip">{strip}</span></span>'
        f'<span class="ms-words"><span class="ms-caption">{escape(caption)}</span>'
        f'<span class="ms-chips">{chips(entry, review)}</span></span></button></li>'
    )


def chips(entry: Entry, review: Review) -> str:
    """The verdict, and what a reviewer made of it."""
    kind = escape(entry.verdict.replace(" ", "-"), quote=True)
    told = [f'<span class="ms-chip ms-{kind}">{escape(entry.verdict)}{_at(entry)}</span>']
    if entry.lacks:
        told.append('<span class="ms-chip ms-failed">not whole</span>')
    decision = review.decision(entry.address)
    if decision:
        told.append(f'<span class="ms-chip ms-{decision}">{WORDS[decision]}</span>')
    if entry.address in review.mended:
        told.append('<span class="ms-chip ms-mended">mended</span>')
    return "".join(told)


def _at(entry: Entry) -> str:
    return f" · {escape(entry.stage)}" if entry.stage else ""


# ---------------------------------------------------------------- one sample


def tinted(sample: Sample) -> Sample:
    """Its masks made visible: subjects in their first reference's colour, references pale elsewhere."""
    firsts = [sample.subject_indices.tolist().index(n) for n in range(len(sample.subjects))]
    target = sample.target
    for first, mask in zip(firsts, sample.target_masks, strict=True):
        if mask.all():  # it may be anywhere
            continue
        target = _tint(target, mask, COLORS[first % len(COLORS)])
    references = [replace(one, image=_paled(one.image, one.mask)) for one in sample.references]
    return replace(sample, target=target, references=tuple(references))


def _tint(picture: Picture, mask: Mask, color: str) -> Picture:
    mixed = picture.astype(np.float64)
    mixed[mask] = (1 - TINT) * mixed[mask] + TINT * np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
    return mixed.astype(np.uint8)


def _paled(picture: Picture, mask: Mask) -> Picture:
    mixed = np.where(mask[..., None], picture, 255 - PALE * (255.0 - picture))
    return mixed.astype(np.uint8)


def portrait(look: Look, caption: str, *, lines: int, masks: bool) -> str:
    """The sample drawn, with `lines` points a reference, or what there is of it and why there is no more."""
    told = f'<p class="ms-problem" role="note">{escape(look.problem)}</p>' if look.problem else ""
    if look.sample is not None:
        sample = tinted(look.sample) if masks else look.sample
        points = ", ".join(
            f"{one.subject.name} {len(c)}"
            for one, c in zip(look.sample.references, look.sample.correspondences, strict=True)
        )
        below = f"{_size(look.sample.target)} · points: {points or 'none'}"
        drawn = sheet(sample, lines, f"references and target: {caption}")
        return f'<figure class="ms-sheet">{drawn}<figcaption>{escape(below)}</figcaption></figure>{told}'
    if look.target is not None:
        target = uri(enlarged(Image.fromarray(look.target), 400), LARGEST)
        alt = escape(f"target: {caption}", quote=True)
        below = f"<figcaption>{_size(look.target)}</figcaption>"
        return f'<figure class="ms-sheet"><img src="{target}" alt="{alt}">{below}</figure>{told}'
    return told


def _size(picture: Picture) -> str:
    return f"{picture.shape[1]} × {picture.shape[0]} pixels"


def told_of(entry: Entry, review: Review) -> str:
    """Key, verdict and why, over the picture."""
    why = f'<p class="ms-reason">{escape(entry.reason)}</p>' if entry.reason else ""
    double = (
        f'<p class="ms-faint">nearly the picture of {escape(entry.duplicate_of)}</p>'
        if entry.duplicate_of
        else ""
    )
    return (
        f'<div class="ms-head" data-shown="{escape(entry.address, quote=True)}">'
        f'<code title="key">{escape(entry.address)}</code>'
        f'<span class="ms-chips">{chips(entry, review)}</span></div>{why}{double}'
    )


def scores_of(entry: Entry) -> str:
    """All scores, by stage."""
    if not entry.scores:
        return '<p class="ms-none">No scores: the shard has no table.</p>'
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{value:.4g}</td></tr>'
        for name, value in sorted(entry.scores.items())
    )
    return (
        '<div class="ms-scroll" tabindex="0" role="region" aria-label="scores">'
        f'<table class="ms-table"><tbody>{rows}</tbody></table></div>'
    )


def lacking(caption: str, nouns: Iterable[str]) -> list[str]:
    """Nouns that a caption does not say: the model could not know which subject is which."""
    from mosaic.generate import mentions

    return [noun for noun in dict.fromkeys(nouns) if not mentions(caption, noun)]


# ---------------------------------------------------------------- one point


def point_panel(sample: Sample, asked: Question) -> str:
    """The reference with its place and the target with its place, each whole and under a loupe."""
    reference = sample.references[asked.reference]
    color = COLORS[asked.reference % len(COLORS)]
    noun = reference.subject.name
    mask = sample.target_masks[sample.subject_indices[asked.reference]]
    sides = (
        _side(reference.image, reference.mask, asked.start, color, f"reference: {noun}"),
        _side(sample.target, mask, asked.end, color, "target"),
    )
    return (
        f'<div class="ms-point" data-question="{escape(asked.id, quote=True)}">'
        f'<p class="ms-ask">Is it the same place of the <b style="color:{color}">{escape(noun)}</b>?</p>'
        f'<div class="ms-sides">{"".join(sides)}</div></div>'
    )


def _side(picture: Picture, mask: Mask, at: tuple[float, float], color: str, told: str) -> str:
    image = Image.fromarray(picture)
    whole = enlarged(image, WHOLE)
    center = (at[0] * whole.width, at[1] * whole.height)
    spot(whole, center, 15, color)
    where = f"{told}, {round(100 * at[0])} % from the left, {round(100 * at[1])} % from the top"
    return (
        f'<figure><div><img src="{uri(whole, WHOLE)}" alt="{escape(where, quote=True)}">'
        f'<img class="ms-loupe" src="{uri(loupe(image, at, color, reach_of(mask)), LOUPE)}" alt=""></div>'
        f"<figcaption>{escape(told)}</figcaption></figure>"
    )


def reach_of(mask: Mask) -> float:
    """How many pixels a loupe shows to each side: as much of a subject in any picture, large or small."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if mask.all() or not len(rows):  # it may be anywhere
        return max(4.0, AROUND / 2 * max(mask.shape))
    return max(4.0, AROUND * max(np.ptp(rows), np.ptp(columns)))


def loupe(image: Image.Image, at: tuple[float, float], color: str, reach: float) -> Image.Image:
    """What lies around a point, enlarged; beyond the picture it is grey."""
    x, y = at[0] * image.width, at[1] * image.height
    box = (x - reach, y - reach, x + reach, y + reach)
    resample = Image.Resampling.BICUBIC
    part = image.transform((LOUPE, LOUPE), Image.Transform.EXTENT, box, resample, fillcolor="#9aa0ab")
    spot(part, (LOUPE / 2, LOUPE / 2), 15, color)
    return part


def spot(image: Image.Image, at: tuple[float, float], radius: float, color: str) -> None:
    """A ring with a gap of white around it and a dot in the middle, which hides little."""
    draw = ImageDraw.Draw(image)
    for reach, width, paint in ((radius + 2, 7, PAPER), (radius, 3, color)):
        draw.ellipse([v + s * reach for s in (-1, 1) for v in at], outline=paint, width=width)
    draw.ellipse([v + s * 2.5 for s in (-1, 1) for v in at], fill=color, outline=PAPER)


def precision_bar(found: Precision) -> str:
    """The running precision with its interval."""
    value, interval = found.value, found.interval
    if value is None or interval is None:
        return '<p class="ms-none">Nothing is marked yet.</p>'
    low, high = 100 * interval.low, 100 * interval.high
    told = f"{100 * value:.1f} %, 95 % interval {low:.1f} to {high:.1f} %"
    unsure = f", {found.unsure} unsure" if found.unsure else ""
    count = f"{found.right} right, {found.wrong} wrong{unsure}, of {found.samples} samples"
    note = (
        ' <span class="ms-faint">More than one point a sample: the interval is too narrow.</span>'
        if found.decided + found.unsure > found.samples
        else ""
    )
    return (
        f'<div class="ms-precision"><div class="ms-figure"><b>{100 * value:.1f} %</b> right '
        f'<span class="ms-faint">[{low:.1f}, {high:.1f}]</span></div>'
        f'<svg viewBox="0 0 400 26" role="img" aria-label="{told}" preserveAspectRatio="none">'
        '<line class="ms-axis" x1="0" x2="400" y1="13" y2="13"/>'
        f'<rect class="ms-interval" x="{4 * low:.1f}" width="{4 * (high - low):.1f}" y="8" height="10"/>'
        f'<rect class="ms-mean" x="{4 * 100 * value - 1.5:.1f}" width="3" y="3" height="20" rx="1.5"/></svg>'
        f"<p>{count}.{note}</p></div>"
    )
