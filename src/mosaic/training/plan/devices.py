"""Devices by name: memory and dense peak rates, from their makers' data sheets; this CPU measured."""

import difflib
import os
import time
from dataclasses import dataclass

GIB = 1 << 30


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """memory in GiB as the driver reports it, TFLOP/s without sparsity, sums in float32."""

    name: str
    memory: float
    bfloat16: float
    float32: float  # without TF32, which PyTorch does not use unless asked

    def rate(self, dtype: str) -> float:
        """Peak FLOP/s for matrix products of a dtype; float64 as half of float32."""
        return 1e12 * {"bfloat16": self.bfloat16, "float32": self.float32, "float64": self.float32 / 2}[dtype]


DEVICES = {
    device.name: device
    for device in (
        Device(name="3090", memory=24.0, bfloat16=71.0, float32=35.6),
        Device(name="4090", memory=24.0, bfloat16=165.2, float32=82.6),
        Device(name="5090", memory=31.8, bfloat16=209.5, float32=104.8),
        Device(name="L40S", memory=45.0, bfloat16=362.0, float32=91.6),
        Device(name="A100-40", memory=39.6, bfloat16=312.0, float32=19.5),
        Device(name="A100-80", memory=79.3, bfloat16=312.0, float32=19.5),
        Device(name="H100-PCIe", memory=79.2, bfloat16=756.5, float32=51.0),
        Device(name="H100-NVL", memory=93.1, bfloat16=835.5, float32=60.0),
        Device(name="H100", memory=79.2, bfloat16=989.0, float32=67.0),
        Device(name="H200", memory=139.8, bfloat16=989.0, float32=67.0),
        Device(name="B200", memory=178.4, bfloat16=2250.0, float32=75.0),
    )
}
CPU = "cpu"


def device_of(name: str, dtype: str = "bfloat16") -> Device:
    """A device by name, whatever its case; "cpu" is measured. ValueError names the known ones."""
    known = {key.lower(): key for key in DEVICES}
    wanted = name.strip().lower().removeprefix("nvidia ").removeprefix("rtx ").removeprefix("rtx")
    if wanted == CPU:
        return measured_cpu(dtype)
    if wanted in known:
        return DEVICES[known[wanted]]
    close = difflib.get_close_matches(wanted, [*known, CPU], n=1)
    hint = f" did you mean {known.get(close[0], CPU)}?" if close else ""
    raise ValueError(f'--gpu "{name}" is not in the table:{hint} It has {", ".join(DEVICES)} and {CPU}.')


def measured_cpu(dtype: str, seconds: float = 0.5) -> Device:
    """This machine: its memory, and its best rate at multiplying two matrices of a dtype, now and here."""
    import torch

    one = torch.ones(1024, 1024, dtype=getattr(torch, dtype))
    best, end = 0.0, time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.perf_counter()
        one @ one
        best = max(best, 2 * 1024**3 / (time.perf_counter() - began) / 1e12)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    return Device(name=CPU, memory=memory, bfloat16=best, float32=best * (1 + (dtype == "float64")))
