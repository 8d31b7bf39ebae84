"""The second tab: a dataset looked at, mended, its points checked, and exported anew."""
