"""The plan against what happens: operators counted, tensors alive, resident memory, files."""

import importlib.util
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from mosaic.geometry import Grid
from mosaic.model.attention import Probe
from mosaic.model.layout import TokenLayout
from mosaic.model.lora import LoraSpec, add_lora, module_names
from mosaic.model.transformer import MosaicTransformer
from mosaic.training.plan import Adapter, Backbone, Micro, flops_of_step, reading
from mosaic.training.plan.activations import activations, block_bytes, outside, row_bytes
from mosaic.training.plan.disk import disk
from mosaic.training.plan.memory import Model, gradients
from mosaic.training.run import train_recipe

from .fake_world import fake_batches

ROOT = Path(__file__).parents[2]
CONFIG: dict[str, Any] = {
    "in_channels": 64,
    "num_layers": 1,
    "num_single_layers": 2,
    "attention_head_dim": 32,
    "num_attention_heads": 3,
    "joint_attention_dim": 24,
    "pooled_projection_dim": 12,
    "guidance_embeds": False,
    "axes_dims_rope": (4, 14, 14),
}
SMALL = Micro(
    text=16, target=144, references=4, reference=36, rows=4, probed=None, dtype="float32", on_cpu=True
)
CASES = {
    "release": SMALL,
    "full, three samples": replace(SMALL, visibility="full", batch=3),
    "isolated, two samples": replace(SMALL, visibility="isolated", batch=2),
    "math": replace(SMALL, attention="math"),
    "math, full, bf16, two samples": replace(
        SMALL, attention="math", visibility="full", dtype="bfloat16", batch=2
    ),
    "math, large references": replace(SMALL, attention="math", reference=144),
    "math, isolated": replace(SMALL, attention="math", visibility="isolated"),
    "K = 1, four samples": replace(SMALL, references=1, batch=4),
    "target to reference": replace(SMALL, columns="references", probed=frozenset({0, 2})),
    "checkpointing": replace(SMALL, checkpointing=True),
    "checkpointing, math, two samples": replace(SMALL, checkpointing=True, attention="math", batch=2),
    "base": replace(SMALL, trains="base", batch=2),
    "base, math": replace(SMALL, trains="base", attention="math"),
    "base, no reference": replace(SMALL, trains="base", references=0, reference=0, batch=2),
    "base, checkpointing": replace(SMALL, trains="base", checkpointing=True, batch=2),
}


# ---------------------------------------------------------------- a real pass of a micro-step


class Pass:
    """The transformer of CONFIG on the inputs a Micro tells."""

    def __init__(self, micro: Micro) -> None:
        torch.manual_seed(0)
        dtype = getattr(torch, micro.dtype)
        self.model = MosaicTransformer(**CONFIG).to(dtype)
        self.adapter = Adapter()
        if micro.trains == "lora":
            add_lora(self.model, LoraSpec(rank=4), dtype)
            names = module_names(self.model, self.model.lora_targets)
            self.adapter = Adapter(rank=4, modules=frozenset(names))
        self.model.use_attention(micro.attention)
        if micro.checkpointing:
            self.model.enable_gradient_checkpointing()
        self.backbone = Backbone.of(self.model.config)
        self.layout = TokenLayout(
            text=micro.text,
            target=square(micro.target),
            references=tuple(square(micro.reference) for _ in range(micro.references)),
            visibility=micro.visibility,  # type: ignore[arg-type]
        )
        shapes = [(micro.target, 64), (micro.text, 24), (12,), ()]
        self.inputs = [torch.rand(micro.batch, *shape, dtype=dtype) for shape in shapes]
        self.references = [
            torch.rand(micro.batch, micro.reference, 64, dtype=dtype) for _ in range(micro.references)
        ]
        self.probe = self._probe(micro) if micro.references else None

    def _probe(self, micro: Micro) -> Probe:
        tokens = torch.zeros(micro.batch, micro.references, micro.rows, dtype=torch.long)
        direction = "ref_to_target" if micro.columns == "target" else "target_to_ref"
        blocks = "all" if micro.probed is None else tuple(sorted(micro.probed))
        return Probe(tokens=tokens, direction=direction, blocks=blocks)  # type: ignore[arg-type]

    def loss(self) -> torch.Tensor:
        output = self.model(*self.inputs, layout=self.layout, references=self.references, probe=self.probe)
        rows = 0 if output.rows is None else output.rows.square().mean()
        return output.velocity.float().square().mean() + rows

    def own(self) -> list[torch.Tensor]:
        return [*self.model.parameters(), *self.model.buffers(), *self.inputs, *self.references]


def square(tokens: int) -> Grid:
    side = round(tokens**0.5)
    return Grid(side, side)


class Alive(TorchDispatchMode):
    """Bytes of the storages that are alive, and the most there were; those of `own` are not counted."""

    def __init__(self, own: list[torch.Tensor]) -> None:
        super().__init__()
        self.now = self.most = 0
        self.sizes = {tensor.untyped_storage()._cdata: 0 for tensor in own}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in (leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)):
            storage = tensor.untyped_storage()
            if storage._cdata not in self.sizes:
                self.sizes[storage._cdata] = storage.nbytes()
                self.now += storage.nbytes()
                weakref.finalize(storage, self._gone, storage._cdata)
        self.most = max(self.most, self.now)
        return result

    def _gone(self, key: int) -> None:
        self.now -= self.sizes.pop(key, 0)


def attention_flop(query: Any, key: Any, *_: Any, **__: Any) -> int:
    return 4 * query[0] * query[1] * query[2] * query[3] * key[2]


def attention_backward_flop(gradient: Any, query: Any, key: Any, *_: Any, **__: Any) -> int:
    return 10 * query[0] * query[1] * query[2] * query[3] * key[2]  # five products, as on a GPU


FUSED = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
FUSED_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def counted(step: Any) -> tuple[Any, int]:
    """What a function returns, and PyTorch's own count of its operations."""
    mapping = {FUSED: attention_flop, FUSED_BACKWARD: attention_backward_flop}
    with FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        result = step()
    return result, counter.get_total_flops()


@pytest.mark.parametrize("case", CASES)
def test_operations_are_those_that_pytorch_counts(case: str) -> None:
    micro = CASES[case]
    one = Pass(micro)
    loss, forward = counted(one.loss)
    _, backward = counted(loss.backward)
    found = flops_of_step(one.backbone, one.adapter, micro)
    assert found.forward == pytest.approx(forward, rel=0.001)
    assert found.backward + found.recompute == pytest.approx(backward, rel=0.01)


def test_a_lora_learns_nothing_without_references() -> None:
    alone = replace(SMALL, references=0, reference=0)
    one = Pass(alone)
    loss, forward = counted(one.loss)
    assert not loss.requires_grad
    found = flops_of_step(one.backbone, one.adapter, alone)
    assert (found.forward, found.backward, found.recompute) == (pytest.approx(forward), 0, 0)


@pytest.mark.parametrize("case", CASES)
def test_activations_are_the_tensors_alive(case: str) -> None:
    """Kept after the forward pass within 6 %, at the fullest moment of the backward pass within 10 %."""
    micro = CASES[case]
    one = Pass(micro)
    one.loss().backward()
    for parameter in one.model.parameters():
        parameter.grad = None
    with Alive(one.own()) as alive:
        loss = one.loss()
        kept = alive.now
        loss.backward()
    of, adapter = one.backbone, one.adapter
    whole = Model(backbone=of, adapter=adapter, base=0, lora=0, text=(), autoencoder=0)
    found = activations(of, adapter, micro, left := gradients(whole, micro))
    if not micro.checkpointing:
        blocks = range(of.blocks)
        bytes_ = sum(block_bytes(i, of, adapter, micro) + row_bytes(i, of, micro) for i in blocks)
        assert bytes_ + outside(of, adapter, micro) == pytest.approx(kept, rel=0.06)
    assert found.total + sum(left[found.block + 1 :]) == pytest.approx(alive.most, rel=0.1)


# ---------------------------------------------------------------- whole runs


def comparisons() -> Any:
    """benchmarks/plan_memory.py as a module."""
    place = importlib.util.spec_from_file_location("plan_memory", ROOT / "benchmarks" / "plan_memory.py")
    assert place and place.loader
    module = importlib.util.module_from_spec(place)
    place.loader.exec_module(module)
    return module


BENCHMARK = comparisons()


def test_a_run_takes_the_memory_that_was_planned() -> None:
    """1 GiB of activations."""
    table = BENCHMARK.recipe(1, 80, attention="math", visibility="full")
    table["optimiser"]["steps"] = 1
    working, _, _, ratio = BENCHMARK.compared(table)
    assert working > 1
    assert 0.8 < ratio < 1.2


@pytest.mark.slow
@pytest.mark.parametrize("name", BENCHMARK.CONFIGS)
def test_runs_take_the_memory_that_was_planned(name: str) -> None:
    working, _, _, ratio = BENCHMARK.compared(BENCHMARK.CONFIGS[name])
    assert working > 0.93  # 1 GB
    assert 0.8 < ratio < 1.2


def test_files_take_the_disk_that_was_planned(tiny_recipe: Any, tmp_path: Path) -> None:
    recipe = tiny_recipe(
        train={"parameters": "lora"}, lora={"rank": 64}, optimiser={"steps": 2}, output={"checkpoint": 1}
    )
    train_recipe(recipe, tmp_path, render=fake_batches)
    model = reading.model_of(recipe)
    writing = replace(reading.writing_of(recipe), points=4, keep=recipe.output.keep - 1)  # none in the making
    planned = disk(model, writing)
    for part, place in {"checkpoints": "checkpoints", "final weights": "lora.safetensors"}.items():
        assert planned[part] == pytest.approx(size_of(tmp_path / place), rel=0.15)
    assert planned["new base"] == pytest.approx(size_of(tmp_path / "start"), rel=0.25)


def size_of(place: Path) -> int:
    """Of the weights in a file or folder."""
    files = [place] if place.is_file() else list(place.rglob("*.safetensors"))
    return sum(file.stat().st_size for file in files)
