"""The processes of one run: who takes part, what they average, how a frozen base is spread over them.

Every process holds what is trained whole and draws its own samples of a batch; once a step, after the last
micro-step, the gradients are averaged in the optimiser's precision. Nothing here knows the model.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import _get_default_store

from mosaic import launched
from mosaic.training.recipe import Recipe

PATIENCE = timedelta(minutes=10)  # how long a process waits for the others, to join and in a step
LOOK = 0.2  # seconds between two looks at who has come
ARRIVALS = "mosaic/arrivals"  # key of the launcher's store: how often a process has waited for the others
BUCKET = 1 << 26  # numbers averaged at a time
HOW = "start it with torchrun --nproc-per-node N -m mosaic.training.run RECIPE --output DIR"


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """This process among those of the run. Its methods wait for all processes, which must all call them."""

    rank: int = 0
    size: int = 1
    device: torch.device | None = None  # of this process; None: the recipe's choice

    def mean_(self, tensors: Sequence[Tensor]) -> None:
        """Each tensor becomes its mean over the processes."""
        if self.size == 1:
            return
        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.flatten() for tensor in bucket])
            dist.all_reduce(flat)
            flat /= self.size
            for tensor, part in zip(bucket, flat.split([t.numel() for t in bucket]), strict=True):
                tensor.copy_(part.view_as(tensor))

    def total(self, numbers: Sequence[float]) -> list[float]:
        """Each number's sum over the processes."""
        if self.size == 1:
            return list(numbers)
        sums = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        dist.all_reduce(sums)
        return sums.tolist()

    def highest(self, number: int) -> int:
        """The largest of the processes' numbers."""
        if self.size == 1:
            return number
        found = torch.tensor([number], device=self.device)
        dist.all_reduce(found, dist.ReduceOp.MAX)
        return int(found)

    def gathered(self, tensor: Tensor) -> list[Tensor]:
        """The tensor of every process, of one shape, on the CPU."""
        if self.size == 1:
            return [tensor]
        mine = tensor.to(self.device)
        found = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(found, mine)
        return [one.cpu() for one in found]

    def wait(self) -> None:
        """Until every process is here, however long another fetches or makes files.

        Signals are heard meanwhile. Where one process has failed its launcher ends those that wait.
        """
        if self.size == 1:
            return
        store = _get_default_store()
        arrived = store.add(ARRIVALS, 1)
        wanted = -(-arrived // self.size) * self.size  # nobody comes a second time before all have come once
        while store.add(ARRIVALS, 0) < wanted:
            time.sleep(LOOK)

    @contextmanager
    def first_before_others(self) -> Iterator[None]:
        """The block is run by the first process, then by the others, which find what it left.

        All leave it together: what the first one left may lie on another machine.
        """
        if self.rank:
            self.wait()
        try:
            yield
        finally:
            if not self.rank:
                self.wait()
        self.wait()

    def first_alone(self, action: Callable[[], None]) -> None:
        """The first process acts, as long as it takes. Where it fails all of them do, and none waits on."""
        error: Exception | None = None
        if not self.rank:
            try:
                action()
            except Exception as caught:
                error = caught
        self.wait()
        failed = self.highest(int(error is not None))
        if error is not None:
            raise error
        if failed:
            raise ValueError("The first process could not write its files: its message says why.")


def device_of(name: str) -> torch.device:
    """model.device; "auto": a GPU if there is one. ValueError for a device this machine lacks."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        known = (device.index or 0) < torch.get_device_module(device).device_count()
    except (RuntimeError, AttributeError):  # a word that names none, or nothing that computes
        known = False
    if not known:
        raise ValueError(
            f'model.device = "{name}" is no device of this machine: set it to auto, cpu, or cuda where '
            "there is a GPU."
        )
    return device


def join(recipe: Recipe) -> World:
    """The world this process was launched into. ValueError where it is smaller than was asked for."""
    device, several = recipe.model.device, launched.asked()
    if several > 1 and device not in ("auto", "cpu", "cuda"):
        raise ValueError(f'model.device = "{device}" is one device for {several} processes: use auto.')
    device_of(device)
    state = launched.join(HOW, PATIENCE, cpu=True if device == "cpu" else None)
    world = World()
    if state is not None:
        world = World(rank=state.process_index, size=state.num_processes, device=state.device)
    if recipe.train.processes not in (0, world.size):
        raise ValueError(
            f"train.processes is {recipe.train.processes} and {world.size} started: {HOW}, or set "
            f"train.processes={world.size}."
        )
    return world


def leave(world: World) -> None:
    """Close what `join` opened."""
    if world.size > 1:
        dist.destroy_process_group()


def spread(roots: Iterable[nn.Module], kept: Iterable[nn.Parameter], world: World) -> None:
    """FSDP2: each process keeps its part of the frozen weights of each block, and gathers a block to use it.

    roots: modules whose `_no_split_modules` name their blocks. The parameters `kept` stay whole everywhere.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    assert world.device is not None
    kept = set(kept)
    mesh = init_device_mesh(world.device.type, (world.size,))
    for root in roots:
        names = set(getattr(root, "_no_split_modules", None) or ())
        for block in [module for module in root.modules() if type(module).__name__ in names]:
            fully_shard(block, mesh=mesh, ignored_params=kept)
        fully_shard(root, mesh=mesh, ignored_params=kept)
    for parameter in kept:
        parameter.data = parameter.data.to(world.device)


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """The tensors in order, in lists of one dtype and about BUCKET numbers."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        full = sum(t.numel() for t in bucket) + tensor.numel() > BUCKET
        if bucket and (full or bucket[0].dtype != tensor.dtype):
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket
