"""Shards → samples → batches."""
