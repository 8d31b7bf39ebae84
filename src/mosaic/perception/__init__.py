"""Detector, segmenter, encoders and judges of pictures behind protocols, by id or path."""
