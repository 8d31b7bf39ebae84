"""A prompt read for the names in it, so that each subject's mention can wear its colour."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mosaic.generate import mention_of, mentions
from mosaic.pictures.attention import COLORS

CAMERAS = {"img", "image", "dsc", "dscn", "dscf", "pxl", "photo", "picture", "screenshot", "untitled"}


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of the prompt; subject: which name it mentions, counted from 0."""

    text: str
    subject: int | None = None


def pieces(prompt: str, names: Sequence[str]) -> list[Piece]:
    """The prompt in runs, each mention of a name one of its own; a longer name goes before a shorter."""
    found: list[tuple[int, int, int]] = []
    order = sorted(range(len(names)), key=lambda k: (-len(names[k].strip()), k))
    for k in order:
        if names[k].strip():
            spans = (match.span() for match in mention_of(names[k]).finditer(prompt))
            free = [(a, b, k) for a, b in spans if all(b <= start or a >= end for start, end, _ in found)]
            found += free
    runs, at = [], 0
    for start, end, k in sorted(found):
        runs += [Piece(prompt[at:start])] * (start > at) + [Piece(prompt[start:end], k)]
        at = end
    return runs + [Piece(prompt[at:])] * (at < len(prompt))


def missing(prompt: str, names: Sequence[str]) -> list[str]:
    """The names a prompt lacks, each once."""
    return [name for name in dict.fromkeys(names) if name.strip() and not mentions(prompt, name)]


def color_of(names: Sequence[str], index: int) -> str:
    """A reference's colour; further views of a subject share its first one's."""
    return COLORS[first_of(names, index) % len(COLORS)]


def first_of(names: Sequence[str], index: int) -> int:
    """The first reference of the same name: its subject's number."""
    return [_plain(name) for name in names].index(_plain(names[index])) if names[index].strip() else index


def name_from(file_name: str) -> str:
    """A name to start with, from a file's: its words; what a camera calls its files is no name."""
    stem = file_name.replace("\\", "/").rsplit("/", 1)[-1].rsplit(".", 1)[0]
    name = " ".join(word for word in re.findall(r"[^\W\d_]+", stem) if len(word) > 1).lower()[:40].strip()
    return "" if name in CAMERAS else name


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name.strip().lower())
