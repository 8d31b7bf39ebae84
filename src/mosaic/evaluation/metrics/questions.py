"""DPG: a picture is asked the questions of its prompt's scene graph (arXiv 2310.18235; ELLA, 2403.05135)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mosaic.evaluation.extractors import Scorers
from mosaic.evaluation.features import Ask, Case, Column, Extractor, Feature, Features, Score
from mosaic.evaluation.metrics.columns import column_of, seen
from mosaic.evaluation.questions_io import RecordedAnswers, is_recorded
from mosaic.evaluation.records import Question
from mosaic.sample import Picture

if TYPE_CHECKING:
    from mosaic.perception.questions import Answerer

ROLE = "questions"
MPLUG = "mplug_visual-question-answering_coco_large_en"  # ModelScope's, which no Python of today installs


class GraphQuestions:
    """One score an image: the share of its record's questions that count as "yes"; none without questions."""

    def __init__(self, column: Column) -> None:
        self.column = column
        self.roles: tuple[str, ...] = (ROLE,)

    def asks(self, case: Case) -> Iterator[Ask]:
        """ValueError for a graph that cannot be scored, before anything is measured."""
        check_graph(case.record.questions, case.record.id)
        for picture in case.pictures:
            for question in case.record.questions:
                yield Ask(ROLE, picture, question.text)

    def scores(self, case: Case, features: Features) -> Iterator[Score]:
        """0 to 1."""
        questions = case.record.questions
        for image, picture in enumerate(case.pictures) if questions else ():
            yes = [bool(features[Ask(ROLE, picture, question.text)]["yes"][0]) for question in questions]
            yield Score(image=image, value=graph_score(questions, yes))


def graph_score(questions: Sequence[Question], yes: Sequence[bool]) -> float:
    """The mean over questions, 0 to 1, of 1 for "yes" where no parent counts as 0.

    As coded in ELLA's scorer, the ancestor of XVerseBench's: questions are taken in their order, and one with
    a parent that stands at 0 is set to 0 itself. So a "no" goes down a whole chain, where parents stand
    before their children; a parent that stands after a child counts for it by its own answer alone. The paper
    on scene graphs lets parents count by their own answers everywhere.
    """
    counts = {question.id: bool(answer) for question, answer in zip(questions, yes, strict=True)}
    for question in questions:
        if any(not counts[parent] for parent in question.parents):
            counts[question.id] = False
    return sum(counts.values()) / len(counts)


def check_graph(questions: Sequence[Question], record: str) -> None:
    """ValueError, in one sentence, for ids that are given twice, parents that are not there, and circles."""
    parents = {question.id: question.parents for question in questions}
    if len(parents) < len(questions):
        raise ValueError(f"The questions of {record} give an id twice: number them apart.")
    for question in questions:
        for parent in question.parents:
            if parent not in parents:
                raise ValueError(
                    f"Question {question.id} of {record} depends on {parent}, which is not asked."
                )
    free = set[int]()
    while ready := {id for id, above in parents.items() if id not in free and free.issuperset(above)}:
        free |= ready
    if circle := sorted(parents.keys() - free):
        named = ", ".join(map(str, circle))
        raise ValueError(f"Questions {named} of {record} depend on each other in a circle: take one away.")


class QuestionExtractor:
    """{"yes": (1,)} of a picture and a question: whether the answer is exactly "yes"."""

    batch = 16

    def __init__(self, answerer: Answerer) -> None:
        self.name, self._answerer = answerer.name, answerer

    def __call__(self, pictures: Sequence[Picture | None], texts: Sequence[str]) -> list[Feature]:
        answers = self._answerer(seen(pictures), texts)
        return [{"yes": np.array([answer == "yes"])} for answer in answers]


def load_questions(parts: Mapping[str, str], device: str | None) -> Extractor:
    """A ViLT or BLIP by hub id or folder, a served model as URL#MODEL, or answers in a .jsonl file."""
    from mosaic.perception.endpoint import Endpoint, is_served, served
    from mosaic.perception.questions import EndpointAnswerer, TransformersAnswerer

    where = parts["model"]
    if not where:
        raise ValueError(
            "DPG needs a model that answers questions, and the published one, mPLUG, is ModelScope's alone."
        )
    if is_recorded(where):
        return QuestionExtractor(RecordedAnswers.read(where))
    if is_served(where):
        return QuestionExtractor(EndpointAnswerer(Endpoint(served(where))))
    return QuestionExtractor(TransformersAnswerer(where, device=device))


def question_column(scorers: Scorers) -> Column:
    """Named by the model that answered: a file of answers names its own, and mPLUG's is the published one."""
    column = column_of("DPG", scorers, ROLE)
    where = scorers.chosen[ROLE]["model"] if ROLE in scorers else ""
    if not is_recorded(where):
        return column
    model = RecordedAnswers.read(where).name
    return Column(name="DPG", model=model, official=model.rpartition("/")[2] == MPLUG)
