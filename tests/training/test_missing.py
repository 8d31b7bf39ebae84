"""Missing references: absent, black pictures as in the paper, zero latents as released."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file

from mosaic.model.latents import scale_latents
from mosaic.training import run as loop_room
from mosaic.training.latents import prepare_latents, shard_path
from mosaic.training.missing import black_latent, with_missing
from mosaic.training.step import training_terms
from mosaic.training.stream import Latents

from .fake_world import fake_batches

Started = tuple[loop_room.Run, Latents]
NEVER = {"text": 0, "references": 0, "both": 0}
ALWAYS = {"text": 0, "references": 1, "both": 0}


@pytest.fixture
def started(tiny_recipe: Any, tiny_start: Path, tmp_path: Path) -> Any:
    """A run of up to three references, and a batch of two with the noise of real latents."""

    def make(missing: str, dropout: dict[str, int], **references: object) -> Started:
        recipe = tiny_recipe(
            model={"base": str(tiny_start)},
            data={"subjects": {2: 1, 3: 0.001}, "dropout": dropout},
            references={"missing": missing} | references,
        )
        run = loop_room.prepare(recipe, tmp_path, "test", fake_batches)
        latents = next(batch for batch in run.stream if batch.references.shape[1] == 2)
        return run, latents

    return make


def test_the_black_latent_is_that_of_a_black_picture(tiny_start: Path) -> None:
    vae = AutoencoderKL.from_pretrained(tiny_start / "vae").eval()
    with torch.no_grad():
        literal = scale_latents(vae.encode(-torch.ones(1, 3, 32, 16)).latent_dist.mode(), vae.config)[0]
    assert torch.allclose(black_latent(tiny_start, 4, 2), literal, atol=1e-4)
    assert literal.abs().max() > 0


@pytest.mark.parametrize(("missing", "slots"), [("absent", 2), ("zeros", 2), ("black", 3)])
def test_fewer_references_than_the_most(started: Any, missing: str, slots: int) -> None:
    run, latents = started(missing, NEVER)
    shown = with_missing(latents, True, run.recipe, run.model)
    assert shown.references.shape[1] == slots
    assert torch.equal(shown.references[:, :2], latents.references)
    assert torch.equal(shown.points_valid[:, :2], latents.points_valid)
    assert not shown.points_valid[:, 2:].any()
    if slots == 3:
        black = black_latent(run.model.folder, *latents.references.shape[-2:])
        assert torch.equal(shown.references[1, 2], black.to(latents.references))


@pytest.mark.parametrize(("missing", "slots"), [("absent", 0), ("zeros", 2), ("black", 3)])
def test_dropped_references(started: Any, missing: str, slots: int) -> None:
    run, latents = started(missing, ALWAYS)
    dropped = with_missing(latents, False, run.recipe, run.model)
    black = black_latent(run.model.folder, *latents.references.shape[-2:]).to(latents.references)
    wanted = {"absent": black, "zeros": torch.zeros_like(black), "black": black}[missing]
    assert torch.equal(dropped.references, wanted.expand(2, slots, -1, -1, -1))
    assert not dropped.points_valid.any()
    terms = training_terms(run.model, latents, run.recipe, 0)
    assert terms.terms.keys() == {"flow"}  # no part in any loss
    other = replace(latents, references=torch.randn_like(latents.references))
    assert torch.equal(terms.loss, training_terms(run.model, other, run.recipe, 0).loss)


def test_they_are_seen_but_take_no_part_in_the_attention_losses(started: Any) -> None:
    seen = {}
    for missing in ("absent", "black"):
        run, latents = started(missing, NEVER)
        seen[missing] = training_terms(run.model, latents, run.recipe, 0)
        rows = seen[missing].rows
        assert rows is not None and rows.shape[1] == {"absent": 2, "black": 3}[missing]
        assert seen[missing].points.valid.sum() == latents.points_valid.sum()
    flows = [terms.raw()["flow"] for terms in seen.values()]
    assert flows[0] != flows[1]


@pytest.mark.parametrize("references", [{"time": 0.5}, {"guidance": 3.0}])
def test_what_references_stand_at_reaches_the_model(started: Any, references: dict[str, float]) -> None:
    run, latents = started("absent", NEVER)
    changed = run.recipe.model_copy(
        update={"references": run.recipe.references.model_copy(update=references)}
    )
    before, after = (training_terms(run.model, latents, recipe, 0).raw() for recipe in (run.recipe, changed))
    embeds = run.model.transformer.config.guidance_embeds
    assert (before["flow"] != after["flow"]) == ("time" in references or embeds)


@pytest.mark.parametrize("drawn", ["posterior", "reference_posterior"])
def test_latents_of_targets_and_references_have_posteriors_of_their_own(
    drawn: str, tiny_recipe: Any, tiny_start: Path, tmp_path: Path
) -> None:
    shards = []
    for name, data in (("means", {}), ("drawn", {drawn: "sample"})):
        section = tiny_recipe(data={"subjects": {2: 1}, "samples": 4} | data).data
        prepare_latents(tmp_path / name, section, tiny_start / "vae", fake_batches)
        shards.append(load_file(shard_path(tmp_path / name, 2, 0)))
    equal = {name: torch.equal(shards[0][name], shards[1][name]) for name in ("target", "references")}
    assert equal == {"target": drawn != "posterior", "references": drawn != "reference_posterior"}
    with pytest.raises(ValueError, match="posterior"):  # neither cache is taken for the other
        prepare_latents(tmp_path / "means", section, tiny_start / "vae", fake_batches)
    means = tiny_recipe(data={"subjects": {2: 1}, "samples": 4}).data
    with pytest.raises(ValueError, match="posterior"):
        prepare_latents(tmp_path / "drawn", means, tiny_start / "vae", fake_batches)
