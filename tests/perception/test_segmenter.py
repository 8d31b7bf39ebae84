"""Grounding DINO and SAM 2 as saved and loaded folders: the true classes, down to masks of a picture."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from mosaic.perception.segmenter import Detector, GroundedSegmenter, Masker, prompt_of

from . import tiny
from .tiny import random_picture

PHOTOGRAPHS = sorted((Path(__file__).parents[3] / "shared/benchmarks/dreambooth/dataset/clock").glob("*.jpg"))
PHRASES = ["a red bear", "the blue duck on grass"]
ANY = {"box_threshold": 0.0, "text_threshold": 0.0, "device": "cpu"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("segmenter")
    return tiny.grounding_dino(root / "detector"), tiny.sam2(root / "masker")


def test_every_phrase_gets_its_instances(folders: tuple[Path, Path]) -> None:
    segment = GroundedSegmenter(*folders, **ANY)
    pictures = [random_picture(60, 90), random_picture(72, 48, 1)]
    found = segment(pictures, [PHRASES, PHRASES[:1]])
    assert [len(phrases) for phrases in found] == [2, 1]
    for picture, phrases in zip(pictures, found, strict=True):
        height, width = picture.shape[:2]
        for instances in phrases:
            scores = [one.score for one in instances]
            assert scores == sorted(scores, reverse=True) and len(scores) == 12
            for one in instances:
                assert one.mask.shape == (height, width) and one.mask.dtype == np.bool_
                left, top, right, bottom = one.box
                assert 0 <= left <= right <= width and 0 <= top <= bottom <= height
                assert 0 <= one.mask_score <= 1
    assert segment(pictures[:1], [[]]) == [[]]


def test_what_is_found_does_not_depend_on_company(folders: tuple[Path, Path]) -> None:
    segment = GroundedSegmenter(*folders, **ANY)
    picture, other = random_picture(60, 90), random_picture(40, 40, 3)
    together = segment([other, picture], [PHRASES, PHRASES])[1]
    alone = [segment([picture], [[phrase]])[0][0] for phrase in PHRASES]
    for first, second in zip(together, alone, strict=True):
        np.testing.assert_allclose([one.score for one in first], [one.score for one in second], atol=1e-4)
        np.testing.assert_allclose([one.box for one in first], [one.box for one in second], atol=0.05)
        assert np.mean([(a.mask == b.mask).mean() for a, b in zip(first, second, strict=True)]) > 0.99


def test_thresholds_are_langsams_and_keep_what_is_above(folders: tuple[Path, Path]) -> None:
    picture = random_picture(60, 90)
    every = Detector(folders[0], **ANY)(picture, PHRASES)
    usual = Detector(folders[0], device="cpu")(picture, PHRASES)
    for (boxes, scores), (kept, surer) in zip(every, usual, strict=True):
        assert (surer == scores[scores > 0.3]).all() and 0 < len(surer) < len(scores)
        assert (kept == boxes[: len(kept)]).all()
    nothing = Detector(folders[0], box_threshold=1.0, device="cpu")(picture, PHRASES)
    assert [len(scores) for _, scores in nothing] == [0, 0]


def test_one_instance_alone_keeps_its_axes(folders: tuple[Path, Path]) -> None:
    """LangSAM squeezed them away."""
    picture = random_picture(60, 90)
    scores = Detector(folders[0], **ANY)(picture, PHRASES[:1])[0][1]
    only = float(scores[:2].mean())
    found = GroundedSegmenter(*folders, box_threshold=only, text_threshold=0.0, device="cpu")
    instances = found([picture], [PHRASES[:1]])[0][0]
    assert len(instances) == 1 and instances[0].mask.shape == (60, 90)


def test_nothing_found_is_no_instance(folders: tuple[Path, Path]) -> None:
    segment = GroundedSegmenter(*folders, box_threshold=1.0, device="cpu")
    assert segment([random_picture(60, 90)], [PHRASES]) == [[[], []]]


def test_a_masks_logits_are_cut_at_zero_after_they_are_enlarged(folders: tuple[Path, Path]) -> None:
    masker = Masker(folders[1], device="cpu")
    logits = torch.linspace(-1, 1, 64).reshape(1, 1, 1, 8, 8)
    scores = torch.tensor([[[0.9]]])
    masker._model = lambda **_: SimpleNamespace(pred_masks=logits, iou_scores=scores)
    masker._model.device, masker._model.dtype = "cpu", torch.float32
    masks, sure = masker(random_picture(16, 16), np.array([[0, 0, 8, 8]], np.float32))
    assert masks.shape == (1, 16, 16) and sure.tolist() == pytest.approx([0.9])
    assert not masks[0, :7].any() and masks[0, 9:].all()


@pytest.mark.skipif(not PHOTOGRAPHS, reason="no photographs here")
def test_a_photograph_keeps_its_size(folders: tuple[Path, Path]) -> None:
    picture = np.asarray(Image.open(PHOTOGRAPHS[0]).convert("RGB"))
    found = GroundedSegmenter(*folders, device="cpu")([picture], [["a clock"]])[0][0]
    assert found and all(one.mask.shape == picture.shape[:2] for one in found)
    right, bottom = np.max([one.box[2:] for one in found], axis=0)
    assert 1 < right <= picture.shape[1] and 1 < bottom <= picture.shape[0]


def test_a_prompt_is_one_phrase() -> None:
    assert prompt_of("A red Mr. Bear ") == "a red mr bear."
    with pytest.raises(ValueError, match="has no words"):
        prompt_of(" . ")


def test_a_folder_without_the_model_is_one_sentence(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"A GroundingDinoForObjectDetection cannot be loaded from"):
        Detector(tmp_path / "none")
    with pytest.raises(ValueError, match=r"cannot be loaded from"):
        Masker(tmp_path)
