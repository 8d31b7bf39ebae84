"""Who and what may be in a prompt, where, and how they stand to each other: `taxonomy.toml`, read once."""

import functools
import tomllib
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

CATEGORIES = ("people", "animals", "objects")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Noun:
    """A word for a subject, and what a prompt may say of it."""

    word: str
    category: str  # one of CATEGORIES
    size: int  # 1 fits in a hand … 5 is larger than a person
    supports: bool  # other things may lie on it
    looks: tuple[str, ...]  # before the noun; {colour} and {fur} stand for a colour
    details: tuple[str, ...]  # after it


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Words for where a scene is, and the sizes of subjects that fit there."""

    words: str
    least: int
    most: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Taxonomy:
    """All of them."""

    nouns: tuple[Noun, ...]
    places: tuple[Place, ...]
    paints: dict[
        str, tuple[str, ...]
    ]  # "{colour}" and "{fur}" of looks and details, and what may replace them
    relations: dict[str, tuple[str, ...]]  # by what the first two subjects must be for them
    actions: dict[str, tuple[str, ...]]  # of a subject alone, by category

    def fitting(self, category: str, least: int, most: int) -> tuple[Noun, ...]:
        """The nouns of a category whose size lies in least … most."""
        return _fitting(self, category, least, most)

    def alike(self, word: str) -> frozenset[str]:
        """The nouns a detector might take for this one, itself among them."""
        return _alike(self, word)


@functools.cache
def load_taxonomy() -> Taxonomy:
    """The taxonomy of the package."""
    table = tomllib.loads(files(__package__).joinpath("taxonomy.toml").read_text(encoding="utf-8"))
    return Taxonomy(
        nouns=tuple(noun for kind in table["kinds"] for noun in _nouns(kind)),
        places=tuple(
            Place(words=words, least=group["least"], most=group["most"])
            for group in table["places"]
            for words in group["words"]
        ),
        paints={"{colour}": tuple(table["colours"]), "{fur}": tuple(table["furs"])},
        relations={kind: tuple(words) for kind, words in table["relations"].items()},
        actions={category: tuple(words) for category, words in table["actions"].items()},
    )


def _nouns(kind: dict[str, Any]) -> list[Noun]:
    return [
        Noun(
            word=word,
            category=kind["category"],
            size=int(size),
            supports=kind.get("supports", False),
            looks=tuple(kind["looks"]),
            details=tuple(kind["details"]),
        )
        for size in "12345"
        for word in kind.get(size, ())
    ]


@functools.cache
def _fitting(taxonomy: Taxonomy, category: str, least: int, most: int) -> tuple[Noun, ...]:
    return tuple(noun for noun in taxonomy.nouns if noun.category == category and least <= noun.size <= most)


@functools.cache
def _alike(taxonomy: Taxonomy, word: str) -> frozenset[str]:
    return frozenset(noun.word for noun in taxonomy.nouns if alike(noun.word, word))


def alike(one: str, other: str) -> bool:
    """Whether a word of one noun begins a word of the other, as in bear and teddy bear, car and caravan."""
    pairs = [(a, b) for a in one.lower().split() for b in other.lower().split()]
    return any(a.startswith(b) or b.startswith(a) for a, b in pairs)
