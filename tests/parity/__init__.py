"""Numbers against diffusers, the authors' release and literal formulas."""
