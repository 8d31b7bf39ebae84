"""Points that show the same place in two pictures: features on a grid, and pure functions of them."""
