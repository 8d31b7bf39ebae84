"""How fast one core makes toybox samples (target, K references, points), and how that grows with size and K.

    OMP_NUM_THREADS=1 python benchmarks/toybox_speed.py

Prints a Markdown table. Times are the process's own (CPU) seconds, so that another program on the
machine does not count.
"""

import platform
import time

import torch

from mosaic.toybox.batches import batches

BATCH, ROUNDS = 8, 4


def milliseconds(subjects: int, size: int) -> float:
    """CPU milliseconds a sample, references at half the target's size."""
    stream = batches(0, subjects=subjects, size=size, reference_size=size // 2, batch=BATCH)
    next(stream)  # models and allocator warm
    start = time.process_time()
    for _ in range(ROUNDS):
        next(stream)
    return (time.process_time() - start) / ROUNDS / BATCH * 1000


def main() -> None:
    """Measures and prints."""
    torch.set_num_threads(1)
    base = milliseconds(3, 128)
    print(f"{platform.processor() or platform.machine()}, one thread, torch {torch.__version__}")
    print(f"128 px, K = 3: {1000 / base:.1f} samples/s\n")
    print("| K | size | ms a sample | against K = 3, 128 px |\n|---|---|---|---|")
    for subjects, size in [
        (1, 128),
        (2, 128),
        (3, 128),
        (4, 128),
        (6, 128),
        (8, 128),
        (3, 64),
        (3, 256),
        (3, 512),
    ]:
        spent = milliseconds(subjects, size)
        print(f"| {subjects} | {size} | {spent:.1f} | {spent / base:.2f} |")


if __name__ == "__main__":
    main()
