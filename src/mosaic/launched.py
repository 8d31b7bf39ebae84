"""The processes that torchrun or accelerate launch started, on one machine or several."""

import atexit
import os
import time
from datetime import timedelta
from typing import Any

LINGER = 1.0  # seconds before a process of several ends


def asked() -> int:
    """How many processes the launcher was asked for; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def join(command: str, patience: timedelta, cpu: bool | None = None) -> Any | None:
    """accelerate's PartialState of this process among its fellows; None where it was started alone.

    command: how to start several, for the messages. patience: how long one waits for the others, now and
    later. cpu: compute there; None: where there is no GPU. ValueError where fewer started than asked for.
    """
    if "MASTER_ADDR" in os.environ and "WORLD_SIZE" not in os.environ:
        raise ValueError(
            "The launcher was asked for several processes (it set MASTER_ADDR) and started one (there is no "
            f"WORLD_SIZE), as accelerate launch --cpu does: {command}."
        )
    if asked() == 1:
        return None
    import torch
    import torch.distributed as dist
    from accelerate import PartialState

    on_cpu = not torch.cuda.is_available() if cpu is None else cpu
    try:
        state = PartialState(cpu=on_cpu, timeout=patience)
    except dist.DistError as error:
        raise ValueError(
            f"Of the {asked()} processes the launcher asked for some did not start within "
            f"{patience.total_seconds():.0f} s: {command}, the same on every machine."
        ) from error
    if state.num_processes != asked():
        raise ValueError(f"The launcher asked for {asked()} processes, and this one is alone: {command}.")
    # FSDP's caches keep gloo's threads. One that drops its last tensor while the interpreter ends aborts the
    # process, and torchrun then fails the run (pytorch#190489): let them come to rest first.
    atexit.register(time.sleep, LINGER)
    return state
