"""A recipe's plan: parameters, memory, operations, time on each device, disk, and what to change to fit."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mosaic.keys import kind_of
from mosaic.training.plan.devices import CPU, DEVICES, Device, device_of
from mosaic.training.plan.disk import disk
from mosaic.training.plan.flops import Flops, flops_of_step, text_flops
from mosaic.training.plan.memory import GIB, Holding, Model, memory
from mosaic.training.plan.shapes import Micro

if TYPE_CHECKING:
    from mosaic.training.recipe import Recipe

UTILISATION = 0.4
OWN = ("name", "parameters", "tokens", "memory", "disk", "utilisation", "notes")  # of a plan, as they are
FITS = 0.97  # of a device's memory: the driver and the display want some


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """Everything a plan is computed from."""

    model: Model
    micros: tuple[tuple[float, Micro], ...]  # share of micro-steps, kind
    fullest: Micro
    holding: Holding
    steps: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """A recipe on one device: GiB it needs and has, seconds a step, hours in all."""

    device: str
    needs: float
    has: float
    seconds: float
    hours: float

    @property
    def fits(self) -> bool:
        return self.needs <= FITS * self.has


@dataclass(frozen=True, kw_only=True, slots=True)
class Advice:
    """Keys to set, and the GiB the recipe needs with them."""

    keys: tuple[str, ...]
    needs: float
    fits: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a recipe takes. Bytes by part; operations of one step of one process."""

    name: str
    parameters: dict[str, int]
    tokens: dict[str, int]  # of one sample with the most references
    memory: dict[str, float]
    flops: Flops
    disk: dict[str, float]
    utilisation: float
    forecasts: tuple[Forecast, ...]
    advice: tuple[Advice, ...]
    notes: tuple[str, ...] = ()  # what is left out

    def to_dict(self) -> dict[str, Any]:
        """For JSON: bytes, operations, GiB, seconds, hours."""
        forecasts = [
            {n: getattr(f, n) for n in Forecast.__slots__} | {"fits": f.fits} for f in self.forecasts
        ]
        flops = {n: getattr(self.flops, n) for n in Flops.__slots__} | {"total": self.flops.total}
        advice = [{n: getattr(a, n) for n in Advice.__slots__} for a in self.advice]
        own = {n: getattr(self, n) for n in OWN}
        return own | {"flops_a_step": flops, "devices": forecasts, "advice": advice}


def plan_recipe(
    path: Path, overrides: Sequence[str] = (), gpu: str | None = None, utilisation: float = UTILISATION
) -> Plan:
    """The plan of a recipe file on one device, or on all of the table.

    utilisation: the share of the device's peak rate that a step reaches, what is computed twice included.
    ValueError for an unknown device, a share outside (0, 1], or a recipe that cannot be read.
    """
    from mosaic.training.ablation.cells import is_ablation
    from mosaic.training.plan import reading
    from mosaic.training.recipe import read_recipe

    if not 0 < utilisation <= 1:
        raise ValueError(
            f"--utilisation is a share of the device's peak, above 0 and at most 1, not {utilisation}."
        )
    if is_ablation(Path(path)):
        raise ValueError(f"{path} is a table of many runs: plan the recipe they start from, its `base`.")
    if kind_of(path) == "autoencoder":
        raise ValueError(
            f"{path} trains an autoencoder, which is not planned: its head says how long it takes."
        )
    recipe = read_recipe(path, overrides)
    devices = [device_of(gpu, recipe.model.dtype)] if gpu else list(DEVICES.values())
    work = work_of(recipe, on_cpu=devices[0].name == CPU)
    files = disk(work.model, reading.writing_of(recipe))
    plan = plan_of(Path(path).stem, work, devices, utilisation, files)
    return replace(plan, notes=reading.notes_of(recipe, work.model))


def work_of(recipe: "Recipe", on_cpu: bool = False) -> Work:
    """What a recipe's plan is computed from; `mean_flops` of it are those of a step of one process."""
    from mosaic.training.plan import reading

    model = reading.model_of(recipe)
    micros = reading.micros_of(recipe, model, on_cpu)
    return Work(
        model=model,
        micros=tuple(micros),
        fullest=reading.fullest(micros),
        holding=reading.holding_of(recipe),
        steps=recipe.optimiser.steps,
    )


def plan_of(
    name: str, work: Work, devices: Sequence[Device], utilisation: float, disk_parts: dict[str, float]
) -> Plan:
    """The plan of some work on some devices."""
    parts = memory(work.model, work.fullest, work.holding)
    flops = mean_flops(work)
    forecasts = tuple(forecast(work, device, utilisation) for device in devices)
    asked = len(devices) == 1 and not forecasts[0].fits
    return Plan(
        name=name,
        parameters=parameters(work),
        tokens=tokens(work.fullest),
        memory={part: bytes_ for part, bytes_ in parts.items() if bytes_},
        flops=flops,
        disk={part: bytes_ for part, bytes_ in disk_parts.items() if bytes_},
        utilisation=utilisation,
        forecasts=forecasts,
        advice=advice(work, devices[0]) if asked else (),
    )


def parameters(work: Work) -> dict[str, int]:
    """By part."""
    model = work.model
    return {
        "base": model.base,
        "LoRA": model.lora,
        "text encoders": model.text_parameters,
        "autoencoder": model.autoencoder,
        "trained": model.trained(work.fullest.trains),
    }


def tokens(micro: Micro) -> dict[str, int]:
    """Of one sample."""
    return {
        "text": micro.text,
        "target": micro.target,
        "references": micro.references,
        "each reference": micro.reference,
        "packed": micro.length,
    }


def mean_flops(work: Work) -> Flops:
    """Of one step of one process, over the recipe's mixture of references and dropout."""
    step = sum((flops_of_micro(work, micro) * share for share, micro in work.micros), Flops())
    return step * work.holding.accumulation


def flops_of_micro(work: Work, micro: Micro) -> Flops:
    """Transformer and, where their embeddings are not cached, text encoders."""
    found = flops_of_step(work.model.backbone, work.model.adapter, micro)
    if not work.holding.text_stays:
        return found
    trained = micro.trains == "base"
    for encoder in work.model.text:
        found += text_flops(encoder.parameters - encoder.table, encoder.tokens, micro.batch, trained)
    return found


def forecast(work: Work, device: Device, utilisation: float) -> Forecast:
    """Memory and time on a device."""
    seconds = mean_flops(work).total / (device.rate(work.fullest.dtype) * utilisation)
    return Forecast(
        device=device.name,
        needs=needs(work),
        has=device.memory,
        seconds=seconds,
        hours=seconds * work.steps / 3600,
    )


def needs(work: Work) -> float:
    """GiB of one process."""
    return sum(memory(work.model, work.fullest, work.holding).values()) / GIB


# ---------------------------------------------------------------- what to change


def advice(work: Work, device: Device) -> tuple[Advice, ...]:
    """Keys that save memory, the cheapest first, added one by one until the recipe fits; and FSDP instead."""
    found: list[Advice] = []
    changed, keys = work, tuple[str, ...]()
    for key, other in _savings(work):
        smaller = other(changed)
        if needs(smaller) >= needs(changed):
            continue
        others = (one for one in keys if one.partition("=")[0] != key.partition("=")[0])
        changed, keys = smaller, (*others, key)
        found.append(_advice(changed, keys, device))
        if found[-1].fits:
            break
    return (*found, *_spread(work, device))


def _savings(work: Work) -> list[tuple[str, Any]]:
    """Key, and the work with it."""
    whole = work.holding.accumulation * work.fullest.batch
    savings: list[tuple[str, Any]] = [
        ("model.checkpointing=true", lambda w: _with_micro(w, checkpointing=True))
    ]
    if work.fullest.batch > 1:
        key = f"optimiser.batch=1 optimiser.accumulation={whole}"
        savings.append((key, lambda w: _with(_with_micro(w, batch=1), accumulation=whole)))
    if work.fullest.trains == "lora":
        if not work.holding.autoencoder:  # every caption is known before the first step
            savings.append(("model.text_cache=FOLDER", lambda w: _with(w, text_stays=False)))
        savings.append(("model.quantize=fp8", lambda w: _with(w, quantize="fp8", spread=False)))
    savings.append(("optimiser.kind=adamw8bit", lambda w: _with(w, eight_bit=True)))
    if work.fullest.trains == "lora":
        savings.append(("model.quantize=nf4", lambda w: _with(w, quantize="nf4", spread=False)))
    savings.append(("optimiser.ema=0", lambda w: _with(w, average=False)))
    return savings


def _spread(work: Work, device: Device) -> list[Advice]:
    """The fewest processes with which a frozen base is spread thin enough, if any."""
    if work.fullest.trains != "lora":
        return []
    for processes in (2, 4, 8, 16):
        changed = _with_micro(
            _with(work, processes=processes, spread=True, quantize="none"), checkpointing=True
        )
        if needs(changed) <= FITS * device.memory:
            keys = ("train.parallel=fsdp", f"train.processes={processes}", "model.checkpointing=true")
            return [_advice(changed, keys, device)]
    return []


def _advice(work: Work, keys: tuple[str, ...], device: Device) -> Advice:
    return Advice(keys=keys, needs=needs(work), fits=needs(work) <= FITS * device.memory)


def _with(work: Work, **changes: Any) -> Work:
    return replace(work, holding=replace(work.holding, **changes))


def _with_micro(work: Work, **changes: Any) -> Work:
    micros = tuple((share, replace(micro, **changes)) for share, micro in work.micros)
    return replace(work, micros=micros, fullest=replace(work.fullest, **changes))
