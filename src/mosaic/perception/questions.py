"""Questions about pictures, answered in a word: ViLT, BLIP, or a vision-language model behind an endpoint."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from mosaic.perception.endpoint import Endpoint
from mosaic.perception.loading import config_of, load_model, opening
from mosaic.sample import Picture

AT_ONCE = 8  # questions an endpoint is asked at a time
SYSTEM = "You answer questions about a picture by what is visible in it. Answer with JSON alone."


class Answerer(Protocol):
    """A model that answers questions about pictures; a question of yes or no is answered "yes" or "no"."""

    name: str

    def __call__(self, pictures: Sequence[Picture], questions: Sequence[str]) -> list[str]:
        """N pictures, uint8 (H, W, 3), and a question each → N answers, lower case."""
        ...


class TransformersAnswerer:
    """ViLT (the surest of its labels) or BLIP (what it writes, greedily), by hub id or folder.

    A picture is looked at alone, so that its answer does not depend on which come with it.
    """

    def __init__(self, at: str | Path, *, device: str | None = None, dtype: str = "float32") -> None:
        kind = config_of(at).model_type
        if kind not in ("vilt", "blip"):
            raise ValueError(
                f"{at} is a {kind} model: for questions give ViLT, BLIP, or a served model as URL#MODEL."
            )
        self.name = str(at)
        self._kind = kind
        self._model = load_model(_model_class(kind), at, device, dtype)
        self._prepare, self._tokenizer = _processors(kind, at)

    def __call__(self, pictures: Sequence[Picture], questions: Sequence[str]) -> list[str]:
        return [self._one(picture, text) for picture, text in zip(pictures, questions, strict=True)]

    @torch.inference_mode()
    def _one(self, picture: Picture, question: str) -> str:
        inputs = self._inputs(picture, question)
        if self._kind == "blip":
            words = self._model.generate(**inputs, do_sample=False, num_beams=1, max_new_tokens=10)
            return str(self._tokenizer.decode(words[0], skip_special_tokens=True)).strip().lower()
        with torch.random.fork_rng(devices=[]):  # ViLT shuffles its patches, which moves the last bits
            torch.manual_seed(0)
            surest = int(self._model(**inputs).logits[0].argmax())
        return str(self._model.config.id2label[surest]).strip().lower()

    def _inputs(self, picture: Picture, question: str) -> dict[str, Tensor]:
        longest = getattr(self._model.config, "text_config", self._model.config).max_position_embeddings
        said = self._tokenizer(question, truncation=True, max_length=longest, return_tensors="pt")
        seen = self._prepare(images=Image.fromarray(picture), return_tensors="pt")
        seen["pixel_values"] = seen["pixel_values"].to(self._model.dtype)
        inputs = {name: said[name] for name in ("input_ids", "attention_mask")} | dict(seen)
        return {name: tensor.to(self._model.device) for name, tensor in inputs.items()}


class YesNo(BaseModel):
    """What an endpoint answers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    answer: Literal["yes", "no"]


class EndpointAnswerer:
    """A vision-language model that is asked for "yes" or "no"; several questions at a time."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.name, self._endpoint = endpoint.name, endpoint

    def __call__(self, pictures: Sequence[Picture], questions: Sequence[str]) -> list[str]:
        with ThreadPoolExecutor(AT_ONCE) as threads:
            return list(threads.map(self._one, pictures, questions))

    def _one(self, picture: Picture, question: str) -> str:
        return self._endpoint.ask(YesNo, SYSTEM, f"{question} Answer yes or no.", [picture]).value.answer


def _model_class(kind: str) -> Any:
    import transformers

    return {"vilt": transformers.ViltForQuestionAnswering, "blip": transformers.BlipForQuestionAnswering}[
        kind
    ]


def _processors(kind: str, at: str | Path) -> tuple[Any, Any]:
    """The model's preparation of pictures, by Pillow even where torchvision is there, and its tokenizer."""
    from transformers import AutoTokenizer
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil
    from transformers.models.vilt.image_processing_pil_vilt import ViltImageProcessorPil

    pictures = {"vilt": ViltImageProcessorPil, "blip": BlipImageProcessorPil}[kind]
    with opening("The processor of the questions' model", at):
        return pictures.from_pretrained(str(at)), AutoTokenizer.from_pretrained(str(at))
