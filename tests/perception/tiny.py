"""The true classes of transformers with tiny random weights, written to folders as a hub model would lie."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    CLIPConfig,
    CLIPModel,
    Dinov2Config,
    Dinov2Model,
    Florence2Config,
    Florence2ForConditionalGeneration,
    Florence2Processor,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    PreTrainedTokenizerFast,
    Sam2Config,
    Sam2Model,
    SiglipConfig,
    SiglipModel,
    SwinConfig,
    ViTConfig,
    ViTModel,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.grounding_dino.image_processing_pil_grounding_dino import (
    GroundingDinoImageProcessorPil,
)

WORDS = "a red blue white bear duck robot mug dog cat on grass and the photo of".split()
START, END, DOT, MARK = 101, 102, 1012, 1029  # where Grounding DINO expects BERT's tokens
LAYER = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


def random_picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth colours with an edge in them, so that resizing has something to get wrong."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / max(height, width)
    phase = random.uniform(0, 6, 3)
    waves = 127 + 120 * np.sin(9 * x[..., None] + 5 * y[..., None] * np.arange(1, 4) + phase)
    waves[height // 3 : height // 2, width // 4 : width // 2] = random.integers(0, 255, 3)
    return waves.astype(np.uint8)


def words_tokenizer(folder: Path, length: int, start: int = 1, end: int = 2) -> None:
    """Whole words, lower case: <start> … <end>."""
    special = {"<pad>": 0, "<start>": start, "<end>": end, "<unk>": 3, ".": DOT, "?": MARK}
    free = (number for number in range(4, 2000) if number not in special.values())
    vocabulary = special | dict(zip(WORDS, free, strict=False))
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", start), ("<end>", end)]
    )
    names = {"pad_token": "<pad>", "bos_token": "<start>", "eos_token": "<end>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=length, **names).save_pretrained(
        folder
    )


def written(model: Any, folder: Path) -> Path:
    model.save_pretrained(folder)
    return folder


def clip(folder: Path) -> Path:
    torch.manual_seed(0)
    text = LAYER | {"vocab_size": 1100, "max_position_embeddings": 12, "bos_token_id": 1, "eos_token_id": 2}
    vision = LAYER | {"image_size": 32, "patch_size": 8}
    words_tokenizer(folder, 12)
    return written(CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)), folder)


def siglip(folder: Path) -> Path:
    torch.manual_seed(0)
    text = LAYER | {"vocab_size": 1100, "max_position_embeddings": 10}
    vision = LAYER | {"image_size": 32, "patch_size": 8}
    words_tokenizer(folder, 10)
    return written(SiglipModel(SiglipConfig(text_config=text, vision_config=vision)), folder)


def dino(folder: Path) -> Path:
    torch.manual_seed(0)
    return written(ViTModel(ViTConfig(image_size=28, patch_size=7, **LAYER), add_pooling_layer=False), folder)


def dinov2(folder: Path) -> Path:
    torch.manual_seed(0)
    sizes = {key: value for key, value in LAYER.items() if key != "intermediate_size"}
    return written(Dinov2Model(Dinov2Config(image_size=42, patch_size=14, **sizes)), folder)


def grounding_dino(folder: Path, side: int = 96) -> Path:
    """Answers with boxes above the usual thresholds: the last bias is lifted."""
    torch.manual_seed(0)
    swin = SwinConfig(
        image_size=side,
        patch_size=4,
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 2, 2],
        window_size=4,
        out_indices=[2, 3, 4],
    )
    config = GroundingDinoConfig(
        backbone_config=swin,
        text_config=BertConfig(vocab_size=1100, max_position_embeddings=64, **LAYER),
        d_model=32,
        num_queries=12,
        encoder_layers=1,
        decoder_layers=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        max_text_len=32,
    )
    words_tokenizer(folder, 32, START, END)
    pictures = GroundingDinoImageProcessorPil(size={"shortest_edge": side, "longest_edge": 2 * side})
    pictures.save_pretrained(folder)
    return written(GroundingDinoForObjectDetection(config), folder)


def sam2(folder: Path, side: int = 128) -> Path:
    torch.manual_seed(0)
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 8,
        "num_attention_heads": 1,
        "image_size": [side, side],
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 1, 2, 2],
        "window_size_per_stage": [8, 4, 4, 4],
        "global_attention_blocks": [3],
    }
    config = Sam2Config(
        vision_config={
            "model_type": "sam2_vision_model",
            "backbone_config": backbone,
            "backbone_channel_list": [64, 32, 16, 8],
            "backbone_feature_sizes": [[side // 4] * 2, [side // 8] * 2, [side // 16] * 2],
            "fpn_hidden_size": 32,
        },
        prompt_encoder_config={"hidden_size": 32, "image_size": side},
        mask_decoder_config={
            "hidden_size": 32,
            "mlp_dim": 32,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 16,
        },
    )
    return written(Sam2Model(config), folder)


def florence(folder: Path, side: int = 64) -> Path:
    """Its own words and a thousand places; a picture is five tokens."""
    torch.manual_seed(0)
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    words = [*special, *"locate in the image . clock ,".split(), *WORDS]
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys(words))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.Fuse()  # as BART's bytes are, without spaces of its own
    names = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, extra_special_tokens={"image_token": "<image>"}, **names
    )
    fast.add_tokens([AddedToken(f"<loc_{place}>", special=True) for place in range(1000)])
    square = {"height": side, "width": side}
    pictures = CLIPImageProcessorPil(size=square, crop_size=square, do_center_crop=False)
    pictures.image_seq_length = 5
    tasks = {"description_with_bboxes_or_polygons": {}, "pure_text": {}}
    Florence2Processor(pictures, fast, post_processor_config=tasks).save_pretrained(folder)
    vision = {
        "depths": [1, 1, 1, 1],
        "embed_dim": [8, 8, 16, 16],
        "num_heads": [1, 1, 2, 2],
        "num_groups": [1, 1, 2, 2],
        "window_size": 2,
        "projection_dim": 16,
        "max_position_embeddings": 8,
    }
    text = {
        "model_type": "bart",
        "vocab_size": len(fast),
        "d_model": 16,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 16,
        "decoder_ffn_dim": 16,
        "max_position_embeddings": 64,
        "forced_eos_token_id": None,
    }
    config = Florence2Config(vision_config=vision, text_config=text, image_token_id=fast.image_token_id)
    return written(Florence2ForConditionalGeneration(config), folder)
