"""How fast a run is: operations of a step by the plan's formulas, and the peak of the device it runs on."""

from pathlib import Path

import torch

from mosaic.training.plan import mean_flops, work_of
from mosaic.training.plan.devices import DEVICES
from mosaic.training.recipe import Recipe


def operations(recipe: Recipe, folder: Path) -> float:
    """Floating-point operations of one step of one process, a mean over the recipe's numbers of references.

    folder: the model's, wherever it is from.
    """
    here = recipe.model.model_copy(update={"base": str(folder)})
    recipe = recipe.model_copy(update={"model": here})
    return mean_flops(work_of(recipe, on_cpu=not torch.cuda.is_available())).total


def peak(device: torch.device, dtype: str) -> float | None:
    """FLOP/s of a GPU by its data sheet; None for a CPU, and for a GPU that the plan's table lacks."""
    if device.type != "cuda":
        return None
    return peak_of(torch.cuda.get_device_name(device), dtype)


def peak_of(name: str, dtype: str) -> float | None:
    """By the name its driver gives, e.g. "NVIDIA A100-SXM4-80GB"."""
    words = name.upper().replace("GEFORCE ", "").replace("RTX ", "")
    for known, device in DEVICES.items():
        model, _, memory = known.upper().partition("-")
        if model in words and memory in words:
            return device.rate(dtype)
    return None
