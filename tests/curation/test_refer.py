"""refer: the cut-out on white, a true Kontext pipeline, masks on white, similarity and the pair's judge."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from perception import tiny
from perception.stub_server import StubServer, reply
from PIL import Image

from mosaic.curation.diffusers_backends import VIEWS, DiffusersEditor
from mosaic.curation.rows import Named, Work
from mosaic.curation.stages.judge import VisionSection
from mosaic.curation.stages.refer import (
    ReferStage,
    Section,
    SimilarityJudge,
    edited,
    make,
    measured,
    not_white,
    on_white,
    subject_on_white,
    view_seed,
)
from mosaic.data.shards import mask_of, picture_of, png_of, webp_of
from mosaic.pictures.canvas import released_canvas
from mosaic.pictures.cutout import segment

from .pipelines import flux, kontext
from .works import segmented, target

SHARED = Path(__file__).parents[3] / "shared"
WEIGHTS = SHARED / "weights/dinov2-small-finetuned"
PHOTOGRAPHS = SHARED / "benchmarks/dreambooth/dataset"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kontext(tmp_path_factory.mktemp("kontext") / "model")


def section(folder: Path, **more: Any) -> Section:
    usual = {"model": str(folder), "side": 64, "size": 48, "steps": 2, "device": "cpu"}
    return Section(**(usual | {"arguments": {"guidance_scale": 2.5, "max_sequence_length": 16}} | more))


class Mirror:
    """An editor that mirrors; the same seed, the same picture."""

    name, licence = "mirror", "CC0-1.0"

    def __init__(self) -> None:
        self.seeds: list[int] = []

    def __call__(self, cutouts: list, subjects: list[Named], seeds: list[int]) -> list:
        self.seeds += seeds
        return [cutout[:, ::-1].copy() for cutout in cutouts]


def test_the_cut_out_is_the_released_canvas() -> None:
    picture, masks = target()
    image, mask = subject_on_white(picture, masks[0], 80)
    rgba = np.dstack([picture, np.where(masks[0], 255, 0).astype(np.uint8)])
    expected = released_canvas(Image.fromarray(rgba), 80)
    assert (image == expected.image).all() and (mask == expected.mask).all()
    assert (image[0] == 255).all() and mask.any(1).sum() == 72  # 0.9 of the side
    assert (image[40, 40] == (200, 40, 30)).all()
    with pytest.raises(ValueError, match="is empty"):
        subject_on_white(picture, np.zeros_like(masks[0]), 80)


def test_references_of_an_editor() -> None:
    editor = Mirror()
    stage = ReferStage(
        edited(editor, on_white), [], Section(side=64, size=48), find=on_white, by="mirror", licence="CC0-1.0"
    )
    outcome = stage([segmented()])[0]
    assert set(outcome.files) == {"ref0.webp", "ref0.mask.png", "ref1.webp", "ref1.mask.png"}
    image, mask = picture_of(outcome.files["ref0.webp"]), mask_of(outcome.files["ref0.mask.png"])
    assert image.shape == (48, 48, 3) and mask.shape == (48, 48)
    assert (image[~mask].mean()) > 245 and image[mask].mean() < 150
    assert outcome.scores["refer/0/area"] == pytest.approx(mask.mean())
    assert outcome.scores["refer/0/borders"] == 0 and outcome.scores["refer/0/change"] > 0.005
    assert editor.seeds == [view_seed(segmented().id, k) for k in range(2)] and len(set(editor.seeds)) == 2
    assert outcome.facts["refer"]["licence"] == "CC0-1.0"


def test_a_copy_has_no_change() -> None:
    cutout, mask = subject_on_white(target()[0], target()[1][0], 64)
    assert measured(cutout, cutout, mask)["change"] == 0
    assert measured(cutout, np.full_like(cutout, 255), mask & False) == {
        "area": 0,
        "borders": 0,
        "change": pytest.approx((255 - cutout.astype(float)).mean() / 255),
    }


def test_white_is_background_and_holes_belong() -> None:
    picture = np.full((60, 60, 3), 250, np.uint8)
    assert not not_white(picture).any()
    picture[10:50, 10:50] = 90
    picture[20:30, 20:30] = 255  # a white badge
    picture[2:4, 2:4] = 0  # dirt
    expected = np.zeros((60, 60), bool)
    expected[10:50, 10:50] = True
    assert (not_white(picture) == expected).all()


def test_the_true_pipeline_with_similarity_and_segmenter(folder: Path, tmp_path: Path) -> None:
    segmenter = {
        "detector": str(tiny.grounding_dino(tmp_path / "detector")),
        "masker": str(tiny.sam2(tmp_path / "masker")),
        "device": "cpu",
    }
    stage = make(section(folder, segmenter=segmenter, encoder=str(tiny.dinov2(tmp_path / "dinov2"))))
    outcome = stage([segmented()])[0]
    for k in range(2):
        assert picture_of(outcome.files[f"ref{k}.webp"]).shape == (48, 48, 3)
        assert mask_of(outcome.files[f"ref{k}.mask.png"]).any()
        assert -1 <= outcome.scores[f"refer/{k}/similarity"] <= 1
    assert stage([segmented()])[0] == outcome


def test_the_editor_draws_by_its_seed_at_the_cutouts_size(folder: Path) -> None:
    editor = DiffusersEditor(section(folder), "the same {name}, {view}")
    cutout, _ = subject_on_white(target()[0], target()[1][0], 64)
    bear = Named(name="bear")
    first, again, other = editor([cutout] * 3, [bear] * 3, [3, 3, 3 + len(VIEWS)])
    assert first.shape == (64, 64, 3) and (first == again).all() and (first != other).any()


def test_a_pipeline_without_pictures_is_no_editor(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="takes no picture with its prompt"):
        make(section(flux(tmp_path / "flux")))


def test_a_vision_language_model_judges_the_pair(folder: Path) -> None:
    said = {"reason": "r", "shape": 4, "colours": 3, "details": 2, "viewpoint": 1}
    with StubServer([reply(json.dumps(said))]) as server:
        vision = VisionSection(base_url=server.url, model="stub")
        outcome = make(section(folder, vision=vision))([segmented()])[0]
    assert outcome.scores["refer/0/identity"] == 3 and outcome.scores["refer/1/viewpoint"] == 1
    assert outcome.facts["refer"]["judges"] == "stub" and len(server.requests) == 2


def test_a_reference_that_was_brought_is_kept() -> None:
    stage = ReferStage(
        edited(Mirror(), on_white), [], Section(side=64, size=48), find=on_white, by="mirror", licence=""
    )
    image = np.full((30, 40, 3), 255, np.uint8)
    image[5:25, 5:35] = 40
    brought = segmented()
    work = Work(record=brought.record, files={**brought.files, "ref0.webp": webp_of(image)})
    outcome = stage([work])[0]
    assert set(outcome.files) == {"ref0.mask.png", "ref1.webp", "ref1.mask.png"}
    assert mask_of(outcome.files["ref0.mask.png"]).sum() == 600
    files = {**work.files, "ref0.mask.png": png_of(np.ones((30, 40), bool))}
    assert set(stage([Work(record=work.record, files=files)])[0].files) == {"ref1.webp", "ref1.mask.png"}


def test_further_views_that_were_brought_are_kept_and_judged() -> None:
    stage = ReferStage(
        edited(Mirror(), on_white), [], Section(side=64, size=48), find=on_white, by="mirror", licence=""
    )
    image = np.full((30, 40, 3), 255, np.uint8)
    image[5:25, 5:35] = 40
    views = {"ref0.webp": webp_of(image), "ref1.webp": webp_of(image[::-1].copy())}
    before = segmented()
    work = Work(record=before.record, files={**before.files, **views}, facts={"references": [0, 0]})
    outcome = stage([work])[0]
    assert outcome.facts["references"] == [0, 0, 1]
    assert set(outcome.files) == {"ref0.mask.png", "ref1.mask.png", "ref2.webp", "ref2.mask.png"}
    assert {name.split("/")[1] for name in outcome.scores} == {"0", "1", "2"}
    with pytest.raises(ValueError, match="in their order"):
        stage([Work(record=work.record, files=work.files, facts={"references": [1]})])


@pytest.mark.skipif(
    not WEIGHTS.is_dir() or not PHOTOGRAPHS.is_dir(), reason="no real weights or photographs here"
)
def test_similarity_orders_real_cut_outs() -> None:
    """A mirrored cut-out is nearest, another photograph of the subject next, another subject far."""
    cutouts = []
    for name in ("clock/00", "clock/01", "rc_car/00"):
        image = Image.open(PHOTOGRAPHS / f"{name}.jpg").convert("RGB")
        image.thumbnail((256, 256))
        picture = np.asarray(image)
        cutouts.append(subject_on_white(picture, segment(picture) >= 0.5, 224)[0])
    one, again, other = cutouts
    shown = [one, one[:, ::-1].copy(), again, other]
    scores = SimilarityJudge(str(WEIGHTS), "cpu")([one] * 4, shown, [Named(name="clock")] * 4)
    same, mirrored, nearby, far = (score["similarity"] for score in scores)
    assert same == pytest.approx(1, abs=1e-5)
    assert 1 > mirrored > nearby > far + 0.05


def test_a_subject_without_a_mask_is_one_sentence() -> None:
    stage = ReferStage(
        edited(Mirror(), on_white), [], Section(side=64, size=48), find=on_white, by="mirror", licence=""
    )
    files = {name: content for name, content in segmented().files.items() if name != "target.mask1.png"}
    with pytest.raises(ValueError, match="The subject mug was not found in the target"):
        stage([Work(record=segmented().record, files=files)])
