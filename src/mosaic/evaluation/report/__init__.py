"""What an evaluation tells: JSON, Parquet, Markdown, LaTeX and one HTML page."""
