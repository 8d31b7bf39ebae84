"""A LoRA, a model or a dataset with its card and figures, in a folder or on a hub."""
