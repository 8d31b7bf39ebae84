"""What a run tells: TensorBoard, one JSON line a log, a line or a bar with rate and time left."""

import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

LOG = "log.jsonl"
HELD = ("flow", "sca", "md", "exact", "near")  # of a validation, on the line; each block's are in the log
Mirror = Callable[[Mapping[str, float], int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """What speed is reckoned from."""

    samples: int  # of a step, on all processes
    operations: float = 0  # floating-point, of a step of one process; 0: not known
    peak: float | None = None  # FLOP/s of the device of one process

    def told(self, steps: int, seconds: float) -> dict[str, float]:
        """The speed of so many steps in so much time."""
        rate = steps / max(seconds, 1e-9)
        found = {"speed/samples_a_second": rate * self.samples}
        if self.operations:
            found["speed/teraflops"] = rate * self.operations / 1e12
            if self.peak:
                found["speed/utilisation"] = rate * self.operations / self.peak
        return found


class Journal:
    """Records of a run under `folder`. A resumed run first drops the records of steps it will do again.

    mirror: called with what is recorded and the step, e.g. `wandb_mirror`.
    """

    def __init__(self, folder: Path, first: int, last: int, pace: Pace, mirror: Mirror | None = None) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.folder, self.last, self.pace, self.mirror = folder, last, pace, mirror
        _keep_before(folder / LOG, first)
        self.log = (folder / LOG).open("a", encoding="utf-8")
        self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=first)
        self.clock, self.logged, self.rate = time.monotonic(), first, 0.0
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rest]}"),
        )
        self.bar = Progress(*columns, disable=not sys.stderr.isatty())
        self.task = self.bar.add_task("training", total=last, completed=first, rest="")

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()
        self.board.close()
        self.log.close()

    def record(self, step: int, values: dict[str, float]) -> None:
        """Values of the step that ends with `step` done, and the rate since the last record."""
        speed = self._speed(step)
        for name, value in (values | speed).items():
            self.board.add_scalar(name, value, step)
        if self.mirror is not None:
            self.mirror(values | speed, step)
        rate = speed.get("speed/samples_a_second", self.rate)
        print(
            json.dumps({"step": step} | values | {"samples_a_second": round(rate, 2)}),
            file=self.log,
            flush=True,
        )
        left = duration((self.last - step) * self.pace.samples / max(rate, 1e-9))
        line = f"{told(values)}  {rate:.1f} samples/s  {left} left"
        if self.bar.disable:
            print(f"step {step}/{self.last}  {line}", file=sys.stderr, flush=True)
        self.bar.update(self.task, completed=step, rest=line)

    def _speed(self, step: int) -> dict[str, float]:
        """Since the last record; nothing for a second record of the same step."""
        steps, now = step - self.logged, time.monotonic()
        if not steps:
            return {}
        speed = self.pace.told(steps, now - self.clock)
        self.clock, self.logged, self.rate = now, step, speed["speed/samples_a_second"]
        return speed

    @contextmanager
    def aside(self) -> Iterator[None]:
        """What the block does is no training: its time is not counted in the rate."""
        began = time.monotonic()
        yield
        self.clock += time.monotonic() - began

    def picture(self, step: int, name: str, pixels: np.ndarray) -> None:
        """A picture uint8 (H, W, 3) for TensorBoard."""
        self.board.add_image(name, pixels, step, dataformats="HWC")


def wandb_mirror(project: str, folder: Path, recipe: Mapping[str, Any]) -> Mirror:
    """Sends records to a project at Weights & Biases; a resumed run goes on with its own run there."""
    import wandb

    run_id = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    options = {"id": run_id, "name": folder.name, "resume": "allow", "dir": str(folder)}
    run = wandb.init(project=project, config=dict(recipe), **options)
    return lambda values, step: run.log(dict(values), step=step)


class Silence:
    """The journal of a process that is not the first: it keeps none."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def record(self, step: int, values: dict[str, float]) -> None: ...

    def aside(self) -> AbstractContextManager[None]:
        return nullcontext()

    def picture(self, step: int, name: str, pixels: np.ndarray) -> None: ...


def told(values: dict[str, float]) -> str:
    """What fits on a line: losses, hits of the probe beside chance, gradient norms; or a validation."""
    if any(name.startswith("validation/") for name in values):
        held = {name.removeprefix("validation/"): value for name, value in values.items()}
        return "  ".join(["validation", *(f"{name} {held[name]:.4g}" for name in HELD if name in held)])
    parts = [f"{name} {value:.4g}" for name, value in _under("loss/", values)]
    for hit, chance in (("exact", "chance"), ("near", "chance_near")):
        if f"probe/{hit}" in values:
            parts.append(f"{hit} {values[f'probe/{hit}']:.3f} (chance {values[f'probe/{chance}']:.3f})")
    norms = [f"{name} {value:.3g}" for name, value in _under("gradient/", values)]
    return "  ".join([*parts, " ".join(["gradient", *norms])])


def _under(prefix: str, values: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    return ((name.removeprefix(prefix), v) for name, v in values.items() if name.startswith(prefix))


def duration(seconds: float) -> str:
    """1:02:03."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"


def _keep_before(path: Path, step: int) -> None:
    """Keep the records of steps up to `step`; a line cut short by a kill goes too."""
    if not path.exists():
        return
    kept = [line for line in path.read_text(encoding="utf-8").splitlines() if _step(line) <= step]
    temporary = path.with_suffix(".tmp")
    temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
    temporary.replace(path)


def _step(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except json.JSONDecodeError:
        return float("inf")
