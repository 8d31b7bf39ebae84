"""Questions about pictures in a file for an outside model, and its answers read back: JSON, one a line.

A question: {"id", "picture": its file, "box": [left, top, right, bottom] or null for all of it, "question"}.
The answers begin with {"model": what it is called}; each other line has "id" and "answer", and may have more.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from mosaic.evaluation.features import Case, PictureFile
from mosaic.sample import Picture

SUFFIX = ".jsonl"
NAMED = 3  # of many that are missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question about a picture, as it lies in the file."""

    id: str
    picture: str
    box: tuple[int, int, int, int] | None
    question: str

    def __str__(self) -> str:
        place = f", box {list(self.box)}" if self.box else ""
        return f'"{self.question}" about {self.picture}{place} ({self.id})'


class RecordedAnswers:
    """An `Answerer` that looks up what an outside model said."""

    def __init__(self, name: str, answers: dict[str, str], where: str) -> None:
        self.name, self.answers, self._where = name, answers, where

    @staticmethod
    def read(where: str | Path) -> RecordedAnswers:
        """ValueError in one sentence that names the line, for what is no answer or answers twice."""
        return _recorded(str(where), Path(where).stat().st_mtime_ns if Path(where).is_file() else 0)

    def __call__(self, pictures: Sequence[Picture], questions: Sequence[str]) -> list[str]:
        ids = [id_of(picture, question) for picture, question in zip(pictures, questions, strict=True)]
        for one, question in zip(ids, questions, strict=True):
            if one not in self.answers:
                raise ValueError(f'{self._where} has no answer to "{question}" ({one}): ask it as well.')
        return [self.answers[one] for one in ids]


def is_recorded(where: str) -> bool:
    """Whether a scorer is a file of answers."""
    return where.endswith(SUFFIX)


def id_of(picture: Picture, question: str) -> str:
    """By the picture's pixels and the question's words, wherever the file lies."""
    told = f"{picture.shape} {question} ".encode() + picture.tobytes()
    return hashlib.sha256(told).hexdigest()[:24]


def questions_of(cases: Iterable[Case]) -> list[Asked]:
    """Every question about every image, each once."""
    asked: dict[str, Asked] = {}
    for case in cases:
        for file in case.pictures if case.record.questions else ():
            picture = file.read()
            for question in case.record.questions:
                one = id_of(picture, question.text)
                box = _box(file, picture)
                asked.setdefault(one, Asked(id=one, picture=str(file.path), box=box, question=question.text))
    return list(asked.values())


def write_questions(asked: Iterable[Asked], path: Path) -> None:
    """For an outside model, replacing the file at once."""
    partial = path.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as file:
        for one in asked:
            line = {"id": one.id, "picture": one.picture, "box": one.box, "question": one.question}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    partial.replace(path)


def check_answers(asked: Iterable[Asked], where: str | Path) -> None:
    """ValueError that names what the file leaves unanswered, or what it answers and nobody asked."""
    answers, wanted = RecordedAnswers.read(where).answers, {one.id: one for one in asked}
    if missing := [str(one) for one in wanted.values() if one.id not in answers]:
        raise ValueError(f"{where} leaves {len(missing)} questions unanswered: {_first(missing)}.")
    if extra := [one for one in answers if one not in wanted]:
        raise ValueError(
            f"{where} answers {len(extra)} questions that are not asked here: {_first(extra)}; "
            "were the pictures made again?"
        )


@cache
def _recorded(where: str, modified: int) -> RecordedAnswers:
    path, answers = Path(where), dict[str, str]()
    if not path.is_file():
        raise ValueError(f"{path} does not exist: give the file of answers.")
    lines = _lines(path)
    number, head = next(lines, (1, {}))
    if not isinstance(head.get("model"), str) or not head["model"].strip():
        raise ValueError(f'{path} does not begin with {{"model": NAME}}: say whose answers they are.')
    for number, line in lines:
        one, answer = line.get("id"), line.get("answer")
        if not isinstance(one, str) or not isinstance(answer, str):
            raise ValueError(f'Line {number} of {path} has no "id" and "answer" as texts.')
        if one in answers:
            raise ValueError(f"Line {number} of {path} answers {one} a second time: leave one of them.")
        if answer != "yes" and answer.strip(" .!\"'").lower() == "yes":
            raise ValueError(
                f'Line {number} of {path} says {answer!r}: only a bare "yes" counts, write that.'
            )
        answers[one] = answer
    return RecordedAnswers(head["model"].strip(), answers, where)


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding="utf-8") as file:
        for number, text in enumerate(file, 1):
            if not text.strip():
                continue
            try:
                line = json.loads(text)
            except ValueError as error:
                raise ValueError(f"Line {number} of {path} is no JSON: {error}.") from error
            if not isinstance(line, dict):
                raise ValueError(f"Line {number} of {path} is no JSON object.")
            yield number, line


def _box(file: PictureFile, picture: Picture) -> tuple[int, int, int, int] | None:
    if file.quadrant is None:
        return None
    height, width = picture.shape[:2]
    row, column = divmod(file.quadrant, 2)
    return column * width, row * height, (column + 1) * width, (row + 1) * height


def _first(named: Sequence[str]) -> str:
    return "; ".join(named[:NAMED]) + (" …" if len(named) > NAMED else "")
