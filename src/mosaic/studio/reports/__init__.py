"""The third tab: reports of `mosaic evaluate` side by side."""
