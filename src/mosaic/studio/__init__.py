"""The Studio: MOSAIC in a browser."""
