"""One training step of FLUX.1-dev's shape on a GPU: seconds, peak memory, share of its peak rate, the plan.

python benchmarks/flux_step.py --output flux-step.jsonl [--gpu H200]

Random weights of the public config, 512², K = 4, batch 1, LoRA of rank 128 with both losses, text given.
Each variant is a line of the file as soon as it is measured; those that are there are not measured again. A
variant takes about a minute, most of it for filling the weights. Needs no network.
"""

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import torch

from mosaic.model.transformer import MosaicTransformer
from mosaic.training import speed
from mosaic.training.models import TrainingModel
from mosaic.training.optimiser import MasterAdamW
from mosaic.training.plan import flops_of_step, reading
from mosaic.training.plan.devices import device_of
from mosaic.training.plan.memory import memory
from mosaic.training.recipe import Recipe, recipe_of
from mosaic.training.step import training_terms
from mosaic.training.stream import Latents

GIB = 1 << 30
WARM, TIMED = 2, 3
VARIANTS: dict[str, dict[str, Any]] = {
    "release, checkpointed": {},
    "full, checkpointed": {"visibility": "full"},
    "isolated, checkpointed": {"visibility": "isolated"},
    "release, checkpointed, compiled": {"compile": True},
    "release": {"checkpointing": False},
    "release, compiled": {"checkpointing": False, "compile": True},
}


def recipe(visibility: str = "release", checkpointing: bool = True, compile: bool = False) -> Recipe:
    """What the step is a step of."""
    return recipe_of(
        {
            "model": {
                "base": reading.FLUX_DEV,
                "dtype": "bfloat16",
                "checkpointing": checkpointing,
                "compile": compile,
                "text_cache": "given",
            },
            "lora": {"rank": 128},
            "references": {"visibility": visibility},
            "data": {
                "subjects": {"4": 1.0},
                "size": 512,
                "reference_size": 512,
                "points": 128,
                "dropout": {"references": 0.0, "text": 0.0, "both": 0.0},
            },
            "optimiser": {"batch": 1, "ema": 0.0},
        }
    )


def random_model(recipe: Recipe, device: torch.device) -> TrainingModel:
    """FLUX.1-dev's transformer with random weights and a LoRA, and text embeddings made of noise."""
    from mosaic.training import models

    with torch.device("meta"):
        transformer = MosaicTransformer(**reading.FLUX_DEV_TRANSFORMER).to(torch.bfloat16)
    transformer.to_empty(device=device)
    generator = torch.Generator(device).manual_seed(0)
    for parameter in transformer.parameters():
        parameter.data.normal_(std=0.02, generator=generator)
    transformer.requires_grad_(False)
    trained = models._lora_parameters(transformer, recipe)
    models._prepare(transformer, recipe)
    tokens, width = reading.FLUX_DEV_TEXT[0].tokens, reading.FLUX_DEV_TEXT[0].width

    def text(captions: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        shapes = (len(captions), tokens, width), (len(captions), reading.FLUX_DEV_TEXT[1].width)
        long, pooled = (torch.randn(shape, device=device, dtype=torch.bfloat16) for shape in shapes)
        return long, pooled

    return TrainingModel(
        folder=Path(),
        transformer=transformer,
        text=text,  # type: ignore[arg-type]
        trained=trained,
        device=device,
        dtype=torch.bfloat16,
        trains_text=False,
    )


def random_latents(recipe: Recipe) -> Latents:
    """A batch of noise with points all over it."""
    data, generator = recipe.data, torch.Generator().manual_seed(0)
    target, reference, references = data.size // 8, data.reference_size // 8, max(data.subjects)
    points = (1, references, data.points)
    return Latents(
        target=torch.randn(1, 16, target, target, generator=generator),
        references=torch.randn(1, references, 16, reference, reference, generator=generator),
        points_reference=torch.randint((reference // 2) ** 2, points, generator=generator),
        points_target=torch.randint((target // 2) ** 2, points, generator=generator),
        points_valid=torch.ones(points, dtype=torch.bool),
        captions=["a picture"],
    )


def step(model: TrainingModel, optimiser: MasterAdamW, latents: Latents, recipe: Recipe, index: int) -> None:
    """As the training loop does it. RuntimeError where the gradient is not finite: Adam would rest."""
    training_terms(model, latents, recipe, index).loss.backward()
    optimiser.collect()
    if not math.isfinite(norm := optimiser.step()):
        raise RuntimeError(f"the gradient's norm is {norm}: these random weights measure no whole step.")


def measured(recipe: Recipe) -> dict[str, float]:
    """Seconds of the median step after warming up, and the peak GiB: in tensors, and on the device in all."""
    device = torch.device("cuda")
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    free, whole = torch.cuda.mem_get_info()
    others = (whole - free) / GIB
    model, latents = random_model(recipe, device), random_latents(recipe)
    optimiser = MasterAdamW(model.trained, recipe.optimiser)
    times = []
    for index in range(WARM + TIMED):
        torch.cuda.synchronize()
        began = time.perf_counter()
        step(model, optimiser, latents, recipe, index)
        torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    free, whole = torch.cuda.mem_get_info()
    return {
        "seconds": sorted(times[WARM:])[TIMED // 2],
        "tensors": torch.cuda.max_memory_allocated() / GIB,
        "device": (whole - free) / GIB,
        "held_before": others,
    }


def predicted(recipe: Recipe) -> dict[str, float]:
    """The plan's own: TFLOP of a step, GiB in tensors and in all."""
    model = reading.model_of(recipe)
    micro = reading.fullest(reading.micros_of(recipe, model, on_cpu=False))
    parts = memory(model, micro, reading.holding_of(recipe))
    flops = flops_of_step(model.backbone, model.adapter, micro)
    whole = sum(parts.values())
    return {
        "flops": flops.total,
        "model_flops": flops.forward + flops.backward,
        "tensors": (whole - parts["allocator and libraries"]) / GIB,
        "device": whole / GIB,
    }


def rate_of(gpu: str | None) -> float:
    """Peak FLOP/s of the GPU here, or of the one of a name. ValueError for one that the table lacks."""
    found = device_of(gpu).rate("bfloat16") if gpu else speed.peak(torch.device("cuda"), "bfloat16")
    if found is None:
        raise ValueError(
            f"{torch.cuda.get_device_name()} is not in the plan's table: name the nearest with --gpu."
        )
    return found


def record(name: str, peak: float) -> dict[str, Any]:
    """One variant, measured and planned."""
    made = recipe(**VARIANTS[name])
    plan, gpu = predicted(made), torch.cuda.get_device_name()
    try:
        found = measured(made)
    except torch.cuda.OutOfMemoryError:
        return {"variant": name, "gpu": gpu, "out_of_memory": True, "planned": plan}
    shares = {
        "utilisation": plan["flops"] / found["seconds"] / peak,
        "model_utilisation": plan["model_flops"] / found["seconds"] / peak,
    }
    return (
        {"variant": name, "gpu": gpu, "measured": found, "planned": plan}
        | shares
        | {"torch": torch.__version__}
    )


def table(lines: list[dict[str, Any]]) -> str:
    """The records as a table: utilisation counts what is computed twice, model utilisation does not."""
    rows = [
        "| variant | GPU | s a step | of peak | of it once | tensors GiB, planned | device GiB, planned |"
    ]
    rows.append("|---|---|---|---|---|---|---|")
    for line in lines:
        if "measured" not in line:
            planned = line["planned"]["device"]
            rows.append(f"| {line['variant']} | {line['gpu']} | out of memory | | | | {planned:.1f} |")
            continue
        found, plan = line["measured"], line["planned"]
        rows.append(
            f"| {line['variant']} | {line['gpu']} | {found['seconds']:.3f} | {line['utilisation']:.0%} "
            f"| {line['model_utilisation']:.0%} | {found['tensors']:.1f}, {plan['tensors']:.1f} "
            f"| {found['device']:.1f}, {plan['device']:.1f} |"
        )
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description="One training step of FLUX.1-dev's shape on this GPU.")
    parser.add_argument("--output", type=Path, default=Path("flux-step.jsonl"), help="a line a variant")
    parser.add_argument("--gpu", help="its name in the plan's table; default: found by its own")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("flux_step.py needs a GPU: PyTorch sees none on this machine.", file=sys.stderr)
        sys.exit(2)
    try:
        peak = rate_of(options.gpu)
    except ValueError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    done = (
        [json.loads(line) for line in options.output.read_text().splitlines()]
        if options.output.exists()
        else []
    )
    for name in VARIANTS:
        if name not in {line["variant"] for line in done}:
            done.append(record(name, peak))
            with options.output.open("a", encoding="utf-8") as file:
                print(json.dumps(done[-1]), file=file)
            torch.compiler.reset()
    print(table(done))


if __name__ == "__main__":
    main()
