"""How many.json came about: 50 prompts for each K from 1 to 8, drawn from many_subjects.toml under a seed.

python -m mosaic.evaluation.protocols.drawing > src/mosaic/evaluation/protocols/many.json

Only `Random.random` is used, the one draw that Python keeps the same through its versions.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

SUBJECTS = Path(__file__).with_name("many_subjects.toml")
SEED, PROMPTS, MOST = 2026, 50, 8
SHARES = {"person": 0.2, "animal": 0.3, "object": 0.5}
MOST_PEOPLE = 3  # of one prompt: there are four families of them
FOLDERS = {"person": "human", "animal": "animal", "object": "object"}  # of XVerseBench
PLACES = """\
on a beach|in a park|in a snowy field|on a cobblestone street|in front of a castle|in a flower garden
on a wooden pier|in a desert|in a forest clearing|in a living room|on a rooftop at dusk|in a barn
beside a lake|at a market|in a library|on a football pitch|under an oak tree|in front of a brick wall
in a wheat field|on a mountain meadow|in a train station|in a museum hall|at a campsite at night
on a city square after the rain|in a photo studio""".replace("\n", "|").split("|")


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawable:
    """A subject that may be drawn; `file` counts from the data folder."""

    kind: str
    family: str
    noun: str
    phrase: str
    file: str

    @property
    def marks(self) -> frozenset[str]:
        """What no other subject of a prompt may share."""
        family = () if self.family == "other" else (f"family {self.family}",)
        return frozenset((self.noun.split()[-1].lower(), *family))


def drawables() -> list[Drawable]:
    """All of many_subjects.toml, in its order."""
    return [
        Drawable(kind=kind, family=family, noun=noun, phrase=phrase, file=_file(kind, name))
        for kind, families in tomllib.loads(SUBJECTS.read_text(encoding="utf-8")).items()
        for family, nouns in families.items()
        for noun, given in nouns.items()
        for phrase, names in [_phrase_and_files(noun, given)]
        for name in names
    ]


def _phrase_and_files(noun: str, given: str | list[str]) -> tuple[str, list[str]]:
    if isinstance(given, list):
        return given[0], given[1:]
    # a new file begins where a number or a DreamBooth folder does; XVerse's names have spaces in them
    names = re.split(r" (?=\d\d_|\w+/\d\d)", given)
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}", names


def _file(kind: str, name: str) -> str:
    if "/" in name:
        return f"dreambooth/dataset/{name}.jpg"
    return f"xversebench/assets/XVerseBench/{FOLDERS[kind]}/{name}.jpg"


def draw(seed: int = SEED) -> list[dict[str, object]]:
    """The 400 prompts."""
    rng, everyone = Random(seed), drawables()
    prompts: list[dict[str, object]] = []
    for subjects in range(1, MOST + 1):
        used: Counter[str] = Counter()
        places = [place for _ in range(PROMPTS // len(PLACES)) for place in shuffled(PLACES, rng)]
        for i, place in enumerate(places):
            chosen = choose(everyone, kinds(subjects, rng), used, rng)
            used.update(one.file for one in chosen)
            prompts.append(
                {
                    "id": f"K{subjects}-{i:02}",
                    "prompt": sentence(chosen, place),
                    "place": place,
                    "subjects": [[one.kind, one.noun, one.phrase, one.file] for one in chosen],
                }
            )
    return prompts


def shuffled(values: Sequence[str], rng: Random) -> list[str]:
    """In an order of the generator's."""
    return [value for _, value in sorted((rng.random(), value) for value in values)]


def kinds(subjects: int, rng: Random) -> list[str]:
    """People first, then animals, then objects; not too many people."""
    drawn: list[str] = []
    while len(drawn) < subjects:
        at = rng.random()
        kind = "person" if at < SHARES["person"] else "animal" if at < 1 - SHARES["object"] else "object"
        if kind != "person" or drawn.count("person") < MOST_PEOPLE:
            drawn.append(kind)
    return sorted(drawn, key=list(SHARES).index)


def choose(
    everyone: Sequence[Drawable], wanted: Sequence[str], used: Counter[str], rng: Random
) -> list[Drawable]:
    """One of each kind wanted that shares no mark with those before it, the least used first."""
    chosen: list[Drawable] = []
    for kind in wanted:
        taken = frozenset[str]().union(*(one.marks for one in chosen))
        free = [one for one in everyone if one.kind == kind and not one.marks & taken]
        chosen.append(min(free, key=lambda one: (used[one.file], rng.random())))
    return chosen


def sentence(chosen: Sequence[Drawable], place: str) -> str:
    """A sentence that names everyone once."""
    living = [one.phrase for one in chosen if one.kind != "object"]
    things = [one.phrase for one in chosen if one.kind == "object"]
    if not living:
        together = ", side by side" if len(things) > 1 else ""
        return f"A photo of {listed(things)}{together} {place}."
    first = listed(living)[0].upper() + listed(living)[1:]
    if not things:
        return f"{first} {'posing together' if len(living) > 1 else 'looking at the camera'} {place}."
    if len(living) == 1:
        return f"{first} {place}, next to {listed(things)}."
    return f"{first} {place}, with {listed(things)} in front of them."


def listed(words: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + f" and {words[-1]}"


def as_json(prompts: Sequence[dict[str, object]], seed: int = SEED) -> str:
    """The text of many.json: a prompt a line."""
    lines = ",\n".join(json.dumps(prompt, ensure_ascii=False) for prompt in prompts)
    return f'{{"seed": {seed}, "prompts": [\n{lines}\n]}}\n'


if __name__ == "__main__":
    print(as_json(draw()), end="")
