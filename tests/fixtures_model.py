"""A tiny random model in diffusers' FLUX layout, with home-made tokenizers, and LoRAs for it: all offline.

folder = write_model(tmp_path / "model")              # guidance by two passes, as in mosaic-tiny
folder = write_model(tmp_path / "dev", guidance_embeds=True)
lora = write_lora(folder, tmp_path / "lora.safetensors", visibility="isolated", reference_pooled="null")
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler
from PIL import Image, ImageDraw
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast, T5Config, T5EncoderModel

from mosaic.model.lora import LoraMetadata, LoraSpec, add_lora, lora_parameters, save_lora
from mosaic.model.transformer import MosaicTransformer

WORDS = "a an the and on in of photo grass sand bear duck robot mug car toy red blue".split()
TEXT, WIDTH, SIZE = 16, 32, 64  # text tokens, text channels, default pixels a side
PALETTE = ((200, 60, 50), (60, 110, 200), (70, 160, 80), (230, 170, 40), (150, 80, 190), (30, 160, 170))


def tokenizer(start: bool) -> PreTrainedTokenizerFast:
    special = {"pad_token": "<pad>", "eos_token": "<end>", "unk_token": "<unk>"}
    special |= {"bos_token": "<start>"} if start else {}
    vocabulary = {word: i for i, word in enumerate(["<pad>", "<start>", "<unk>", "<end>", *WORDS])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    template = "<start> $A <end>" if start else "$A <end>"
    marks = [(mark, vocabulary[mark]) for mark in ("<start>", "<end>") if mark in template]
    words.post_processor = processors.TemplateProcessing(single=template, special_tokens=marks)
    return PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=TEXT, **special)


def transformer(guidance_embeds: bool = False) -> MosaicTransformer:
    return MosaicTransformer(
        in_channels=64,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=32,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        guidance_embeds=guidance_embeds,
        axes_dims_rope=(8, 12, 12),
    )


def autoencoder() -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8,) * 4,
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=16,
        use_quant_conv=False,
        use_post_quant_conv=False,
        mid_block_add_attention=False,
        scaling_factor=0.3611,
        shift_factor=0.1159,
    )


def write_model(folder: Path, guidance_embeds: bool = False, shifting: bool = True, **defaults: Any) -> Path:
    """The whole folder; `defaults` go to model_index.json (default_size, default_steps, default_guidance)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        clip = CLIPTextConfig(
            vocab_size=64,
            hidden_size=WIDTH,
            projection_dim=WIDTH,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=TEXT,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=3,
        )
        t5 = T5Config(
            vocab_size=64, d_model=WIDTH, d_kv=16, d_ff=64, num_layers=1, num_heads=2, dropout_rate=0.0
        )
        CLIPTextModel(clip).save_pretrained(folder / "text_encoder")
        T5EncoderModel(t5).save_pretrained(folder / "text_encoder_2")
        transformer(guidance_embeds).save_pretrained(folder / "transformer")
        autoencoder().save_pretrained(folder / "vae")
    tokenizer(start=True).save_pretrained(folder / "tokenizer")
    tokenizer(start=False).save_pretrained(folder / "tokenizer_2")
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=shifting, shift=3.0 if shifting else 1.0)
    scheduler.save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "FluxPipeline",
        "_diffusers_version": "0.42.1",
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "text_encoder_2": ["transformers", "T5EncoderModel"],
        "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
        "tokenizer_2": ["transformers", "PreTrainedTokenizerFast"],
        "transformer": ["diffusers", "FluxTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(index | defaults, indent=2), encoding="utf-8")
    return folder


def write_lora(folder: Path, path: Path, rank: int = 2, **metadata: Any) -> Path:
    """A LoRA of random weights for the model in `folder`; metadata: fields of LoraMetadata."""
    model = MosaicTransformer.from_pretrained(folder / "transformer")
    add_lora(model, LoraSpec(rank=rank))
    generator = torch.Generator().manual_seed(1)
    for parameter in lora_parameters(model):
        parameter.data = 0.2 * torch.randn(parameter.shape, generator=generator)
    save_lora(model, path, LoraMetadata(**metadata))
    return path


def draw_subject(index: int, side: int = 96) -> Image.Image:
    """A drawing on white that differs with the index."""
    image = Image.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(image)
    color = PALETTE[index % len(PALETTE)]
    left, top = side * (1 + index % 3) // 8, side // 4
    draw.rounded_rectangle((left, top, side * 3 // 4, side * 7 // 8), side // 8, fill=color)
    draw.ellipse((side // 3, side // 8, side * 5 // 8, side // 2), fill=tuple(255 - c for c in color))
    return image


def draw_photo(index: int, side: int = 96) -> Image.Image:
    """The same on a textured background."""
    noise = np.random.default_rng(index).integers(-12, 12, (side, side, 3))
    ground = np.linspace(100, 150, side)[:, None, None] * (1.0, 0.95, 0.9)
    picture = np.clip(ground + noise, 0, 255).astype(np.uint8)
    subject = np.asarray(draw_subject(index, side))
    inside = subject.min(axis=2, keepdims=True) < 255
    return Image.fromarray(np.where(inside, subject, picture))
