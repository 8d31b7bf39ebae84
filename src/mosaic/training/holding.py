"""A folder for one process at a time: two runs in one would write over each other's checkpoints."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

PATIENCE = 20.0  # seconds: a run that was told to leave may still be saving
FOREVER = -1.0


class Taken(ValueError):
    """Another process is at work in the folder."""


@contextmanager
def held(folder: Path, patience: float | None = None) -> Iterator[None]:
    """The folder, made if missing, for this process alone; within one process as often as it likes.

    The system lets go of it when the process ends, in whatever way. patience: seconds to wait for another
    process; None: PATIENCE. Taken: it is still there after them.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock", is_singleton=True)
    try:
        _wait(lock, folder, PATIENCE if patience is None else patience)
    except Timeout as error:
        raise Taken(
            f"another process is at work in {folder}: wait for it or stop it, or choose another folder."
        ) from error
    try:
        yield
    finally:
        lock.release()


def _wait(lock: FileLock, folder: Path, patience: float) -> None:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if not patience:
            raise
        print(f"another process is at work in {folder}: waiting for it", file=sys.stderr, flush=True)
        lock.acquire(timeout=patience)
