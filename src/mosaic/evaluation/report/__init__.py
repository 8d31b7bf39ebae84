"""What an evaluation tells: JSON, Parquet, Markdown, LaTeX and one HTML page."""

from mosaic.evaluation.report.writing import write

__all__ = ["write"]
