"""Tests of mosaic.model."""
