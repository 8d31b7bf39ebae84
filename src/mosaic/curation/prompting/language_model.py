"""Prompts in a language model's words: it is told who, where and how many, and answers in a schema."""

import json
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mosaic.curation.prompting.taxonomy import load_taxonomy
from mosaic.curation.prompting.templates import Plan, sentence
from mosaic.curation.rows import Named, Record
from mosaic.perception.endpoint import Endpoint

LONGEST = 900  # characters of a caption
INSTRUCTIONS = """\
You write captions of photographs for a dataset. You are given the subjects of one picture, the place, and a
sketch of the scene. Answer with:
- subjects: for each given noun, in the given order: `name`, which is that noun unchanged, and `looks`:
  a noun phrase without an article that holds the noun and says how this one individual looks, in 4 to 14
  words: colour, material, markings, clothes. Make the individuals easy to tell apart.
- caption: one sentence that names every subject by its noun, says where they are and what they do, and says
  nothing of how any of them looks: no colour, no material, no age, no clothes.
- detailed_caption: the same scene in one or two sentences, in which every subject has its looks.
Each noun occurs once in each caption, in the singular, and no other animal, person or large thing is added.
Every subject is seen whole, none hides behind another, and their sizes are true to life."""


class Described(BaseModel):
    """A subject in a model's words."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    looks: str = Field(min_length=1, max_length=200)


class Written(BaseModel):
    """A prompt in a model's words."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    subjects: list[Described]
    caption: str = Field(min_length=1, max_length=LONGEST)
    detailed_caption: str = Field(min_length=1, max_length=LONGEST)


def written_for(nouns: Sequence[str]) -> type[Written]:
    """`Written` that also refuses what does not keep to these nouns; its JSON schema is the same."""

    class Kept(Written):
        @model_validator(mode="after")
        def _keeps(self) -> "Kept":
            check_written(self, nouns)
            return self

    Kept.__name__ = Kept.__qualname__ = Written.__name__  # by which the schema is called
    return Kept


def check_written(written: Written, nouns: Sequence[str]) -> None:
    """ValueError, saying why, unless a reply has each noun where it belongs, and no colour in its caption."""
    if [subject.name for subject in written.subjects] != list(nouns):
        raise ValueError(f"the subjects are not {', '.join(nouns)}, in this order")
    texts = [subject.looks for subject in written.subjects], written.caption, written.detailed_caption
    for noun, looks in zip(nouns, texts[0], strict=True):
        lacking = [text for text in (looks, *texts[1:]) if not _holds(text, noun)]
        if lacking:
            raise ValueError(f'"{lacking[0][:60]}" lacks the noun {noun}')
    plain = written.caption
    for noun in nouns:
        plain = re.sub(re.escape(noun), "", plain, flags=re.IGNORECASE)
    colours = [colour for colour in load_taxonomy().paints["{colour}"] if _holds(plain, colour)]
    if colours:
        raise ValueError(f"the caption tells looks: {', '.join(colours)}")


def ask_for(endpoint: Endpoint, plan: Plan) -> Record:
    """The record of a plan in the model's words. ValueError, in a sentence, if it has none that fit."""
    nouns = [noun.word for noun in plan.nouns]
    # the number keeps two plans of the same words apart
    task = {"subjects": nouns, "place": plan.place, "sketch": sentence(plan, nouns), "number": plan.seed}
    written = endpoint.ask(written_for(nouns), INSTRUCTIONS, json.dumps(task, ensure_ascii=False)).value
    return Record(
        caption=_plain(written.caption),
        detailed_caption=_plain(written.detailed_caption),
        subjects=tuple(Named(name=s.name, looks=_plain(s.looks)) for s in written.subjects),
        seed=plan.seed,
        origin={"prompts": endpoint.name},
    )


def ask_for_all(endpoint: Endpoint, plans: Sequence[Plan], concurrency: int) -> list[Record | ValueError]:
    """The records of plans, in order, `concurrency` requests at a time; an error where there is none."""

    def attempt(plan: Plan) -> Record | ValueError:
        try:
            return ask_for(endpoint, plan)
        except ValueError as error:
            return error

    with ThreadPoolExecutor(concurrency) as pool:
        return list(pool.map(attempt, plans))


def _holds(text: str, words: str) -> bool:
    return re.search(rf"\b{re.escape(words)}\b", text, flags=re.IGNORECASE) is not None


def _plain(text: str) -> str:
    return " ".join(text.split())
