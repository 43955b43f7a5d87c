"""Gaussian noise of a fixed shape: each module is one shape, or the generator behind all of them."""
