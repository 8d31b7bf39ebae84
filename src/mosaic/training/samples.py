"""Samples to latents while training: read, prepared and encoded as they are needed.

B batch, K references, P points, H × W target pixels, h × w latents. Threads read and prepare ahead; order and
state are those of the batches handed out, whatever the number of threads or processes.
"""

import hashlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import Tensor

from mosaic.data.folder import Folder
from mosaic.data.index import Collection, Row, shards_of
from mosaic.data.order import EndlessOrder, Order, Place
from mosaic.data.preparation import Preparation, nearest, target_sizes
from mosaic.data.problems import Problems
from mosaic.sample import Picture, Sample
from mosaic.training.latents import encode_pictures, encoder_digest
from mosaic.training.models import TrainingModel
from mosaic.training.recipe import DataSection, Recipe
from mosaic.training.stream import Latents, Source, check_source

SAMPLES = 4  # what a sample's own generator is for, beside those of `mosaic.data.order`
AHEAD = 2  # samples prepared ahead, a thread


def open_source(
    recipe: Recipe, model: TrainingModel, folder: Path, output: Path, rank: int = 0, world: int = 1
) -> Source:
    """The endless latents of `recipe.data` for one of `world` processes, encoded by `folder`/vae.

    Indexes and kept latents go into data.cache, corrupt samples are listed in `output`/corrupt*.jsonl.
    ValueError for shards or a folder that are not there.
    """
    data, cache = recipe.data, Path(recipe.data.cache or output / "latents")
    log = output / ("corrupt.jsonl" if rank == 0 else f"corrupt-{rank}.jsonl")
    problems = Problems(data.corrupt, log, speaks=rank == 0)
    order, read = _world(recipe, cache, problems, recipe.optimiser.batch * world)
    encode = Encoder(folder / "vae", data, model.device, cache / "pictures" if data.keep_latents else None)
    return SampleSource(order, Reader(recipe, read), encode, recipe.optimiser.batch, rank, data.workers)


class AnyOrder(Protocol):
    """Endless batches of places with a state: `Order`, `EndlessOrder`."""

    seed: int

    def __next__(self) -> list[Place]: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class SampleSource:
    """Batches of one process: places in their order → samples in threads → latents."""

    def __init__(
        self, order: AnyOrder, ready: "Reader", encode: "Encoder", batch: int, rank: int, threads: int
    ) -> None:
        self.order, self.ready, self.encode = order, ready, encode
        self.own = slice(rank * batch, (rank + 1) * batch)
        self.ahead = 1 + AHEAD * threads // batch
        self.pool = ThreadPoolExecutor(threads, "samples")
        self.queue: deque[tuple[list[Future[Ready]], dict[str, Any]]] = deque()
        self.state = order.state_dict()  # after the last batch handed out, while `order` is ahead

    def __iter__(self) -> Iterator[Latents]:
        return self

    def __next__(self) -> Latents:
        while len(self.queue) <= self.ahead:
            places = next(self.order)[self.own]
            jobs = [self.pool.submit(self.ready, place, self.order.seed) for place in places]
            self.queue.append((jobs, self.order.state_dict()))
        jobs, state = self.queue.popleft()
        batch = collate([job.result() for job in jobs], self.encode)
        self.state = state
        return batch

    def state_dict(self) -> dict[str, Any]:
        """The position in the batches of all processes, as JSON."""
        return {"source": self.ready.data.source} | self.state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a position, what was prepared ahead is dropped; ValueError for one in other samples."""
        check_source(state, self.ready.data.source)
        self.stop()
        self.order.load_state_dict(state)
        self.state = self.order.state_dict()

    def stop(self) -> None:
        """Let go of what was prepared ahead."""
        while self.queue:
            for job in self.queue.pop()[0]:
                job.cancel()


@dataclass(frozen=True, kw_only=True, slots=True)
class Ready:
    """A prepared sample with its supervised points chosen."""

    target: Picture  # (H, W, 3)
    references: list[Picture]
    points: dict[str, np.ndarray]  # points_reference, points_target, points_valid (K, P)
    subjects: np.ndarray  # long (K,)
    caption: str
    seed: int  # of its latents, where they are drawn


class Reader:
    """Place → prepared sample, with randomness of the place's own."""

    def __init__(self, recipe: Recipe, read: Callable[[Place], Sample]) -> None:
        self.data, self.read = recipe.data, read
        self.prepare = Preparation(
            sizes=target_sizes(self.data.size, self.data.aspects),
            crop=self.data.crop,
            keep=self.data.keep,
            flip=self.data.flip,
            canvas=recipe.references.canvas,
            reference_size=self.data.reference_size,
        )

    def __call__(self, place: Place, seed: int) -> Ready:
        """ValueError once more samples are damaged than the recipe allows."""
        generator = np.random.default_rng([seed, SAMPLES, *place])
        sample = self.prepare(self.read(place), generator)
        detailed = generator.random() < self.data.detailed
        return Ready(
            target=sample.target,
            references=[reference.image for reference in sample.references],
            points=chosen_points(sample, self.data.points, generator),
            subjects=sample.subject_indices,
            caption=sample.detailed_caption if detailed else sample.caption,
            seed=int(generator.integers(2**62)),
        )


def chosen_points(sample: Sample, count: int, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """(K, `count`) tokens of points in random order, `points_valid` False where a reference has fewer."""
    found = sample.points_on()
    references, stored = found.valid.shape
    order = (generator.random((references, stored)) + ~found.valid).argsort(1)[:, :count]
    spare = ((0, 0), (0, count - order.shape[1]))
    return {
        f"points_{name}": np.pad(np.take_along_axis(getattr(found, name), order, 1), spare)
        for name in ("reference", "target", "valid")
    }


def collate(samples: list[Ready], encode: "Encoder") -> Latents:
    """Samples of one K and one size as a batch."""
    points = {
        name: torch.from_numpy(np.stack([s.points[name] for s in samples])) for name in samples[0].points
    }
    return Latents(
        target=torch.stack([encode(s.target, s.seed) for s in samples]),
        references=torch.stack([encode.references(s.references, s.seed) for s in samples]),
        captions=[s.caption for s in samples],
        subjects=torch.from_numpy(np.stack([s.subjects for s in samples])),
        **points,
    )


class Encoder:
    """Pictures → scaled latents in bfloat16. One picture at a time: its latents do not depend on the batch.

    cache: a folder in which means are kept under the picture's content.
    """

    def __init__(self, vae: Path, data: DataSection, device: torch.device, cache: Path | None = None) -> None:
        dtype = getattr(torch, data.encoder_dtype)
        self.vae = (
            AutoencoderKL.from_pretrained(vae, torch_dtype=dtype).eval().requires_grad_(False).to(device)
        )
        self.data, self.cache = data, cache
        self.identity = f"{encoder_digest(vae)} {data.encoder_dtype}" if cache else ""

    def __call__(self, picture: Picture, seed: int) -> Tensor:
        """The target's latents (16, h, w) of uint8 pixels (H, W, 3); `seed` draws from the posterior."""
        return self._latents(picture, self.data.posterior, seed)

    def references(self, pictures: list[Picture], seed: int) -> Tensor:
        """The references' latents (K, 16, h, w), K = 0 included."""
        if not pictures:
            side = self.data.reference_size // 8
            return torch.zeros(0, self.vae.config.latent_channels, side, side, dtype=torch.bfloat16)
        posterior = self.data.reference_posterior
        return torch.stack([self._latents(p, posterior, seed + 1 + k) for k, p in enumerate(pictures)])

    def _latents(self, picture: Picture, posterior: str, seed: int) -> Tensor:
        if self.cache is None or posterior == "sample":
            return self._encoded(picture, posterior, seed)
        content = hashlib.sha256(f"{self.identity} {picture.shape}".encode() + picture.tobytes()).hexdigest()
        path = self.cache / content[:2] / f"{content[2:32]}.safetensors"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
            save_file({"latents": self._encoded(picture, posterior, seed)}, temporary)
            temporary.replace(path)
        return load_file(path)["latents"]

    @torch.no_grad()
    def _encoded(self, picture: Picture, posterior: str, seed: int) -> Tensor:
        generator = torch.Generator(self.vae.device).manual_seed(seed)
        pictures = torch.from_numpy(np.array(picture))[None]
        latents = encode_pictures(self.vae, pictures, posterior, generator)[0]
        return latents.to("cpu", torch.bfloat16).contiguous()


def _world(
    recipe: Recipe, cache: Path, problems: Problems, batch: int
) -> tuple[AnyOrder, Callable[[Place], Sample]]:
    """Where samples come from: their order, and how one is read."""
    data = recipe.data
    if data.source == "endless-toybox":
        return EndlessOrder(data.subjects, seed=recipe.seed, batch=batch), _toys(data)
    collections = collections_of(data, cache / "index")
    sizes = target_sizes(data.size, data.aspects)

    def bucket(shard: str, row: Row) -> str:
        if row.references > data.references:
            raise ValueError(
                f"The sample {row.key} of {shard} has {row.references} references, more than "
                f"data.references = {data.references}: raise it, or take the sample out."
            )
        height, width = nearest(row.size, sizes)
        return f"{row.references} {width}x{height}"

    order = Order(
        collections, seed=recipe.seed, batch=batch, window=data.window, bucket=bucket, problems=problems
    )
    return order, lambda place: read_whole(order, problems, place)


def check_paths(data: DataSection) -> None:
    """ValueError where data.path or data.validation names nothing. A list is read, shards are not."""
    for key in ("path", "validation") if data.validation else ("path",):
        try:
            found = collections_of(data.model_copy(update={"path": getattr(data, key)}))
            if data.source == "folder":
                found[0].index()
        except ValueError as error:
            raise ValueError(str(error).replace("data.path", f"data.{key}", 1)) from error


def collections_of(data: DataSection, cache: Path | None = None) -> list[Collection]:
    """The shards of data.path, or its folder, not yet read. ValueError where there are none."""
    if data.source == "folder":
        return [Folder(path=Path(data.path))]
    return [*shards_of(data.path, cache)]


def read_whole(order: Order, problems: Problems, place: Place) -> Sample:
    """The sample of a place; if its pictures prove damaged, the next whole one of its bucket.

    So each process finds the same, without asking the others, and batches stay whole.
    """
    for candidate in chain([place], order.stand_ins(place)):
        shard = order.collections[candidate.shard]
        try:
            return shard.read(candidate.row)
        except ValueError as error:
            problems.tell(shard.name, order.row(candidate).key, str(error), found_by_all=False)
    raise ValueError(
        f"Every sample like {order.row(place).key} of {order.collections[place.shard].name} is damaged."
    )


def _toys(data: DataSection) -> Callable[[Place], Sample]:
    from mosaic.toybox.batches import sample

    def read(place: Place) -> Sample:
        return sample(
            data.seed,
            subjects=place.shard,
            index=place.row,
            size=data.size,
            reference_size=data.reference_size,
        )

    return read
