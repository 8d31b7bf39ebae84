"""What a picture needs beside the weights, so that too much is refused before it fails.

L packed tokens, M model width. An estimate from above of what is alive at once; bytes throughout.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from mosaic.geometry import Grid

if TYPE_CHECKING:
    from mosaic.pipeline.mosaic_pipeline import MosaicPipeline

WIDTHS_ALIVE = (
    24  # tensors of (L, M) a block holds at once: streams, q k v, MLP, modulated and rotated copies
)
CHANNELS_ALIVE = 6  # the autoencoder's widest tensors alive at full size
GIBIBYTE = 1 << 30


def needed(pipeline: MosaicPipeline, target: Grid, references: Sequence[Grid], cached: bool) -> int:
    """Of one picture: the larger of a transformer's pass, cached references included, and the decoder's."""
    config, tokens = pipeline.transformer.config, sum(grid.size for grid in references)
    size = torch.finfo(pipeline.text_encoder_2.dtype).bits // 8
    width = config.num_attention_heads * config.attention_head_dim
    text = min(pipeline.tokenizer_2.model_max_length, 512)
    length = text + target.size + tokens
    blocks = config.num_layers + config.num_single_layers
    kept = 2 * blocks * tokens * width * size if cached else 0
    logits = (
        2 * config.num_attention_heads * length**2 * size if pipeline.transformer.attention == "math" else 0
    )
    height, wide = target.pixels
    decoded = CHANNELS_ALIVE * pipeline.vae.config.block_out_channels[0] * height * wide * size
    return max(kept + logits + WIDTHS_ALIVE * length * width * size, decoded)


def available(device: torch.device) -> int:
    """Free on the device now."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    meminfo = Path("/proc/meminfo")
    if not meminfo.is_file():
        return 1 << 62  # not told on this system: the picture is tried
    lines = (line.split() for line in meminfo.read_text(encoding="utf-8").splitlines())
    return next(int(line[1]) * 1024 for line in lines if line[0] == "MemAvailable:")


def check_memory(
    pipeline: MosaicPipeline, target: Grid, references: Sequence[Grid], cached: bool = False
) -> None:
    """ValueError where a picture of these sizes cannot fit."""
    need, free = needed(pipeline, target, references, cached), available(pipeline._execution_device)
    if need > free:
        height, width = target.pixels
        raise ValueError(
            f"A {width}×{height} picture of {len(references)} references needs about {_gib(need)} beside the "
            f"model and {_gib(free)} are free: take fewer references, a smaller --size, or --offload."
        )


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Running out of memory as one sentence."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise _too_little(what) from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):
            raise
        raise _too_little(what) from error


def _too_little(what: str) -> ValueError:
    return ValueError(
        f"There is too little memory to {what}: take fewer references, a smaller --size or --offload."
    )


def _gib(size: int) -> str:
    return f"{size / GIBIBYTE:.1f} GiB"
