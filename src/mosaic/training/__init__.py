"""Training: recipe, latents, optimiser, loop and state. Importing this package imports nothing heavy."""
