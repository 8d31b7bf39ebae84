"""Models that read a picture and a text, by their true classes with tiny random weights, as folders."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BlipConfig,
    BlipForQuestionAnswering,
    PreTrainedTokenizerFast,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    ViltConfig,
    ViltForQuestionAnswering,
)
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.vilt.image_processing_pil_vilt import ViltImageProcessorPil

from .tiny import LAYER, words_tokenizer, written

SPECIAL = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
]
ROWS = 256 + len(SPECIAL) + 1  # bytes, Qwen's own tokens, the reward's


def vilt(folder: Path, labels: tuple[str, ...] = ("no", "yes", "2")) -> Path:
    torch.manual_seed(0)
    words_tokenizer(folder, 16)
    ViltImageProcessorPil(size={"shortest_edge": 64}, size_divisor=32).save_pretrained(folder)
    config = ViltConfig(
        vocab_size=1100,
        max_position_embeddings=16,
        image_size=64,
        patch_size=16,
        id2label=dict(enumerate(labels)),
        **LAYER,
    )
    return written(ViltForQuestionAnswering(config), folder)


def blip(folder: Path) -> Path:
    torch.manual_seed(0)
    words_tokenizer(folder, 16)
    BlipImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    text = LAYER | {"encoder_hidden_size": 16, "vocab_size": 1100, "max_position_embeddings": 32}
    text |= {"bos_token_id": 1, "sep_token_id": 2, "eos_token_id": 2, "pad_token_id": 0}
    config = BlipConfig(
        text_config=text, vision_config=LAYER | {"image_size": 32, "patch_size": 8}, projection_dim=16
    )
    return written(BlipForQuestionAnswering(config), folder)


def qwen_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Every byte a token, Qwen's special ones after them."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: index for index, letter in enumerate(letters)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(SPECIAL)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=SPECIAL[0], model_max_length=10000)
    fast.save_pretrained(folder)
    return fast


def qwen2_vl(folder: Path) -> tuple[Path, Qwen2VLForConditionalGeneration]:
    """A folder of configuration, tokenizer and preparation, and the model that HPSv3's file is made from."""
    torch.manual_seed(0)
    tokenizer = qwen_tokenizer(folder)
    numbers = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL}
    text = LAYER | {"num_key_value_heads": 1, "hidden_size": 32, "num_hidden_layers": 2, "vocab_size": ROWS}
    text |= {"bos_token_id": numbers["<|endoftext|>"], "eos_token_id": numbers["<|im_end|>"]}
    text["rope_parameters"] = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}
    vision = {
        "depth": 1,
        "embed_dim": 16,
        "num_heads": 2,
        "hidden_size": 32,
        "mlp_ratio": 2,
        "patch_size": 14,
    }
    config = Qwen2VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=numbers["<|image_pad|>"],
        vision_start_token_id=numbers["<|vision_start|>"],
        vision_end_token_id=numbers["<|vision_end|>"],
    )
    config.save_pretrained(folder)
    Qwen2VLImageProcessorPil(min_pixels=3136, max_pixels=12845056).save_pretrained(folder)
    return folder, Qwen2VLForConditionalGeneration(config).eval()


def hpsv3_file(model: Qwen2VLForConditionalGeneration, path: Path) -> dict[str, torch.Tensor]:
    """As HPSv3.safetensors: the names of transformers 4.45, and a head; returns the head."""
    random = torch.Generator().manual_seed(1)
    head = {
        f"rm_head.{layer}.{kind}": torch.randn(shape, generator=random) / shape[-1] ** 0.5
        for layer, (rows, columns) in {0: (1024, 32), 3: (16, 1024), 5: (2, 16)}.items()
        for kind, shape in {"weight": (rows, columns), "bias": (rows,)}.items()
    }
    old = {
        name.replace("model.visual.", "visual.").replace("model.language_model.", "model."): tensor.clone()
        for name, tensor in model.state_dict().items()
    }
    save_file(old | head, path)
    return head
