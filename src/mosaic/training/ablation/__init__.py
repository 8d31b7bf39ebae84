"""What each choice is worth: many runs from one warm start, a ledger of one JSON each, a table of intervals.

mosaic train recipes/ablation.toml --output runs/ablation      # goes on where it stands
python -m mosaic.training.ablation table benchmarks/ablation
"""
