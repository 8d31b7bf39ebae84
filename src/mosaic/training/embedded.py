"""A new small model in diffusers' FLUX folder layout: what `FluxPipeline.from_pretrained` loads.

Widths come from the recipe's [model.create], the words of the tokenizers from the caller; single characters
serve as a fall-back, so that any prompt encodes.
"""

import json
import shutil
import string
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast, T5Config, T5EncoderModel

from mosaic.about import EMBEDDED
from mosaic.model.transformer import MosaicTransformer
from mosaic.training.recipe import CreateSection

CHARACTERS = string.ascii_lowercase + string.digits + string.punctuation
HEAD = 32  # head width of both text encoders
LATENT_CHANNELS = 16  # FLUX.1's
# id 2 is never the end of a prompt: CLIP's pooling treats an end id of 2 as a legacy case
CLIP_SPECIAL = {"pad_token": "<pad>", "bos_token": "<start>", "unk_token": "<unk>", "eos_token": "<end>"}
T5_SPECIAL = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
COMPONENTS = {
    "scheduler": ("diffusers", "FlowMatchEulerDiscreteScheduler"),
    "text_encoder": ("transformers", "CLIPTextModel"),
    "text_encoder_2": ("transformers", "T5EncoderModel"),
    "tokenizer": ("transformers", "PreTrainedTokenizerFast"),
    "tokenizer_2": ("transformers", "PreTrainedTokenizerFast"),
    "transformer": ("diffusers", "FluxTransformer2DModel"),
    "vae": ("diffusers", "AutoencoderKL"),
}


def create_model_folder(folder: Path, create: CreateSection, words: Iterable[str], seed: int = 0) -> Path:
    """Write a model of random weights under `folder`; the autoencoder is a copy of `create.vae` if given."""
    folder = Path(folder)
    words = sorted({word.lower() for word in words})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        clip_tokenizer = word_tokenizer(words, CLIP_SPECIAL, create.text_length)
        t5_tokenizer = word_tokenizer(words, T5_SPECIAL, create.text_length)
        new_clip(create, clip_tokenizer).save_pretrained(folder / "text_encoder")
        new_t5(create, t5_tokenizer).save_pretrained(folder / "text_encoder_2")
        new_transformer(create).save_pretrained(folder / "transformer")
        clip_tokenizer.save_pretrained(folder / "tokenizer")
        t5_tokenizer.save_pretrained(folder / "tokenizer_2")
        _put_autoencoder(create.vae, folder / "vae")
    flux_scheduler().save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps(model_index(), indent=2) + "\n", encoding="utf-8")
    return folder


def model_index() -> dict[str, Any]:
    """What a diffusers pipeline reads first: its class and the class of each component."""
    return {"_class_name": "FluxPipeline", "_diffusers_version": "0.42.1"} | {
        name: list(kind) for name, kind in COMPONENTS.items()
    }


def word_tokenizer(words: Iterable[str], special: dict[str, str], length: int) -> PreTrainedTokenizerFast:
    """Lower-cased whole words, else the longest known start of a word and single characters."""
    pieces = [*special.values(), *CHARACTERS, *(f"##{mark}" for mark in CHARACTERS), *words]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(
        models.WordPiece(vocabulary, unk_token=special["unk_token"], max_input_chars_per_word=64)
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    start, end = special.get("bos_token", ""), special["eos_token"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}".strip(),
        special_tokens=[(mark, vocabulary[mark]) for mark in (start, end) if mark],
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=length, **special)


def new_clip(create: CreateSection, tokenizer: PreTrainedTokenizerFast) -> CLIPTextModel:
    """The encoder of the pooled vector."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=create.clip_width,
        projection_dim=create.clip_width,
        intermediate_size=4 * create.clip_width,
        num_hidden_layers=create.clip_layers,
        num_attention_heads=max(1, create.clip_width // HEAD),
        max_position_embeddings=create.text_length,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return CLIPTextModel(config)


def new_t5(create: CreateSection, tokenizer: PreTrainedTokenizerFast) -> T5EncoderModel:
    """The encoder of the text tokens."""
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=create.t5_width,
        d_kv=HEAD,
        d_ff=4 * create.t5_width,
        num_layers=create.t5_layers,
        num_heads=max(1, create.t5_width // HEAD),
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
    )
    return T5EncoderModel(config)


def new_transformer(create: CreateSection) -> MosaicTransformer:
    """A FLUX transformer without guidance embedding, in which every block starts as the identity.

    ValueError for rotary axes that no pairs of channels fill.
    """
    if any(axis < 0 or axis % 2 for axis in create.rope_axes):
        raise ValueError(f"model.create.rope_axes must be even numbers, not {list(create.rope_axes)}.")
    transformer = MosaicTransformer(
        in_channels=4 * latent_channels(create.vae),
        num_layers=create.double_blocks,
        num_single_layers=create.single_blocks,
        attention_head_dim=create.head_width,
        num_attention_heads=create.heads,
        joint_attention_dim=create.t5_width,
        pooled_projection_dim=create.clip_width,
        guidance_embeds=False,
        axes_dims_rope=create.rope_axes,
    )
    for module in transformer.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            _zero(module.bias)
    for name, module in transformer.named_modules():
        modulation = name.endswith(("norm.linear", "norm1.linear", "norm1_context.linear", "norm_out.linear"))
        if isinstance(module, nn.Linear) and (modulation or name == "proj_out"):
            _zero(module.weight)
    return transformer


def flux_scheduler() -> FlowMatchEulerDiscreteScheduler:
    """The scheduler configuration of FLUX.1-dev."""
    return FlowMatchEulerDiscreteScheduler(
        num_train_timesteps=1000,
        shift=3.0,
        use_dynamic_shifting=True,
        base_shift=0.5,
        max_shift=1.15,
        base_image_seq_len=256,
        max_image_seq_len=4096,
    )


def random_autoencoder() -> AutoencoderKL:
    """A tiny untrained autoencoder of FLUX's latent format: 16 channels, factor 8."""
    kind = 4
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * kind,
        up_block_types=("UpDecoderBlock2D",) * kind,
        block_out_channels=(8,) * kind,
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=LATENT_CHANNELS,
        use_quant_conv=False,
        use_post_quant_conv=False,
        mid_block_add_attention=False,
        scaling_factor=1.0,
        shift_factor=0.0,
    )


def latent_channels(source: str) -> int:
    """Of the autoencoder that a recipe names, or of a random one."""
    if not source:
        return LATENT_CHANNELS
    told = json.loads((autoencoder_folder(source) / "config.json").read_text(encoding="utf-8"))
    return int(told["latent_channels"])


def autoencoder_folder(source: str, key: str = "model.create.vae") -> Path:
    """Where the autoencoder that a recipe's key names lies. ValueError where there is none."""
    folder = EMBEDDED / "vae" if source == "embedded" else Path(source)
    if not (folder / "config.json").is_file():
        raise ValueError(f"{key}: there is no autoencoder in {source} (no config.json).")
    return folder


def _put_autoencoder(source: str, folder: Path) -> None:
    if not source:
        random_autoencoder().save_pretrained(folder)
        return
    shutil.copytree(autoencoder_folder(source), folder, dirs_exist_ok=True)


def _zero(parameter: torch.Tensor | None) -> None:
    if parameter is not None:
        nn.init.zeros_(parameter)
