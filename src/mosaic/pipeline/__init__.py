"""From a prompt and references to a picture: the pipeline, how it is loaded, and what it reads on the way."""

from mosaic.pipeline.loading import load
from mosaic.pipeline.mosaic_pipeline import MadePicture, MosaicOutput, MosaicPipeline
from mosaic.pipeline.probing import Attention, AttentionRequest, spread_tokens
from mosaic.pipeline.references import CanvasChoice, EncodedReference

__all__ = [
    "Attention",
    "AttentionRequest",
    "CanvasChoice",
    "EncodedReference",
    "MadePicture",
    "MosaicOutput",
    "MosaicPipeline",
    "load",
    "spread_tokens",
]
