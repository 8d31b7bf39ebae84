"""Several reference pictures and a sentence in, one picture out, every subject itself.

    pipeline = mosaic.load()                                   # the embedded model; or a folder, or a hub id
    picture = pipeline("a bear on grass", references=[...]).images[0]  # of mosaic.Reference

Nothing heavy is imported before the first of these names is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mosaic.pipeline import MosaicPipeline, load
    from mosaic.sample import Reference

__version__ = "0.1.0"
__all__ = ["MosaicPipeline", "Reference", "load"]

_HOMES = {"MosaicPipeline": "mosaic.pipeline", "Reference": "mosaic.sample", "load": "mosaic.pipeline"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mosaic' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
