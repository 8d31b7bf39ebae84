"""Who a toy is: palette, pattern, accessory, badge and proportions, all of them small whole numbers.

Two toys of one species with equal identities look alike in every picture; change one number and they do not.
"""

import hashlib
from dataclasses import dataclass, fields, replace
from enum import StrEnum

import numpy as np

PALETTE: dict[str, tuple[int, int, int]] = {
    "red": (205, 38, 38),
    "orange": (245, 140, 28),
    "yellow": (250, 220, 60),
    "green": (52, 150, 62),
    "cyan": (70, 200, 215),
    "blue": (40, 75, 195),
    "purple": (128, 58, 172),
    "pink": (250, 135, 185),
    "brown": (118, 72, 38),
    "white": (244, 244, 238),
    "black": (48, 48, 54),
}
COLOURS = tuple(PALETTE)
PATTERNS = ("plain", "stripes", "dots", "checks", "halves", "bands")
ACCESSORIES = ("nothing", "hat", "pompom", "bow", "scarf", "flag")
BADGES = ("nothing", "disc", "square", "cross")
LEVELS = 5  # of each proportion


class Split(StrEnum):
    """Disjoint sets of identities; `instruments` trains detector and embedder and nothing else."""

    TRAIN = "train"
    VALIDATION = "validation"
    HELD_OUT = "held_out"
    INSTRUMENTS = "instruments"


_SHARES = ((Split.TRAIN, 70), (Split.INSTRUMENTS, 90), (Split.VALIDATION, 95), (Split.HELD_OUT, 100))


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """What a reference must carry over. Colours index `COLOURS`, the three of the palette differ."""

    primary: int
    secondary: int
    accent: int
    pattern: int
    accessory: int
    accessory_colour: int
    badge: int
    badge_colour: int
    width: int
    head: int
    limbs: int

    @property
    def split(self) -> Split:
        """The one set this identity belongs to, whatever its species."""
        code = bytes(int(getattr(self, field.name)) for field in fields(self))
        share = int.from_bytes(hashlib.sha256(code).digest()[:4], "big") % 100
        return next(split for split, upto in _SHARES if share < upto)

    def details(self) -> list[str]:
        """The looks, one phrase an attribute that shows."""
        words = [f"{COLOURS[self.secondary]} limbs"]
        if self.pattern:
            words.append(f"{COLOURS[self.accent]} {PATTERNS[self.pattern]}")
        if self.accessory:
            words.append(with_article(f"{COLOURS[self.accessory_colour]} {ACCESSORIES[self.accessory]}"))
        if self.badge:
            words.append(with_article(f"{COLOURS[self.badge_colour]} {BADGES[self.badge]} badge"))
        return words


def with_article(words: str) -> str:
    """ "a red hat", "an orange hat"."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def random_identity(rng: np.random.Generator, split: Split = Split.TRAIN) -> Identity:
    """An identity of the split, uniform over its attributes."""
    while True:
        identity = _draw(rng)
        if identity.split is split:
            return identity


def _draw(rng: np.random.Generator) -> Identity:
    primary, secondary, accent = (int(c) for c in rng.permutation(len(COLOURS))[:3])
    accessory, badge = int(rng.integers(len(ACCESSORIES))), int(rng.integers(len(BADGES)))
    return Identity(
        primary=primary,
        secondary=secondary,
        accent=accent,
        pattern=int(rng.integers(len(PATTERNS))),
        accessory=accessory,
        accessory_colour=_other_colour(rng, primary, worn=accessory),
        badge=badge,
        badge_colour=_other_colour(rng, primary, worn=badge),
        width=int(rng.integers(LEVELS)),
        head=int(rng.integers(LEVELS)),
        limbs=int(rng.integers(LEVELS)),
    )


def _other_colour(rng: np.random.Generator, primary: int, *, worn: int) -> int:
    """A colour that shows on the primary one; 0 for what is not worn: equal looks are equal values."""
    return int((primary + 1 + rng.integers(len(COLOURS) - 1)) % len(COLOURS)) if worn else 0


VARIED = ("primary", "secondary", "pattern", "accessory", "accessory_colour", "accent")


def vary(identity: Identity, attribute: str, rng: np.random.Generator) -> Identity:
    """The same toy but for one attribute, which shows: one of `VARIED`. The split may change.

    ValueError for the colour of an accessory that is not worn.
    """
    current = getattr(identity, attribute)
    if attribute in ("pattern", "accessory"):
        count = len(PATTERNS) if attribute == "pattern" else len(ACCESSORIES)
        value = int((current + 1 + rng.integers(count - 1)) % count)
        changed = replace(identity, **{attribute: value})
        if attribute == "accessory":
            colour = (
                changed.accessory_colour
                if current and value
                else _other_colour(rng, identity.primary, worn=value)
            )
            changed = replace(changed, accessory_colour=colour)
        return changed
    taken = {identity.primary, identity.secondary, identity.accent, current}
    if attribute == "accessory_colour":
        if not identity.accessory:
            raise ValueError("a toy without an accessory has no accessory colour to vary")
        taken = {identity.primary, current}
    if attribute == "primary":
        taken |= {identity.accessory_colour, identity.badge_colour}
    free = [c for c in range(len(COLOURS)) if c not in taken]
    return replace(identity, **{attribute: int(rng.choice(free))})


def identity_count() -> int:
    """How many identities look different from one another, for each species."""
    colours = len(COLOURS)
    palettes = colours * (colours - 1) * (colours - 2)
    worn = 1 + (len(ACCESSORIES) - 1) * (colours - 1)
    badges = 1 + (len(BADGES) - 1) * (colours - 1)
    return palettes * len(PATTERNS) * worn * badges * LEVELS**3
