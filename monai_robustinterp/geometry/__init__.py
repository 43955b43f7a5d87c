"""What is measured on the grid of the source image: regions and radii in stored units."""
