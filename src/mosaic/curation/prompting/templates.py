"""Prompts from the taxonomy alone, without a network: record `index` of a seed is a function of the two."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from mosaic.curation.prompting.taxonomy import CATEGORIES, Noun, Place, Taxonomy, load_taxonomy
from mosaic.curation.rows import Named, Record

SHARES = {"people": 0.2, "animals": 0.3, "objects": 0.5}  # of the subjects
TAILS = ("around them", "", "nearby", "beside them")  # of three subjects or more, by form
SPAN = 2  # sizes apart that subjects of one scene may be, so that the smallest can still be seen
VOWELS, NOT_VOWELS = ("a", "e", "i", "o", "u", "hour"), ("uni", "uku", "one-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a prompt is to say, before it is words."""

    nouns: tuple[Noun, ...]
    looks: tuple[str, ...]  # one a noun: the noun phrase with its looks, without an article
    link: str  # what the first is doing, or its relation to the second
    place: str
    form: int  # which sentence
    seed: int  # of the record


def make_plan(seed: int, index: int, counts: Sequence[int]) -> Plan:
    """Plan `index` of a seed, with one of these numbers of subjects (1 to 8)."""
    rng = random.Random(f"mosaic prompts {seed} {index}")
    taxonomy = load_taxonomy()
    count = rng.choice(counts)
    place = rng.choice(taxonomy.places)
    nouns = _cast(rng, taxonomy, place, count)
    colours = {kind: rng.sample(words, len(words)) for kind, words in taxonomy.paints.items()}
    return Plan(
        nouns=nouns,
        looks=tuple(_dressed(rng, noun, colours) for noun in nouns),
        link=_link(rng, taxonomy, nouns),
        place=place.words,
        form=rng.randrange(4),
        seed=rng.getrandbits(32),
    )


def record_of(plan: Plan, origin: dict[str, str] | None = None) -> Record:
    """The plan in words: a caption of nouns and place, and the same sentence with the looks."""
    words = [noun.word for noun in plan.nouns]
    return Record(
        caption=sentence(plan, words),
        detailed_caption=sentence(plan, plan.looks),
        subjects=tuple(Named(name=w, looks=phrase) for w, phrase in zip(words, plan.looks, strict=True)),
        seed=plan.seed,
        origin=origin or {"prompts": "templates"},
    )


def sentence(plan: Plan, phrases: Sequence[str]) -> str:
    """The plan's sentence with these noun phrases, one a subject, given without articles."""
    from mosaic.toybox.scene import enumeration  # which brings torch

    named = [with_article(phrase) for phrase in phrases]
    if len(named) == 1:
        scene = f"{named[0]} {plan.link}"
    elif plan.form == 1:
        scene = enumeration(named)
    else:
        scene = f"{named[0]} {plan.link} {named[1]}"
        if len(named) > 2:
            scene += f", and {enumeration(named[2:])} {TAILS[plan.form]}"
    return f"{plan.place}, {scene}" if plan.form == 3 else f"{scene} {plan.place}"


def with_article(phrase: str) -> str:
    """ "a unicycle", "an umbrella", "an hourglass"."""
    word = phrase.lower()
    return f"{'an' if word.startswith(VOWELS) and not word.startswith(NOT_VOWELS) else 'a'} {phrase}"


def _cast(rng: random.Random, taxonomy: Taxonomy, place: Place, count: int) -> tuple[Noun, ...]:
    """Distinct nouns that fit the place and whose sizes lie within SPAN."""
    chosen: list[Noun] = []
    taken: frozenset[str] = frozenset()
    least, most = place.least, place.most
    while len(chosen) < count:
        category = rng.choices(CATEGORIES, [SHARES[name] for name in CATEGORIES])[0]
        fitting = [noun for noun in taxonomy.fitting(category, least, most) if noun.word not in taken]
        if fitting:
            noun = rng.choice(fitting)
            chosen.append(noun)
            taken |= taxonomy.alike(noun.word)
            least, most = max(least, noun.size - SPAN), min(most, noun.size + SPAN)
    return tuple(chosen)


def _link(rng: random.Random, taxonomy: Taxonomy, nouns: Sequence[Noun]) -> str:
    if len(nouns) == 1:
        return rng.choice(taxonomy.actions[nouns[0].category])
    first, second = nouns[:2]
    kinds = ["any"]
    if first.category != "objects":
        kinds.append("acts")
        if second.category != "objects":
            kinds.append("both")
    if first.category == "people" and second.category == "objects" and second.size <= 2:
        kinds.append("carries")
    if first.category == "objects" and second.supports and first.size <= second.size:
        kinds.append("upon")
    return rng.choice(taxonomy.relations[rng.choice(kinds)])


def _dressed(rng: random.Random, noun: Noun, colours: dict[str, list[str]]) -> str:
    """The noun with looks; the colours it takes are gone from the lists: no two subjects share one."""
    look, detail = rng.choice(noun.looks), rng.choice(noun.details)
    parts = [_coloured(look, colours), noun.word]
    if rng.random() < 0.6:
        parts.append(_coloured(detail, colours))
    return " ".join(parts)


def _coloured(words: str, colours: dict[str, list[str]]) -> str:
    for kind, left in colours.items():
        if kind in words:
            colour = next(colour for colour in left if colour not in words)
            for others in colours.values():
                others[:] = [other for other in others if other != colour]
            words = words.replace(f"a {kind}", with_article(colour)).replace(kind, colour)
    return words
