"""Which matches are believed."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mosaic.geometry import Placement
from mosaic.matching.consensus import consensus, correspond
from mosaic.matching.features import FeatureMap
from mosaic.matching.matcher import FeatureMatcher, box_about
from mosaic.matching.rule import Rule
from tests.matching.world import everywhere, noise, placed


def shifted(values: np.ndarray, rows: int, columns: int) -> np.ndarray:
    return np.roll(values, (rows, columns), (0, 1))


def test_the_same_features_are_found_at_their_own_places() -> None:
    one = placed(noise(8, 8))
    found = consensus(one.centers(), [one], [one], Rule(temperature=0.001))
    np.testing.assert_allclose(found.target, one.centers(), atol=1e-3)
    assert found.kept.all()
    assert (found.confidence > 0.99).all()


@given(st.integers(0, 3), st.integers(0, 3))
def test_a_shift_is_found(rows: int, columns: int) -> None:
    values = noise(8, 8)
    one, other = placed(values), placed(shifted(values, rows, columns))
    points = one.centers()[:8]
    found = consensus(points, [one], [other], Rule(temperature=0.001))
    wanted = (points * 8 + (columns, rows)) % 8 / 8
    np.testing.assert_allclose(found.target, wanted, atol=1e-3)


def test_matchers_that_disagree_are_not_believed() -> None:
    values, other = noise(8, 8, seed=1), noise(8, 8, seed=2)
    here = [placed(values), placed(other)]
    agree = [placed(shifted(values, 1, 0)), placed(shifted(other, 1, 1))]  # a token apart
    apart = [placed(shifted(values, 1, 0)), placed(shifted(other, 4, 3))]
    points = here[0].centers()[9:12]
    assert consensus(points, here, agree).kept.all()
    assert not consensus(points, here, apart).kept.any()
    assert consensus(points, here, apart, Rule(agreement=8, cycle=20)).kept.all()
    assert (consensus(points, here, apart).confidence < consensus(points, here, here).confidence).all()


def test_a_place_that_leads_back_elsewhere_is_not_believed() -> None:
    values = noise(8, 8)
    covered = values.copy()
    covered[:] = values[6, 6]  # the target shows one thing alone
    here, there = placed(values), placed(covered + 0.01 * noise(8, 8, seed=3))
    found = consensus(here.centers(), [here], [there])
    cells = np.indices((8, 8)).reshape(2, -1).T
    near = np.linalg.norm(cells - (6, 6), axis=1) <= 2
    assert (found.kept == near).all()


def test_nothing_is_found_outside_the_masks() -> None:
    values = noise(8, 8)
    one = placed(values)
    mask = everywhere(one)
    mask[:, 64:] = False
    found = consensus(one.centers(), [one], [one], reference_mask=mask, target_mask=mask)
    assert (found.target[:, 0] <= 0.5 + 1e-9).all()
    right = one.centers()[:, 0] > 0.5 + 2 / 8
    assert not found.kept[right].any()
    with pytest.raises(ValueError, match="holds no token"):
        consensus(one.centers(), [one], [one], target_mask=np.zeros_like(mask))


def test_agreement_is_in_tokens_of_the_coarsest() -> None:
    one = placed(noise(16, 16, seed=1))
    coarse, source = noise(4, 4, seed=2), Placement.resize((256, 256), (256, 256))
    here = [one, placed(coarse, source)]
    there = [one, placed(shifted(coarse, 0, 1), source)]  # 4 of the fine tokens, 1 of the coarse
    points = one.centers()[[85, 86, 101]]
    tight = Rule(cycle=20, agreement=0.1)
    assert not consensus(points, here, there, tight).kept.any()
    assert consensus(points, here, there, Rule(cycle=20, agreement=2.5)).kept.all()


@pytest.mark.parametrize("wrong", [{"window": 4}, {"cycle": -1}, {"temperature": 0}, {"patience": 1}])
def test_rules_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Rule(**wrong)


def test_a_subject_is_matched_within_its_masks_alone() -> None:
    one = placed(noise(8, 8))
    mask = everywhere(one)
    mask[64:] = False
    points = correspond([one], [one], mask, mask)
    assert len(points) == 32
    assert (points.reference[:, 1] < 0.5).all()
    assert len(correspond([one], [one], mask & False, mask)) == 0


class Colors:
    """The mean colour and place about each of 8 × 8 tokens."""

    name = "colors"

    def __init__(self) -> None:
        self.boxes: list[object] = []

    def __call__(self, picture: np.ndarray, box: object = None) -> FeatureMap:
        self.boxes.append(box)
        left, top, right, bottom = box  # type: ignore[misc]
        size = picture.shape[:2]
        placement = Placement.letterbox(size, (8, 8), box=(left, top, right, bottom))
        centers = placement.invert(np.indices((8, 8)).reshape(2, -1).T[:, ::-1] / 8 + 1 / 16)
        at = np.clip((centers * size[::-1]).astype(int), 0, np.array(size[::-1]) - 1)
        values = picture[at[:, 1], at[:, 0]].astype(np.float32) - 100
        return placed(values.reshape(8, 8, 3), placement)


def test_a_matcher_looks_at_the_subject_alone() -> None:
    rng = np.random.default_rng(0)
    subject = (rng.random((32, 32, 3)) * 255).astype(np.uint8)
    reference, target = np.zeros((64, 64, 3), np.uint8), np.zeros((96, 96, 3), np.uint8)
    reference[8:40, 8:40], target[60:92, 4:36] = subject, subject
    mask, target_mask = np.zeros((64, 64), bool), np.zeros((96, 96), bool)
    mask[8:40, 8:40], target_mask[60:92, 4:36] = True, True
    extract = Colors()
    matcher = FeatureMatcher([extract], Rule(window=1))
    assert matcher.name == "colors"
    points = matcher(reference, mask, target, target_mask)
    assert extract.boxes[0] == (4, 4, 44, 44)
    assert len(points) > 20
    off = points.target * 96 - points.reference * 64 - (4 - 8, 60 - 8)
    assert np.median(np.linalg.norm(off, axis=1)) < 5  # a token
    assert len(matcher(reference, mask & False, target, target_mask)) == 0
    assert torch.isfinite(matcher.maps(target, target_mask)[0].values).all()


def test_a_box_stays_in_the_picture() -> None:
    mask = np.zeros((50, 30), bool)
    mask[0:50, 10:20] = True
    assert box_about(mask) == (5, 0, 26, 50)
    assert box_about(mask, 0) == (10, 0, 21, 50)
