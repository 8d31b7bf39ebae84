"""CLIP-I, CLIP-T, DINO, DINOv2 against what the published scripts compute, in Pillow and NumPy."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from perception import tiny
from PIL import Image
from transformers import AutoTokenizer, CLIPModel, Dinov2Model, ViTModel

from mosaic.evaluation.extractors import ROLES, scorers_of
from mosaic.evaluation.metrics import METRICS
from mosaic.evaluation.metrics.columns import cosine
from mosaic.evaluation.metrics.similarity import EncoderExtractor, load_clip, load_dino
from mosaic.perception.encoders import CLIP_MEAN, CLIP_STD
from mosaic.perception.sam2 import IMAGENET_MEAN, IMAGENET_STD

from .cases import SHARED, case_of, file_of, measured, table

PROMPTS = ("a red bear on grass", "the white dog and a mug")
REAL = SHARED / "weights/dinov2-small-finetuned"
DREAMBOOTH = SHARED / "benchmarks/dreambooth/dataset"
ROLE = {"CLIP-I": "clip", "CLIP-T": "clip", "DINO": "dino", "DINOv2": "dinov2"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    for name in ("clip", "dino", "dinov2"):
        getattr(tiny, name)(root / name)
    return root


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list:
    """Two records of two images; subjects of two and three photographs of odd sizes."""
    folder = tmp_path_factory.mktemp("pictures")
    files = [file_of(folder, f"{n}", tiny.random_picture(40 + 7 * n, 61 - 4 * n, n)) for n in range(9)]
    return [
        case_of(files[:2], [files[4:6], files[6:9]], PROMPTS[0], name="first"),
        case_of(files[2:4], [files[4:6]], PROMPTS[1], name="second"),
    ]


def scorers(models: Path):
    return scorers_of([f"{role}={models / role}" for role in ("clip", "dino", "dinov2")], "cpu")


def scored(name: str, cases: list, models: Path, batch: int = 4) -> dict:
    chosen = scorers(models)
    metric = METRICS[name](chosen)
    return table(metric, cases, measured(metric, cases, chosen.load(ROLE[name]), batch))


# ---------------------------------------------------------------- literally


def cropped(path: Path, shortest: int, side: int) -> np.ndarray:
    """torchvision's Resize(shortest, BICUBIC) and CenterCrop(side), 0 to 1."""
    image = Image.open(path).convert("RGB")
    width, height = image.size
    if width <= height:
        size = (shortest, int(shortest * height / width))
    else:
        size = (int(shortest * width / height), shortest)
    image = image.resize(size, Image.Resampling.BICUBIC)
    left, top = round((size[0] - side) / 2.0), round((size[1] - side) / 2.0)
    return np.asarray(image.crop((left, top, left + side, top + side)), np.float32) / 255


def tensor(values: np.ndarray, mean: tuple, spread: tuple) -> torch.Tensor:
    return torch.from_numpy((values - np.float32(mean)) / np.float32(spread)).permute(2, 0, 1)[None]


@torch.no_grad()
def vector(name: str, models: Path, path: Path) -> np.ndarray:
    if ROLE[name] == "clip":
        model = CLIPModel.from_pretrained(models / "clip").eval()
        pooled = model.vision_model(tensor(cropped(path, 32, 32), CLIP_MEAN, CLIP_STD)).pooler_output
        return model.visual_projection(pooled)[0].numpy()
    kind, shortest, side = (ViTModel, 32, 28) if name == "DINO" else (Dinov2Model, 256, 224)
    model = kind.from_pretrained(models / ROLE[name]).eval()
    return model(tensor(cropped(path, shortest, side), IMAGENET_MEAN, IMAGENET_STD))[0][0, 0].numpy()


@torch.no_grad()
def words(models: Path, prompt: str) -> np.ndarray:
    """Read at the greatest token, as OpenAI's code finds the end."""
    model = CLIPModel.from_pretrained(models / "clip").eval()
    tokens = AutoTokenizer.from_pretrained(models / "clip")(prompt)["input_ids"]
    if len(tokens) > 12:  # of the tiny model; 77 of the true one: cut, the end kept
        tokens = [*tokens[:11], tokens[-1]]
    states = model.text_model(torch.tensor([tokens])).last_hidden_state
    return model.text_projection(states[0, int(np.argmax(tokens))]).numpy()


def angle(a: np.ndarray, b: np.ndarray) -> float:
    return float((a / np.linalg.norm(a)) @ (b / np.linalg.norm(b)))


@pytest.mark.parametrize("name", ["CLIP-I", "DINO", "DINOv2"])
def test_every_image_against_every_photograph(name: str, cases: list, models: Path) -> None:
    values = scored(name, cases, models)
    expected = {
        (case.record.id, j, s, p): angle(vector(name, models, made.path), vector(name, models, path))
        for case in cases
        for j, made in enumerate(case.pictures)
        for s, subject in enumerate(case.record.subjects)
        for p, path in enumerate(subject.photographs)
    }
    assert values.keys() == expected.keys() and len(values) == 2 * 5 + 2 * 2
    for key, value in expected.items():
        assert values[key] == pytest.approx(value, abs=2e-6)
    assert np.std(list(values.values())) > 1e-3


def test_clip_t_is_the_cosine_with_the_prompt_above_zero(cases: list, models: Path) -> None:
    values = scored("CLIP-T", cases, models)
    expected = {
        (case.record.id, j, None, None): angle(
            vector("CLIP-T", models, made.path), words(models, case.record.prompt)
        )
        for case in cases
        for j, made in enumerate(case.pictures)
    }
    assert values.keys() == expected.keys()
    for key, value in expected.items():
        assert values[key] == pytest.approx(max(0.0, value), abs=2e-6)


def test_a_negative_cosine_counts_as_zero(cases: list, models: Path) -> None:
    metric = METRICS["CLIP-T"](scorers(models))
    away = {ask: {"vector": np.float32([1 if ask.picture else -1, 0.5])} for ask in metric.asks(cases[0])}
    assert set(table(metric, cases[:1], away).values()) == {0.0}


def test_a_long_prompt_is_cut(cases: list, models: Path) -> None:
    long = case_of([cases[0].pictures[0].path], prompt="a red bear and the dog on grass " * 30)
    (value,) = scored("CLIP-T", [long], models).values()
    made = vector("CLIP-T", models, cases[0].pictures[0].path)
    assert value == pytest.approx(max(0.0, angle(made, words(models, long.record.prompt))), abs=2e-6)


# ---------------------------------------------------------------- invariances


@pytest.mark.parametrize("name", ["CLIP-I", "DINO", "DINOv2"])
def test_a_picture_against_itself_is_1(name: str, cases: list, models: Path) -> None:
    files = [case.pictures[0].path for case in cases]
    same = [case_of([path], [[path]], name=path.name) for path in files]
    assert list(scored(name, same, models).values()) == pytest.approx([1.0, 1.0], abs=1e-6)


@pytest.mark.parametrize("name", list(ROLE))
def test_order_and_batches_do_not_matter(name: str, cases: list, models: Path) -> None:
    values = scored(name, cases, models)
    for some, batch in ((cases[::-1], 4), (cases, 1), (cases, 3), (cases, 50)):
        assert scored(name, some, models, batch) == pytest.approx(values, abs=1e-6)


def test_a_photograph_is_asked_for_once(cases: list, models: Path) -> None:
    metric = METRICS["DINO"](scorers(models))
    asks = [ask for case in cases for ask in metric.asks(case)]
    assert len(asks) == 11 and len(set(asks)) == 9  # the second record's photographs are the first's


def test_cosine_is_of_directions() -> None:
    assert cosine(np.float32([3, 4]), np.float32([6, 8])) == pytest.approx(1, abs=1e-12)
    assert cosine(np.float32([1, 0]), np.float32([0, 2])) == 0
    assert cosine(np.float32([1, 0]), np.float32([0, 0])) == 0  # an encoder that says nothing


# ---------------------------------------------------------------- names


def test_the_published_models_alone_carry_the_published_names(models: Path) -> None:
    published = scorers_of(["hps=MizzenAI/HPSv3", "reward=CodeGoat24/UnifiedReward-qwen-7b"])
    for name in (
        "CLIP-I",
        "CLIP-T",
        "DINO",
        "DINOv2",
        "AES",
        "AES (images)",
        "HPSv3",
        "UnifiedReward",
        "diversity",
    ):
        column = METRICS[name](published).column
        assert column.official and column.title == name
    ours = scorers(models)
    assert METRICS["CLIP-T"](ours).column.title == "CLIP-T [clip]"
    assert METRICS["DINO"](ours).column.title == "DINO [dino]"
    assert METRICS["diversity"](ours).column.title == "diversity [dinov2]"


def test_scales_are_those_of_the_tables() -> None:
    published = scorers_of([])
    scales = {name: METRICS[name](published).column.scale for name in METRICS}
    assert scales["CLIP-I"] == scales["DPG"] == 100 and scales["AES"] == 10
    assert scales["HPSv3"] == scales["UnifiedReward"] == 1


def test_a_role_that_is_left_out_breaks_no_column() -> None:
    without = scorers_of([f"{role}=none" for role in ROLES])
    for make in METRICS.values():
        metric = make(without)
        assert not [role for role in metric.roles if role in without]


def test_an_encoder_without_weights_is_one_sentence(models: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((models / "dino/config.json").read_text())
    with pytest.raises(ValueError, match="ViTModel cannot be loaded from"):
        load_dino({"model": str(tmp_path)}, "cpu")
    with pytest.raises(ValueError, match="encodes pictures alone"):
        load_clip({"model": str(models / "dino")}, "cpu")([None], ["a bear"])


# ---------------------------------------------------------------- real photographs


@pytest.mark.skipif(not (REAL.is_dir() and DREAMBOOTH.is_dir()), reason="no real weights or photographs here")
def test_dinov2_on_real_photographs_is_the_literal_computation() -> None:
    """A photograph in the place of a picture made: near its own subject's others, far from another's."""
    photographs = {name: sorted((DREAMBOOTH / name).glob("*.jpg"))[:3] for name in ("dog", "clock")}
    own = case_of(photographs["dog"][:1], [photographs["dog"]], name="own")
    other = case_of(photographs["dog"][:1], [photographs["clock"]], name="other")
    chosen = scorers_of([f"dinov2={REAL}"], "cpu")
    metric = METRICS["DINOv2"](chosen)
    values = table(metric, [own, other], measured(metric, [own, other], chosen.load("dinov2")))
    model = Dinov2Model.from_pretrained(REAL, dtype=torch.float32).eval()
    with torch.no_grad():
        rows = {
            path: model(tensor(cropped(path, 256, 224), IMAGENET_MEAN, IMAGENET_STD))[0][0, 0].numpy()
            for paths in photographs.values()
            for path in paths
        }
    made = rows[photographs["dog"][0]]
    for name, subject in (("own", "dog"), ("other", "clock")):
        for p, path in enumerate(photographs[subject]):
            assert values[name, 0, 0, p] == pytest.approx(angle(made, rows[path]), abs=1e-5)
    assert values["own", 0, 0, 0] == pytest.approx(1, abs=1e-6)
    assert min(values["own", 0, 0, 1], values["own", 0, 0, 2]) > max(
        values["other", 0, 0, p] for p in range(3)
    )


def test_the_extractor_sorts_pictures_from_texts(models: Path) -> None:
    from mosaic.perception.encoders import load_encoder

    extractor = EncoderExtractor(load_encoder(models / "clip", device="cpu"))
    picture = tiny.random_picture(40, 50)
    mixed = extractor([None, picture, None], ["a bear", "", "a dog"])
    np.testing.assert_allclose(mixed[1]["vector"], extractor([picture], [""])[0]["vector"], atol=1e-6)
    np.testing.assert_allclose(mixed[2]["vector"], extractor([None], ["a dog"])[0]["vector"], atol=1e-6)
    assert all(feature["vector"].dtype == np.float32 for feature in mixed)


def test_columns_come_without_torch() -> None:
    """`mosaic evaluate --help` must not wait for it."""
    program = "import sys, mosaic.evaluation.metrics; assert 'torch' not in sys.modules, 'torch is imported'"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
