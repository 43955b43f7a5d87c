"""From files to results: one image, many images, ordinary maps side by side."""
