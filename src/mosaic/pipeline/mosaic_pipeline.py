"""From a prompt and references to a picture: MosaicPipeline, a diffusers pipeline over a FLUX model folder.

K references, S text tokens, T target tokens, R tokens of one reference. Pictures are made one at a time, so
that each depends on its own seed alone; between the steps latents are float32.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    FluxTransformer2DModel,
)
from diffusers.utils import BaseOutput
from PIL import Image
from torch import Tensor
from transformers import CLIPTextModel, PreTrainedTokenizerBase, T5EncoderModel

from mosaic.geometry import Grid
from mosaic.model.layout import TokenLayout, Visibility
from mosaic.model.lora import LoraMetadata, load_lora
from mosaic.model.reference_cache import ReferenceCache
from mosaic.model.transformer import MosaicTransformer
from mosaic.pipeline.guidance import Pass, Plan, check_guidance, check_steps, defaults, first_given
from mosaic.pipeline.latents import decode_picture, encode_picture, noise_of
from mosaic.pipeline.probing import Attention, AttentionReader, AttentionRequest
from mosaic.pipeline.references import (
    AnyReference,
    CanvasChoice,
    EncodedReference,
    check_cache,
    check_count,
    reference_cache,
    with_references,
)
from mosaic.sampling import Callback, euler, schedule

logger = logging.getLogger(__name__)

LARGEST_SIDE = 4096
LONGEST_TEXT = 512  # T5 tokens FLUX was trained with
RELEASED_SIZE = 512


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MadePicture:
    image: Image.Image
    seed: int
    attention: Attention | None = None


@dataclass
class MosaicOutput(BaseOutput):
    """Images in the order of their seeds, and what was read of the attention where that was asked for."""

    images: list[Image.Image]
    attention: list[Attention] | None = None


class MosaicPipeline(DiffusionPipeline):
    """Several reference pictures and a sentence in, one picture out.

    `from_pretrained` takes any folder or hub id in diffusers' FLUX layout; `load_lora` then says how
    references must be run. default_size (pixels a side), default_steps and default_guidance come from
    model_index.json, and so do `references`: a LoRA's metadata, of a base that was itself trained on them.
    """

    model_cpu_offload_seq = "text_encoder->text_encoder_2->transformer->vae"
    _optional_components = ["image_encoder", "feature_extractor"]  # noqa: RUF012 (FLUX's, unused)

    def __init__(
        self,
        scheduler: FlowMatchEulerDiscreteScheduler,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        tokenizer: PreTrainedTokenizerBase,
        text_encoder_2: T5EncoderModel,
        tokenizer_2: PreTrainedTokenizerBase,
        transformer: FluxTransformer2DModel,
        image_encoder: Any = None,
        feature_extractor: Any = None,
        default_size: int | None = None,
        default_steps: int | None = None,
        default_guidance: float | None = None,
        references: dict[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(
            scheduler=scheduler,
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            text_encoder_2=text_encoder_2,
            tokenizer_2=tokenizer_2,
            transformer=MosaicTransformer.adopt(transformer),
            **dict.fromkeys(self._optional_components),
        )
        self.register_to_config(
            default_size=default_size,
            default_steps=default_steps,
            default_guidance=default_guidance,
            references=references,
        )
        self.lora: LoraMetadata | None = None
        self.weights: dict[str, str] = {}  # hashes of model and LoRA; a reference cache of others is refused
        self.caches_references = True  # where their visibility allows it; not under group offloading

    @property
    def run_as(self) -> LoraMetadata:
        """How references are run: as the LoRA says, else the base, else as the authors' release."""
        return self.lora or LoraMetadata.from_strings(self.config.references or {})

    @classmethod
    def from_pretrained(cls, source: str | Path, **kwargs: Any) -> MosaicPipeline:
        """As diffusers', from safetensors alone."""
        return super().from_pretrained(source, **{"use_safetensors": True} | kwargs)

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> None:
        """A FLUX model folder that FluxPipeline reads too; a LoRA is a file of its own."""
        super().save_pretrained(save_directory, **kwargs)
        path = Path(save_directory) / "model_index.json"
        index = json.loads(path.read_text(encoding="utf-8"))
        index |= {
            "_class_name": "FluxPipeline",
            "transformer": ["diffusers", FluxTransformer2DModel.__name__],
        }
        path.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")

    def load_lora(self, path: str | Path) -> LoraMetadata:
        """Put a LoRA on the references, in place of the one there is; from then on its metadata is obeyed."""
        self.lora = load_lora(self.transformer, path)
        for name, parameter in self.transformer.named_parameters():
            if ".lora_A." in name or ".lora_B." in name:
                parameter.requires_grad_(False)
                parameter.data = parameter.data.to(self.text_encoder_2.dtype)
        if self.lora.assumed:
            logger.warning(
                f"{Path(path).name} does not say how it must be run, so the release is assumed: "
                f"{self.lora.visibility} visibility, {self.lora.positions} positions, released canvas."
            )
        return self.lora

    # ------------------------------------------------------------ the call

    @torch.no_grad()
    def __call__(
        self,
        prompt: str,
        references: Sequence[AnyReference] = (),
        *,
        height: int | None = None,
        width: int | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        reference_guidance: float | None = None,
        seed: int = 0,
        count: int = 1,
        visibility: str | None = None,
        positions: str | None = None,
        canvas: str | None = None,
        canvas_size: int | None = None,
        attention: AttentionRequest | None = None,
        callback: Callback | None = None,
    ) -> MosaicOutput:
        """`count` pictures of the prompt, of seeds `seed`, `seed` + 1, …; each as it would be made alone.

        references: up to 8, each a Reference (laid on its canvas here), what `encode_references` made of one,
        or the cache of one. None takes what the LoRA says (visibility, positions, canvas: "released",
        "letterbox" or "none", its size), else what the model folder says. reference_guidance: r of
        `guidance.combine`, one more pass a step. callback: after each step, see `sampling.euler`. ValueError
        for values out of range.
        """
        if count < 1:
            raise ValueError(f"The number of pictures must be at least 1, not {count}.")
        encoded = self.encode_references(references, self.size(height, width), canvas, canvas_size)
        plan = self.plan(
            prompt,
            encoded,
            size=self.size(height, width),
            steps=steps,
            guidance=guidance,
            reference_guidance=reference_guidance,
            visibility=visibility,
            positions=positions,
        )
        made = [self.make(plan, seed + i, attention, callback) for i in range(count)]
        self.maybe_free_model_hooks()
        read = [one.attention for one in made if one.attention is not None]
        return MosaicOutput(images=[one.image for one in made], attention=read or None)

    def size(self, height: int | None = None, width: int | None = None) -> tuple[int, int]:
        """(height, width), the model's own where not given; ValueError unless multiples of 16 up to 4096."""
        default = self.config.default_size or RELEASED_SIZE
        height, width = (side if side is not None else default for side in (height, width))
        if max(height, width) > LARGEST_SIDE:
            raise ValueError(f"Pictures have at most {LARGEST_SIDE} pixels a side, not {width}×{height}.")
        return Grid.of_pixels(height, width).pixels

    @torch.no_grad()
    def plan(
        self,
        prompt: str,
        references: Sequence[EncodedReference] = (),
        *,
        size: tuple[int, int] | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        reference_guidance: float | None = None,
        visibility: str | None = None,
        positions: str | None = None,
    ) -> Plan:
        """Everything that does not depend on the seed, encoded once. size (height, width); see the call."""
        lora = self._asked(visibility, positions, len(references))
        embedded = bool(self.transformer.config.guidance_embeds)
        shifted = bool(self.scheduler.config.use_dynamic_shifting)
        default_steps, default_guidance = defaults(few_steps=not (embedded or shifted))
        steps = check_steps(first_given(steps, self.config.default_steps, default_steps))
        guidance = check_guidance(first_given(guidance, self.config.default_guidance, default_guidance))
        target = Grid.of_pixels(*(size or self.size()))
        text = self._text(prompt, target)
        apart = references and reference_guidance is not None
        return Plan(
            sigmas=schedule(steps, target.size, "flux" if shifted else "none"),
            embedded=embedded,
            guidance=guidance,
            reference_guidance=check_guidance(first_given(reference_guidance, 1.0)),
            full=with_references(
                text, references, lora, self.transformer, self.weights, self.caches_references
            ),
            text=text if apart else None,
            empty=None if embedded or guidance == 1 else self._text("", target),
        )

    @torch.no_grad()
    def make(
        self,
        plan: Plan,
        seed: int,
        attention: AttentionRequest | None = None,
        callback: Callback | None = None,
    ) -> MadePicture:
        """One picture. The noise is drawn on the CPU in float32, so that a seed gives it on every machine."""
        device, layout = self._execution_device, plan.full.layout
        reader = None if attention is None else AttentionReader(attention, layout, plan.sigmas)

        def velocity(latents: Tensor, sigma: float) -> Tensor:
            probe = None if reader is None else reader.look_probe(sigma, device)
            value, out = plan.velocity(self.transformer, latents, sigma, probe)
            if reader is not None:
                reader.add_looks(out)
                if (probe := reader.owner_probe(sigma, device)) is not None:
                    reader.add_owners(plan.full.run(self.transformer, latents, sigma, plan.input, probe))
            return value

        noise = noise_of(seed, layout.target, self.vae.config.latent_channels).to(device)
        latents = euler(velocity, noise, plan.sigmas, callback)
        image = decode_picture(self.vae, latents, layout.target)
        return MadePicture(image=image, seed=seed, attention=None if reader is None else reader.result())

    # ------------------------------------------------------------ references

    @torch.no_grad()
    def encode_references(
        self,
        references: Sequence[AnyReference],
        size: tuple[int, int],
        canvas: str | None = None,
        canvas_size: int | None = None,
    ) -> tuple[EncodedReference, ...]:
        """Each reference on its canvas and through the autoencoder (the posterior's mode), once.

        size (height, width) is the target's, for a canvas that has none of its own.
        """
        check_count(len(references))
        choice = CanvasChoice.of(self.run_as, canvas, canvas_size)
        return tuple(self._encoded(reference, size, choice) for reference in references)

    @torch.no_grad()
    def cache(self, reference: EncodedReference) -> ReferenceCache:
        """A reference's keys and values for every prompt and seed. ValueError if the LoRA allows none."""
        lora = self.run_as
        if lora.visibility is not Visibility.ISOLATED or lora.reference_pooled != "null":
            raise ValueError(
                f"This LoRA has {lora.visibility} visibility and the {lora.reference_pooled} pooled vector, "
                "and references are encoded for isolated and null alone: take a LoRA of that kind "
                "(--lora isolated with the embedded model), or give mosaic generate the picture."
            )
        return reference_cache(self.transformer, reference, self.weights, self.text_encoder_2.dtype, lora)

    def _encoded(
        self, reference: AnyReference, size: tuple[int, int], choice: CanvasChoice
    ) -> EncodedReference:
        if isinstance(reference, EncodedReference):
            return reference
        if isinstance(reference, ReferenceCache):
            check_cache(reference, self.weights)
            return EncodedReference(grid=reference.grids[0], cache=reference)
        canvas = choice.lay(reference, size)
        latents = encode_picture(self.vae, canvas.image, self._execution_device)
        return EncodedReference(grid=choice.grid(reference, size), latents=latents, canvas=canvas)

    # ------------------------------------------------------------ parts

    def _asked(self, visibility: str | None, positions: str | None, references: int) -> LoraMetadata:
        """How references are run: as the weights say, but for what is asked for."""
        lora, asked = self.run_as, {"visibility": visibility, "positions": positions}
        trained = self.lora is not None or not lora.assumed
        if references and not trained:
            logger.warning("This model has no LoRA for references and will hardly follow them: give one.")
        for name, value in asked.items():
            if references and trained and value not in (None, getattr(lora, name)):
                logger.warning(f"The LoRA was trained with {getattr(lora, name)} {name}, not {value}.")
        changed: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
        return replace(lora, **changed)

    def _text(self, prompt: str, target: Grid) -> Pass:
        """The prompt through both text encoders, padding included, as in FLUX; no references."""
        length = min(self.tokenizer_2.model_max_length, LONGEST_TEXT)
        ids, pooled_ids = (
            tokenizer(
                prompt, padding="max_length", max_length=size, truncation=True, return_tensors="pt"
            ).input_ids.to(self._execution_device)
            for tokenizer, size in (
                (self.tokenizer_2, length),
                (self.tokenizer, self.tokenizer.model_max_length),
            )
        )
        if len(self.tokenizer_2(prompt).input_ids) > length:
            logger.warning(
                f"The prompt is longer than the {length} tokens this model reads: its end is cut off."
            )
        tokens = self.text_encoder_2(ids)[0]
        pooled = self.text_encoder(pooled_ids).pooler_output.to(tokens.dtype)
        return Pass(text=tokens, pooled=pooled, layout=TokenLayout(text=length, target=target))
