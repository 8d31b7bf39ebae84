"""Without references the model is diffusers' FLUX, and each reads the other's folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers import AutoModel, FluxTransformer2DModel
from model.tiny import CONFIG, error, inputs, layout, transformer

from mosaic.model.checkpoint import load_transformer
from mosaic.model.lora import LoraMetadata, save_lora
from mosaic.model.transformer import MosaicTransformer


def flux(model: MosaicTransformer, tmp_path: Path) -> FluxTransformer2DModel:
    model.save_pretrained(tmp_path)
    return FluxTransformer2DModel.from_pretrained(tmp_path).eval()


@pytest.mark.parametrize("guidance_embeds", [True, False])
def test_no_references_is_flux(tmp_path: Path, guidance_embeds: bool) -> None:
    """With LoRA weights loaded and non-zero."""
    model = transformer(guidance_embeds=guidance_embeds)
    one = inputs(layout(()), guidance_embeds=guidance_embeds)
    ids = one.layout.ids()
    with torch.no_grad():
        expected = flux(model, tmp_path)(
            hidden_states=one.target,
            encoder_hidden_states=one.text,
            pooled_projections=one.pooled,
            timestep=one.timestep,
            guidance=one.guidance,
            img_ids=ids[one.layout.text :],
            txt_ids=ids[: one.layout.text],
        ).sample
        assert error(one.run(model).velocity, expected) <= 1e-6


def test_names_and_config_are_diffusers(tmp_path: Path) -> None:
    """A LoRA in the model leaves no trace in a saved base."""
    model = transformer()
    plain = flux(model, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["_class_name"] == "FluxTransformer2DModel"
    assert list(plain.state_dict()) == list(FluxTransformer2DModel(**CONFIG).state_dict())
    assert isinstance(AutoModel.from_pretrained(str(tmp_path)), FluxTransformer2DModel)
    again = MosaicTransformer.from_pretrained(tmp_path)
    own = {"_class_name": "", "_name_or_path": ""}
    assert dict(again.config) | own == dict(plain.config) | own
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), plain.parameters(), strict=True))


def test_adopted_model_is_the_same() -> None:
    """A plain FLUX model gets our forward where it stands; ours stays as it is."""
    ours = transformer(lora=0)
    plain = FluxTransformer2DModel(**CONFIG).eval()
    plain.load_state_dict(ours.state_dict())
    one = inputs(layout())
    adopted = MosaicTransformer.adopt(plain)
    assert adopted is plain and error(one.run(adopted).velocity, one.run(ours).velocity) == 0
    ours.use_attention("math")
    assert MosaicTransformer.adopt(ours) is ours and ours.attention == "math"


def test_diffusers_reads_our_lora(tmp_path: Path) -> None:
    """Its own loader finds every pair, at scale 1."""
    model = transformer()
    save_lora(model, tmp_path / "lora.safetensors", LoraMetadata())
    plain = FluxTransformer2DModel(**CONFIG)
    plain.load_lora_adapter(tmp_path, weight_name="lora.safetensors", adapter_name="mosaic")
    ours, theirs = model.state_dict(), plain.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours if ".lora_" in key)
    assert plain.x_embedder.scaling == {"mosaic": 1.0}


@pytest.mark.parametrize("inside", ["transformer", "."])
def test_load_transformer(tmp_path: Path, inside: str) -> None:
    model = transformer(lora=0)
    model.save_pretrained(tmp_path / inside)
    one = inputs(layout())
    assert error(one.run(load_transformer(tmp_path).eval()).velocity, one.run(model).velocity) == 0
    assert load_transformer(str(tmp_path), torch_dtype=torch.bfloat16).dtype == torch.bfloat16
