"""HPSv3 by the true class of Qwen2-VL, with a file of its names; UnifiedReward behind a local endpoint."""

import hashlib
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from mosaic.perception.endpoint import Access, Endpoint, is_served, served
from mosaic.perception.preference import PROMPTS, HumanPreference, UnifiedReward, mark_of, reward_head

from . import tiny_vlm
from .stub_server import StubServer, reply, status
from .tiny import random_picture

PICTURES = [random_picture(120, 180), random_picture(200, 200, 1)]
TEXTS = ["a red bear on grass", "two dogs, a mug {and} a long sentence about a robot"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, object, dict]:
    folder, model = tiny_vlm.qwen2_vl(tmp_path_factory.mktemp("qwen2vl"))
    file = tmp_path_factory.mktemp("hps") / "HPSv3.safetensors"
    return folder, file, model, tiny_vlm.hpsv3_file(model, file)


@pytest.fixture(scope="module")
def preference(base: tuple) -> HumanPreference:
    return HumanPreference(base[1], base[0], device="cpu")


def patches_of(picture: np.ndarray) -> tuple[torch.Tensor, tuple[int, int]]:
    """Literally: the largest multiple of 28 pixels within 200704, patches in 2 × 2 blocks, twice in time."""
    height, width = picture.shape[:2]
    rows, columns = (max(28, round(side / 28) * 28) for side in (height, width))
    if rows * columns < 200704:
        scale = math.sqrt(200704 / (height * width))
        rows, columns = (math.ceil(side * scale / 28) * 28 for side in (height, width))
    else:
        scale = math.sqrt(height * width / 200704)
        rows, columns = (math.floor(side / scale / 28) * 28 for side in (height, width))
    resized = Image.fromarray(picture).resize((columns, rows), Image.Resampling.BICUBIC)
    mean, spread = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    values = (np.asarray(resized, np.float32) / 255 - np.array(mean)) / np.array(spread)
    found = []
    for top in range(0, rows, 28):
        for left in range(0, columns, 28):
            for y in (top, top + 14):
                for x in (left, left + 14):
                    patch = values[y : y + 14, x : x + 14].transpose(2, 0, 1)  # (3, 14, 14)
                    found.append(np.repeat(patch[:, None], 2, axis=1).ravel())
    return torch.from_numpy(np.stack(found)).float(), (rows // 14, columns // 14)


@torch.no_grad()
def literal(base: tuple, picture: np.ndarray, prompt: str) -> float:
    """Token by token as HPSv3's own forward: embeddings, the picture's in their places, plain positions."""
    folder, _, model, head = base
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|Reward|>"]})
    pixels, (rows, columns) = patches_of(picture)
    asked = (PROMPTS / "hpsv3.txt").read_text().split("{prompt}")
    text = (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<|vision_start|>"
        + "<|image_pad|>" * (rows * columns // 4)
        + "<|vision_end|>"
        + asked[0]
        + prompt
        + asked[1]
        + "<|im_end|>\n<|im_start|>assistant\n"
    )
    tokens = torch.tensor([tokenizer(text)["input_ids"]])
    embedded = model.model.language_model.embed_tokens(tokens)
    seen = model.model.visual(pixels, grid_thw=torch.tensor([[1, rows, columns]])).pooler_output
    embedded[0, tokens[0] == tokenizer.convert_tokens_to_ids("<|image_pad|>")] = seen
    plain = torch.arange(tokens.shape[1]).view(1, 1, -1).expand(3, 1, -1)
    states = model.model.language_model(inputs_embeds=embedded, position_ids=plain).last_hidden_state
    at = tokens[0].tolist().index(tokenizer.convert_tokens_to_ids("<|Reward|>"))
    value = states[0, at]
    for layer in (0, 3, 5):
        value = head[f"rm_head.{layer}.weight"] @ value + head[f"rm_head.{layer}.bias"]
        value = value.relu() if layer < 5 else value
    return float(value[0])


def test_hpsv3_is_the_published_computation(base: tuple, preference: HumanPreference) -> None:
    marks = preference(PICTURES, TEXTS)
    assert marks.dtype == np.float32 and abs(marks[0] - marks[1]) > 1e-4
    expected = [literal(base, picture, text) for picture, text in zip(PICTURES, TEXTS, strict=True)]
    np.testing.assert_allclose(marks, expected, atol=2e-5)


def test_hpsv3_does_not_depend_on_the_batch(base: tuple, preference: HumanPreference) -> None:
    together = preference(PICTURES, TEXTS)
    alone = [preference([p], [t])[0] for p, t in zip(PICTURES, TEXTS, strict=True)]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(preference(PICTURES[::-1], TEXTS[::-1])[::-1], together, atol=1e-5)
    assert preference([], []).shape == (0,)
    swapped = preference(PICTURES, TEXTS[::-1])
    assert np.abs(swapped - together).min() > 1e-5  # the prompt counts


def test_hpsv3_refuses_another_file(base: tuple, tmp_path: Path) -> None:
    folder, file, _, _ = base
    state = load_file(file)
    del state["model.norm.weight"]
    save_file(state, tmp_path / "less.safetensors")
    with pytest.raises(ValueError, match=r"weights of HPSv3 cannot be loaded .*1 weights are missing"):
        HumanPreference(tmp_path / "less.safetensors", folder, device="cpu")
    with pytest.raises(ValueError, match=r"HPSv3.safetensors cannot be loaded from .*empty"):
        (tmp_path / "empty").mkdir()
        HumanPreference(tmp_path / "empty", folder, device="cpu")
    with pytest.raises(ValueError, match="tokenizer of HPSv3"):
        HumanPreference(file, tmp_path / "nothing", device="cpu")


def test_a_prompt_cannot_hold_the_rewards_token(preference: HumanPreference) -> None:
    with pytest.raises(ValueError, match="take it out"):
        preference(PICTURES[:1], ["a bear <|Reward|>"])


def test_the_head_has_the_published_shape() -> None:
    assert sum(weight.numel() for weight in reward_head(3584).parameters()) == 3584 * 1024 + 1024 + 16400 + 34


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("hpsv3.txt", "e61d58f3c7d3be656ccd024f5c0cd8c001cf9a2122305d52b59e60d94147e0f2"),
        ("unifiedreward.txt", "f56f919ce3bc6aab3c173a5f836defe195e17e9614753e8b4c3dc2405bd4975b"),
    ],
)
def test_prompts_are_kept_to_the_blank(name: str, digest: str) -> None:
    assert hashlib.sha256((PROMPTS / name).read_bytes()).hexdigest() == digest


# ---------------------------------------------------------------- UnifiedReward


@pytest.mark.parametrize(
    ("answer", "mark"),
    [
        ("bear (object): 1\nFinal Score: 4", 4.0),
        ("Final Score: 3.5", 3.5),
        ("Final Score:\n5", 5.0),
        ("Final Score: 2 … so, Final Score: 3", 3.0),
    ],
)
def test_the_mark_is_read(answer: str, mark: float) -> None:
    assert mark_of(answer) == mark


@pytest.mark.parametrize(
    "answer", ["", "I like it.", "Final Score: 45", "Final Score: 0", "Final Score: good"]
)
def test_what_is_no_mark_is_no_number(answer: str) -> None:
    assert math.isnan(mark_of(answer))


def test_unified_reward_is_asked_as_published() -> None:
    with StubServer([reply("mug (object): 1\nFinal Score: 4.5")]) as server:
        marks = UnifiedReward(Endpoint(Access(base_url=server.url, model="stub")))(PICTURES, TEXTS)
    np.testing.assert_array_equal(marks, np.float32([4.5, 4.5]))
    said = {request["messages"][0]["content"][1]["text"].rpartition("\n")[2] for request in server.requests}
    assert said == {f"Text Caption: [{text}]" for text in TEXTS}
    (message,) = server.requests[0]["messages"]
    assert [part["type"] for part in message["content"]] == ["image_url", "text"]
    assert message["role"] == "user" and "response_format" not in server.requests[0]


def test_a_server_that_fails_is_one_sentence() -> None:
    with (
        StubServer([status(404)]) as server,
        pytest.raises(ValueError, match=r"The model stub .* answered 404"),
    ):
        UnifiedReward(Endpoint(served(f"{server.url}#stub", retries=0)))(PICTURES, TEXTS)


def test_a_served_model_is_named_by_its_address() -> None:
    access = served("http://localhost:8000/v1#CodeGoat24/UnifiedReward-qwen-7b", side=1024)
    assert access.base_url == "http://localhost:8000/v1" and access.side == 1024
    assert access.model == "CodeGoat24/UnifiedReward-qwen-7b"
    assert is_served("https://x/v1#m") and not is_served("org/model")
    for where in ("http://localhost:8000/v1", "org/model", "org/model#x", "http://x/v1#"):
        with pytest.raises(ValueError, match="URL#MODEL"):
            served(where)
