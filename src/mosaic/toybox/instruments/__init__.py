"""The instruments: they find the toys of a picture, read who each one is, and judge pictures by that."""
