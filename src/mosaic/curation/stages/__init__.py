"""The stages of a run, a file each: `Section` is its table in a recipe, `make` its worker."""
