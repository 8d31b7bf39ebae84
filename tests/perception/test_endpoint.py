"""A vision-language model behind a server that misbehaves: what is retried, said and remembered."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import openai._base_client
import pytest
from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError

from mosaic.perception.endpoint import Access, Endpoint, data_url
from mosaic.perception.judging import PairVerdict, PictureVerdict, judge_pair, judge_picture

from .stub_server import Answer, StubServer, hang, raw, reply, status
from .tiny import random_picture

PICTURE = random_picture(40, 60)


class Marked(BaseModel):
    model_config = ConfigDict(extra="forbid")
    reason: str
    mark: int


GOOD = reply('{"reason": "fine", "mark": 3}')


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai._base_client, "INITIAL_RETRY_DELAY", 0.001)
    monkeypatch.setattr(openai._base_client, "MAX_RETRY_DELAY", 0.002)


def ask(server: StubServer, **access: Any) -> Any:
    endpoint = Endpoint(Access(**({"base_url": server.url, "model": "stub", "retries": 1} | access)))
    return endpoint.ask(Marked, "You judge.", "How good?", [PICTURE])


def test_an_answer_and_what_was_asked() -> None:
    with StubServer([GOOD]) as server:
        answer = ask(server, side=32)
    assert answer.value == Marked(reason="fine", mark=3)
    assert (answer.tokens_in, answer.tokens_out) == (100, 7)
    (request,) = server.requests
    text, image = request["messages"][1]["content"]
    assert text == {"type": "text", "text": "How good?"} and request["temperature"] == 0
    shown = Image.open(io.BytesIO(base64.b64decode(image["image_url"]["url"].partition(",")[2])))
    assert shown.size == (32, 21)
    format = request["response_format"]["json_schema"]
    assert format["strict"] is True and format["schema"]["additionalProperties"] is False
    assert format["schema"]["required"] == ["reason", "mark"]


@pytest.mark.parametrize(
    "bad",
    [
        reply('{"reason": "fi'),
        reply('{"reason": "fine", "mark": "high"}'),
        reply('{"mark": 3}'),
        reply('{"reason": "", "mark": 3, "more": 1}'),
        reply("", finish="length"),
        reply(None, refusal="I cannot."),
        raw('{"id": "1", "choices": []}'),
        status(429),
        status(503),
        raw('{"id": "1", "choi', length=400),
    ],
)
def test_what_goes_wrong_once_is_asked_again(bad: Answer) -> None:
    with StubServer([bad, GOOD]) as server:
        assert ask(server).value.mark == 3
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("bad", "said", "requests"),
    [
        (reply('{"reason": "fi'), r"was asked 3 times and sent what is no whole JSON: '{\"reason", 3),
        (reply('{"reason": "fine", "mark": "high"}'), r"JSON of another schema \(mark: ", 3),
        (reply("x", finish="length"), "broke off at max_tokens", 3),
        (reply(None, refusal="I cannot."), "refused: I cannot.", 3),
        (reply(""), "sent no text", 3),
        (raw('{"choices": []}'), "sent no choices", 3),
        (status(401), r"refuses the key in \$OPENAI_API_KEY", 1),
        (status(404), "answered 404: .*no, 404", 1),
        (status(500), "answered 500", 2),
        (status(429), "answered 429", 2),
        (hang, r"did not answer within 0\.2 s", 2),
    ],
)
def test_what_goes_wrong_for_good_is_one_sentence(bad: Answer, said: str, requests: int) -> None:
    with StubServer([bad]) as server, pytest.raises(ValueError, match=said) as error:
        ask(server, timeout=0.2 if bad is hang else 5.0)
    assert str(error.value).startswith(f"The model stub at {server.url}")
    assert "\n" not in str(error.value)
    assert len(server.requests) == requests


def test_what_is_no_json_at_all() -> None:
    with (
        StubServer([raw("<html>gateway</html>")]) as server,
        pytest.raises(ValueError, match="The model stub"),
    ):
        ask(server)


def test_nobody_listens() -> None:
    with StubServer([GOOD]) as server:
        pass
    with pytest.raises(ValueError, match=r"cannot be reached: check base_url"):
        ask(server)


def test_tokens_of_failed_attempts_count() -> None:
    with StubServer([reply("half"), reply("half"), GOOD]) as server:
        answer = ask(server)
    assert (answer.tokens_in, answer.tokens_out) == (300, 21)


def test_answers_are_remembered(tmp_path: Path) -> None:
    with StubServer([GOOD]) as server:
        access = Access(base_url=server.url, model="stub", cache=str(tmp_path / "answers"))
        endpoint = Endpoint(access)
        first = [endpoint.ask(Marked, "You judge.", "How good?", [PICTURE]) for _ in range(2)]
        again = Endpoint(access).ask(Marked, "You judge.", "How good?", [PICTURE])
        assert len(server.requests) == 1 and first[0] == first[1] == again
        endpoint.ask(Marked, "You judge.", "How good?", [PICTURE[::-1].copy()])
        assert len(server.requests) == 2


def test_a_data_url_is_the_picture() -> None:
    url = data_url(PICTURE, 1000)
    assert url.startswith("data:image/jpeg;base64,") and url == data_url(PICTURE, 1000)
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))), float)
    assert shown.shape == PICTURE.shape and np.abs(shown - PICTURE).mean() < 8


# ---------------------------------------------------------------- verdicts


def subject(seen: int = 1, whole: int = 4, clear: int = 4) -> dict[str, int]:
    return {"seen": seen, "whole": whole, "clear": clear}


def test_a_picture_is_judged_subject_by_subject() -> None:
    said = {"reason": "r", "quality": 3, "coherence": 2, "subjects": [subject(), subject(2, 3, 1)]}
    short = said | {"subjects": [subject()]}
    with StubServer([reply(json.dumps(short)), reply(json.dumps(said))]) as server:
        endpoint = Endpoint(Access(base_url=server.url, model="stub"))
        scores = judge_picture(endpoint, PICTURE, "a bear and a mug", ["bear", "mug"])
    assert len(server.requests) == 2  # the number of subjects is part of the schema
    marks = {"quality": 3, "coherence": 2, "clarity": 1, "once": 0.5}
    assert scores == marks | {"tokens_in": 200, "tokens_out": 14}
    assert "1. bear\n2. mug" in server.requests[0]["messages"][1]["content"][0]["text"]


def test_a_pair_is_judged_part_by_part() -> None:
    said = {"reason": "r", "shape": 4, "colours": 4, "details": 1, "viewpoint": 2}
    with StubServer([reply(json.dumps(said))]) as server:
        scores = judge_pair(Endpoint(Access(base_url=server.url, model="stub")), PICTURE, PICTURE, "bear")
    assert scores == {"identity": 3, "viewpoint": 2, "tokens_in": 100, "tokens_out": 7}
    assert len(server.requests[0]["messages"][1]["content"]) == 3


@pytest.mark.parametrize("mark", [-1, 5, 131184.67, "good", None])
def test_marks_are_bounded(mark: Any) -> None:
    with pytest.raises(ValidationError):
        PictureVerdict(reason="", quality=mark, coherence=0, subjects=())
    with pytest.raises(ValidationError):
        PairVerdict(reason="", shape=mark, colours=0, details=0, viewpoint=0)


def test_the_reason_comes_before_the_marks() -> None:
    for schema in (PictureVerdict, PairVerdict):
        assert next(iter(schema.model_json_schema()["properties"])) == "reason"
