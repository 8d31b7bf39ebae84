"""The benchmarks by name."""

from __future__ import annotations

from collections.abc import Callable

from mosaic.evaluation.records import Benchmark

BENCHMARKS: dict[str, Callable[..., Benchmark]] = {}
