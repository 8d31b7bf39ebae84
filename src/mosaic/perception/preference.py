"""How well people would like a picture made for a prompt: HPSv3 and UnifiedReward.

HPSv3 (arXiv 2508.03789) is Qwen2-VL-7B with a reward head read at one token of its prompt; UnifiedReward
(arXiv 2503.05236) is a vision-language model that writes a mark. Their prompts are in prompts/.
N pictures, L tokens, M width.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from mosaic.perception.endpoint import Endpoint
from mosaic.perception.loading import config_of, device_of, dtype_of, opening, quiet
from mosaic.sample import Picture

PROMPTS = Path(__file__).with_name("prompts")
REWARD = "<|Reward|>"  # the token whose state the head of HPSv3 reads
PIXELS = 256 * 28 * 28  # of the picture HPSv3 sees, at least and at most
SEEN = "<|image_pad|>"
CHAT = (  # Qwen2-VL's template of one picture and one text
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    "<|vision_start|>{seen}<|vision_end|>{text}<|im_end|>\n<|im_start|>assistant\n"
)
MARK = re.compile(r"Final Score:\s*(\d+(?:\.\d+)?)")
AT_ONCE = 8  # pictures an endpoint is asked about at a time

Marks = NDArray[np.float32]  # (N,)


class Preference(Protocol):
    """Scores pictures beside their prompts; higher is better, not a number where the model gave none."""

    name: str

    def __call__(self, pictures: Sequence[Picture], prompts: Sequence[str]) -> Marks: ...


class HumanPreference:
    """HPSv3: the mean μ of the score that its head predicts; most pictures get −5 to 15.

    `weights` is the published HPSv3.safetensors, or the hub id it lies under; `base` gives configuration and
    tokenizer, Qwen2-VL-7B-Instruct's. Tokens are counted in plain order, the picture's too, as published.
    """

    def __init__(
        self,
        weights: str | Path,
        base: str | Path,
        *,
        device: str | None = None,
        dtype: str = "auto",
        batch: int = 4,
    ) -> None:
        place = device_of(device)
        self.name, self._batch = f"{weights} + {base}", batch
        self._text = (PROMPTS / "hpsv3.txt").read_text(encoding="utf-8")
        self._prepare, self._tokenizer = _processors(base)
        state = _state(weights)
        with opening("The weights of HPSv3", weights):
            self._model = _backbone(base, state, dtype_of(dtype, place)).to(place)
            self._head = reward_head(self._model.config.text_config.hidden_size)
            self._head.load_state_dict(_part(state, "rm_head."))
        self._head.float().to(place).eval().requires_grad_(False)

    @torch.inference_mode()
    def __call__(self, pictures: Sequence[Picture], prompts: Sequence[str]) -> Marks:
        """(N,)."""
        marks = [
            self._some(pictures[start : start + self._batch], prompts[start : start + self._batch])
            for start in range(0, len(pictures), self._batch)
        ]
        return torch.cat(marks).cpu().numpy() if marks else np.zeros(0, np.float32)

    def _some(self, pictures: Sequence[Picture], prompts: Sequence[str]) -> Tensor:
        model = self._model
        seen = self._prepare(images=[Image.fromarray(picture) for picture in pictures], return_tensors="pt")
        tokens = self._tokens(seen["image_grid_thw"], prompts).to(model.device)
        embedded = model.get_input_embeddings()(tokens["input_ids"])  # (N, L, M)
        pixels = seen["pixel_values"].to(model.device)
        features = model.get_image_features(pixels, seen["image_grid_thw"].to(model.device)).pooler_output
        places = (tokens["input_ids"] == model.config.image_token_id)[..., None].expand_as(embedded)
        embedded = embedded.masked_scatter(places, torch.cat(tuple(features)).to(embedded))
        states = model.language_model(inputs_embeds=embedded, attention_mask=tokens["attention_mask"])[0]
        at = tokens["input_ids"] == self._tokenizer.convert_tokens_to_ids(REWARD)
        return self._head(states[at].float())[:, 0]  # μ; the second number is log σ

    def _tokens(self, grids: Tensor, prompts: Sequence[str]) -> Any:
        """input_ids and attention_mask (N, L), padded on the right."""
        merged = self._model.config.vision_config.spatial_merge_size**2
        texts = [
            CHAT.format(seen=SEEN * int(grid.prod() // merged), text=self._text.replace("{prompt}", prompt))
            for grid, prompt in zip(grids, prompts, strict=True)
        ]
        if any(text.count(REWARD) != 1 for text in texts):
            raise ValueError(f"A prompt holds {REWARD}, which HPSv3 keeps for itself: take it out.")
        return self._tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")


class UnifiedReward:
    """A mark from 1 to 5 that the model writes after "Final Score:"; published to be served, by vLLM."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.name, self._endpoint = endpoint.name, endpoint
        self._text = (PROMPTS / "unifiedreward.txt").read_text(encoding="utf-8")

    def __call__(self, pictures: Sequence[Picture], prompts: Sequence[str]) -> Marks:
        with ThreadPoolExecutor(AT_ONCE) as threads:
            return np.fromiter(threads.map(self._one, pictures, prompts), np.float32, len(pictures))

    def _one(self, picture: Picture, prompt: str) -> float:
        return mark_of(self._endpoint.say(self._text.replace("{prompt}", prompt), [picture]))


def mark_of(answer: str) -> float:
    """The last mark after "Final Score:"; not a number if there is none from 1 to 5."""
    marks = [float(mark) for mark in MARK.findall(answer)]
    return marks[-1] if marks and 1 <= marks[-1] <= 5 else float("nan")


def reward_head(width: int) -> nn.Sequential:
    """(…, M) → (…, 2): mean and log spread of the score, layers numbered as in the published file."""
    return nn.Sequential(
        nn.Linear(width, 1024), nn.ReLU(), nn.Dropout(0.05), nn.Linear(1024, 16), nn.ReLU(), nn.Linear(16, 2)
    )


def _processors(base: str | Path) -> tuple[Any, Any]:
    from transformers import AutoTokenizer
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    with opening("The tokenizer of HPSv3's Qwen2-VL", base):
        tokenizer = AutoTokenizer.from_pretrained(str(base))
        tokenizer.add_special_tokens({"additional_special_tokens": [REWARD]})
        pictures = Qwen2VLImageProcessorPil.from_pretrained(
            str(base), size={"shortest_edge": PIXELS, "longest_edge": PIXELS}
        )
    return pictures, tokenizer


def _state(weights: str | Path) -> dict[str, Tensor]:
    from huggingface_hub import hf_hub_download
    from safetensors.torch import load_file

    with opening("HPSv3.safetensors", weights):
        file = Path(weights).expanduser()
        if file.is_dir():
            file = file / "HPSv3.safetensors"
        elif not file.is_file():
            file = Path(hf_hub_download(str(weights), "HPSv3.safetensors"))
        return load_file(file)


def _part(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def _backbone(base: str | Path, state: Mapping[str, Tensor], dtype: torch.dtype) -> Any:
    """Qwen2-VL without its vocabulary's head; the file's names are those of transformers before 4.52."""
    from transformers import Qwen2VLModel

    config = config_of(base)
    renamed = {f"visual.{name}": tensor for name, tensor in _part(state, "visual.").items()}
    renamed |= {f"language_model.{name}": tensor for name, tensor in _part(state, "model.").items()}
    config.text_config.vocab_size = len(renamed["language_model.embed_tokens.weight"])
    with quiet():
        model, told = Qwen2VLModel.from_pretrained(
            None, config=config, state_dict=renamed, dtype=dtype, output_loading_info=True
        )
    if wrong := sorted(told["missing_keys"]) + sorted(told["unexpected_keys"]):
        raise ValueError(f"{len(wrong)} weights are missing or unknown, {wrong[0]} among them")
    return model.eval().requires_grad_(False)
