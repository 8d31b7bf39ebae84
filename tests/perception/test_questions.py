"""Models that answer questions, by their true classes from folders, and behind a local endpoint."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoTokenizer, BlipForQuestionAnswering, ViltForQuestionAnswering

from mosaic.perception.encoders import CLIP_MEAN, CLIP_STD
from mosaic.perception.endpoint import Access, Endpoint
from mosaic.perception.questions import EndpointAnswerer, TransformersAnswerer

from . import tiny, tiny_vlm
from .stub_server import StubServer, reply
from .tiny import random_picture

PICTURES = [random_picture(64, 64), random_picture(64, 96, 1), random_picture(80, 48, 2)]
QUESTIONS = ["a bear ?", "the dog on grass ?", "a red mug and the robot ?"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("questions")
    tiny_vlm.vilt(root / "vilt", tuple(f"label {number}" for number in range(40)))
    tiny_vlm.blip(root / "blip")
    return root


@pytest.mark.parametrize("name", ["vilt", "blip"])
def test_answers_do_not_depend_on_the_batch(folder: Path, name: str) -> None:
    answerer = TransformersAnswerer(folder / name, device="cpu")
    together = answerer(PICTURES, QUESTIONS)
    assert together == [answerer([p], [q])[0] for p, q in zip(PICTURES, QUESTIONS, strict=True)]
    assert together == answerer(PICTURES[::-1], QUESTIONS[::-1])[::-1]
    assert answerer([], []) == []
    long = "a bear and the dog on grass " * 20
    assert isinstance(answerer(PICTURES[:1], [long])[0], str)


@torch.no_grad()
def test_vilt_says_the_label_its_classifier_prefers(folder: Path) -> None:
    """Literally, for a picture that needs no resizing: pixels to −1…1, words' numbers, argmax."""
    model = ViltForQuestionAnswering.from_pretrained(folder / "vilt").eval()
    pixels = torch.from_numpy(PICTURES[0].astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
    tokenizer = AutoTokenizer.from_pretrained(folder / "vilt")
    said = set()
    for question in QUESTIONS:
        ids = torch.tensor([tokenizer(question)["input_ids"]])
        logits = model(input_ids=ids, pixel_values=pixels, pixel_mask=torch.ones(1, 64, 64).long()).logits
        expected = f"label {int(logits.argmax())}"
        assert TransformersAnswerer(folder / "vilt", device="cpu")([PICTURES[0]], [question]) == [expected]
        said.add(expected)


@torch.no_grad()
def test_blip_writes_greedily(folder: Path) -> None:
    """Literally: the most likely word after the ones before it, until the end or ten."""
    model = BlipForQuestionAnswering.from_pretrained(folder / "blip").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder / "blip")
    square = Image.fromarray(PICTURES[1]).resize((32, 32), Image.Resampling.BICUBIC)
    values = (np.asarray(square, np.float32) / 255 - np.float32(CLIP_MEAN)) / np.float32(CLIP_STD)
    seen = model.vision_model(torch.from_numpy(values).permute(2, 0, 1)[None])[0]
    ids = torch.tensor([tokenizer(QUESTIONS[1])["input_ids"]])
    asked = model.text_encoder(input_ids=ids, encoder_hidden_states=seen).last_hidden_state
    words = [model.decoder_start_token_id]
    while len(words) <= 10 and (len(words) == 1 or words[-1] != 2):
        logits = model.text_decoder(input_ids=torch.tensor([words]), encoder_hidden_states=asked).logits
        words.append(int(logits[0, -1].argmax()))
    expected = tokenizer.decode(words, skip_special_tokens=True).strip()
    assert TransformersAnswerer(folder / "blip", device="cpu")([PICTURES[1]], [QUESTIONS[1]]) == [expected]


def test_another_model_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is a clip model: for questions give ViLT, BLIP"):
        TransformersAnswerer(tiny.clip(tmp_path / "clip"))
    with pytest.raises(ValueError, match="cannot be loaded"):
        TransformersAnswerer(tmp_path / "nothing")


def test_an_endpoint_says_yes_or_no() -> None:
    answers = [reply('{"answer": "maybe"}'), reply('{"answer": "yes"}')]
    with StubServer(answers) as server:
        answerer = EndpointAnswerer(Endpoint(Access(base_url=server.url, model="stub")))
        assert answerer(PICTURES[:1], ["Is there a bear?"]) == ["yes"]
        assert answerer.name == "stub"
    assert len(server.requests) == 2  # what is neither is asked again
    assert server.requests[0]["messages"][1]["content"][0]["text"] == "Is there a bear? Answer yes or no."
