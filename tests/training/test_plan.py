"""What `mosaic plan` says of recipes: FLUX.1-dev's published counts, properties, advice, the command."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mosaic.cli import run
from mosaic.training.plan import Adapter, Backbone, Micro, flops_of_step, plan_recipe, reading
from mosaic.training.plan.activations import activations
from mosaic.training.plan.devices import DEVICES
from mosaic.training.plan.memory import GIB, Holding, memory
from mosaic.training.plan.planning import FITS
from mosaic.training.recipe import read_recipe

ROOT = Path(__file__).parents[2]
RECIPES = sorted(
    path for kind in ("flux-dev", "toybox") for path in (ROOT / "recipes").glob(f"{kind}-*.toml")
)
OTHERS = {"toybox-autoencoder", "toybox-decoder", "toybox-principal"}  # recipes of another kind
PAPER = ROOT / "recipes" / "flux-dev-paper.toml"
SMOKE = ROOT / "recipes" / "toybox-smoke.toml"


# ---------------------------------------------------------------- FLUX.1-dev


def test_flux_dev_is_known_without_a_hub() -> None:
    from diffusers import AutoencoderKL
    from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

    model = reading.model_of(read_recipe(PAPER, ["lora.targets=[]", "lora.rank=128"]))
    assert model.base == 11_901_408_320
    assert model.lora == 3_621_952 * 128
    t5 = T5Config(d_model=4096, d_ff=10240, num_layers=24, num_heads=64, feed_forward_proj="gated-gelu")
    clip = CLIPTextConfig(hidden_size=768, intermediate_size=3072, projection_dim=768, num_attention_heads=12)
    channels = (128, 256, 512, 512)
    kinds = {
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "use_quant_conv": False,
        "use_post_quant_conv": False,
    }
    with torch.device("meta"):
        made = [T5EncoderModel(t5), CLIPTextModel(clip)]
        vae = AutoencoderKL(block_out_channels=channels, layers_per_block=2, latent_channels=16, **kinds)
    counts = [sum(parameter.numel() for parameter in part.parameters()) for part in (*made, vae)]
    assert counts == [*(encoder.parameters for encoder in reading.FLUX_DEV_TEXT), model.autoencoder]


def test_flux_dev_agrees_with_the_formula_of_its_architecture() -> None:
    """12·M² weights a token and block, 4·M a pair and block; L² pairs, less K(K − 1)·R² under `release`."""
    of = Backbone.of(reading.FLUX_DEV_TRANSFORMER)
    width, blocks, length, own = 3072, 57, 5632, 4 * 3 * 1024**2
    for visibility, pairs in (("full", length**2), ("release", length**2 - own)):
        micro = Micro(text=512, target=1024, references=4, reference=1024, visibility=visibility)  # type: ignore[arg-type]
        literal = blocks * (2 * 12 * width**2 * length + 4 * width * pairs)
        assert flops_of_step(of, Adapter(), micro).forward == pytest.approx(literal, rel=0.001)


@pytest.mark.parametrize("path", [p for p in RECIPES if p.stem not in OTHERS], ids=lambda path: path.stem)
def test_every_recipe_has_a_plan(path: Path) -> None:
    overrides = [] if path.stem.startswith("flux") else ["model.create.vae=", "model.base="]
    plan = plan_recipe(path, overrides)
    assert len(plan.forecasts) == len(DEVICES)
    assert plan.parameters["trained"] and plan.flops.total and plan.disk
    assert all(value > 0 for value in plan.memory.values())


@pytest.mark.parametrize(("gpu", "source"), [("4090", "shards"), ("L40S", "toybox")])
def test_advice_does_what_it_says(gpu: str, source: str) -> None:
    """Each set of keys, given to the recipe, needs what was said; some fit."""
    bare = ["model.checkpointing=false", f"data.source={source}", "lora.targets=[]"]
    bare += ["data.validation=", "output.validation=0", "output.pictures=0"]  # a folder of shards, there
    plan = plan_recipe(PAPER, bare, gpu)
    assert not plan.forecasts[0].fits
    assert any(advice.fits for advice in plan.advice)
    for advice in plan.advice:
        names = [key.partition("=")[0] for key in advice.keys]
        assert len(set(names)) == len(names)  # a key is advised once, as its last value
        keys = [key.replace("FOLDER", "runs/text") for key in advice.keys]
        found = plan_recipe(PAPER, [*bare, *keys], gpu).forecasts[0]
        assert found.needs == pytest.approx(advice.needs)
        assert found.fits == advice.fits


def test_a_plan_that_fits_gives_no_advice() -> None:
    assert plan_recipe(PAPER, [], "B200").advice == ()


def test_time_follows_rate_and_utilisation() -> None:
    slow, fast = (plan_recipe(PAPER, [], "H100", share) for share in (0.2, 0.4))
    assert slow.forecasts[0].seconds == pytest.approx(2 * fast.forecasts[0].seconds)
    assert fast.forecasts[0].seconds == pytest.approx(fast.flops.total / (0.4 * 989e12))
    assert fast.forecasts[0].hours == pytest.approx(fast.forecasts[0].seconds * 100_000 / 3600)


def test_dropped_references_cost_no_backward_pass() -> None:
    kept, dropped = (
        plan_recipe(PAPER, [f"data.dropout.references={share}", "references.missing=absent"]).flops
        for share in (0.0, 0.5)
    )
    assert dropped.backward == pytest.approx(kept.backward / 2)
    assert kept.forward / 2 < dropped.forward < kept.forward


# ---------------------------------------------------------------- properties


micros = st.builds(
    Micro,
    batch=st.integers(1, 4),
    text=st.integers(1, 64),
    target=st.integers(1, 256),
    references=st.integers(1, 6),
    reference=st.integers(1, 256),
    rows=st.integers(1, 16),
    probed=st.none(),
    visibility=st.sampled_from(["full", "release", "isolated"]),
    attention=st.sampled_from(["sdpa", "math"]),
    trains=st.sampled_from(["base", "lora"]),
    dtype=st.sampled_from(["float32", "bfloat16"]),
)


MODEL = reading.model_of(read_recipe(ROOT / "recipes" / "toybox-smoke.toml"))


@given(micro=micros)
def test_sight_costs(micro: Micro) -> None:
    """Who sees less computes less; without other references `full` and `release` are one."""
    totals = [
        flops_of_step(MODEL.backbone, MODEL.adapter, replace(micro, visibility=v)).total  # type: ignore[arg-type]
        for v in ("full", "release", "isolated")
    ]
    assert totals == sorted(totals, reverse=True)
    if micro.references == 1:
        assert totals[0] == totals[1]


@given(micro=micros)
def test_checkpointing_trades_memory_for_operations(micro: Micro) -> None:
    other = replace(micro, checkpointing=True)
    before, after = (flops_of_step(MODEL.backbone, MODEL.adapter, m) for m in (micro, other))
    assert (after.forward, after.backward) == (before.forward, before.backward)
    assert after.recompute > before.recompute
    kept, again = (activations(MODEL.backbone, MODEL.adapter, m) for m in (micro, other))
    assert again.kept < kept.kept


@given(micro=micros, holding=st.builds(Holding, accumulation=st.integers(1, 4), average=st.booleans()))
def test_more_takes_more(micro: Micro, holding: Holding) -> None:
    def total(micro: Micro, holding: Holding) -> float:
        return sum(memory(MODEL, micro, holding).values())

    least = total(micro, holding)
    assert total(replace(micro, references=micro.references + 1), holding) >= least
    assert total(replace(micro, target=micro.target + 16), holding) >= least
    assert total(micro, replace(holding, eight_bit=True)) < least
    assert total(micro, replace(holding, quantize="fp8")) < least
    assert total(micro, replace(holding, second_gradients=True)) >= least


# ---------------------------------------------------------------- the command


def test_the_command_tells_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", str(PAPER), "--gpu", "h100", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    (device,) = told["devices"]
    assert device["device"] == "H100" and device["fits"]
    assert device["needs"] == pytest.approx(sum(told["memory"].values()) / GIB)
    assert told["tokens"]["packed"] == 512 + 1024 + 4 * 1024
    assert run(["plan", str(PAPER), "--gpu", "4090"]) == 0
    told = capsys.readouterr().out
    assert "base weights" in told and "--set train.parallel=fsdp" in told and "checkpoints" in told


def test_a_new_model_may_have_the_shipped_autoencoder() -> None:
    plan = plan_recipe(SMOKE, ["model.create.vae=embedded"])
    assert (
        plan.parameters["autoencoder"]
        == plan_recipe(SMOKE, ["model.base=embedded"]).parameters["autoencoder"]
    )


def test_what_is_not_counted_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert plan_recipe(SMOKE).notes == ()
    changes = ["model.text_cache=text", "data.keep_latents=true", "train.parallel=fsdp", "train.processes=0"]
    changes += ["data.source=shards", "data.path=x.tar", "data.references=2", "data.size=512"]
    changes += ["optimiser.steps=10", "optimiser.batch=4", "optimiser.accumulation=2", "model.quantize=none"]
    words = [word for change in changes for word in ("--set", change)]
    assert run(["plan", str(PAPER), "--gpu", "H100", *words]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "planned as one process, which spreads nothing: set train.processes" in told
    assert "model.text_cache is not in the table of the disk: 4.00 MiB a caption, 0.3 GiB if the 80" in told
    assert "data.keep_latents is not in the table of the disk: 0.3" in told
    assert len(plan_recipe(PAPER, [*changes, "train.processes=8"]).notes) == 2
    assert plan_recipe(SMOKE, ["model.text_cache=text"]).notes == ()  # of the toybox they are known


def test_this_machine_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", str(ROOT / "recipes" / "toybox-smoke.toml"), "--gpu", "cpu", "--json"]) == 0
    (device,) = json.loads(capsys.readouterr().out)["devices"]
    assert device["has"] > 0.5 and 0 < device["seconds"] < 60 and device["needs"] < FITS * device["has"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (f"{PAPER} --gpu RTX4080", "did you mean 4090? It has 3090, 4090, 5090, L40S, A100-40"),
        (f"{PAPER} --gpu abacus", "H200, B200 and cpu"),
        (f"{PAPER} --utilisation 0", "above 0 and at most 1"),
        (f"{PAPER} --utilisation 1.5", "--utilisation"),
        (f"{PAPER} --utilisation nan", "--utilisation"),
        ("nowhere.toml", "cannot read the recipe nowhere.toml"),
        (f"{PAPER} --set model.bse=x", "did you mean model.base?"),
        (f"{PAPER} --set model.base=nobody/nothing", "known without a hub"),
        (f"{PAPER} --set model.base={ROOT / 'docs'}", "no transformer/config.json"),
        (f"{PAPER} --set model.base=missing", "model.base: There is no model folder missing"),
        (
            f"{PAPER} --set loss.blocks=[99]",
            "loss.blocks: Probe blocks (99,) must name some of the blocks 0…56",
        ),
        (f"{SMOKE} --set model.create.rope_axes=[3,14,15]", "model.create.rope_axes must be even"),
        (f"{SMOKE} --set model.create.vae=missing", "model.create.vae: there is no autoencoder in missing"),
        (f"{PAPER} --set model.lora={PAPER}", "flux-dev-paper.toml is broken"),
        (f"{PAPER} --set model.lora=nowhere.safetensors", "there is no file nowhere.safetensors"),
        (f'{PAPER} --set lora.targets=["attention"]', 'The LoRA target "attention" names no module'),
        (f"{ROOT / 'recipes' / 'ablation.toml'}", "plan the recipe they start from"),
        ("", "Missing argument"),
    ],
)
def test_mistakes_are_told_in_one_sentence(line: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", *line.split()]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert told in captured.err and captured.err.count("\n") == 1
