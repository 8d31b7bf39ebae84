"""Florence-2 as a saved and loaded folder: the true model, its prompt, and boxes read from its own words."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mosaic.perception.florence import TASK, FlorenceDetector, boxes_of, load_detector, phrase_of
from mosaic.perception.segmenter import Detector

from . import tiny
from .tiny import random_picture


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.florence(tmp_path_factory.mktemp("florence"))


@pytest.fixture(scope="module")
def detect(folder: Path) -> FlorenceDetector:
    return FlorenceDetector(folder, device="cpu", longest=12)


def saying(detect: FlorenceDetector, words: list[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The model answers with these words; what it is asked is returned."""
    asked: dict[str, Any] = {}
    numbers = detect._processor.tokenizer.convert_tokens_to_ids(words)

    def generate(**given: Any) -> torch.Tensor:
        asked.update(given)
        return torch.tensor([numbers])

    monkeypatch.setattr(detect._model, "generate", generate)
    return asked


def test_the_true_model_answers(detect: FlorenceDetector) -> None:
    picture = random_picture(60, 90)
    (boxes, scores), (again, _) = detect(picture, ["bear", "bear"])
    assert boxes.shape == (len(scores), 4) and boxes.dtype == scores.dtype == np.float32
    np.testing.assert_array_equal(boxes, again)
    assert detect(picture, []) == []


def test_boxes_are_the_middles_of_places_in_the_order_of_the_answer(
    detect: FlorenceDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [(500, 100, 900, 999), (0, 0, 250, 500)]
    words = ["bear", *[f"<loc_{place}>" for box in places for place in box]]
    saying(detect, ["</s>", "<s>", *words, "</s>"], monkeypatch)
    height, width = 600, 800
    boxes, scores = detect(random_picture(height, width), ["bear"])[0]
    sides = np.array([width, height] * 2)
    expected = [[int((p + 0.5) * side / 1000) for p, side in zip(box, sides, strict=True)] for box in places]
    assert boxes.tolist() == expected and scores.tolist() == [1, 1]


def test_the_prompt_is_the_tasks_and_the_search_is_by_beams(
    detect: FlorenceDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = saying(detect, ["</s>", "<s>", "</s>"], monkeypatch)
    boxes, scores = detect(random_picture(60, 90), ["a red bear"])[0]
    assert boxes.shape == (0, 4) and scores.shape == (0,)
    words = detect._processor.tokenizer.convert_ids_to_tokens(asked["input_ids"][0])
    assert words == [*["<image>"] * 5, "<s>", *"locate a red bear in the image .".split(), "</s>"]
    assert asked["pixel_values"].shape == (1, 3, 64, 64)
    assert (asked["num_beams"], asked["do_sample"], asked["max_new_tokens"]) == (3, False, 12)
    assert TASK == "<OPEN_VOCABULARY_DETECTION>"


def test_boxes_without_an_inside_and_polygons_are_left_out() -> None:
    picture = random_picture(60, 90)
    answer = {"bboxes": [[5, 5, 5, 20], [80, 10, 99, 70], [30, 20, 10, 40]], "polygons": [[1, 2, 3, 4]]}
    assert boxes_of(answer, picture).tolist() == [[80, 10, 90, 60]]
    assert boxes_of({}, picture).shape == (0, 4)


def test_a_phrase_cannot_speak_in_the_models_own_words() -> None:
    assert phrase_of(" a  <loc_5> bear ") == "a loc_5 bear"
    with pytest.raises(ValueError, match="has no words"):
        phrase_of(" <> ")


def test_a_folder_is_read_by_what_it_holds(folder: Path, tmp_path: Path) -> None:
    assert isinstance(load_detector(folder, "cpu"), FlorenceDetector)
    assert isinstance(load_detector(tiny.grounding_dino(tmp_path / "dino"), "cpu"), Detector)
    with pytest.raises(ValueError, match="is a vit model: as a detector give"):
        load_detector(tiny.dino(tmp_path / "vit"))
    with pytest.raises(ValueError, match="cannot be loaded from"):
        load_detector(tmp_path / "away")
