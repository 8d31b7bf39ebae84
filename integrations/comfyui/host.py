"""What ComfyUI offers a node at work: a progress bar, the stop button, room on the GPU. Elsewhere nothing."""

from __future__ import annotations

from collections.abc import Callable


def progress(total: int) -> Callable[[], None]:
    """What is called after each step: it moves the node's bar, and raises ComfyUI's own interruption."""
    try:
        from comfy.model_management import throw_exception_if_processing_interrupted
        from comfy.utils import ProgressBar
    except ModuleNotFoundError:
        return lambda: None
    bar = ProgressBar(total)

    def step() -> None:
        throw_exception_if_processing_interrupted()
        bar.update(1)

    return step


def make_room() -> None:
    """Ask ComfyUI to leave the GPU: it does not know of models that are not its own."""
    try:
        from comfy.model_management import soft_empty_cache, unload_all_models
    except ModuleNotFoundError:
        return
    unload_all_models()
    soft_empty_cache()
