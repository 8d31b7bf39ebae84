"""The instruments: they find the toys of a picture, read who each one is, and score pictures against what was asked for."""
