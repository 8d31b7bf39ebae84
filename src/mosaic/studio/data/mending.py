"""Captions and nouns mended by a person: what differs from what they saw is written, and no more.

So two windows may mend one sample: the second is told where the first has mended the same words.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from mosaic.studio.data.desk import Chosen, Desk, chosen, write
from mosaic.studio.data.edits import Edit, Thing


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What of a sample can be mended, as a person sees or writes it."""

    caption: str
    detailed_caption: str
    nouns: tuple[str, ...]

    @staticmethod
    def of(one: Chosen) -> Words:
        """As they are shown."""
        nouns = tuple(noun for _, noun in one.nouns)
        return Words(caption=one.caption, detailed_caption=one.detailed_caption, nouns=nouns)

    @staticmethod
    def typed(caption: str, detailed_caption: str, nouns: str) -> Words:
        """nouns: one a line."""
        lines = tuple(line.strip() for line in nouns.splitlines() if line.strip())
        return Words(caption=caption.strip(), detailed_caption=detailed_caption.strip(), nouns=lines)

    def stripped(self) -> Words:
        """As they are read back from the page where nobody changed them."""
        return Words.typed(self.caption, self.detailed_caption, "\n".join(self.nouns))


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Words and the sample they are of, as the page keeps them beside its fields.

    A key may come before the answer to the one before it: what is typed belongs to this sample, whichever
    is chosen by then.
    """

    sample: str
    words: Words

    def sent(self) -> str:
        """For the page."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @staticmethod
    def received(text: str) -> Seen | None:
        """From the page; None where no sample is shown."""
        if not text:
            return None
        told = json.loads(text)
        words = told["words"]
        return Seen(sample=told["sample"], words=Words(**words | {"nouns": tuple(words["nouns"])}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One caption or noun, in all its readings."""

    thing: Thing
    which: str = ""  # the subject of a noun
    new: str  # as it is typed
    seen: str  # as the person saw it
    now: str  # with the edits that are on disk now
    own: str  # as the dataset has it


def mend(desk: Desk, typed: Words, seen: Words) -> list[Edit]:
    """The edits that were written.

    ValueError for an empty caption, for more or fewer nouns than subjects, and where another window has
    mended the same words since they were seen.
    """
    one = chosen(desk)
    if not typed.caption:
        raise ValueError("A caption cannot be empty: drop the sample, or say what is to be seen.")
    if len(typed.nouns) != len(one.nouns):
        raise ValueError(f"The sample has {len(one.nouns)} subjects: give as many nouns, one a line.")
    changed = [piece for piece in _pieces(one, typed, seen) if piece.new and piece.new != piece.seen]
    for piece in changed:
        if piece.now != piece.seen:
            raise ValueError(
                f'"{piece.seen}" was mended in another window and reads "{piece.now}" now: '
                "choose the sample again, and mend that.",
            )
    return [write(desk, _edit(one, piece)) for piece in changed]


def restore(desk: Desk) -> list[Edit]:
    """Captions and nouns as the dataset has them again."""
    address = chosen(desk).entry.address
    mended = [
        edit
        for edit in desk.review.edits.values()
        if edit.sample == address and edit.thing not in ("decision", "point")
    ]
    return [write(desk, edit.model_copy(update={"value": None})) for edit in mended]


def _pieces(one: Chosen, typed: Words, seen: Words) -> Iterator[Piece]:
    things: tuple[Thing, Thing] = ("caption", "detailed_caption")
    for thing in things:
        new, was, now, own = (getattr(words, thing) for words in (typed, seen, one, one.entry))
        yield Piece(thing=thing, new=new, seen=was, now=now, own=own)
    subjects = one.look.sample.subjects if one.look.sample is not None else ()
    for subject, new, was, (_, now) in zip(subjects, typed.nouns, seen.nouns, one.nouns, strict=True):
        yield Piece(thing="noun", which=subject.id, new=new, seen=was, now=now, own=subject.name)


def _edit(one: Chosen, piece: Piece) -> Edit:
    """To say what the dataset says is to take back what was said."""
    value = None if piece.new == piece.own else piece.new
    return Edit(sample=one.entry.address, thing=piece.thing, which=piece.which, value=value, was=piece.own)
