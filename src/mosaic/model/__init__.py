"""The transformer and what MOSAIC adds to it: token layout, LoRA routing, probe and reference cache."""
