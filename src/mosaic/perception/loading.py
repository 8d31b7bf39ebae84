"""Where a foreign model comes from: a folder or a hub id; on which device, in which precision."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch


def device_of(device: str | None) -> torch.device:
    """None: a GPU if there is one."""
    return torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def dtype_of(name: str, device: torch.device) -> torch.dtype:
    """By its name; "auto": bfloat16 on a GPU, float32 elsewhere. ValueError for another name."""
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in known:
        raise ValueError(f'The precision is "auto", {", ".join(map(repr, known))}, not "{name}".')
    return known[name]


@contextmanager
def opening(what: str, at: str | Path) -> Iterator[None]:
    """Whatever hinders a library from loading `at`, in one sentence that names it."""
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        first = " ".join(str(error).split())[:300]
        raise ValueError(
            f"{what} cannot be loaded from {at} ({first}): give a hub id, or a folder that holds it."
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars of diffusers and transformers while weights are read, no word on torchvision."""
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    imports = logging.getLogger("transformers.utils.import_utils")
    imports.addFilter(_on_torchvision)  # this project wants none: what stands in for it is Pillow's
    shown = [library for library in (of_diffusers, of_transformers) if library.is_progress_bar_enabled()]
    for library in shown:
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library in shown:
            library.enable_progress_bar()
        imports.removeFilter(_on_torchvision)


def _on_torchvision(record: logging.LogRecord) -> bool:
    """False for the word that torchvision is not there."""
    return "requires torchvision" not in record.getMessage()


def config_of(at: str | Path) -> Any:
    """The configuration of a transformers model by id or folder."""
    from transformers import AutoConfig

    with opening("The configuration", at):
        return AutoConfig.from_pretrained(str(at))


def load_model(kind: Any, at: str | Path, device: str | None = None, dtype: str = "auto", **more: Any) -> Any:
    """A transformers model of the class `kind`, ready to be called: safetensors alone, nothing trained."""
    place = device_of(device)
    with opening(f"A {kind.__name__}", at), quiet():
        model = kind.from_pretrained(str(at), dtype=dtype_of(dtype, place), use_safetensors=True, **more)
    return model.to(place).eval().requires_grad_(False)
