"""Latents of rendered scenes, made once and kept on disk (`stream` reads them).

B batch, K references, P points, N samples of a shard, Z latent channels, H × W and h × w target and reference
in pixels.

A shard holds N samples of one K. It is written under a temporary name and renamed, so a shard that exists is
whole; its content depends on the seed, K and its number alone, so shards can be made by several processes, in
any order, and a cache that was interrupted goes on where it stopped.
"""

import functools
import hashlib
import json
import math
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from mosaic.model.latents import scale_latents
from mosaic.training.holding import FOREVER, held
from mosaic.training.journal import duration
from mosaic.training.recipe import DataSection

RENDER_BATCH = 8  # scenes at a time: at 256 pixels a third faster than 32, which leave the caches
TENSORS = ("target", "references", "points_reference", "points_target", "points_valid")
Say = Callable[[str], None]


class Rendered(Protocol):
    """Rendered scenes with two captions each."""

    target: Tensor  # uint8 (B, H, W, 3)
    references: Tensor  # uint8 (B, K, h, w, 3)
    reference: Tensor  # long (B, K, P), token of a point in its own reference
    point: Tensor  # long (B, K, P), its token in the target
    valid: Tensor  # bool (B, K, P)
    captions: Sequence[str]
    detailed_captions: Sequence[str]


class Render(Protocol):
    """An endless stream of rendered batches that depends on its arguments alone: `mosaic.toybox.batches`."""

    def __call__(
        self, seed: int, *, subjects: int, size: int, reference_size: int, batch: int, split: str
    ) -> Iterator[Any]: ...  # of Rendered


def encode_pictures(
    vae: AutoencoderKL, pictures: Tensor, posterior: str, generator: torch.Generator
) -> Tensor:
    """Scaled latents (N, Z, h/8, w/8) of uint8 pictures (N, h, w, 3)."""
    pixels = pictures.permute(0, 3, 1, 2).to(vae.device, vae.dtype) / 127.5 - 1
    distribution = vae.encode(pixels).latent_dist
    latents = distribution.mean if posterior == "mean" else distribution.sample(generator)
    return scale_latents(latents, vae.config)


def shard_path(folder: Path, subjects: int, index: int) -> Path:
    """Where a shard lies."""
    return Path(folder) / f"k{subjects}-{index:05d}.safetensors"


def shard_counts(data: DataSection) -> dict[int, int]:
    """How many shards each K needs."""
    return {k: math.ceil(data.samples_of(k) / data.shard) for k, weight in data.subjects.items() if weight}


def prepare_latents(
    folder: Path,
    data: DataSection,
    vae: Path,
    render: Render | None = None,
    say: Say = print,
    rank: int = 0,
    world: int = 1,
) -> None:
    """Make every missing shard that a recipe's [data] needs, with `data.workers` processes.

    rank, world: make the share of one process of a run of several. Another run that is making shards there is
    waited for.
    """
    folder, vae = Path(folder), Path(vae)
    folder.mkdir(parents=True, exist_ok=True)
    _check_description(folder, description(data, vae))
    if not _missing(folder, data, rank, world):
        return
    with nullcontext() if rank else held(folder, FOREVER):
        if not (missing := _missing(folder, data, rank, world)):
            return  # the other run has made them
        say(f"latents: {len(missing)} shards of {data.shard} samples to make in {folder}")
        began = time.monotonic()
        for done, _ in enumerate(_made(missing, folder, data, vae, render), start=1):
            rate = done * data.shard / (time.monotonic() - began)
            left = duration((len(missing) - done) * data.shard / rate)
            say(f"latents: {done}/{len(missing)} shards  {rate:.1f} samples/s  {left} left")


def _missing(folder: Path, data: DataSection, rank: int, world: int) -> list[tuple[int, int]]:
    """(K, number) of one process's shards that are not there."""
    wanted = [(k, i) for k, count in shard_counts(data).items() for i in range(count)]
    return [(k, i) for k, i in wanted[rank::world] if not shard_path(folder, k, i).exists()]


def description(data: DataSection, vae: Path) -> dict[str, Any]:
    """What the latents of a cache depend on."""
    keep = ["source", "seed", "size", "reference_size", "shard", "posterior", "encoder_dtype"]
    keep += ["reference_posterior"] if data.reference_posterior != data.posterior else []
    return {name: getattr(data, name) for name in keep} | {"encoder": encoder_digest(vae)}


def encoder_digest(vae: Path) -> str:
    """Sixteen characters that tell an autoencoder's encoder; latents do not depend on its decoder."""
    digest, found = hashlib.sha256(), False
    for path in sorted(vae.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in sorted(name for name in file.keys() if name.startswith("encoder.")):  # noqa: SIM118
                digest.update(name.encode())
                digest.update(file.get_tensor(name).to(torch.bfloat16).view(torch.int16).numpy().tobytes())
                found = True
    if not found:
        raise ValueError(f"there is no autoencoder in {vae}: no .safetensors file with an encoder.")
    return digest.hexdigest()[:16]


def write_shard(
    folder: Path, subjects: int, index: int, data: DataSection, vae: AutoencoderKL, render: Render
) -> None:
    """Render, encode and write one shard of `data.shard` samples."""
    shard_seed = int(np.random.default_rng([data.seed, subjects, index]).integers(2**31))
    generator = torch.Generator(vae.device).manual_seed(shard_seed)
    batches = render(
        shard_seed,
        subjects=subjects,
        size=data.size,
        reference_size=data.reference_size,
        batch=min(RENDER_BATCH, data.shard),
        split="train",
    )
    rows: list[dict[str, Any]] = []
    while sum(len(row["captions"]) for row in rows) < data.shard:
        rows.append(_encoded(next(batches), vae, data, generator))
    _save_shard(shard_path(folder, subjects, index), rows, data.shard)


def _encoded(
    batch: Rendered, vae: AutoencoderKL, data: DataSection, generator: torch.Generator
) -> dict[str, Any]:
    with torch.no_grad():
        target = encode_pictures(vae, batch.target, data.posterior, generator)
        references = _encoded_references(batch.references, vae, data.reference_posterior, generator)
    return {
        "target": target.to(torch.bfloat16).cpu(),
        "references": references.to(torch.bfloat16).cpu(),
        "points_reference": batch.reference.to(torch.int32).cpu(),
        "points_target": batch.point.to(torch.int32).cpu(),
        "points_valid": batch.valid.cpu(),
        "captions": list(batch.captions),
        "detailed_captions": list(batch.detailed_captions),
    }


def _encoded_references(
    references: Tensor, vae: AutoencoderKL, posterior: str, generator: torch.Generator
) -> Tensor:
    """(B, K, h, w, 3) → (B, K, Z, h/8, w/8), K = 0 included."""
    batch, subjects, height, width = references.shape[:4]
    if not subjects:
        return torch.zeros(batch, 0, vae.config.latent_channels, height // 8, width // 8)
    latents = encode_pictures(vae, references.flatten(0, 1), posterior, generator)
    return latents.unflatten(0, (batch, subjects))


def _save_shard(path: Path, rows: list[dict[str, Any]], size: int) -> None:
    points = 1 + max(
        row["points_valid"].shape[2] for row in rows
    )  # one more: every row of points ends in padding
    for row in rows:
        for name in ("points_reference", "points_target", "points_valid"):
            row[name] = torch.nn.functional.pad(row[name], (0, points - row[name].shape[2]))
    tensors = {name: torch.cat([row[name] for row in rows])[:size].contiguous() for name in TENSORS}
    captions = {
        name: [caption for row in rows for caption in row[name]][:size]
        for name in ("captions", "detailed_captions")
    }
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    save_file(tensors, temporary, {"captions": json.dumps(captions)})  # one key: several have no fixed order
    temporary.replace(path)


def _made(
    missing: list[tuple[int, int]],
    folder: Path,
    data: DataSection,
    vae: Path,
    render: Render | None,
) -> Iterator[tuple[int, int]]:
    """Write the missing shards; yields each as it is done."""
    jobs = [(folder, subjects, index, data, vae, render) for subjects, index in missing]
    if data.workers == 1:
        yield from (_write(*job) for job in jobs)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(data.workers, len(jobs)), mp_context=context, initializer=_one_thread)
    try:
        yield from (done.result() for done in as_completed([pool.submit(_write, *job) for job in jobs]))
    except BaseException:
        for worker in multiprocessing.active_children():
            worker.terminate()  # what it was writing has a temporary name
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _write(
    folder: Path, subjects: int, index: int, data: DataSection, vae: Path, render: Render | None
) -> tuple[int, int]:
    write_shard(
        folder, subjects, index, data, _autoencoder(vae, data.encoder_dtype), render or _toybox_batches()
    )
    return subjects, index


@functools.cache
def _autoencoder(folder: Path, dtype: str) -> AutoencoderKL:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    vae = AutoencoderKL.from_pretrained(folder, torch_dtype=getattr(torch, dtype))
    return vae.eval().requires_grad_(False).to(device)


def _toybox_batches() -> Render:
    from mosaic import toybox

    return toybox.batches


def _one_thread() -> None:
    torch.set_num_threads(1)


def _check_description(folder: Path, wanted: dict[str, Any]) -> None:
    path = folder / "latents.json"
    if not path.exists():
        temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        temporary.write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8")
        temporary.replace(path)
        return
    found = json.loads(path.read_text(encoding="utf-8"))
    different = [name for name in wanted | found if found.get(name) != wanted.get(name)]
    if different:
        name = different[0]
        raise ValueError(
            f"the latents in {folder} were made with {name} = {found.get(name)}, "
            f"this recipe has {wanted.get(name)}: choose another data.cache."
        )
