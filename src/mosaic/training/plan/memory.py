"""Memory of one process by part, at the fullest moment of a step.

n trained parameters; bytes throughout. The optimiser keeps for each a full-precision copy (master), two
moments and, where averaging is on, the average; its gradient is gathered in full precision too.
"""

from dataclasses import dataclass
from typing import Literal

from mosaic.training.plan.activations import activations
from mosaic.training.plan.flops import block_products
from mosaic.training.plan.shapes import BYTES, Adapter, Backbone, Micro

GIB = 1 << 30
STORED = {"fp8": 1.0, "int8": 1.0, "nf4": 0.5 + 4 / 64}  # bytes a weight, scales included
# over what tensors take: holes between them. On a CPU as measured (docs/plan.md), on a GPU as is usual
HOLES = {"cpu": 0.04, "cuda": 0.05}
CONTEXT = {"cpu": 0.09 * GIB, "cuda": 0.75 * GIB}  # libraries' own, matmul workspaces included


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoder:
    """A text encoder."""

    parameters: int
    table: int  # of these, the embedding table, which is looked up and not multiplied with
    tokens: int
    layers: int
    width: int
    heads: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """Everything a run loads, in parameters."""

    backbone: Backbone
    adapter: Adapter
    base: int
    lora: int
    text: tuple[Encoder, ...]
    autoencoder: int

    @property
    def text_parameters(self) -> int:
        return sum(encoder.parameters for encoder in self.text)

    def trained(self, trains: str) -> int:
        return self.lora if trains == "lora" else self.base + self.text_parameters


@dataclass(frozen=True, kw_only=True, slots=True)
class Holding:
    """How a run keeps what it loads and trains."""

    accumulation: int = 1
    eight_bit: bool = False  # the optimiser's moments
    average: bool = True
    quantize: Literal["none", "fp8", "int8", "nf4"] = "none"
    text_stays: bool = True  # False: embeddings come from a cache, the encoders leave
    autoencoder: str = ""  # dtype, where it stays beside the model; "": latents are made before
    processes: int = 1
    spread: bool = False  # FSDP: frozen weights are divided among the processes
    second_gradients: bool = False  # a term's own, for its norm


def memory(model: Model, micro: Micro, holding: Holding) -> dict[str, float]:
    """Bytes by part at the fullest moment: of a backward pass, or of the optimiser's step."""
    stays = resting(model, micro, holding)
    busiest = max(
        (backward_moment(model, micro, holding), optimiser_moment(model, micro, holding)),
        key=lambda parts: sum(parts.values()),
    )
    where = "cpu" if micro.on_cpu else "cuda"
    overhead = CONTEXT[where] + HOLES[where] * sum(busiest.values())
    return stays | busiest | {"allocator and libraries": overhead}


def resting(model: Model, micro: Micro, holding: Holding) -> dict[str, float]:
    """What a run holds all the time."""
    share = holding.processes if holding.spread else 1
    frozen = STORED.get(holding.quantize, micro.bytes)
    trained, full = model.trained(micro.trains), max(4, micro.bytes)
    held_text = model.text_parameters * micro.bytes / share if holding.text_stays else 0
    return {
        "base weights": model.base * frozen / share,
        "text encoders": held_text,
        "autoencoder": model.autoencoder * BYTES.get(holding.autoencoder, 0),
        "LoRA": model.lora * micro.bytes,
        "optimiser: masters": trained * full,
        "optimiser: moments": trained * (2 * (1 + 4 / 256) if holding.eight_bit else 2 * full),
        "running average": trained * full * holding.average,
    }


def backward_moment(model: Model, micro: Micro, holding: Holding) -> dict[str, float]:
    """Activations at their fullest, and the gradients that are there by then."""
    trained = model.trained(micro.trains)
    by_block = gradients(model, micro)
    found = activations(model.backbone, model.adapter, micro, by_block)
    carried = trained * max(4, micro.bytes) * (holding.accumulation > 1)
    there = sum(by_block[found.block + 1 :]) + carried + trained * micro.bytes * holding.second_gradients
    return {
        "gradients": there,
        "activations": found.kept + text_activations(model, micro),
        "probe rows": found.rows,
        "working memory": found.working + _gathered(model, holding, micro),
    }


def optimiser_moment(model: Model, micro: Micro, holding: Holding) -> dict[str, float]:
    """All gradients in full precision, and no activation."""
    trained, full = model.trained(micro.trains), max(4, micro.bytes)
    fresh = trained * micro.bytes * (holding.accumulation > 1)
    return {"gradients": trained * full + fresh, "activations": 0, "probe rows": 0, "working memory": 0}


def gradients(model: Model, micro: Micro) -> list[float]:
    """Bytes of the gradients that each block leaves in the model's dtype."""
    of, rank = model.backbone, model.adapter.rank
    found = []
    for block in range(of.blocks):
        products = list(block_products(block, of, micro, -1))
        if micro.trains == "base":
            numbers = sum(p.n_in * p.n_out for p in products)
        else:
            numbers = sum(rank * (p.n_in + p.n_out) for p in products if p.name in model.adapter.modules)
        found.append(float(numbers * micro.bytes))
    return found


def text_activations(model: Model, micro: Micro) -> float:
    """Kept by trained text encoders: about 26 widths a token and layer, and the score matrices."""
    if micro.trains != "base":
        return 0
    per_sample = [e.layers * (26 * e.width * e.tokens + 2 * e.heads * e.tokens**2) for e in model.text]
    return micro.batch * micro.bytes * sum(per_sample)


def _gathered(model: Model, holding: Holding, micro: Micro) -> float:
    """The blocks that FSDP has gathered: one in use and one on its way, whole on every process."""
    return 2 * model.base * micro.bytes / max(1, model.backbone.blocks) * holding.spread
