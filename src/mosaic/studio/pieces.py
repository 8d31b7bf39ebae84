"""Pieces of the page as HTML: pure functions of values. All that people wrote is escaped."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np
from PIL import Image

from mosaic.pictures import load_picture
from mosaic.pictures.attention import COLORS
from mosaic.studio.limits import within
from mosaic.studio.words import color_of, first_of, missing, pieces

if TYPE_CHECKING:
    from mosaic.studio.cards import Card
    from mosaic.studio.gpus import Forecast
    from mosaic.studio.history import Entry
    from mosaic.studio.why import Why

SMALL = 360  # pixels of a picture on a card
FILES = "gradio_api/file="  # gradio's way to a file of the history


def uri(image: Image.Image, longer: int = SMALL) -> str:
    """A picture within the page itself."""
    data = io.BytesIO()
    within(image, longer).save(data, format="WEBP", quality=90)
    return "data:image/webp;base64," + base64.b64encode(data.getvalue()).decode()


def note(sentence: str, kind: str = "alert") -> str:
    """A sentence a screen reader speaks at once ("alert") or when it is idle ("status"); "" shows nothing.

    A status is only spoken inside what was live before (`layout.LIVE`).
    """
    if not sentence:
        return ""
    return f'<div class="note {kind}" role="{kind}">{escape(sentence)}</div>'


# ---------------------------------------------------------------- references and prompt


def thumb(cards: Sequence[Card], k: int) -> str:
    """A card's picture in its subject's frame."""
    card, names = cards[k], [card.name for card in cards]
    color = color_of(names, k)
    cut = card.file != card.original
    told = f"Reference {k + 1}: {card.name or 'without a name'}{', cut out' if cut else ''}"
    view = "" if first_of(names, k) == k else '<span class="view">another view</span>'
    image = f'<img src="{uri(load_picture(card.file))}" alt="{escape(told)}">'
    remark = f'<p class="remark">{escape(card.note)}</p>' if card.note else ""
    return f'<div class="thumb{" cut" * cut}" style="--own:{color}">{image}{view}</div>{remark}'


def strip(prompt: str, names: Sequence[str]) -> str:
    """The prompt with each subject's mention in its colour; for eyes alone, for others it stands above."""
    if not prompt.strip() or not any(name.strip() for name in names):
        return ""
    parts = []
    for piece in pieces(prompt, names):
        text = escape(piece.text)
        if piece.subject is None:
            parts.append(text)
        else:
            color = color_of(names, piece.subject)
            parts.append(f'<mark style="--own:{color}">{text}</mark>')
    return f'<p class="read" aria-hidden="true">{"".join(parts)}</p>'


def lacking(prompt: str, names: Sequence[str]) -> str:
    """The names a prompt lacks, and the references that have none."""
    told = "".join(
        f'<span class="lacks" style="--own:{color_of(names, list(names).index(name))}">'
        f"The prompt does not mention “{escape(name)}”.</span>"
        for name in (missing(prompt, names) if prompt.strip() else [])
    )
    nameless = sum(not name.strip() for name in names)
    if nameless:
        what = (
            "One reference has no name: call it by its noun"
            if nameless == 1
            else f"{nameless} references have no name: call each by its noun"
        )
        told += f'<span class="lacks">{what}, as the prompt does.</span>'
    return told


# ---------------------------------------------------------------- while it is made


def progress(told: str, share: float | None = None) -> str:
    """A sentence, and a bar where the share in [0, 1] is known; steps are told by the bar, not spoken."""
    if share is None:
        bar = '<div class="bar"><i></i></div>'
        return f'<div class="progress busy"><p>{escape(told)}</p>{bar}</div>'
    percent = round(100 * share)
    return (
        f'<div class="progress" aria-live="off"><p>{escape(told)}</p>'
        f'<div class="bar" role="progressbar" aria-label="Progress" aria-valuemin="0" aria-valuemax="100" '
        f'aria-valuenow="{percent}"><i style="width:{percent}%"></i></div></div>'
    )


def seconds(value: float) -> str:
    """A time as people say it."""
    if value < 60:
        return f"{value:.0f} s" if value >= 1 else "less than a second"
    return f"{value / 60:.0f} min" if value < 5400 else f"{value / 3600:.1f} h"


# ---------------------------------------------------------------- see why


def references(why: Why) -> str:
    """The references as the model saw them, to be pointed at; `why.js` reads the data attributes."""
    parts = []
    for k, (name, canvas, grid) in enumerate(zip(why.names, why.canvases, why.grids, strict=True)):
        picture = uri(_enlarged(canvas), 512)
        parts.append(
            f'<figure style="--own:{color_of(why.names, k)}">'
            f'<div class="point" role="application" tabindex="0" data-reference="{k}" '
            f'data-rows="{grid.height}" data-columns="{grid.width}" '
            'aria-roledescription="picture with a point" '
            f'aria-label="{escape(name)}: click a point, or move it with the arrow keys">'
            f'<img src="{picture}" alt="" draggable="false"><b class="dot" aria-hidden="true"></b></div>'
            f"<figcaption>{escape(name)}</figcaption></figure>"
        )
    return f'<div class="references">{"".join(parts)}</div>'


def seen(image: Image.Image, sentence: str) -> str:
    """What is drawn, with the sentence that says it."""
    return (
        f'<figure class="seen"><img src="{uri(image, 768)}" alt="{escape(sentence)}">'
        f"<figcaption>{escape(sentence)}</figcaption></figure>"
    )


def legend(names: Sequence[str], shares: Sequence[float]) -> str:
    """Each subject's colour and part of the picture."""
    rows = [
        f'<li style="--own:{COLORS[k % len(COLORS)]}"><b>{escape(name)}</b> {100 * shares[k]:.0f} %</li>'
        for k, name in enumerate(names)
        if first_of(names, k) == k
    ]
    return f'<ul class="legend">{"".join(rows)}</ul>'


def told_owners(names: Sequence[str], shares: Sequence[float]) -> str:
    """The same as a sentence."""
    firsts = [k for k in range(len(names)) if first_of(names, k) == k]
    return "Of the picture, " + ", ".join(f"“{names[k]}” owns {100 * shares[k]:.0f} %" for k in firsts) + "."


def _enlarged(canvas: np.ndarray) -> Image.Image:
    image = Image.fromarray(canvas)
    scale = max(1, round(512 / max(image.size)))
    return image.resize((image.width * scale, image.height * scale), Image.Resampling.BICUBIC)


# ---------------------------------------------------------------- history


def history(entries: Sequence[Entry]) -> str:
    """Small pictures to press, named by prompt and seed; `history.js` reads the data attribute."""
    parts = []
    for entry in entries:
        told, small = escape(entry.caption), FILES + quote(str(entry.small))
        image = f'<img src="{small}" alt="{told}" loading="lazy">'
        parts.append(
            f'<li><button type="button" data-entry="{entry.name}" title="{told}">{image}</button></li>'
        )
    return f'<ul class="made">{"".join(parts)}</ul>' if parts else ""


# ---------------------------------------------------------------- which GPU


def gpu_table(title: str, found: Sequence[Forecast]) -> str:
    """A row a device; `gpus.told` says the way."""
    from mosaic.studio.gpus import told

    rows = "".join(
        f'<tr class="{"fits" if one.way else "not"}"><th scope="row">{escape(one.device)}</th>'
        f"<td>{one.has:.0f} GiB</td><td>{one.needs:.1f} GiB</td><td>{escape(told(one.way))}</td></tr>"
        for one in found
    )
    return (
        f'<p class="hint">{escape(title)}</p><div class="scroll"><table class="gpus"><thead><tr>'
        '<th scope="col">GPU</th><th scope="col">has</th><th scope="col">needs</th>'
        f'<th scope="col">run with</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )


def asset(name: str) -> str:
    """A file beside this one."""
    return (Path(__file__).parent / "assets" / name).read_text(encoding="utf-8")
