"""Peak memory that `mosaic plan` predicts, beside what runs take on this CPU (docs/plan.md).

OMP_NUM_THREADS=1 python benchmarks/plan_memory.py [NAME …]

Each configuration is trained for three steps in a process of its own, by the same function as `mosaic train`,
on pictures of noise. Memory is the process's largest resident set (getrusage) less what it held after its
imports; once with freed blocks given back at once (the prediction's case), once with malloc as it is.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

GIB = 1 << 30
MAPPED = {"MALLOC_MMAP_THRESHOLD_": "1048576"}  # freed blocks of 1 MiB and more go back at once
CREATE = {"heads": 2, "head_width": 16, "rope_axes": [4, 6, 6], "double_blocks": 2, "single_blocks": 5}
CREATE |= {"t5_width": 64, "t5_layers": 1, "clip_width": 64, "clip_layers": 1, "text_length": 32}
CREATE |= {"words": ["a", "bear", "and", "duck"]}


def recipe(
    subjects: int,
    batch: int,
    *,
    dtype: str = "float32",
    attention: str = "sdpa",
    visibility: str = "release",
    checkpointing: bool = False,
    parameters: str = "lora",
    size: int = 256,
    reference_size: int = 128,
    **create: Any,
) -> dict[str, Any]:
    """A recipe's tables: K references, a batch, and what is to be compared."""
    return {
        "model": {
            "dtype": dtype,
            "attention": attention,
            "checkpointing": checkpointing,
            "device": "cpu",
            "create": CREATE | create,
        },
        "train": {"parameters": parameters},
        "lora": {"rank": 16},
        "references": {"visibility": visibility},
        "data": {
            "subjects": {str(subjects): 1.0},
            "samples": 8,
            "shard": 8,
            "size": size,
            "reference_size": reference_size,
            "dropout": {"references": 0.0, "text": 0.0, "both": 0.0},
        },
        "optimiser": {"steps": 3, "batch": batch},
        "output": {"log": 1, "checkpoint": 100},
    }


CONFIGS = {
    "K4-release": recipe(4, 80),
    "K1-release": recipe(1, 160),
    "K4-full": recipe(4, 96, visibility="full"),
    "K4-isolated": recipe(4, 96, visibility="isolated"),
    "K4-release-math": recipe(4, 40, attention="math"),
    "K1-full-math": recipe(1, 80, attention="math", visibility="full"),
    "K4-release-bf16": recipe(4, 144, dtype="bfloat16"),
    "K4-full-math-bf16": recipe(4, 72, dtype="bfloat16", attention="math", visibility="full"),
    "K4-release-checkpointed": recipe(4, 320, checkpointing=True),
    "K4-full-math-bf16-checkpointed": recipe(
        4, 240, dtype="bfloat16", attention="math", visibility="full", checkpointing=True
    ),
    "K1-one-sample": recipe(1, 1, size=1024, reference_size=512, heads=4, single_blocks=34),
    "K4-base": recipe(4, 80, parameters="base"),
}


def pictures(
    seed: int, *, subjects: int, size: int, reference_size: int, batch: int, split: str
) -> Iterator[Any]:
    """Noise with 32 points a reference, in place of the toybox."""
    while True:
        generator = torch.Generator().manual_seed(seed)
        shape = (batch, subjects, 32)
        yield SimpleNamespace(
            target=_noise((batch, size, size, 3), generator),
            references=_noise((batch, subjects, reference_size, reference_size, 3), generator),
            reference=torch.randint((reference_size // 16) ** 2, shape, generator=generator),
            point=torch.randint((size // 16) ** 2, shape, generator=generator),
            valid=torch.ones(shape, dtype=torch.bool),
            captions=["a bear and a duck"] * batch,
            detailed_captions=["a bear and a duck"] * batch,
        )
        seed += 1


def _noise(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    return torch.randint(256, shape, generator=generator, dtype=torch.uint8)


def resident() -> int:
    """Bytes of this process in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak() -> int:
    """Most bytes of this process in memory so far; ru_maxrss would count those of what started it, too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def child(table: dict[str, Any]) -> None:
    """Train in this process and print the bytes it took beyond its imports, and its seconds."""
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler
    from torch.utils.tensorboard import SummaryWriter
    from transformers import AutoTokenizer, CLIPTextModel, T5EncoderModel

    from mosaic.training.recipe import recipe_of
    from mosaic.training.run import train_recipe

    late = (AutoencoderKL, FlowMatchEulerDiscreteScheduler, AutoTokenizer, CLIPTextModel, T5EncoderModel)
    assert all((*late, SummaryWriter))  # imported where they are first asked for
    before, began = resident(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        train_recipe(recipe_of(table), Path(folder), render=pictures)
    print(json.dumps({"bytes": peak() - before, "seconds": time.monotonic() - began}))


def measured(table: dict[str, Any], **environment: str) -> dict[str, float]:
    """`child` in a process of its own."""
    line = [sys.executable, __file__, "--child", json.dumps(table)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=os.environ | environment)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def predicted(table: dict[str, Any]) -> dict[str, float]:
    """Bytes by part, as `mosaic plan --gpu cpu` tells them."""
    from mosaic.training.plan import reading
    from mosaic.training.plan.memory import memory
    from mosaic.training.recipe import recipe_of

    made = recipe_of(table)
    model = reading.model_of(made)
    micros = reading.micros_of(made, model, on_cpu=True)
    return memory(model, reading.fullest(micros), reading.holding_of(made))


def main() -> None:
    parser = argparse.ArgumentParser(description="Predicted against measured peak memory on this CPU.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CONFIGS)}; default: all")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return child(json.loads(options.child))
    print("| configuration | activations GiB | predicted GiB | measured GiB | ratio | malloc as it is GiB |")
    print("|---|---|---|---|---|---|")
    for name in options.names or CONFIGS:
        row = compared(CONFIGS[name])
        told = [f"{value:.2f}" for value in (*row, measured(CONFIGS[name])["bytes"] / GIB)]
        print(f"| {name} | {' | '.join(told)} |", flush=True)


def compared(table: dict[str, Any]) -> tuple[float, float, float, float]:
    """GiB of activations, predicted and measured, and the ratio of the last two."""
    parts, found = predicted(table), measured(table, **MAPPED)
    activations = sum(parts[part] for part in ("activations", "probe rows", "working memory"))
    total = sum(parts.values())
    return activations / GIB, total / GIB, found["bytes"] / GIB, total / found["bytes"]


if __name__ == "__main__":
    main()
