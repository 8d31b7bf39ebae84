"""Tests of mosaic.data."""
