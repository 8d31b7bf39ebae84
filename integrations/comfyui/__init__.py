"""MOSAIC in ComfyUI: several reference pictures and a sentence in, one picture out, every subject itself.

This folder, under custom_nodes/, is the node pack; the package `mosaic` in ComfyUI's Python does the work.
"""

from .nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
