"""A new model folder: diffusers reads it, any prompt encodes."""

from pathlib import Path

import pytest
import torch

from mosaic.about import EMBEDDED
from mosaic.training.embedded import CLIP_SPECIAL, T5_SPECIAL, create_model_folder, word_tokenizer
from mosaic.training.recipe import CreateSection
from mosaic.training.text import TextEncoders

from .fake_world import TINY, WORDS


@pytest.mark.parametrize("special", [CLIP_SPECIAL, T5_SPECIAL], ids=["clip", "t5"])
def test_any_prompt_encodes_to_the_fixed_length(special: dict[str, str]) -> None:
    tokenizer = word_tokenizer(["bear", "a", "on"], special, 12)
    options = {"padding": "max_length", "max_length": 12, "truncation": True}
    for prompt in ("A BEAR on a zebra", "", "Café, naïve!", "日本 🐻", "x" * 500):
        assert len(tokenizer(prompt, **options).input_ids) == 12
    assert tokenizer.tokenize("A bear, bears, zo") == ["a", "bear", ",", "bear", "##s", ",", "z", "##o"]
    assert special["unk_token"] not in tokenizer.tokenize("Café! zebra-42")


def test_the_end_of_a_prompt_is_not_clip_s_legacy_id() -> None:
    assert word_tokenizer([], CLIP_SPECIAL, 8).eos_token_id != 2


def test_diffusers_reads_the_folder_and_encodes_alike(tiny_start: Path) -> None:
    from diffusers import FluxPipeline

    pipeline = FluxPipeline.from_pretrained(tiny_start)
    prompts = ["a bear on grass", "a duck"]
    theirs, pooled, _ = pipeline.encode_prompt(prompts, None, max_sequence_length=8)
    ours = TextEncoders.from_folder(tiny_start, torch.float32)(prompts)
    assert torch.equal(ours[0], theirs)
    assert torch.equal(ours[1], pooled)


def test_the_pooled_vector_depends_on_the_words(tiny_start: Path) -> None:
    text = TextEncoders.from_folder(tiny_start, torch.float32)
    tokens, pooled = text(["a bear", "a duck", "a bear"])
    assert torch.equal(pooled[0], pooled[2]) and not torch.equal(pooled[0], pooled[1])
    assert not torch.equal(tokens[0], tokens[1])


def test_a_new_model_may_have_the_shipped_autoencoder(tmp_path: Path) -> None:
    tiny = CreateSection(**TINY["model"]["create"])
    create_model_folder(tmp_path / "new", tiny.model_copy(update={"vae": "embedded"}), WORDS)
    name = "diffusion_pytorch_model.safetensors"
    assert (tmp_path / "new" / "vae" / name).read_bytes() == (EMBEDDED / "vae" / name).read_bytes()
    with pytest.raises(ValueError, match=r"model\.create\.vae: there is no autoencoder in embeded"):
        create_model_folder(tmp_path / "other", tiny.model_copy(update={"vae": "embeded"}), WORDS)
