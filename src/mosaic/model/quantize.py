"""The base's weights in fewer bits, for generation and for training a LoRA beside them.

"fp8": stored as float8, cast to the working dtype layer by layer as they are used, on any device; "int8":
torchao, weights alone; "nf4": bitsandbytes' 4-bit normal floats, on a GPU.
"""

import importlib
from typing import Any

import torch
from diffusers import BitsAndBytesConfig, TorchAoConfig
from torch import nn


def quantization(kind: str, dtype: torch.dtype, device: str, asked: str) -> Any:
    """diffusers' configuration for loading a transformer; None for "none" and "fp8" (`store_as_fp8`).

    asked: how the user asked for it, for the message. ValueError for a kind this machine cannot have.
    """
    if kind in ("none", "fp8"):
        return None
    if kind == "int8":
        return TorchAoConfig(package_for(asked, "torchao.quantization").Int8WeightOnlyConfig())
    if kind == "nf4":
        if device == "cpu":
            raise ValueError(f"{asked} needs a GPU: take int8 or fp8.")
        package_for(asked, "bitsandbytes")
        return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
    raise ValueError(f'Quantisation is "none", "fp8", "int8" or "nf4", not "{kind}".')


def store_as_fp8(transformer: nn.Module, dtype: torch.dtype) -> None:
    """Keep the weights as float8 and compute in `dtype`. Call it before a LoRA is added."""
    casting: Any = transformer
    casting.enable_layerwise_casting(torch.float8_e4m3fn, dtype)


def package_for(asked: str, module: str) -> Any:
    """The module a quantisation needs; ValueError with what to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ValueError(
            f"{asked} needs the package {package}: pip install {package}, or take fp8."
        ) from error
