"""How well the shipped denoiser denoises, how fast, and what it does to a classifier that never saw noise."""
