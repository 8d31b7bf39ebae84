"""Captions to what the transformer reads, as FluxPipeline does: T5 tokens (B, S, J), CLIP vector (B, Pd)."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoTokenizer, CLIPTextModel, PreTrainedTokenizerBase, T5EncoderModel

LONGEST = 512  # T5 tokens FLUX was trained with


class TextEncoders(nn.Module):
    """Both text encoders with their tokenizers. Padding is attended to, as in FLUX."""

    def __init__(
        self,
        clip: CLIPTextModel,
        t5: T5EncoderModel,
        clip_tokenizer: PreTrainedTokenizerBase,
        t5_tokenizer: PreTrainedTokenizerBase,
    ) -> None:
        super().__init__()
        self.text_encoder, self.text_encoder_2 = clip, t5
        self.tokenizer, self.tokenizer_2 = clip_tokenizer, t5_tokenizer

    @classmethod
    def from_folder(cls, folder: Path, dtype: torch.dtype) -> "TextEncoders":
        return cls(
            CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=dtype),
            T5EncoderModel.from_pretrained(folder / "text_encoder_2", dtype=dtype),
            AutoTokenizer.from_pretrained(folder / "tokenizer"),
            AutoTokenizer.from_pretrained(folder / "tokenizer_2"),
        )

    @property
    def length(self) -> int:
        """S, the text tokens of every prompt."""
        return min(int(self.tokenizer_2.model_max_length), LONGEST)

    def forward(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        device = next(self.text_encoder_2.parameters()).device
        tokens = self.text_encoder_2(_ids(self.tokenizer_2, captions, self.length).to(device))[0]
        pooled = self.text_encoder(_ids(self.tokenizer, captions, self.tokenizer.model_max_length).to(device))
        return tokens, pooled.pooler_output

    def save(self, folder: Path, parts: Iterable[str] = ("text_encoder", "text_encoder_2")) -> None:
        for part in parts:
            getattr(self, part).save_pretrained(folder / part)


def _ids(tokenizer: PreTrainedTokenizerBase, captions: Sequence[str], length: int) -> Tensor:
    options = {"padding": "max_length", "max_length": length, "truncation": True, "return_tensors": "pt"}
    return tokenizer(list(captions), **options).input_ids
